"""The complexity metrics of NeuroBench, under its names, of a compiled network.

Definitions: `neurobench` 2.3.0, the modules named below (Yik et al., "The neurobench framework for benchmarking
neuromorphic computing algorithms and systems", Nature Communications 16, 2025). A sample is a recording. NeuroBench
looks at a float network in PyTorch, in which max-pooling is no spiking layer and has no weights: so pooling stages,
which are layers with synapses and neurons on the chip, count in none of these metrics, and neither do the readouts,
which the host computes, nor the neurons of an input block. What the chip does with all of them is in `Estimate`.
"""

# I inputs, N neurons

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from decolle_hw.compiler.estimates.activity import Activity, LayerActivity
from decolle_hw.compiler.estimates.operations import dense_operations, effective_operations
from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.lowering.graph import Geometry, Shape
from decolle_hw.compiler.program import Program
from decolle_hw.fixedpoint import DECAY_BITS, STATE_BITS, VTH_BITS

BIAS_BITS = 13  # bias mantissa, signed: lava.proc.lif.models
BIAS_EXPONENT_BITS = 3  # lava.proc.lif.models
WEIGHT_EXPONENT_BITS = 4  # signed: fixedpoint.WEIGHT_EXP_MIN..WEIGHT_EXP_MAX

VERSION = "2.3.0"  # whose definitions these are


@dataclass(frozen=True)
class SynapticOperations:
    """Per recording; the names are those of `neurobench.metrics.workload.synaptic_operations`."""

    Dense: float
    Effective_MACs: float
    Effective_ACs: float


@dataclass(frozen=True)
class NeuroBench:
    """See the functions of the same names."""

    footprint: int
    connection_sparsity: float
    activation_sparsity: float
    synaptic_operations: SynapticOperations
    membrane_updates: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def neurobench_metrics(program: Program, activity: Activity) -> NeuroBench:
    """All metrics of a network on the recordings that were measured."""
    return NeuroBench(
        footprint(program),
        connection_sparsity(program),
        activation_sparsity(program, activity),
        synaptic_operations(program, activity),
        membrane_updates(program, activity),
    )


def footprint(program: Program) -> int:
    """Bytes that represent the network: parameters, and the state of its neurons.

    `neurobench.metrics.static.footprint`: elements times bytes per element, summed over all parameters and buffers of
    the model (in a model of snnTorch, its potentials are buffers). Here an element is an integer of so many bits, and
    each array of them is rounded up to whole bytes: see `arrays`. What stores it on a chip takes more, and is in the
    placement.
    """
    return sum(-(-count * bits // 8) for layer in _layers(program) for _, count, bits in arrays(layer))


def arrays(layer: Layer) -> Iterator[tuple[str, int, int]]:
    """(name, number of elements, bits of each): what one layer is made of."""
    neurons, decolle = layer.num_neurons, layer.neuron == "decolle"
    yield "weight", layer.weight.size, layer.weight_bits
    yield "weight_exp", 1, WEIGHT_EXPONENT_BITS
    if isinstance(layer, DenseLayer) and layer.max_delay:
        yield "delay", layer.delay.size, layer.max_delay.bit_length()
    if decolle:
        yield "vth", neurons, VTH_BITS + 1  # one per neuron, with a sign
    else:
        yield "vth", 1, VTH_BITS
        yield "bias_mant", neurons if np.any(layer.bias_mant) else 0, BIAS_BITS
        yield "bias_exp", 1, BIAS_EXPONENT_BITS
    yield "decays", 3 if decolle else 2, DECAY_BITS
    yield "rho", int(decolle), STATE_BITS
    yield "state", neurons * (3 if decolle else 2), STATE_BITS  # u, v (and r)


def connection_sparsity(program: Program) -> float:
    """Share of the weights that are zero.

    `neurobench.metrics.static.connection_sparsity`: zeros over elements of the weights of all linear layers and
    convolutions, kernels as they are (not unrolled), biases not among them. There it is rounded to 4 decimals.
    """
    weights = [layer.weight for layer in _layers(program)]
    return 1.0 - sum(np.count_nonzero(weight) for weight in weights) / sum(weight.size for weight in weights)


def activation_sparsity(program: Program, activity: Activity) -> float:
    """Share of the neurons and steps without a spike.

    `neurobench.metrics.workload.activation_sparsity`: zeros over all activations of all neurons, steps and samples.
    """
    measured = [activity.layers[index].spikes for index, _ in _numbered(program)]
    spikes, neurons = sum(int(spikes.sum()) for spikes in measured), sum(spikes.size for spikes in measured)
    return 1.0 - spikes / (neurons * activity.all_steps)


def synaptic_operations(program: Program, activity: Activity) -> SynapticOperations:
    """Operations of all linear layers and convolutions, per recording; biases are not among them.

    `neurobench.metrics.workload.synaptic_operations`: effective are those in which neither the input nor the weight is
    zero; they are ACs where the input of a layer is of 0 and 1 only, else MACs. Dense are all, weights and inputs of
    zero included; what lies in the padding of a convolution never counts. Here every input is binary: no MACs.
    A spike counts in the layer that it goes to even if the recording ends before it arrives.
    """
    dense, effective = 0, 0
    for index, layer in _numbered(program):
        geometry, source_shape, shape = _connection(layer)
        spikes_I = activity.input if index == 0 else activity.layers[index - 1].spikes
        dense += dense_operations(geometry, source_shape, shape) * activity.steps
        effective += effective_operations(geometry, source_shape, shape, layer.weight, spikes_I)
    return SynapticOperations(float(dense), 0.0, effective / activity.recordings)


def membrane_updates(program: Program, activity: Activity) -> float | None:
    """Steps in which the potential of a neuron changed, per recording, over all neurons; None: not measured.

    `neurobench.metrics.workload.membrane_updates`: the potential after a step differs from that after the step before;
    in the first step of a sample every neuron counts. The potential is v after its reset; that of the decolle neuron
    is v + r, as its reset is the trace r. (The current u, which NeuroBench's neurons have not, is no potential.) A chip
    updates every neuron in every step, whether that changes it or not: see `Events.updates`.
    """
    measured: list[LayerActivity] = [activity.layers[index] for index, _ in _numbered(program)]
    changes = [layer.membrane_updates for layer in measured if layer.membrane_updates is not None]
    return sum(changes) / activity.recordings if len(changes) == len(measured) else None


def _numbered(program: Program) -> Iterator[tuple[int, Layer]]:
    return ((index, layer) for index, layer in enumerate(program.layers) if not layer.is_pooling)


def _layers(program: Program) -> Iterator[Layer]:
    return (layer for _, layer in _numbered(program))


def _connection(layer: Layer) -> tuple[Geometry | None, Shape, Shape]:
    """Geometry (None: a matrix) and the shapes of input and neurons."""
    if isinstance(layer, ConvLayer):
        geometry = Geometry(layer.kernel_sizes, layer.strides, layer.paddings, layer.dilations, layer.groups)
        return geometry, layer.input_shape, layer.map_shape
    return None, (layer.num_inputs, 1, 1), (math.prod(layer.map_shape), 1, 1)
