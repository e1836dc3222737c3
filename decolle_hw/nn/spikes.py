"""Spikes of a chunk of steps, dense or as events, whichever its reader wants.

Event data are almost all zeros: N-MNIST at 1 ms has 0.6 % ones. The event form lists the active inputs of each
recording and step; it is converted on demand, once.
"""

# T steps of the chunk, S steps of the whole recording, B batch, I inputs, E events

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True)
class Events:
    """Active inputs by recording and step: row ``b*S + first + t`` belongs to step t of recording b.

    A chunk of a recording is the same arrays with another `first` and `steps`: nothing is copied.
    """

    indptr: NDArray[np.int64]  # (B*S + 1,)
    index: NDArray[np.int32]  # (E,)
    rows: int  # S, rows of a recording
    first: int
    steps: int  # T

    def __post_init__(self) -> None:
        # The kernels do not check bounds.
        assert self.first >= 0 and self.first + self.steps <= self.rows
        assert (len(self.indptr) - 1) % self.rows == 0 and self.indptr[-1] <= len(self.index)

    @property
    def batch(self) -> int:
        return (len(self.indptr) - 1) // self.rows

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int32], int, int]:
        """As kernels take it; they have the number of steps from elsewhere."""
        return self.indptr, self.index, self.rows, self.first

    def between(self, start: int, stop: int) -> Events:
        """Steps start..stop-1 of this chunk."""
        return Events(self.indptr, self.index, self.rows, self.first + start, min(stop, self.steps) - start)

    def count(self) -> int:
        """Number of events in the chunk."""
        begins = self.indptr[self.first :: self.rows][: self.batch]
        ends = self.indptr[self.first + self.steps :: self.rows][: self.batch]
        return int((ends - begins).sum())


class Spikes:
    """(T, B, I) of 0 and 1, held as a dense tensor, as `Events`, or both."""

    def __init__(self, inputs: int, dense: torch.Tensor | None = None, events: Events | None = None) -> None:
        assert dense is not None or events is not None
        self.inputs = inputs
        self._dense = dense
        self._events = events

    @property
    def steps(self) -> int:
        return self._events.steps if self._events is not None else len(self._dense)  # type: ignore[arg-type]

    @property
    def batch(self) -> int:
        return self._events.batch if self._events is not None else self._dense.shape[1]  # type: ignore[union-attr]

    def dense(self) -> torch.Tensor:
        """(T, B, I), uint8 or float."""
        if self._dense is None:
            assert self._events is not None
            e = self._events
            frames = np.zeros((e.steps, e.batch, self.inputs), np.uint8)
            _scatter(e.indptr, e.index, e.rows, e.first, frames)
            self._dense = torch.from_numpy(frames)
        return self._dense

    def events(self) -> Events:
        """Active inputs; only for tensors on a CPU."""
        if self._events is None:
            assert self._dense is not None
            frames = self._dense if self._dense.dtype == torch.uint8 else (self._dense != 0).view(torch.uint8)
            frames_TBI = frames.contiguous().numpy()
            steps, batch, inputs = frames_TBI.shape
            indptr = np.zeros(batch * steps + 1, np.int64)
            indptr[1:] = _count(frames_TBI).T.reshape(-1)
            np.cumsum(indptr, out=indptr)
            index = np.empty(indptr[-1], np.int32)
            # Eight inputs at a time, most of which are all silent.
            words = frames_TBI.view(np.uint64) if inputs % 8 == 0 else frames_TBI
            _gather(frames_TBI, words, indptr, index)
            self._events = Events(indptr, index, steps, 0, steps)
        return self._events

    def density(self) -> float:
        """Share of ones."""
        size = max(1, self.steps * self.batch * self.inputs)
        if self._events is not None:
            return self._events.count() / size
        assert self._dense is not None
        return int(self._dense.count_nonzero()) / size

    def on(self, device: torch.device) -> Spikes:
        """For a network on this device: elsewhere than on a CPU they are dense."""
        return self if device.type == "cpu" else Spikes(self.inputs, dense=self.dense().to(device))

    def between(self, start: int, stop: int) -> Spikes:
        """Steps start..stop-1."""
        dense = None if self._dense is None else self._dense[start:stop]
        events = None if self._events is None else self._events.between(start, stop)
        return Spikes(self.inputs, dense, events)


@njit(nogil=True, cache=True, error_model="numpy")
def _scatter(indptr, index, rows, first, frames_TBI):
    steps, batch, _ = frames_TBI.shape
    for b in range(batch):
        for t in range(steps):
            row = b * rows + first + t
            frame = frames_TBI[t, b]
            for e in range(indptr[row], indptr[row + 1]):
                frame[index[e]] = 1


@njit(nogil=True, cache=True, error_model="numpy")
def _count(frames_TBI):
    steps, batch, inputs = frames_TBI.shape
    count_TB = np.empty((steps, batch), np.int64)
    for t in range(steps):
        for b in range(batch):
            frame = frames_TBI[t, b]
            count = np.int32(0)
            for i in range(inputs):
                count += np.int32(frame[i] != 0)
            count_TB[t, b] = count
    return count_TB


@njit(nogil=True, cache=True, error_model="numpy")
def _gather(frames_TBI, words_TBW, indptr, index):
    steps, batch, inputs = frames_TBI.shape
    width = inputs // words_TBW.shape[2]
    for b in range(batch):
        for t in range(steps):
            place = indptr[b * steps + t]
            frame, words = frames_TBI[t, b], words_TBW[t, b]
            for w in range(len(words)):
                if words[w]:
                    for i in range(w * width, (w + 1) * width):
                        if frame[i]:
                            index[place] = i
                            place += 1
