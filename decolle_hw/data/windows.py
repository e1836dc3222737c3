"""Long recordings cut into windows, each of which is a sample of its own (`dataset.time_window`).

    window k of a recording:  k (time_window - overlap) <= t < k (time_window - overlap) + time_window

from the recording's origin. The last one may reach beyond the recording, but not by more than half; a recording
shorter than that is one window. A window without events is no sample: it is left out once it has been read.
"""

# R windows

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.parts import parts_of
from decolle_hw.data.prepare import origin_us, prepare
from decolle_hw.data.sensor import NothingSeenError
from decolle_hw.data.source import identity_of_events, identity_of_files
from decolle_hw.data.splitting import held_out_of
from decolle_hw.data.survey import Surveyed
from decolle_hw.data.usable import FileSource
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec


@dataclass(frozen=True)
class Windows:
    """Windows of recordings; a `source.Source`. Those of one recording follow each other and are read together."""

    recordings: FileSource  # (R,) each as often as it has windows
    origins: NDArray[np.int64]  # (R,) microseconds on the recording's own clock
    starts: NDArray[np.int64]  # (R,) microseconds from the origin

    may_be_empty = True

    @property
    def labels(self) -> NDArray[np.int64]:
        """(R,) those of the recordings."""
        return self.recordings.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the recordings."""
        return self.recordings.classes

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each window, for example ``wave/01.raw@300000``."""
        return tuple(f"{name}@{start}" for name, start in zip(self.recordings.names, self.starts, strict=True))

    @property
    def places(self) -> tuple[str, ...]:
        """What messages call a window."""
        return tuple(
            f"{place} from {start} us" for place, start in zip(self.recordings.places, self.starts, strict=True)
        )

    def take(self, which: NDArray[np.int64]) -> Windows:
        """Only the chosen windows."""
        return Windows(self.recordings.take(which), self.origins[which], self.starts[which])

    def read(self, spec: DatasetSpec) -> Iterator[np.ndarray]:
        """Event arrays one by one; of neighbouring windows of a file, the file is read once."""
        assert spec.time_window is not None, "windows come from a description that has them"
        begins = (self.origins + self.starts).tolist()
        rows = zip(self.recordings.files, begins, self.names, self.places, strict=True)
        for file, group in groupby(rows, lambda row: row[0]):
            windows = list(group)
            bounds = [(begin, begin + spec.time_window) for _, begin, _, _ in windows]
            for (_, begin, name, place), inside in zip(windows, parts_of(file, bounds), strict=True):
                try:
                    yield prepare(inside, spec, place, name, begin) if len(inside) else inside
                except NothingSeenError:
                    yield inside[:0]

    def identity(self, spec: DatasetSpec) -> list[Any]:
        """Files with sizes and times, which windows of each, and what becomes of their events."""
        files = list(dict.fromkeys(self.recordings.files))
        number = {file: place for place, file in enumerate(files)}
        which = [number[file] for file in self.recordings.files]
        where = [self.origins.tolist(), self.starts.tolist()]
        return [identity_of_files(files), which, where, identity_of_events(spec)]


def cut(
    recordings: FileSource, surveyed: Sequence[Surveyed], spec: DatasetSpec, side: Literal["train", "test"] | None
) -> Windows:
    """All windows of the recordings; with `split_by: time` those of one side, None: of both.

    Of the n windows of a recording the last round(n * test_fraction) are held out, at least one unless it is the only
    one; windows that overlap with these are on neither side.

    Raises `DataError` where no recording has more than one window to be divided.
    """
    assert spec.time_window is not None
    divided = side is not None and spec.split_by == "time"
    origins = np.array([origin_us(spec, each.format, each.first_us) for each in surveyed], np.int64)
    starts_of = [_starts(each, int(origin), spec) for each, origin in zip(surveyed, origins, strict=True)]
    if divided:
        if starts_of and max(map(len, starts_of)) == 1:
            longest = max(each.last_us - each.first_us for each in surveyed)
            raise DataError(
                f"{spec.path}: no recording has more than one window of {spec.time_window} us, so split_by time can "
                f"hold none out; the longest has {longest} us; lower dataset.time_window"
            )
        starts_of = [_of_side(starts, spec, side) for starts in starts_of]
    which = np.repeat(np.arange(len(starts_of)), [len(starts) for starts in starts_of])
    return Windows(recordings.take(which), origins[which], np.concatenate([np.empty(0, np.int64), *starts_of]))


def _starts(surveyed: Surveyed, origin: int, spec: DatasetSpec) -> NDArray[np.int64]:
    """Microseconds from the recording's origin."""
    assert spec.time_window is not None
    length = surveyed.last_us + 1 - origin
    stride = spec.time_window - spec.overlap
    last = max(0, (length - spec.time_window // 2) // stride)
    starts = np.arange(last + 1, dtype=np.int64) * stride
    return starts[(starts == 0) | (2 * starts + spec.time_window <= 2 * length)]


def _of_side(starts: NDArray[np.int64], spec: DatasetSpec, side: str | None) -> NDArray[np.int64]:
    held_out = held_out_of(len(starts), spec.test_fraction)
    test = starts[len(starts) - held_out :]
    if side == "test":
        return test
    train = starts[: len(starts) - held_out]
    return train if not len(test) else train[train + (spec.time_window or 0) <= test[0]]
