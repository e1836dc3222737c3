"""What the first plastic layer is given for each recording: made once where memory allows, else when it is due."""

# R recordings, K of them, S steps of a slot, N inputs of the first plastic layer

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.data import BinnedRecordings
from decolle_hw.fidelity.summary import to_batch_first
from decolle_hw.sim.frozen import frozen_frames

KEPT_BYTES = 256_000_000
AT_ONCE = 64  # recordings


class Frames:
    """Frames of recordings through the frozen layers below; see `decolle_hw.sim.frozen`."""

    def __init__(self, learning: LearningProgram, recordings: BinnedRecordings) -> None:
        self.learning, self.recordings = learning, recordings
        width = learning.program.layers[learning.first].num_inputs
        self._kept: NDArray[np.uint8] | None = None
        if len(recordings) * learning.slot * width <= KEPT_BYTES:
            parts = [self._make(which) for which in pieces(len(recordings))]
            self._kept = np.concatenate([np.zeros((0, learning.slot, width), np.uint8), *parts])

    def of(self, which: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(K, S, N)"""
        return self._make(which) if self._kept is None else self._kept[which]

    def _make(self, which: NDArray[np.int64]) -> NDArray[np.uint8]:
        learning = self.learning
        return frozen_frames(learning.program, to_batch_first(self.recordings.dense(which)), learning.first)


def pieces(count: int) -> Iterator[NDArray[np.int64]]:
    """0..count-1, `AT_ONCE` at a time."""
    for start in range(0, count, AT_ONCE):
        yield np.arange(start, min(start + AT_ONCE, count))
