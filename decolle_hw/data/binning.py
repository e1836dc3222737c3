"""Events become binary frames: one time step per `deltat` microseconds, one input per polarity and pixel.

    S[t, i] = 1 where an event of input i has  t deltat <= time < (t + 1) deltat,   i = (p H + y) W + x

With an input_shape of one polarity p counts as 0: both are merged. Time starts at 0; what comes after the last step is
cropped. A recording of which nothing is left then is refused: its frames would say nothing about its class.

The same frames as those of tonic's ToFrame (a test compares both), without its detours: ToFrame adds up every
window in a Python loop into dense frames (7 ms for an N-MNIST recording of 300 steps), and gives a single frame
with height and width exchanged for a recording without events. Binary frames need no sum, only the set of active
entries (0.2 ms).
"""

# R recordings, T steps, B batch, I inputs, E events, H W sensor

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.recordings import BinnedRecordings, RandomWindows, offsets
from decolle_hw.data.sensor import NothingSeenError
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

Progress = Callable[[int, int], None]

MAX_ENTRIES = (1 << 31) - 1  # flat indices are stored with 32 bits


def bin_recordings(
    recordings: Iterable[np.ndarray],
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    spec: DatasetSpec,
    steps: int,
    whole: bool = False,
) -> BinnedRecordings:
    """Binary frames of recordings that are read one at a time: only active entries stay in memory.

    Args:
        recordings: (R) event arrays (x, y, t, p), inside of input_shape, sorted by t (microseconds).
        labels: (R,) index of each recording's class.
        names: (R,) for reports and messages.
        classes: names of the classes.
        spec: gives input_shape and deltat.
        steps: T; shorter recordings end in empty steps, of longer ones the events from steps*deltat on are cropped.
        whole: nothing is cropped; T is the length of the random windows in which recordings are presented.

    Raises `DataError` for a recording without an event inside of the steps, `SpecError` if steps x inputs is too
    large to be counted with 32 bits.
    """
    kept = None if whole else steps
    require_countable(spec, steps)
    entries = [entries_of(events, spec, kept, names[place]) for place, events in enumerate(recordings)]
    return assemble(*pack(entries), labels, names, classes, spec, steps, whole)


def require_countable(spec: DatasetSpec, steps: int) -> None:
    """Raises `SpecError` where the entries of so many steps cannot be counted with 32 bits."""
    if steps * prod(spec.input_shape) > MAX_ENTRIES:
        raise SpecError(
            f"dataset: {steps} steps of input_shape {spec.input_shape} are more than {MAX_ENTRIES} entries; "
            f"lower chunk_size_train/chunk_size_test or input_shape"
        )


def entries_of(events: np.ndarray, spec: DatasetSpec, steps: int | None, place: str) -> NDArray[np.int32]:
    """`active_entries` of one recording of the description, all of it where `steps` is None.

    Raises `DataError` (which calls the recording `place`) where nothing is left to be seen, and where a whole
    recording is too long to be counted with 32 bits.
    """
    if steps is None:
        if not len(events):
            raise _nothing_to_see(place, events, 0)
        steps = int(events["t"][-1]) // spec.deltat + 1
        if steps * prod(spec.input_shape) > MAX_ENTRIES:
            raise DataError(
                f"{place}: its last event is at {events['t'][-1]} us, which makes {steps} steps of input_shape "
                f"{spec.input_shape}, more than {MAX_ENTRIES} entries; raise dataset.deltat, set dataset.crop to "
                f"start, or cut the recording"
            )
    polarities, height, width = spec.input_shape
    entries = active_entries(events, (polarities, height, width), spec.deltat, steps)
    if not len(entries):
        raise _nothing_to_see(place, events, steps * spec.deltat)
    return entries


def active_entries(events: np.ndarray, input_shape: tuple[int, int, int], deltat: int, steps: int) -> NDArray[np.int32]:
    """Ascending flat indices ``step*I + (p*H + y)*W + x`` of the entries that hold an event."""
    # A column of records is a slow thing to look through again and again.
    times = np.ascontiguousarray(events["t"])
    assert not (times[1:] < times[:-1]).any(), "events must be sorted by time"
    assert not len(times) or times[0] >= 0, "time starts at 0"
    inside = events[: np.searchsorted(times, steps * deltat)]
    flat = times[: len(inside)] // deltat
    for size, field in zip(input_shape, "pyx", strict=True):
        flat *= size
        if size > 1 or field != "p":
            flat += inside[field]
    entries = flat.astype(np.int32)
    entries.sort()
    first = np.ones(len(entries), bool)
    first[1:] = entries[1:] != entries[:-1]
    return entries[first]


def pack(entries: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """indptr (R+1,) and active (total,) from the active entries of each recording."""
    indptr = offsets(np.array([len(piece) for piece in entries], np.int64))
    return indptr, np.concatenate([np.empty(0, np.int32), *entries])


def assemble(
    indptr: NDArray[np.int64],
    active: NDArray[np.int32],
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    spec: DatasetSpec,
    steps: int,
    whole: bool,
) -> BinnedRecordings:
    """`BinnedRecordings` from packed entries, at least one for each recording; the rest as in `bin_recordings`."""
    polarities, height, width = spec.input_shape
    windows, longest = None, steps
    if whole:
        lengths = active[indptr[1:] - 1].astype(np.int64) // prod(spec.input_shape) + 1
        windows, longest = RandomWindows(steps, lengths), int(lengths.max(initial=1))
    return BinnedRecordings(
        indptr=indptr,
        active=active,
        labels=np.asarray(labels, np.int64),
        names=tuple(names),
        classes=tuple(classes),
        steps=longest,
        input_shape=(polarities, height, width),
        random_windows=windows,
    )


def _nothing_to_see(place: str, events: np.ndarray, window_us: int) -> NothingSeenError:
    if not len(events):
        return NothingSeenError(f"{place}: holds no events; lower dataset.camera.contrast_threshold")
    return NothingSeenError(
        f"{place}: has no event in the {window_us} us that are used (steps times dataset.deltat, counted from t = 0): "
        f"its first event is at {events['t'][0]} us, its last at {events['t'][-1]} us; shift the recording so that it "
        f"starts near 0, set dataset.time_origin to first_event, or raise dataset.chunk_size_train/chunk_size_test or "
        f"dataset.deltat"
    )
