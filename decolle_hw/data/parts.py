"""Parts of a recording, one after the other; of a huge one never more than a part and a little is in memory."""

# E events

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from decolle_hw.data import formats
from decolle_hw.data.source import cannot_be_read
from decolle_hw.errors import DataError

LARGE_BYTES = 1 << 28  # above, a file is not read at once: its events may need ten times as much memory
LATE_US = 100_000  # events may come so much later than others of the same time


def parts_of(file: Path, bounds: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Events of each part, sorted by t, on the recording's own clock.

    Args: bounds: (first, last) microseconds of each part, the last one excluded; `first` never goes back.

    Raises `DataError` for a file that cannot be read.
    """
    try:
        large = file.stat().st_size > LARGE_BYTES
    except OSError as error:
        raise cannot_be_read(file, error) from None
    if large:
        yield from _streamed(file, bounds)
        return
    events_E = formats.read_events(file).events
    for first, last in bounds:
        yield events_E[slice(*np.searchsorted(events_E["t"], [first, last]))]


def _streamed(file: Path, bounds: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
    blocks = formats.event_blocks(file)
    kept_E = np.empty(0, formats.EVENTS)
    newest, delivered = np.iinfo(np.int64).min, np.iinfo(np.int64).min
    for first, last in bounds:
        fresh = []
        while newest < last + LATE_US and (block_E := next(blocks, None)) is not None:
            if len(block_E) and block_E["t"].min() < delivered:
                raise DataError(
                    f"{file}: an event at {block_E['t'].min()} us comes more than {LATE_US} us late, which is too much "
                    f"for a file that is too large to be sorted in memory; sort it, or cut it into smaller ones"
                )
            fresh.append(block_E[block_E["t"] >= first])
            newest = max(newest, int(block_E["t"].max(initial=newest)))
        kept_E = np.concatenate([kept_E[kept_E["t"] >= first], *fresh])
        kept_E = kept_E[np.argsort(kept_E["t"], kind="stable")]
        delivered = last
        yield kept_E[: np.searchsorted(kept_E["t"], last)]
