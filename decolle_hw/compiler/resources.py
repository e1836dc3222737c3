"""What a compiled network occupies on a target: neurons, synaptic memory, axons, cores, chips.

Cores. A dense layer on k cores has ceil(N/k) neurons and all its input axons on each; a neuron needs one out-axon
for each core of the next dense layer. The smallest k at which every core is within its limits is a lower bound:
layers do not share cores, and routing is not considered. A convolution's bound is looser: its cores together must
hold its neurons, its kernel, each of its input axons once, and one out-axon per neuron; what neighbouring cores hold
twice, as their kernels overlap, is not counted.

Memory: see `decolle_hw.compiler.synaptic_memory`. What does not fit is not an error here: `decolle_hw.compiler.rules`
puts it into words.
"""

# N neurons, I inputs, K cores

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.synaptic_memory import (
    MATRIX_FORMATS,
    Format,
    ceil_div,
    core_memory,
    memory_cores,
    nonzero_before,
    shared_kernel,
    unshared_kernel,
)
from decolle_hw.targets import Target

# Limits that the table does not read: spikes are binary here, and rules.py looks at delays.
UNUSED_LIMITS = ("max_delay", "graded_payload_bits")

RESOURCES = ("neurons", "synaptic memory", "in-axons", "out-axons")

NOTES = (
    "the host computes the readouts in this version: they and the axons to the host are not counted",
    "cores are a lower bound: layers do not share cores, routing is not considered",
    "convolutions: what cores hold twice, as kernels overlap, is not counted",
    "one memory entry per axon, however long; nengo-loihi cuts entries at 64 synapses, about an eighth more",
)


@dataclass(frozen=True)
class Usage:
    """One resource of the fullest core of a layer."""

    used: int
    limit: int
    share: float  # used / limit; above 1 only where no split helps
    cores: int | None  # cores that this resource alone asks for; None: one neuron is already too much


@dataclass(frozen=True)
class LayerResources:
    """What one layer occupies."""

    layer: int
    neuron: str
    neurons: int
    inputs: int
    synapses: int  # zeros included
    synapses_nonzero: int
    stored_synapses: int  # in synaptic memory: with zeros (dense), without (sparse), kernels of all cores (shared)
    memory_format: Format
    memory_bits: int  # on all its cores together
    cores: int  # lower bound
    neurons_per_core: int  # on the fullest
    limited_by: str  # one of RESOURCES: asks for the most cores, or, where several do, is the fullest
    usage: dict[str, Usage]  # by resource


@dataclass(frozen=True)
class UsedLimit:
    """A limit of the target, as it is printed beside the table."""

    name: str
    value: Any
    source: str
    confidence: str


@dataclass(frozen=True)
class ResourceReport:
    """The resource table of a network on a target."""

    target: str
    layers: tuple[LayerResources, ...]
    neurons: int
    synapses: int
    synapses_nonzero: int
    memory_bits: int
    cores: int
    usable_cores: int  # of one chip
    chips: int
    chips_for: dict[str, int]  # what its cores, neurons and stored synapses ask for, each alone
    board: str | None  # the smallest that has these chips; None: there is none
    limits_used: tuple[UsedLimit, ...]
    notes: tuple[str, ...] = NOTES

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, ready for `json.dumps`."""
        plain = asdict(self)
        return {**plain, **{key: list(plain[key]) for key in ("layers", "limits_used", "notes")}}


def resource_table(program: Program, target: Target) -> ResourceReport:
    """Resources of each layer and of the whole network.

    Never raises for a network that does not fit: what is too large shows as `share` above 1 or `board` None,
    and `violations` says so in words.
    """
    layers: list[LayerResources] = []
    next_cores = 0  # the last layer's spikes go to the host alone
    for index in reversed(range(len(program.layers))):
        layers.insert(0, _layer_resources(index, program.layers[index], next_cores, target))
        next_cores = layers[0].cores
    neurons = sum(layer.neurons for layer in layers)
    cores = sum(layer.cores for layer in layers)
    stored = sum(layer.stored_synapses for layer in layers)
    chips_for = {
        "cores": ceil_div(cores, target.usable_cores.value),
        "neurons": ceil_div(neurons, target.neurons_per_chip.value),
        "synapses": ceil_div(stored, target.synapses_per_chip.value),
    }
    chips = max(chips_for.values())
    large_enough = [(count, name) for name, count in target.board_chips.items() if count >= chips]
    return ResourceReport(
        target=target.name,
        layers=tuple(layers),
        neurons=neurons,
        synapses=sum(layer.synapses for layer in layers),
        synapses_nonzero=sum(layer.synapses_nonzero for layer in layers),
        memory_bits=sum(layer.memory_bits for layer in layers),
        cores=cores,
        usable_cores=target.usable_cores.value,
        chips=chips,
        chips_for=chips_for,
        board=min(large_enough)[1] if large_enough else None,
        limits_used=_limits_used(target),
    )


def _layer_resources(index: int, layer: Layer, next_cores: int, target: Target) -> LayerResources:
    if isinstance(layer, ConvLayer):
        return _convolution(index, layer, next_cores, target)
    assert isinstance(layer, DenseLayer)
    return _matrix(index, layer, next_cores, target)


def _matrix(index: int, layer: DenseLayer, next_cores: int, target: Target) -> LayerResources:
    nonzero, bits = nonzero_before(layer.weight), layer.weight_bits + layer.max_delay.bit_length()
    num_neurons = layer.num_neurons
    memory_limit, out_limit = target.synaptic_memory_bits.value, target.out_axons.value
    # Neurons that the out-axons of one core serve.
    reachable = out_limit // next_cores if next_cores else num_neurons
    cores = {
        "neurons": ceil_div(num_neurons, target.neurons_per_core.value),
        "synaptic memory": memory_cores(nonzero, bits, memory_limit),
        "in-axons": 1 if layer.num_inputs <= target.in_axons.value else None,
        "out-axons": ceil_div(num_neurons, reachable) if reachable else None,
    }
    # Where even one neuron is too much, one per core comes nearest; but no split lowers the number of inputs.
    split = max(needed or (1 if name == "in-axons" else num_neurons) for name, needed in cores.items())
    # Slices of fewer neurons may cut a sparse matrix less evenly, so the memory has to be looked at again.
    split = memory_cores(nonzero, bits, memory_limit, split) or split
    per_core = ceil_div(num_neurons, split)
    memory = {form: core_memory(nonzero, per_core, bits, form) for form in MATRIX_FORMATS}
    form = min(MATRIX_FORMATS, key=lambda f: (bool(memory[f].max() > memory_limit), int(memory[f].sum())))
    occupied = {
        "neurons": (per_core, target.neurons_per_core.value),
        "synaptic memory": (int(memory[form].max()), memory_limit),
        "in-axons": (layer.num_inputs, target.in_axons.value),
        "out-axons": (per_core * next_cores, out_limit),
    }
    return _resources(index, layer, form, int(memory[form].sum()), int(nonzero[-1].sum()), split, cores, occupied)


def _convolution(index: int, layer: ConvLayer, next_cores: int, target: Target) -> LayerResources:
    limit, num_neurons = target.synaptic_memory_bits.value, layer.num_neurons
    shared = target.shared_weights.value
    form: Format = "shared" if shared else "sparse"
    if shared:
        kernel, entries = shared_kernel(layer)
    else:
        kernel, entries = 0, unshared_kernel(layer, min(num_neurons, target.neurons_per_core.value))
    sends = num_neurons if next_cores else 0
    cores = {
        "neurons": ceil_div(num_neurons, target.neurons_per_core.value),
        "synaptic memory": ceil_div(entries, limit - kernel) if kernel < limit else None,
        "in-axons": ceil_div(layer.num_inputs, target.in_axons.value),
        "out-axons": max(1, ceil_div(sends, target.out_axons.value)),
    }
    split = max(needed or num_neurons for needed in cores.values())
    occupied = {
        "neurons": (ceil_div(num_neurons, split), target.neurons_per_core.value),
        "synaptic memory": (kernel + ceil_div(entries, split), limit),
        "in-axons": (ceil_div(layer.num_inputs, split), target.in_axons.value),
        "out-axons": (ceil_div(sends, split), target.out_axons.value),
    }
    nonzero = int(np.count_nonzero(layer.weight)) * (num_neurons // layer.map_shape[0])
    return _resources(index, layer, form, split * kernel + entries, nonzero, split, cores, occupied)


def _resources(
    index: int, layer: Layer, form: Format, memory_bits: int, nonzero: int, split: int,
    cores: dict[str, int | None], occupied: dict[str, tuple[int, int]],
) -> LayerResources:  # fmt: skip
    usage = {name: Usage(used, limit, used / limit, cores[name]) for name, (used, limit) in occupied.items()}
    kernel_values = int(layer.weight.size)
    return LayerResources(
        layer=index,
        neuron=layer.neuron,
        neurons=layer.num_neurons,
        inputs=layer.num_inputs,
        synapses=layer.num_synapses,
        synapses_nonzero=nonzero,
        stored_synapses={"dense": layer.num_synapses, "sparse": nonzero, "shared": kernel_values * split}[form],
        memory_format=form,
        memory_bits=memory_bits,
        cores=split,
        neurons_per_core=ceil_div(layer.num_neurons, split),
        limited_by=max(RESOURCES, key=lambda name: (usage[name].cores or math.inf, usage[name].share)),
        usage=usage,
    )


def _limits_used(target: Target) -> tuple[UsedLimit, ...]:
    return tuple(
        UsedLimit(name, limit.value, limit.source, limit.confidence)
        for name, limit in target.limits
        if name not in UNUSED_LIMITS
    )
