"""Recordings that are listed at once and read when their batch is due, so that memory does not grow with their number.

Where binned recordings are kept (`cache`), all that are not there yet are read once beforehand, one at a time: a
recording that cannot be used is then reported before any work is done, and the next run finds them. Otherwise each
batch is read and binned as it is asked for.
"""

# R recordings

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data import cache, workers
from decolle_hw.data.binning import Progress, assemble, pack, require_countable
from decolle_hw.data.recordings import BinnedRecordings, Skipped
from decolle_hw.data.source import Source, evenly_spread, may_be_empty
from decolle_hw.spec import DatasetSpec


@dataclass(frozen=True)
class RecordingStream:
    """Recordings whose labels and names are known, and whose frames come batch by batch."""

    source: Source
    spec: DatasetSpec
    steps: int  # T of a recording; with `whole`, of the random windows in which it is presented
    whole: bool = False
    kept: cache.Kept | None = None  # where they lie binned
    rows: NDArray[np.int64] | None = None  # (R,) which of those in `kept` they are; None: all
    skipped: tuple[Skipped, ...] = ()  # what was left out

    def __len__(self) -> int:
        return len(self.source.labels)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(R,) index into classes."""
        return self.source.labels

    @property
    def names(self) -> tuple[str, ...]:
        """(R,) for reports, for example ``digits/123`` or ``7/00002.bin``."""
        return self.source.names

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.source.classes

    def batches(self, size: int) -> Iterator[BinnedRecordings]:
        """All recordings in order, `size` at a time; the last batch may be smaller.

        Raises `DataError` for a recording that cannot be used.
        """
        assert size >= 1, "a batch holds at least one recording"
        labels, names = self.labels, self.names
        with closing(self._entries()) as entries:
            for first in range(0, len(self), size):
                those = slice(first, first + size)
                packed = pack(list(islice(entries, size)))
                yield assemble(*packed, labels[those], names[those], self.classes, self.spec, self.steps, self.whole)

    def _entries(self) -> Generator[NDArray[np.int32], None, None]:
        if self.kept is not None:
            try:
                stream = self.kept.file.open("rb")
            except OSError:
                pass  # removed since: the recordings themselves are still there
            else:
                with stream:
                    yield from self.kept.entries(stream, range(len(self)) if self.rows is None else self.rows)
                return
        yield from workers.stream_entries(self.source, self.spec, None if self.whole else self.steps)


def open_stream(
    source: Source, spec: DatasetSpec, steps: int, whole: bool, samples: int | None, progress: Progress | None
) -> RecordingStream:
    """At most `samples` recordings of a source, evenly spread.

    Args:
        steps, whole: as in `binning.bin_recordings`.
        progress: called with (recordings done, recordings in all) while recordings are read into the cache.
    """
    require_countable(spec, steps)
    which = evenly_spread(len(source.labels), samples)
    stream = RecordingStream(source if which is None else source.take(which), spec, steps, whole)
    if not cache.is_used_for(spec):
        return _without_empty(stream)
    read_steps = None if whole else steps
    if which is not None:
        # `compile` and training keep the whole split: no need to keep a part of it once more.
        everything = cache.find(cache.key_of(source, spec, read_steps), len(source.labels))
        if everything is not None:
            return _without_empty(replace(stream, kept=everything, rows=which))
    key = cache.key_of(stream.source, spec, read_steps)
    kept = cache.find(key, len(stream))
    if kept is None:
        with closing(workers.stream_entries(stream.source, spec, read_steps, progress)) as pieces:
            if cache.write_pieces(key, len(stream), pieces):
                kept = cache.find(key, len(stream))
    return _without_empty(replace(stream, kept=kept))


def _without_empty(stream: RecordingStream) -> RecordingStream:
    """Windows without events are known once all have been read, here if they are not kept anywhere."""
    if not may_be_empty(stream.source):
        return stream
    rows = np.arange(len(stream)) if stream.rows is None else stream.rows
    if stream.kept is not None:
        counts = np.diff(stream.kept.indptr)[rows]
    else:
        steps = None if stream.whole else stream.steps
        counts = np.array([len(piece) for piece in workers.stream_entries(stream.source, stream.spec, steps)], np.int64)
    some = np.flatnonzero(counts)
    if len(some) == len(counts):
        return stream
    return replace(
        stream,
        source=stream.source.take(some),
        rows=None if stream.kept is None else rows[some],
        skipped=empty_windows(stream.source, np.flatnonzero(counts == 0)),
    )


def empty_windows(source: Source, which: NDArray[np.int64]) -> tuple[Skipped, ...]:
    """Why these are left out."""
    names = source.names
    return tuple(Skipped(names[row], f"{names[row]}: no event is left in this window") for row in which)
