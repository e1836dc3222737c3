"""Prophesee ``.dat`` and ``.raw`` with EVT 2.0: a header of lines ``% key value``, then little-endian words.

DAT: two bytes (type of the events, bytes per event), then per event a counter of 32 bits and x[13:0] | y[27:14] |
polarity[31:28]. EVT 2.0: words of 32 bits, type in the upper four: 0 OFF and 1 ON events (the lowest 6 bits of the
time, x, y of 11 bits each), 8 the upper 28 bits of the time; others hold no events. EVT 3.0: see `evt3`.

Source: Prophesee's documentation, "DAT file format" and "EVT 2.0 format".
"""

# E events, N words

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.clock import Clock, unwrap
from decolle_hw.data.formats.events import EVENTS, Block, Opened
from decolle_hw.data.formats.pieces import header_lines, pieces
from decolle_hw.errors import DataError

DAT_TITLE, EVT2_TITLE = "Prophesee .dat", "Prophesee EVT 2.0 .raw"
DAT_VERSION = "2"
DAT_EVENT_TYPES = (0x00, 0x0C)  # any 2D event, contrast detection
DAT_RECORD_BYTES = 8
DAT_COUNTER_BITS = 32
EVT2_WORD_BYTES = 4
EVT2_OFF, EVT2_ON, EVT2_TIME_HIGH = 0x0, 0x1, 0x8
EVT2_LOW_BITS = 6
EVT2_HIGH_BITS = 28
GEOMETRY = re.compile(r"(\d+) ?x ?(\d+)")
FORMAT_SIZE = re.compile(r"(height|width)=(\d+)")


class Header(NamedTuple):
    """What the lines say, and the bytes that were read beyond them."""

    values: dict[str, str]  # by lower-case key
    rest: bytes

    @property
    def sensor_size(self) -> tuple[int, int] | None:
        """(height, width), from any of the ways in which the versions write it."""
        values = self.values
        sizes = dict(FORMAT_SIZE.findall(values.get("format", "")))
        width = values.get("width") or sizes.get("width")
        height = values.get("height") or sizes.get("height")
        if (geometry := GEOMETRY.fullmatch(values.get("geometry", ""))) is not None:
            width, height = geometry.groups()
        if width is None or height is None or not (width.isdecimal() and height.isdecimal()):
            return None
        return int(height), int(width)


def read_header(stream: BinaryIO) -> Header:
    """Lines ``% key value``."""
    lines, rest = header_lines(stream, b"% ", ("end",))
    split = [line.split(" ", 1) for line in lines]
    return Header({words[0].lower(): words[1].strip() if len(words) > 1 else "" for words in split}, rest)


def open_dat(stream: BinaryIO, place: str) -> Opened:
    """Raises `DataError` for a version, a type or a size of events that is not the one of today."""
    header = read_header(stream)
    version = header.values.get("version", DAT_VERSION)
    if version != DAT_VERSION:
        raise DataError(f"{place}: is a DAT file of version {version}; only {DAT_VERSION} can be read; convert it")
    kind = header.rest + stream.read(max(0, 2 - len(header.rest)))
    if len(kind) < 2:
        raise DataError(f"{place}: ends after its header ({DAT_TITLE}), so the file is truncated; copy it again")
    if kind[0] not in DAT_EVENT_TYPES or kind[1] != DAT_RECORD_BYTES:
        raise DataError(
            f"{place}: holds events of type {kind[0]} and {kind[1]} bytes, not pixel events (type 0 or 12, "
            f"{DAT_RECORD_BYTES} bytes; {DAT_TITLE}); export the CD events"
        )
    return Opened("dat", _dat_blocks(stream, kind[2:], place), header.sensor_size)


def _dat_blocks(stream: BinaryIO, rest: bytes, place: str) -> Iterator[Block]:
    clock = Clock(DAT_COUNTER_BITS)
    for piece in pieces(stream, DAT_RECORD_BYTES, place, DAT_TITLE, rest):
        words_E2 = np.frombuffer(piece, "<u4").reshape(-1, 2)
        address_E = words_E2[:, 1]
        events_E = np.empty(len(words_E2), EVENTS)
        events_E["x"], events_E["y"] = address_E & 0x3FFF, (address_E >> 14) & 0x3FFF
        events_E["t"], clock = unwrap(words_E2[:, 0].astype(np.int64), clock)
        events_E["p"] = address_E >> 28 != 0
        yield Block(events_E, clock.wraps)


def open_evt2(stream: BinaryIO, place: str) -> Opened:
    """EVT 2.0, with or without the line ``% end``."""
    header = read_header(stream)
    return Opened("evt2", _evt2_blocks(stream, header.rest, place), header.sensor_size)


def _evt2_blocks(stream: BinaryIO, rest: bytes, place: str) -> Iterator[Block]:
    clock, high, left_out = Clock(EVT2_HIGH_BITS), -1, 0
    for piece in pieces(stream, EVT2_WORD_BYTES, place, EVT2_TITLE, rest):
        word_N = np.frombuffer(piece, "<u4")
        kind_N = word_N >> 28
        is_high_N = kind_N == EVT2_TIME_HIGH
        highs, clock = unwrap((word_N[is_high_N] & 0x0FFFFFFF).astype(np.int64), clock)
        high_N = last_of(is_high_N, highs, high)
        high = int(high_N[-1])
        is_event_N = (kind_N == EVT2_OFF) | (kind_N == EVT2_ON)
        dated_N = is_event_N & (high_N >= 0)
        left_out += int(np.count_nonzero(is_event_N & ~dated_N))
        word_E = word_N[dated_N]
        events_E = np.empty(len(word_E), EVENTS)
        events_E["x"], events_E["y"] = (word_E >> 11) & 0x7FF, word_E & 0x7FF
        events_E["t"] = high_N[dated_N] << EVT2_LOW_BITS | (word_E >> 22) & 0x3F
        events_E["p"] = word_E >> 28 == EVT2_ON
        yield Block(events_E, clock.wraps, left_out)


def last_of(is_new_N: NDArray[np.bool_], new: NDArray[np.int64], before: int) -> NDArray[np.int64]:
    """(N,) at each word the latest of the new values, `before` until the first."""
    return np.concatenate([[before], new])[np.cumsum(is_new_N)]
