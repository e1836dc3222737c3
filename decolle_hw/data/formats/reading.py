"""Recordings of every format, whole or block by block."""

# E events

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from decolle_hw.data.formats import aedat2, aedat3, aedat4, arrays, evt3, hdf5, nmnist, prophesee, text
from decolle_hw.data.formats.detect import HEAD_BYTES, detect
from decolle_hw.data.formats.events import Block, Opened, Recorded, Tally
from decolle_hw.data.source import cannot_be_read
from decolle_hw.errors import DataError, UsageError, nearest


class Reader(NamedTuple):
    """How a format is opened, and whether a pipe will do."""

    title: str
    open: Callable[[BinaryIO, str], Opened]
    streams: bool


READERS = {
    "nmnist": Reader(nmnist.TITLE, nmnist.open_nmnist, True),
    "aedat2": Reader(aedat2.TITLE, aedat2.open_aedat2, True),
    "aedat3": Reader(aedat3.TITLE, aedat3.open_aedat3, True),
    "aedat4": Reader(aedat4.TITLE, aedat4.open_aedat4, False),
    "dat": Reader(prophesee.DAT_TITLE, prophesee.open_dat, True),
    "evt2": Reader(prophesee.EVT2_TITLE, prophesee.open_evt2, True),
    "evt3": Reader(evt3.TITLE, evt3.open_evt3, True),
    "npy": Reader("NumPy .npy", arrays.open_npy, False),
    "npz": Reader("NumPy .npz", arrays.open_npz, False),
    "hdf5": Reader(hdf5.TITLE, hdf5.open_hdf5, False),
    "text": Reader(text.TITLE, text.open_text, True),
}
TITLES = {name: reader.title for name, reader in READERS.items()}
# Of files that may be recordings; what they are is then told from their content.
SUFFIXES = (".bin", ".aedat", ".aedat4", ".dat", ".raw", ".npy", ".npz", ".h5", ".hdf5")
# What can be read from a pipe.
STREAM_FORMATS = tuple(name for name, reader in READERS.items() if reader.streams)


def read_events(file: Path) -> Recorded:
    """All events of one recording, sorted by time.

    Coordinates are those of the sensor; times are microseconds of its own clock, continued where its counter was full
    and not shifted, unless it starts below zero. What was mended stands in the notes.

    Raises `DataError` for a file that is of no known format, damaged, unreadable or without events.
    """
    parts, tally, place = [], Tally(), str(file)
    with open_recording(file) as opened:
        for block in opened.blocks:
            tally = tally.add(block, opened, place)
            parts.append(block.events)
        tally.require_events(file)
    events_E = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if tally.shift_us:
        events_E["t"] += tally.shift_us
    if tally.late:
        events_E = events_E[np.argsort(events_E["t"], kind="stable")]
    return Recorded(events_E, opened.sensor_size, opened.format, opened.notes + tally.notes)


def event_blocks(source: Path | BinaryIO, format: str | None = None) -> Iterator[np.ndarray]:
    """Events in the order in which they were written, a bounded number at a time; times as in `read_events`.

    Args:
        source: a file, or a stream such as ``sys.stdin.buffer``, which gives its events as they arrive.
        format: of a stream, one of `STREAM_FORMATS`; of a file it is told from its content.

    Raises `DataError` where the recording cannot be read on, `UsageError` for a format that cannot be streamed.
    """
    if isinstance(source, Path):
        with open_recording(source) as opened:
            yield from _shifted(opened, str(source))
        return
    if format is None:
        raise UsageError(f"the format of a stream must be given; it is one of {', '.join(STREAM_FORMATS)}")
    if format not in STREAM_FORMATS:
        raise UsageError(f"{format!r} is no format that can be read from a stream; {nearest(format, STREAM_FORMATS)}")
    place = getattr(source, "name", None)
    place = place if isinstance(place, str) and place != "<stdin>" else "standard input"
    try:
        opened = READERS[format].open(source, place)
    except OSError as error:
        raise cannot_be_read(Path(place), error) from None
    yield from _shifted(replace(opened, blocks=_readable(opened.blocks, Path(place))), place)


@contextmanager
def open_recording(file: Path) -> Iterator[Opened]:
    """A file whose header is read, for as long as the block lasts."""
    with ExitStack() as stack:
        try:
            mode = file.stat().st_mode
            if not stat.S_ISREG(mode):
                what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
                raise DataError(f"{file}: is {what}, not a file; give the path of a recording")
            stream = stack.enter_context(file.open("rb"))
            head = stream.read(HEAD_BYTES)
            stream.seek(0)
            opened = READERS[detect(head, file.suffix.lower(), str(file))].open(stream, str(file))
        except OSError as error:
            raise cannot_be_read(file, error) from None
        yield replace(opened, blocks=_readable(opened.blocks, file))


def _readable(blocks: Iterator[Block], file: Path) -> Iterator[Block]:
    """What the operating system refuses while a recording is read, in our words."""
    try:
        yield from blocks
    except OSError as error:
        raise cannot_be_read(file, error) from None


def _shifted(opened: Opened, place: str) -> Iterator[np.ndarray]:
    tally, shift_us = Tally(), None
    for block in opened.blocks:
        if not len(block.events):
            continue
        tally = tally.add(block, opened, place)
        if shift_us is None:
            shift_us = tally.shift_us
        if tally.first_us + shift_us < 0:
            raise DataError(
                f"{place}: goes back to {tally.first_us} us, before its start at {-shift_us} us; export it again"
            )
        if shift_us:
            block.events["t"] += shift_us
        yield block.events
