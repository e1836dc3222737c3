"""What an integer run leaves behind. The reference simulator and Lava return the same type."""

# R recordings, T steps, N neurons, C classes

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import Program


@dataclass(frozen=True)
class LayerTrace:
    """Spikes of one layer at every step of every recording, and its registers where they were recorded."""

    spikes: NDArray[np.uint8]  # (R, T, N) 0 or 1
    registers: dict[str, NDArray[np.int32]]  # 'u', 'v' (and 'r' for decolle), (R, T, N) at the end of the step


@dataclass(frozen=True)
class Trace:
    """One `LayerTrace` per layer, in order."""

    layers: tuple[LayerTrace, ...]

    @property
    def num_recordings(self) -> int:
        return int(self.layers[0].spikes.shape[0])

    def take(self, start: int, stop: int) -> Trace:
        """The recordings start..stop-1 (views, no copy)."""
        return Trace(
            tuple(
                LayerTrace(
                    layer.spikes[start:stop], {name: values[start:stop] for name, values in layer.registers.items()}
                )
                for layer in self.layers
            )
        )

    def firing_rates(self) -> list[float]:
        """Spikes per neuron and step of each layer."""
        return [float(layer.spikes.mean()) for layer in self.layers]


def readouts(program: Program, trace: Trace, layer: int = -1) -> NDArray[np.int64]:
    """``y_c = sum over steps after burn-in of (G S[t] + g)_c`` in integers, (R, C).

    Fixed-point twin of the summed float readout; the scale of G is that of the layer's quantized readout.
    """
    integers = program.layers[layer]
    counts_RN = trace.layers[layer].spikes[:, program.burnin_steps :].sum(1, dtype=np.int64)
    steps = program.steps - program.burnin_steps
    result: NDArray[np.int64] = counts_RN @ integers.readout_weight.T.astype(np.int64)
    result += steps * integers.readout_bias.astype(np.int64)
    return result


def decide(program: Program, trace: Trace, layer: int = -1) -> NDArray[np.int64]:
    """(R,) index of the class with the largest integer readout; the lowest index wins a tie."""
    return readouts(program, trace, layer).argmax(1)
