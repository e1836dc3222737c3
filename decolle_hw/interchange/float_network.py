"""A network of stock LIF neurons in real numbers, step by step as the chip has it: what an import is measured against.

::

    u[t] = current_keep u[t-1] + W S_in[t-1]
    v[t] = voltage_keep v[t-1] + u[t] + bias
    S[t] = v[t] > vth;   v[t] = 0 where S[t]

That is the equation of `decolle_hw.compiler.layers.Layer` (cuba) without its rounding, and its order of events: each
layer hears the spikes of the step before, a pooling stage those of the same step, and each layer leaves its reset state
at the step at which the integer layer does (`decolle_hw.compiler.program.Program.first_step`).
"""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer, no_delay
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    CURRENT_DECAY_OFFSET,
    VOLTAGE_DECAY_OFFSET,
    realised_factor,
)
from decolle_hw.interchange.float_synapse import Convolution, Floats, Matrix, Shape, Synapse

ALIGN = 1 << ALIGN_SHIFT


@dataclass(frozen=True)
class FloatLayer:
    """One synapse and its neurons, in real numbers.

    Attributes:
        name: what it is called where it comes from.
        synapse: of weights W; its own bias is not used, `bias` is.
        input_shape: what the synapse takes, (c, h, w) for a convolution.
        bias: (N,) added to v at every step.
        current_keep, voltage_keep: what is left of u and v after a step, 0..1.
        vth: one threshold for all neurons.
        delay: (N, I) further steps that a spike takes to arrive; (0, 0): none.
        is_pooling: an OR over a window, of the spikes of the same step.
    """

    name: str
    synapse: Synapse
    input_shape: Shape
    bias: Floats
    current_keep: float
    voltage_keep: float
    vth: float
    delay: NDArray[np.int32] = field(default_factory=no_delay)
    is_pooling: bool = False

    @property
    def map_shape(self) -> Shape:
        return self.synapse.output_shape(self.input_shape)

    @property
    def num_neurons(self) -> int:
        """N"""
        return math.prod(self.map_shape)

    def sums(self, spikes_RTI: Floats) -> Floats:
        """(R, T, N) what arrives at the neurons at each step."""
        recordings, steps, inputs = spikes_RTI.shape
        latency = 0 if self.is_pooling else 1
        sums_RTN = np.zeros((recordings, steps, self.num_neurons))
        for delay in np.unique(self.delay) if self.delay.size else [0]:
            late = latency + int(delay)
            if late >= steps:
                continue
            synapse = self.synapse
            if self.delay.size:
                synapse = Matrix(np.where(self.delay == delay, synapse.weight, 0.0))
            flat_BI = np.ascontiguousarray(spikes_RTI[:, : steps - late]).reshape(-1, inputs)
            arrived = synapse.apply(flat_BI, self.input_shape) - synapse.bias
            sums_RTN[:, late:] += arrived.reshape(recordings, steps - late, -1)
        return sums_RTN


@dataclass(frozen=True)
class FloatNetwork:
    """Layers in order. input_shape (polarities, height, width), as in `Program`."""

    name: str
    layers: tuple[FloatLayer, ...]
    input_shape: tuple[int, int, int]

    def first_step(self, index: int) -> int:
        """The step at which a layer leaves its reset state: one for each synapse that takes a step of its own."""
        return sum(not layer.is_pooling for layer in self.layers[: index + 1])


@dataclass(frozen=True)
class FloatTrace:
    """(R, T, N) of one layer: its spikes, and v before the reset, which says how close they were."""

    spikes: NDArray[np.uint8]
    asked: Floats


def simulate(network: FloatNetwork, spikes_RTI: NDArray[np.uint8]) -> tuple[FloatTrace, ...]:
    """Run recordings, each from the reset state; one `FloatTrace` per layer. Memory: 25 R*T*N bytes per layer."""
    traces = []
    for index, layer in enumerate(network.layers):
        trace = simulate_layer(layer, spikes_RTI, network.first_step(index))
        traces.append(trace)
        spikes_RTI = trace.spikes
    return tuple(traces)


def simulate_layer(layer: FloatLayer, spikes_RTI: NDArray[np.uint8], first: int) -> FloatTrace:
    """One layer, zero until step `first`."""
    sums_RTN = layer.sums(spikes_RTI.astype(np.float64))
    spikes_RTN = np.zeros(sums_RTN.shape, np.uint8)
    asked_RTN = np.zeros(sums_RTN.shape)
    u_RN, v_RN = np.zeros_like(sums_RTN[:, 0]), np.zeros_like(sums_RTN[:, 0])
    for t in range(first, sums_RTN.shape[1]):
        u_RN = layer.current_keep * u_RN + sums_RTN[:, t]
        v_RN = layer.voltage_keep * v_RN + u_RN + layer.bias
        asked_RTN[:, t], spikes_RTN[:, t] = v_RN, v_RN > layer.vth
        v_RN = np.where(spikes_RTN[:, t], 0.0, v_RN)
    return FloatTrace(spikes_RTN, asked_RTN)


def dequantized(program: Program) -> FloatNetwork:
    """What a cuba program stands for: the very integers of its synapses as real numbers, v and bias in units of 64.

    Raises `CompileError` for other neurons.
    """
    if any(layer.neuron != "cuba" for layer in program.layers):
        raise CompileError(f"{program.name}: only networks of stock LIF neurons (cuba) have this float form")
    layers = tuple(_dequantized_layer(layer, f"layer{index}") for index, layer in enumerate(program.layers))
    return FloatNetwork(program.name, layers, program.input_shape)


def _dequantized_layer(layer: Layer, name: str) -> FloatLayer:
    return FloatLayer(
        name=name,
        synapse=float_synapse(layer),
        input_shape=layer.input_shape if isinstance(layer, ConvLayer) else (layer.num_inputs,),
        bias=layer.bias / ALIGN,
        current_keep=realised_factor(layer.du, CURRENT_DECAY_OFFSET),
        voltage_keep=realised_factor(layer.dv, VOLTAGE_DECAY_OFFSET),
        vth=float(layer.vth[0]),
        delay=layer.delay if isinstance(layer, DenseLayer) else no_delay(),
        is_pooling=layer.is_pooling,
    )


def float_synapse(layer: Layer) -> Synapse:
    """The synapse of an integer layer of any neuron. A `weight_exp` that rounds sums down is not rounded here."""
    weight = np.ldexp(layer.weight.astype(np.float64), layer.weight_exp)
    if not isinstance(layer, ConvLayer):
        return Matrix(weight)
    return Convolution(weight, layer.strides, layer.paddings, layer.dilations, layer.groups)
