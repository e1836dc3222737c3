"""Binary frames of many recordings, kept as lists of what is active, and given out dense or as sparse rows.

A recording is presented in a window of `window` steps. Usually that is its beginning; with random windows a
recording is kept whole, and each presentation may start at another step (`draw_starts`).
"""

# R recordings, T steps of a window, B batch, I inputs, E active entries

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Skipped(NamedTuple):
    """A recording, or a window of one, that was left out."""

    name: str
    reason: str


@dataclass(frozen=True)
class RandomWindows:
    """Recordings are kept whole, and presented in windows of some of their steps."""

    steps: int  # T of a window
    lengths: NDArray[np.int64]  # (R,) steps of each recording, 1 or more


@dataclass(frozen=True)
class BinnedRecordings:
    """Binary frames of many recordings, as the sorted flat indices ``step*I + input`` that hold an event."""

    indptr: NDArray[np.int64]  # (R+1,) recording r owns active[indptr[r]:indptr[r+1]]
    active: NDArray[np.int32]  # (total,)
    labels: NDArray[np.int64]  # (R,) index into classes
    names: tuple[str, ...]  # (R,) 'digits/123' or '7/00002.bin'
    classes: tuple[str, ...]
    steps: int  # of the longest recording
    input_shape: tuple[int, int, int]  # polarities, height, width
    random_windows: RandomWindows | None = None  # None: every recording has `steps` steps and is presented whole
    skipped: tuple[Skipped, ...] = ()  # what was left out when they were read

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_inputs(self) -> int:
        """I: polarities * height * width."""
        polarities, height, width = self.input_shape
        return polarities * height * width

    @property
    def window(self) -> int:
        """T: steps of a presentation."""
        return self.steps if self.random_windows is None else self.random_windows.steps

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(R,) steps of each recording."""
        if self.random_windows is None:
            return np.full(len(self), self.steps, np.int64)
        return self.random_windows.lengths

    @property
    def density(self) -> float:
        """Mean of all entries: the share of (step, input) pairs that hold an event; 0 without recordings."""
        return len(self.active) / max(1, int(self.lengths.sum()) * self.num_inputs)

    def draw_starts(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(R,) first step of a window of each recording.

        Uniform over ``0..max(0, length - window)`` with random windows; else all 0, and `rng` is left as it was.
        """
        if self.random_windows is None:
            return np.zeros(len(self), np.int64)
        return rng.integers(0, np.maximum(0, self.lengths - self.window) + 1)

    def dense(
        self, which: Sequence[int] | np.ndarray, starts: Sequence[int] | np.ndarray | None = None
    ) -> NDArray[np.uint8]:
        """(T, B, I) frames of 0 and 1 of the chosen recordings, in the order given.

        Args:
            which: (B,) recordings.
            starts: (B,) first step of each window, 0 unless given; steps after a recording's end are empty.

        Raises `IndexError` for a recording that there is not.
        """
        first_B, last_B, starts_B = self._places(which, starts)
        frames_TBI = np.zeros((self.window, len(first_B), self.num_inputs), np.uint8)
        _fill_frames(self.active, first_B, last_B, starts_B, frames_TBI)
        return frames_TBI

    def events(
        self, which: Sequence[int] | np.ndarray, starts: Sequence[int] | np.ndarray | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The same as sparse rows: the inputs that are active in step t of the b-th window, ascending, are
        ``index[indptr[row] : indptr[row + 1]]`` with ``row = b*T + t``.

        Returns:
            indptr: (B*T + 1,); index: (indptr[-1],).
        """
        first_B, last_B, starts_B = self._places(which, starts)
        indptr = np.empty(len(first_B) * self.window + 1, np.int64)
        index = np.empty(int((last_B - first_B).sum()), np.int32)
        _fill_rows(self.active, first_B, last_B, starts_B, self.window, self.num_inputs, indptr, index)
        return indptr, index

    def take(self, which: Sequence[int] | np.ndarray) -> BinnedRecordings:
        """Only the chosen recordings, in the order given."""
        chosen = self._chosen(which)
        counts = self.indptr[chosen + 1] - self.indptr[chosen]
        indptr = offsets(counts)
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[chosen] - indptr[:-1], counts)
        windows = self.random_windows
        return replace(
            self,
            indptr=indptr,
            active=self.active[places],
            labels=self.labels[chosen],
            names=tuple(self.names[index] for index in chosen),
            random_windows=None if windows is None else replace(windows, lengths=windows.lengths[chosen]),
        )

    def _chosen(self, which: Sequence[int] | np.ndarray) -> NDArray[np.int64]:
        # Read as numbers, a mask would be recordings 0 and 1 over and over.
        assert np.asarray(which).dtype != bool, "which: indices, not a mask"
        chosen = np.asarray(which, np.int64).reshape(-1)
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(self)):
            raise IndexError(f"recordings {chosen.min()}..{chosen.max()} asked for, there are 0..{len(self) - 1}")
        return chosen

    def _places(
        self, which: Sequence[int] | np.ndarray, starts: Sequence[int] | np.ndarray | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(B,) first and last place in `active` of each window, and its first step."""
        chosen = self._chosen(which)
        starts_B = np.zeros(len(chosen), np.int64) if starts is None else np.asarray(starts, np.int64).reshape(-1)
        assert len(starts_B) == len(chosen), "starts: one for each of the chosen recordings"
        assert not starts_B.size or starts_B.min() >= 0, "starts: steps count from 0"
        first_B, last_B = np.empty_like(chosen), np.empty_like(chosen)
        _find_windows(self.indptr, self.active, chosen, starts_B, self.window, self.num_inputs, first_B, last_B)
        return first_B, last_B, starts_B


def offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R+1,) where each of R pieces of these lengths starts, and the end."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


# Kernels release the GIL, so that the next batch can be prepared while this one is learned.


@njit(nogil=True, cache=True)
def _find_windows(indptr, active, chosen_B, starts_B, window, num_inputs, first_B, last_B):
    """Places of the first entry at or after the window's first step, and at or after its end."""
    for b in range(len(chosen_B)):
        entries = active[indptr[chosen_B[b]] : indptr[chosen_B[b] + 1]]
        for places_B, step in ((first_B, starts_B[b]), (last_B, starts_B[b] + window)):
            bound = step * num_inputs
            low, high = 0, len(entries)
            while low < high:
                middle = (low + high) // 2
                if entries[middle] < bound:
                    low = middle + 1
                else:
                    high = middle
            places_B[b] = indptr[chosen_B[b]] + low


@njit(nogil=True, cache=True)
def _fill_rows(active, first_B, last_B, starts_B, window, num_inputs, indptr, index):
    """Entries ascend, so one pass finds where each step ends; no entry is divided."""
    filled = 0
    for b in range(len(first_B)):
        row = b * window
        indptr[row] = filled
        base = starts_B[b] * num_inputs
        for place in range(first_B[b], last_B[b]):
            entry = active[place]
            while entry >= base + num_inputs:
                base += num_inputs
                row += 1
                indptr[row] = filled
            index[filled] = entry - base
            filled += 1
        for empty in range(row + 1, (b + 1) * window):
            indptr[empty] = filled
    indptr[len(first_B) * window] = filled


@njit(nogil=True, cache=True)
def _fill_frames(active, first_B, last_B, starts_B, frames_TBI):
    num_inputs = frames_TBI.shape[2]
    for b in range(len(first_B)):
        step = 0
        base = starts_B[b] * num_inputs
        for place in range(first_B[b], last_B[b]):
            entry = active[place]
            while entry >= base + num_inputs:
                base += num_inputs
                step += 1
            frames_TBI[step, b, entry - base] = 1
