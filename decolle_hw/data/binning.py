"""Events become binary frames: one time step per `deltat` microseconds, one input per polarity and pixel.

    S[t, i] = 1 where an event of input i has  t deltat <= time < (t + 1) deltat,   i = (p H + y) W + x

Time starts at 0, not at the first event; what comes after the last step is cropped. A recording of which nothing
is left then is refused: its frames would say nothing about its class.

Which event belongs to which step is decided by tonic's `SliceByTime`, the slicer inside of tonic's ToFrame.
ToFrame itself then adds up every window in a Python loop into dense frames (7 ms for an N-MNIST recording of
300 steps), and gives a single frame with height and width exchanged for a recording without events. Binary
frames need no sum, only the set of active entries: ten times faster, and equal (a test compares both).
"""

# R recordings, T steps, B batch, I inputs, E events, H W sensor

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tonic.slicers import SliceByTime

from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

Progress = Callable[[int, int], None]

MAX_ENTRIES = 1 << 31  # flat indices are stored with 32 bits


@dataclass(frozen=True)
class BinnedRecordings:
    """Binary frames of many recordings, as the sorted flat indices ``step*I + input`` that hold an event."""

    indptr: NDArray[np.int64]  # (R+1,) recording r owns active[indptr[r]:indptr[r+1]]
    active: NDArray[np.int32]  # (total,)
    labels: NDArray[np.int64]  # (R,) index into classes
    names: tuple[str, ...]  # (R,) 'digits/123' or '7/00002.bin'
    classes: tuple[str, ...]
    steps: int
    input_shape: tuple[int, int, int]  # polarities, height, width

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_inputs(self) -> int:
        """I: polarities * height * width."""
        polarities, height, width = self.input_shape
        return polarities * height * width

    @property
    def density(self) -> float:
        """Mean of all entries: the share of (step, input) pairs that hold an event; 0 without recordings."""
        return len(self.active) / max(1, len(self) * self.steps * self.num_inputs)

    def dense(self, which: Sequence[int] | np.ndarray) -> NDArray[np.uint8]:
        """(T, B, I) frames of 0 and 1 of the chosen recordings, in the order given."""
        chosen = _as_indices(which)
        rows_E, places = self._places(chosen)
        steps_E, inputs_E = np.divmod(self.active[places], np.int32(self.num_inputs))
        frames_TBI = np.zeros((self.steps, len(chosen), self.num_inputs), np.uint8)
        frames_TBI[steps_E, rows_E, inputs_E] = 1
        return frames_TBI

    def take(self, which: Sequence[int] | np.ndarray) -> BinnedRecordings:
        """Only the chosen recordings, in the order given."""
        chosen = _as_indices(which)
        _, places = self._places(chosen)
        counts = self.indptr[chosen + 1] - self.indptr[chosen]
        return BinnedRecordings(
            indptr=_offsets(counts),
            active=self.active[places],
            labels=self.labels[chosen],
            names=tuple(self.names[index] for index in chosen),
            classes=self.classes,
            steps=self.steps,
            input_shape=self.input_shape,
        )

    def _places(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each active entry of the chosen recordings: its row in the batch, and its place in `active`."""
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(self)):
            raise IndexError(f"recordings {chosen.min()}..{chosen.max()} asked for, there are 0..{len(self) - 1}")
        starts = self.indptr[chosen]
        counts = self.indptr[chosen + 1] - starts
        rows = np.repeat(np.arange(len(chosen)), counts)
        return rows, np.arange(len(rows)) + (starts - _offsets(counts)[:-1])[rows]


def bin_recordings(
    recordings: Iterable[np.ndarray],
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    spec: DatasetSpec,
    steps: int,
    progress: Progress | None = None,
    places: Sequence[str] | None = None,
) -> BinnedRecordings:
    """Binary frames of recordings that are read one at a time: only active entries stay in memory.

    Args:
        recordings: (R) event arrays (x, y, t, p), inside of the sensor of `spec`, sorted by t (microseconds).
        labels: (R,) index of each recording's class.
        names: (R,) for reports.
        classes: names of the classes.
        spec: gives input_shape and deltat.
        steps: T; shorter recordings end in empty steps, of longer ones the events from steps*deltat on are cropped.
        progress: called with (recordings done, R) after each.
        places: (R,) what messages call a recording; its name unless given.

    Raises `DataError` for a recording without an event inside of the steps, `SpecError` if steps x inputs is too
    large to be counted with 32 bits.
    """
    polarities, height, width = spec.input_shape
    if steps * polarities * height * width >= MAX_ENTRIES:
        raise SpecError(
            f"dataset: {steps} steps of input_shape {spec.input_shape} are more than {MAX_ENTRIES} entries; "
            f"lower chunk_size_train/chunk_size_test or input_shape"
        )
    active: list[NDArray[np.int32]] = []
    for recording in recordings:
        entries = active_entries(recording, (polarities, height, width), spec.deltat, steps)
        if not len(entries):
            place = (names if places is None else places)[len(active)]
            raise _nothing_to_see(place, recording, steps * spec.deltat)
        active.append(entries)
        if progress is not None:
            progress(len(active), len(labels))
    return BinnedRecordings(
        indptr=_offsets(np.array([len(entries) for entries in active], np.int64)),
        active=np.concatenate([np.empty(0, np.int32), *active]),
        labels=np.asarray(labels, np.int64),
        names=tuple(names),
        classes=tuple(classes),
        steps=steps,
        input_shape=(polarities, height, width),
    )


def active_entries(events: np.ndarray, input_shape: tuple[int, int, int], deltat: int, steps: int) -> NDArray[np.int32]:
    """Ascending flat indices ``step*I + (p*H + y)*W + x`` of the entries that hold an event."""
    polarities, height, width = input_shape
    # tonic searches for the windows' bounds, which only a sorted recording has.
    assert not np.any(events["t"][1:] < events["t"][:-1]), "events must be sorted by time"
    slicer = SliceByTime(time_window=deltat, start_time=0, end_time=steps * deltat)
    bounds = np.array(slicer.get_slice_metadata(events, None))
    steps_E = np.repeat(np.arange(steps), bounds[:, 1] - bounds[:, 0])
    inside = events[bounds[0, 0] : bounds[-1, 1]]
    p, y, x = (inside[field].astype(np.int64) for field in ("p", "y", "x"))
    return np.unique(((steps_E * polarities + p) * height + y) * width + x).astype(np.int32)


def _nothing_to_see(place: str, events: np.ndarray, window_us: int) -> DataError:
    if not len(events):
        return DataError(f"{place}: holds no events; lower dataset.camera.contrast_threshold")
    return DataError(
        f"{place}: has no event in the {window_us} us that are used (steps times dataset.deltat, counted from t = 0): "
        f"its first event is at {events['t'][0]} us, its last at {events['t'][-1]} us; shift the recording so that it "
        f"starts near 0, or raise dataset.chunk_size_train/chunk_size_test or dataset.deltat"
    )


def _as_indices(which: Sequence[int] | np.ndarray) -> NDArray[np.int64]:
    # Read as numbers, a mask would be recordings 0 and 1 over and over.
    assert np.asarray(which).dtype != bool, "which: indices, not a mask"
    return np.asarray(which, np.int64).reshape(-1)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R+1,) where each of R pieces of these lengths starts, and the end."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
