"""The compiled network: nothing but integers, and what each of them means.

Everything downstream (reference simulator, Lava, artifact, resource table) reads this and only this.
"""

# N neurons, I inputs, C classes

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import (
    BIAS_EXP_MAX,
    BIAS_MANT_MAX,
    BIAS_MANT_MIN,
    DECAY_UNITY,
    MIXED_WEIGHT_MAX,
    MIXED_WEIGHT_MIN,
    STATE_LIMIT,
    VTH_MAX,
    WEIGHT_EXP_MAX,
    WEIGHT_EXP_MIN,
)

NeuronKind = Literal["decolle", "cuba"]


@dataclass(frozen=True)
class DenseLayer:
    """One dense connection and its neurons, in the registers of design section 2.

    cuba (stock Lava LIF)::

        u[t] = wrap(decay(u[t-1], du+1) + (shift(W S_in[t-1], weight_exp) << 6))
        v[t] = saturate(decay(v[t-1], dv) + u[t] + (bias_mant << bias_exp))
        S[t] = v[t] > vth << 6;   v[t] = 0 where S[t]

    decolle (microcode neuron)::

        u, v as above without bias
        r[t] = saturate(decay(r[t-1], dr) - rho * S[t-1])
        S[t] = v[t] + r[t] > vth << 6                       # vth is per neuron and may be negative: -bias
    """

    neuron: NeuronKind
    weight: NDArray[np.int32]  # (N, I) as stored in synaptic memory: even, -256..254 (sign mode MIXED)
    weight_exp: int  # shifts the sum
    du: int  # current decay register; effective decay (du+1)/4096
    dv: int  # voltage decay register; effective decay dv/4096
    vth: NDArray[np.int32]  # (N,) mantissa, shifted left by 6
    bias_mant: NDArray[np.int32]  # (N,) zero for decolle
    bias_exp: int
    dr: int  # refractory decay register, effective dr/4096; 0 for cuba
    rho: int  # refractory decrement per spike; 0 for cuba
    readout_weight: NDArray[np.int32]  # (C, N) fixed local readout, signed 8 bit
    readout_bias: NDArray[np.int32]  # (C,) on the same scale

    def __post_init__(self) -> None:
        for name, holds, expected in self._rules():
            if not holds:
                raise CompileError(f"{name}: expected {expected}")

    def _rules(self) -> Iterator[tuple[str, bool | np.bool_, str]]:
        """(field, whether it is right, what is right), each one relying on those before."""
        yield "neuron", self.neuron in ("decolle", "cuba"), "decolle or cuba"
        yield "weight", self.weight.ndim == 2 and self.weight.size > 0, "two dimensions (N, I), none of them 0"
        yield "weight", _within(self.weight, MIXED_WEIGHT_MIN, MIXED_WEIGHT_MAX), "-256..254"
        yield "weight", not np.any(self.weight & 1), "even values (sign mode MIXED drops the lowest bit)"
        yield "weight_exp", WEIGHT_EXP_MIN <= self.weight_exp <= WEIGHT_EXP_MAX, "-8..7"
        yield "du", 0 <= self.du < DECAY_UNITY, "0..4095"
        yield "dv", 0 <= self.dv <= DECAY_UNITY, "0..4096"
        yield "dr", 0 <= self.dr <= DECAY_UNITY, "0..4096"
        yield "rho", 0 <= self.rho < STATE_LIMIT, "0..2**23-1"
        n, stock = self.num_neurons, self.neuron == "cuba"
        yield "vth", self.vth.shape == (n,) and _within(self.vth, -VTH_MAX, VTH_MAX), f"{n} values of 17 bit"
        shared = self.vth.min() == self.vth.max() >= 0
        yield "vth", shared or not stock, "one unsigned value for all neurons of a stock LIF"
        mantissas = self.bias_mant.shape == (n,) and _within(self.bias_mant, BIAS_MANT_MIN, BIAS_MANT_MAX)
        yield "bias_mant", mantissas, f"{n} values of 13 bit"
        yield "bias_mant", stock or not np.any(self.bias_mant), "zero for decolle (bias sits in vth)"
        yield "bias_exp", 0 <= self.bias_exp <= BIAS_EXP_MAX, "0..7"
        readout = self.readout_weight.ndim == 2 and self.readout_weight.shape[1] == n
        yield "readout_weight", readout and _within(self.readout_weight, -128, 127), f"(C, {n}) values of 8 bit"
        yield "readout_bias", self.readout_bias.shape == self.readout_weight.shape[:1], "(C,)"

    @property
    def num_neurons(self) -> int:
        return int(self.weight.shape[0])

    @property
    def num_inputs(self) -> int:
        return int(self.weight.shape[1])

    @property
    def bias(self) -> NDArray[np.int32]:
        """(N,) what is added to v at every step."""
        return (self.bias_mant << self.bias_exp).astype(np.int32)


@dataclass(frozen=True)
class Program:
    """A compiled network: layers in order, and how a recording becomes a decision."""

    name: str
    layers: tuple[DenseLayer, ...]
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]  # polarities, height, width; input index = (p*H + y)*W + x
    steps: int  # time steps of one recording
    burnin_steps: int  # steps whose spikes do not count in the decision
    target: str
    spec_yaml: str  # the model description it was trained from
    checkpoint_sha256: str
    quantization: tuple[dict[str, float], ...] = ()  # per layer: scale, errors, limits (see compiler.quantize)

    def __post_init__(self) -> None:
        inputs = int(np.prod(self.input_shape))
        for index, layer in enumerate(self.layers):
            if layer.num_inputs != inputs:
                raise CompileError(f"layer {index}: weight has {layer.num_inputs} inputs, {inputs} arrive")
            rows = layer.readout_weight.shape[0]
            if rows != len(self.classes):
                raise CompileError(f"layer {index}: readout has {rows} rows, there are {len(self.classes)} classes")
            inputs = layer.num_neurons
        if not self.layers:
            raise CompileError("a program needs at least one layer")
        if first_step(self.layers[-1], len(self.layers) - 1) >= self.steps:
            raise CompileError(f"{self.steps} steps are too short for {len(self.layers)} layers")
        if not 0 <= self.burnin_steps < self.steps:
            raise CompileError(f"burnin_steps {self.burnin_steps} must be below steps {self.steps}")

    @property
    def num_inputs(self) -> int:
        return self.layers[0].num_inputs

    def check_input(self, spikes_RTI: NDArray[Any]) -> None:
        """Raise ValueError unless `spikes_RTI` is (recordings, steps, inputs) of 0 and 1."""
        if spikes_RTI.ndim != 3 or spikes_RTI.shape[2] != self.num_inputs:
            raise ValueError(f"expected (R, T, {self.num_inputs}) spikes, got {spikes_RTI.shape}")
        if first_step(self.layers[-1], len(self.layers) - 1) >= spikes_RTI.shape[1]:
            raise ValueError(f"{spikes_RTI.shape[1]} steps are too short for {len(self.layers)} layers")
        if spikes_RTI.size and (spikes_RTI.min() < 0 or spikes_RTI.max() > 1):
            raise ValueError(f"spikes are 0 or 1, got {spikes_RTI.min()}..{spikes_RTI.max()}")


def first_step(layer: DenseLayer, index: int) -> int:
    """The step of a recording at which layer `index` leaves its reset state.

    A decolle layer runs from step 0. A stock LIFReset layer lets the synaptic input that is in flight at its reset
    through, so the reset of layer `index` falls on step index + 1, the first at which anything of this recording
    can have reached it; until then its u, v and S are zero. Only a bias could make a difference.
    """
    return 0 if layer.neuron == "decolle" else index + 1


def _within(values: NDArray[np.int32], low: int, high: int) -> bool:
    return bool(values.size == 0 or (values.min() >= low and values.max() <= high))
