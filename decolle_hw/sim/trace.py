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
    """One `LayerTrace` per layer, in order."""

    layers: tuple[LayerTrace, ...]

    @property
    def num_recordings(self) -> int:
        return int(self.layers[0].spikes.shape[0])

    def take(self, start: int, stop: int) -> Trace:
        """The recordings start..stop-1 (views, no copy)."""
        return Trace(tuple(layer.take(start, stop) for layer in self.layers))

    @staticmethod
    def join(parts: Sequence[Trace]) -> Trace:
        """Traces of consecutive recordings as one."""
        by_layer = zip(*(part.layers for part in parts), strict=True)
        return Trace(tuple(LayerTrace.join(layers) for layers in by_layer))

    def firing_rates(self) -> list[float]:
        """Spikes per neuron and step of each layer."""
        return [float(layer.spikes.mean()) for layer in self.layers]


def readouts(program: Program, trace: Trace, layer: int = -1) -> NDArray[np.int64]:
    """``y_c = sum over steps after burn-in of (G S[t] + g)_c`` in integers, (R, C).

    Fixed-point twin of the summed float readout; the scale of G is that of the layer's quantized readout.
    """
    integers = program.layers[layer]
    counted_RTN = trace.layers[layer].spikes[:, program.burnin_steps :]
    result: NDArray[np.int64] = counted_RTN.sum(1, dtype=np.int64) @ integers.readout_weight.T.astype(np.int64)
    result += counted_RTN.shape[1] * integers.readout_bias.astype(np.int64)
    return result


def decide(program: Program, trace: Trace, layer: int = -1) -> NDArray[np.int64]:
    """(R,) index of the class with the largest integer readout; the lowest index wins a tie."""
    winners: NDArray[np.int64] = readouts(program, trace, layer).argmax(1)
    return winners
