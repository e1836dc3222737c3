"""Lava's steps on chip and the reference's in the float network's time, brought together and compared spike by spike.

Layer i makes its step t at step ``t + delays[i]`` on chip. So of a piece of steps the reference knows more of a layer
behind a pooling stage than Lava does; what it knows is kept until Lava has got there.
"""

# K steps, N neurons

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import Program
from decolle_hw.sim.compare import Comparison, Divergence, place_in_map


class Aligned:
    """Compares as it goes; holds at most `delays[-1]` steps of each layer."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.comparison: Comparison | None = None
        self._recording = -1
        self.start_again()

    def start_again(self) -> None:
        """At a reset."""
        self._recording += 1
        self._chip_step = 0
        self._waiting = [np.zeros((0, layer.num_neurons), np.uint8) for layer in self.program.layers]

    def add(
        self, reference: Sequence[NDArray[np.uint8]], chip: Sequence[dict[str, NDArray[Any]]]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32] | None]:
        """The next steps of both; returns spikes, and v where it was recorded, of Lava's last layer."""
        counts, firsts = [], []
        for index, (expected_KN, found) in enumerate(zip(reference, chip, strict=True)):
            delay, first = self.program.delays[index], self.program.first_step(index)
            known_KN = np.concatenate([self._waiting[index], expected_KN])
            skipped = max(0, delay - self._chip_step)  # of the recording before, or of before the first
            step = max(0, self._chip_step - delay)  # of the float network's time, of the first that is left
            last = {name: rows_KN[skipped : skipped + len(known_KN)] for name, rows_KN in found.items()}
            spikes_KN = last["spikes"]
            mine_KN, self._waiting[index] = known_KN[: len(spikes_KN)], known_KN[len(spikes_KN) :]
            begun = max(0, first - step)  # until then it holds its reset state by definition
            for rows_KN in last.values():
                rows_KN[:begun] = 0
            unequal_KN = mine_KN[begun:] != spikes_KN[begun:]
            counts.append({"spikes": (unequal_KN.size, int(np.count_nonzero(unequal_KN)))})
            if unequal_KN.any():
                firsts.append(self._divergence(index, step + begun, unequal_KN, spikes_KN[begun:]))
        self._chip_step += len(chip[0]["spikes"])
        piece = Comparison(tuple(counts), min(firsts, key=lambda found: found.step) if firsts else None)
        self.comparison = piece if self.comparison is None else self.comparison.followed_by(piece, 0)
        return last["spikes"], last.get("v")

    def _divergence(
        self, layer: int, step: int, unequal_KN: NDArray[np.bool_], lava_KN: NDArray[np.uint8]
    ) -> Divergence:
        at, neuron = (int(place) for place in np.unravel_index(int(unequal_KN.argmax()), unequal_KN.shape))
        found = int(lava_KN[at, neuron])
        return replace(
            Divergence(self._recording, step + at, layer, "spikes", neuron, 1 - found, found, step + at),
            chip_step=step + at + self.program.delays[layer], place=place_in_map(self.program.layers[layer], neuron),
        )  # fmt: skip
