"""The compiled network: layers in order, when each of them runs, and how a recording becomes a decision.

Everything downstream (reference simulator, Lava, artifact, resource table) reads this and only this.

Time. Index t of a layer is step t of the float network, in every trace and every comparison. On chip a pooling stage
adds one step of pure delay, so layer i runs `Program.delay(i)` steps later there, and a recording takes
`Program.slot_steps` of them. A dense layer or a convolution takes the spikes of the step before; a pooling stage, in
this time, those of the same step. An input block runs with the recording, in step 0 already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.layers import Layer
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import BIAS_MANT_MAX, BIAS_MANT_MIN

Prediction = Literal["sum", "mode", "voltage"]  # how a class is decided on; see `decolle_hw.sim.trace.readouts`
InputKind = Literal["events", "image"]


@dataclass(frozen=True)
class Program:
    """A compiled network: layers in order, and how a recording becomes a decision."""

    name: str
    layers: tuple[Layer, ...]
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]  # polarities, height, width; input index = (p*H + y)*W + x
    steps: int  # time steps of one recording
    burnin_steps: int  # steps whose spikes do not count in the decision
    target: str
    spec_yaml: str  # the model description it was trained from; empty for a network from elsewhere
    checkpoint_sha256: str  # of what it was made from
    quantization: tuple[dict[str, Any], ...] = ()  # per layer: scale, errors, limits (quantization.integers.figures)
    prediction: Prediction = "sum"
    input_block: InputBlock | None = None  # then a recording is an image; else it is spikes

    def __post_init__(self) -> None:
        if not self.layers:
            raise CompileError("a program needs at least one layer")
        if min(self.input_shape) < 1:
            raise CompileError(f"input_shape {self.input_shape}: expected three positive numbers")
        inputs = math.prod(self.input_shape)
        for index, layer in enumerate(self.layers):
            if layer.num_inputs != inputs:
                raise CompileError(f"layer {index}: weight has {layer.num_inputs} inputs, {inputs} arrive")
            rows = layer.readout_weight.shape[0]
            if rows not in (0, len(self.classes)):
                raise CompileError(f"layer {index}: readout has {rows} rows, there are {len(self.classes)} classes")
            inputs = layer.num_neurons
        if not self.layers[-1].has_readout:
            raise CompileError(f"layer {len(self.layers) - 1}: the last layer has no readout to decide by")
        kinds = {layer.neuron for layer in self.layers if not layer.is_pooling}
        if len(kinds) != 1:
            raise CompileError(f"all layers but pooling stages have one kind of neuron, found {sorted(kinds)}")
        if self.layers[0].is_pooling:
            raise CompileError("layer 0: a pooling stage follows a convolution")
        if self.first_step(len(self.layers) - 1) >= self.steps:
            raise CompileError(f"{self.steps} steps are too short for {len(self.layers)} layers")
        if self.prediction not in get_args(Prediction):
            raise CompileError(f"prediction {self.prediction!r}: expected one of {', '.join(get_args(Prediction))}")
        if not 0 <= self.burnin_steps < self.steps:
            raise CompileError(f"burnin_steps {self.burnin_steps} must be below steps {self.steps}")

    @property
    def num_inputs(self) -> int:
        return self.layers[0].num_inputs

    @cached_property
    def delays(self) -> tuple[int, ...]:
        """Steps by which each layer runs later on chip than in the float network: pooling stages so far."""
        return tuple(int(delay) for delay in np.cumsum([layer.is_pooling for layer in self.layers]))

    def slot_steps(self, steps: int | None = None) -> int:
        """Steps on chip of a recording of `steps` steps (default: those of this network), silent ones at its end."""
        return (self.steps if steps is None else steps) + self.delays[-1]

    @cached_property
    def reset_steps(self) -> tuple[int, ...]:
        """The step on chip, within a recording's slot, at which each layer leaves its reset state.

        A decolle layer drops the synaptic input that is in flight at its reset, so it starts with the recording. A
        stock LIFReset lets that input through, so its reset falls one step after that of the layer before: the first
        at which all that arrives is of this recording. Until then its u, v and S are zero; only a bias could make a
        difference.
        """
        resets: list[int] = []
        for layer, delay in zip(self.layers, self.delays, strict=True):
            before = resets[-1] if resets else 0
            resets.append(delay if layer.neuron == "decolle" else before + 1)
        return tuple(resets)

    def first_step(self, index: int) -> int:
        """The step of a recording, in the float network's time, at which layer `index` leaves its reset state."""
        return self.reset_steps[index] - self.delays[index]

    def steps_of(self, recordings: NDArray[Any]) -> int:
        """Steps of recordings as `check_input` has them."""
        return int(recordings.shape[1]) if self.input_block is None else self.steps

    def check_input(self, recordings: NDArray[Any]) -> None:
        """Raise ValueError unless `recordings` is what this network takes.

        That is (recordings, steps, inputs) of 0 and 1, or, of a network with an input block, its bias mantissas
        (recordings, inputs).
        """
        if self.input_block is None:
            self._check_spikes(recordings)
        elif recordings.ndim != 2 or recordings.shape[1] != self.num_inputs:
            raise ValueError(f"expected (R, {self.num_inputs}) bias mantissas, got {recordings.shape}")
        elif recordings.dtype.kind not in "iu":
            raise ValueError(f"bias mantissas are integers, got {recordings.dtype}")
        elif recordings.size and (recordings.min() < BIAS_MANT_MIN or recordings.max() > BIAS_MANT_MAX):
            raise ValueError(f"bias mantissas have 13 bit, got {recordings.min()}..{recordings.max()}")

    def _check_spikes(self, spikes_RTI: NDArray[Any]) -> None:
        if spikes_RTI.ndim != 3 or spikes_RTI.shape[2] != self.num_inputs:
            raise ValueError(f"expected (R, T, {self.num_inputs}) spikes, got {spikes_RTI.shape}")
        if self.first_step(len(self.layers) - 1) >= spikes_RTI.shape[1]:
            raise ValueError(f"{spikes_RTI.shape[1]} steps are too short for {len(self.layers)} layers")
        if spikes_RTI.size and (spikes_RTI.min() < 0 or spikes_RTI.max() > 1):
            raise ValueError(f"spikes are 0 or 1, got {spikes_RTI.min()}..{spikes_RTI.max()}")


def input_kind(program: Program) -> InputKind:
    """What a recording of a network is: `events` in time, or a still `image`."""
    return "events" if program.input_block is None else "image"
