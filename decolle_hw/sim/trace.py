"""What an integer run leaves behind. The reference simulator and Lava return the same type."""

# R recordings, T steps, N neurons, C classes

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.program import Program


def register_names(layer: Layer) -> tuple[str, ...]:
    """Registers that a recorded trace of a layer holds."""
    return ("u", "v", "r") if layer.neuron == "decolle" else ("u", "v")


def is_recorded(program: Program, index: int, record: bool) -> bool:
    """Whether a run keeps the registers of a layer: where that is asked for, and where they decide."""
    return record or (program.prediction == "voltage" and index == len(program.layers) - 1)


@dataclass(frozen=True)
class LayerTrace:
    """Spikes of one layer at every step of every recording, and its registers where they were recorded."""

    spikes: NDArray[np.uint8]  # (R, T, N) 0 or 1
    registers: dict[str, NDArray[np.int32]]  # (R, T, N) at the end of the step: 'u', 'v' (decolle: and 'r')

    def take(self, start: int, stop: int) -> LayerTrace:
        """The recordings start..stop-1 (views, no copy)."""
        registers = {name: values[start:stop] for name, values in self.registers.items()}
        return LayerTrace(self.spikes[start:stop], registers)

    @staticmethod
    def join(parts: Sequence[LayerTrace]) -> LayerTrace:
        """Consecutive recordings as one."""
        registers = {name: np.concatenate([part.registers[name] for part in parts]) for name in parts[0].registers}
        return LayerTrace(np.concatenate([part.spikes for part in parts]), registers)


@dataclass(frozen=True)
class Trace:
    """One `LayerTrace` per layer, in order, and that of the input block where there is one."""

    layers: tuple[LayerTrace, ...]
    input: LayerTrace | None = None

    @property
    def num_recordings(self) -> int:
        return int(self.layers[0].spikes.shape[0])

    def take(self, start: int, stop: int) -> Trace:
        """The recordings start..stop-1 (views, no copy)."""
        return Trace(
            tuple(layer.take(start, stop) for layer in self.layers),
            None if self.input is None else self.input.take(start, stop),
        )

    @staticmethod
    def join(parts: Sequence[Trace]) -> Trace:
        """Traces of consecutive recordings as one."""
        by_layer = zip(*(part.layers for part in parts), strict=True)
        inputs = [part.input for part in parts if part.input is not None]
        return Trace(tuple(LayerTrace.join(layers) for layers in by_layer), LayerTrace.join(inputs) if inputs else None)

    def firing_rates(self) -> list[float]:
        """Spikes per neuron and step of each layer."""
        return [float(layer.spikes.mean()) for layer in self.layers]


def readouts(program: Program, trace: Trace, layer: int = -1) -> NDArray[np.int64]:
    """(R, C) integers of which the largest decides, by `Program.prediction`::

        sum      y_c = sum over steps after burn-in of (G S[t] + g)_c
        mode     y_c = number of steps after burn-in at which (G S[t] + g)_c is the largest, or the first of the largest
        voltage  y_c = (G v + g)_c of the last step, for neurons that never spike

    `sum` is the fixed-point twin of the summed float readout; the scale of G is that of the layer's quantized readout.
    """
    integers = program.layers[layer]
    weight_NC = integers.readout_weight.T.astype(np.int64)
    bias_C = integers.readout_bias.astype(np.int64)
    result: NDArray[np.int64]
    if program.prediction == "voltage":
        result = trace.layers[layer].registers["v"][:, -1].astype(np.int64) @ weight_NC + bias_C
        return result
    counted_RTN = trace.layers[layer].spikes[:, program.burnin_steps :]
    if program.prediction == "mode":
        votes_RT = (counted_RTN.astype(np.int64) @ weight_NC + bias_C).argmax(2)
        result = (votes_RT[..., None] == np.arange(len(bias_C))).sum(1, dtype=np.int64)
        return result
    result = counted_RTN.sum(1, dtype=np.int64) @ weight_NC
    result += counted_RTN.shape[1] * bias_C
    return result


def decide(program: Program, trace: Trace, layer: int = -1) -> NDArray[np.int64]:
    """(R,) index of the class with the largest readout; the lowest index wins a tie."""
    winners: NDArray[np.int64] = readouts(program, trace, layer).argmax(1)
    return winners
