"""Reading and binning of many recordings, in this process or in several (`processes`)."""

# R recordings

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.binning import Progress, entries_of
from decolle_hw.data.processes import in_processes
from decolle_hw.data.sensor import NothingSeenError
from decolle_hw.data.source import Source, may_be_empty
from decolle_hw.spec import DatasetSpec

LARGEST_PIECE = 64  # recordings per errand: short enough that an interrupt is obeyed within a second


def read_entries(
    source: Source, spec: DatasetSpec, steps: int | None, progress: Progress | None = None
) -> list[NDArray[np.int32]]:
    """Active entries of each recording, in the order of the source, read by ``spec.workers`` processes.

    Args:
        steps: of each recording; None: all that it has.
        progress: called with (recordings done, R) after each.

    Raises the `DataError` of the first recording that cannot be used, and `DataError` where a process dies.
    """
    return list(stream_entries(source, spec, steps, progress))


def stream_entries(
    source: Source, spec: DatasetSpec, steps: int | None, progress: Progress | None = None
) -> Generator[NDArray[np.int32], None, None]:
    """The same one by one, read as they are asked for; with processes a bounded number of recordings ahead."""
    total = len(source.labels)
    pieces = _in_processes(source, spec, steps) if spec.workers else _read(source, spec, steps)
    with closing(pieces):
        for done, piece in enumerate(pieces, 1):
            yield piece
            if progress is not None:
                progress(done, total)


def _read(source: Source, spec: DatasetSpec, steps: int | None) -> Generator[NDArray[np.int32], None, None]:
    for place, events in zip(source.places, source.read(spec), strict=True):
        try:
            yield entries_of(events, spec, steps, place)
        except NothingSeenError:
            if not may_be_empty(source):
                raise
            yield np.empty(0, np.int32)


def _in_processes(source: Source, spec: DatasetSpec, steps: int | None) -> Generator[NDArray[np.int32], None, None]:
    count = len(source.labels)
    if not count:
        return
    size = max(1, min(LARGEST_PIECE, count // (4 * spec.workers)))
    errands = (
        (source.take(np.arange(first, min(first + size, count))), spec, steps) for first in range(0, count, size)
    )
    with closing(in_processes(_read_piece, errands, min(spec.workers, -(-count // size)))) as pieces:
        for piece in pieces:
            yield from piece


def _read_piece(errand: tuple[Source, DatasetSpec, int | None]) -> list[NDArray[np.int32]]:
    return list(_read(*errand))
