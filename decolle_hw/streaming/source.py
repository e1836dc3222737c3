"""Where the events of a stream come from: a file, a named pipe, or standard input."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from decolle_hw.data import formats
from decolle_hw.data.formats.reading import open_recording
from decolle_hw.data.source import cannot_be_read
from decolle_hw.errors import DataError, UsageError, nearest
from decolle_hw.streaming.patience import blocks_or_silence

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Opened:
    """Events block by block, in the order of arrival."""

    place: str  # what messages call it
    format: str
    blocks: Iterator[np.ndarray | None]  # None: nothing came for a while
    sensor_size: tuple[int, int] | None = None  # height, width, where the file says so
    is_live: bool = False  # a pipe, whose events come when they come


@contextlib.contextmanager
def open_source(source: str, format: str | None, live: bool = False) -> Iterator[Opened]:
    """What `--stream` names.

    Args:
        format: one of `formats.STREAM_FORMATS`; None: a file is asked what it holds.
        live: say so when nothing comes.

    Raises:
        DataError: there is no such file, or it cannot be read as events.
        UsageError: a pipe without a format, or an unknown one; a file is to be live.
    """
    if format is not None and format not in formats.STREAM_FORMATS:
        raise UsageError(f"--stream-format {format!r}: cannot be read as a stream; {_known(format)}")
    if source == STANDARD_INPUT:
        yield _piped(_standard_input(), "standard input", format, live)
        return
    path = Path(source)
    if not path.exists():
        raise DataError(f"{path}: does not exist; give a recording, or - for standard input (run from {Path.cwd()})")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; --stream takes one recording or -, a folder is for --data")
    if live and path.is_file():
        raise UsageError(f"--live: {path} is a file, which has no silence to wait in; --realtime replays it")
    if path.is_file() and format is None:
        with open_recording(path) as opened:
            found, sensor_size = opened.format, opened.sensor_size
        yield Opened(str(path), found, formats.event_blocks(path), sensor_size)
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise cannot_be_read(path, error) from None
    with stream:
        yield _piped(stream, str(path), format, live)


def _piped(stream: BinaryIO, place: str, format: str | None, live: bool) -> Opened:
    if format is None:
        raise UsageError(f"--stream: {place} does not say what it holds; add --stream-format FORMAT: {_known('')}")
    blocks_of = partial(formats.event_blocks, format=format)
    blocks = blocks_or_silence(stream, blocks_of) if live else blocks_of(stream)
    return Opened(place, format, blocks, is_live=not Path(place).is_file())


def _known(format: str) -> str:
    return nearest(format, formats.STREAM_FORMATS)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise DataError("standard input: is closed; pipe events into the command")
    if sys.stdin.isatty():
        raise DataError("standard input: is a terminal, which sends no events; pipe them into the command")
    return sys.stdin.buffer
