"""AEDAT 4 of DV (``.aedat4``), decoded packet by packet by the library `aedat`.

Of several streams of events the one with the lowest number is read. The library panics at damage and ends quietly at a
file that is cut short, so the frame of the file is walked through beforehand: ``#!AER-DAT4.0``, a header (size,
FlatBuffers table IOHE), packets (number of the stream, size, content) up to the table of packets that the header points
to; a recorder that was killed leaves no table (-1).

Source: iniVation's documentation, "AEDAT 4".
"""

# E events

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from decolle_hw.data.formats.events import EVENTS, Block, Opened
from decolle_hw.data.formats.pieces import exactly
from decolle_hw.errors import DataError

TITLE = "AEDAT 4"
SIGNATURE = b"#!AER-DAT4.0\r\n"
HEADER_IDENTIFIER = b"IOHE"
HEADER_SIZE = struct.Struct("<I")
PACKET_HEAD = struct.Struct("<ii")  # stream, size


def open_aedat4(stream: BinaryIO, place: str) -> Opened:
    """Raises `DataError` for a damaged file and for one without a stream of events."""
    import aedat

    _check_frame(stream, place)
    decoder = _asked(place, aedat.Decoder, _path(stream, place))
    streams = _asked(place, decoder.id_to_stream)
    numbers = sorted(number for number, about in streams.items() if about["type"] == "events")
    if not numbers:
        kinds = ", ".join(sorted({about["type"] for about in streams.values()})) or "none"
        raise DataError(f"{place}: holds no stream of events ({TITLE}; its streams: {kinds}); record the events too")
    chosen = streams[numbers[0]]
    notes = (f"of {len(numbers)} streams of events, number {numbers[0]} was read",) if len(numbers) > 1 else ()
    return Opened("aedat4", _blocks(decoder, numbers[0], place), (chosen["height"], chosen["width"]), notes)


def _blocks(decoder: Any, number: int, place: str) -> Iterator[Block]:
    while (packet := _asked(place, next, decoder, None)) is not None:
        if packet["stream_id"] != number:
            continue
        found_E = packet["events"]
        events_E = np.empty(len(found_E), EVENTS)
        for field in ("x", "y", "t", "p"):
            events_E[field] = found_E[field]
        yield Block(events_E)


def _check_frame(stream: BinaryIO, place: str) -> None:
    if exactly(stream, len(SIGNATURE), place, "its first line") != SIGNATURE:
        raise DataError(f"{place}: begins like {TITLE}, but is another version of it; export it as {TITLE}.0")
    header_bytes = HEADER_SIZE.unpack(exactly(stream, HEADER_SIZE.size, place, "its header"))[0]
    header = exactly(stream, min(header_bytes, _size(stream)), place, "its header")
    if header[4:8] != HEADER_IDENTIFIER:
        raise DataError(f"{place}: has a damaged header ({TITLE}); copy it again or remove it")
    table = _table_position(header, place)
    end = _size(stream) if table < 0 else table
    if end > _size(stream):
        raise DataError(
            f"{place}: ends {end - _size(stream)} bytes before its table of packets ({TITLE}), so the file is "
            f"truncated; copy it again or remove it"
        )
    packets, at = 0, stream.tell()
    while at < end:
        packets += 1
        size = PACKET_HEAD.unpack(exactly(stream, PACKET_HEAD.size, place, f"the head of packet {packets}"))[1]
        at += PACKET_HEAD.size + size
        if size < 0 or at > end:
            raise DataError(
                f"{place}: packet {packets} claims {size} bytes, more than the file holds ({TITLE}), so it is damaged "
                f"or truncated; copy it again or remove it"
            )
        stream.seek(at)


def _table_position(header: bytes, place: str) -> int:
    """Field 1 of the table IOHE: where the packets end; -1 where it is absent."""
    try:
        root = struct.unpack_from("<I", header)[0]
        fields = root - struct.unpack_from("<i", header, root)[0]
        if struct.unpack_from("<H", header, fields)[0] < 8:
            return -1
        offset = struct.unpack_from("<H", header, fields + 6)[0]
        return struct.unpack_from("<q", header, root + offset)[0] if offset else -1
    except struct.error:
        raise DataError(f"{place}: has a damaged header ({TITLE}); copy it again or remove it") from None


def _path(stream: BinaryIO, place: str) -> Path:
    """The library opens the file anew, but only by names that are UTF-8; others by the number of the open file."""
    try:
        place.encode("utf-8")
    except UnicodeEncodeError:
        stream.seek(0)
        return Path(f"/dev/fd/{stream.fileno()}")
    return Path(place)


def _size(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size


def _asked(place: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function of the library, whose panics are no `Exception` and print a trace of its own."""
    try:
        with _errors_unseen():
            return function(*arguments)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{place}: is damaged ({TITLE}): {reason}; copy it again or remove it") from None


@contextmanager
def _errors_unseen() -> Iterator[None]:
    """What compiled code writes to the standard error goes nowhere."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)
