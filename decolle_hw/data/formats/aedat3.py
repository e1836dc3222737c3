"""AEDAT 3.1 of cAER (raw DVS Gesture): lines of text that begin with ``#``, then packets, little-endian.

A packet has a header of 28 bytes (type and source of its events, bytes of one event, offset of its time, overflow of
the time, capacity, number, number of valid ones), then its events. Polarity events (type 1) are a word of 32 bits
(valid[0], polarity[1], y[16:2], x[31:17]) and a counter of 31 bits, which the packet's overflow continues. x and y
count from the upper left corner. Packets of other types are passed over.

Source: iniVation's documentation, "AEDAT 3.1", and libcaer's events/common.h and events/polarity.h.
"""

# E events, N records

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.events import BLOCK_BYTES, EVENTS, Block, Opened
from decolle_hw.data.formats.pieces import exactly, header_lines
from decolle_hw.errors import DataError

TITLE = "AEDAT 3.1"
HEADER_END = "!END-HEADER"
VERSION = re.compile(r"!AER-DAT(\d+\.\d+)")
SOURCE = re.compile(r"Source \d+: (\w+)")
HEADER = np.dtype(
    [
        ("type", "<i2"),
        ("source", "<i2"),
        ("size", "<i4"),
        ("time_offset", "<i4"),
        ("overflow", "<i4"),
        ("capacity", "<i4"),
        ("number", "<i4"),
        ("valid", "<i4"),
    ]
)
POLARITY = 1
RECORD_BYTES = 8
COUNTER_BITS = 31
SIZES = {  # height, width
    "DVS128": (128, 128),
    "EDVS": (128, 128),
    "DAVIS128": (128, 128),
    "DAVIS208": (192, 208),
    "DAVIS240": (180, 240),
    "DAVIS346": (260, 346),
    "DAVIS640": (480, 640),
    "DVXPLORER_LITE": (240, 320),
    "DVXPLORER": (480, 640),
}


def open_aedat3(stream: BinaryIO, place: str) -> Opened:
    """Raises `DataError` for another version and for packed events."""
    lines, rest = header_lines(stream, b"#", (HEADER_END,))
    version = VERSION.match(lines[0]) if lines else None
    if version is None or not version.group(1).startswith("3") or version.group(1) == "3.0":
        found = f"AEDAT {version.group(1)}" if version else "no AEDAT file"
        raise DataError(f"{place}: is {found}; {TITLE} can be read; convert it")
    if rest:
        raise DataError(f"{place}: its header does not end with #{HEADER_END} ({TITLE}); copy it again or remove it")
    packing = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Format:")), "RAW")
    if packing != "RAW":
        raise DataError(f"{place}: is {TITLE} packed as {packing}; only RAW can be read; export it again without")
    camera = next((match.group(1).upper() for line in lines if (match := SOURCE.match(line))), "")
    size = next((size for name, size in SIZES.items() if camera.startswith(name)), None)
    return Opened("aedat3", _blocks(stream, place), size)


def _blocks(stream: BinaryIO, place: str) -> Iterator[Block]:
    left_out, packets = 0, 0
    while raw := exactly(stream, HEADER.itemsize, place, "the header of a packet", may_end=True):
        header = np.frombuffer(raw, HEADER)[0]
        packets += 1
        kind, size, capacity, number = (int(header[field]) for field in ("type", "size", "capacity", "number"))
        is_polarity = kind == POLARITY
        if size <= 0 or not 0 <= number <= capacity or kind < 0 or (is_polarity and size != RECORD_BYTES):
            raise DataError(
                f"{place}: packet {packets} claims {number} of {capacity} events of type {kind} and {size} bytes "
                f"({TITLE}), so the file is damaged; copy it again or remove it"
            )
        left, seen = capacity * size, 0
        while left:
            piece = exactly(stream, min(left, BLOCK_BYTES), place, f"the events of packet {packets}")
            left -= len(piece)
            if not is_polarity:
                continue
            words_N2 = np.frombuffer(piece, "<u4").reshape(-1, 2)[: max(0, number - seen)]
            seen += len(words_N2)
            events_E = _events(words_N2, int(header["overflow"]))
            left_out += len(words_N2) - len(events_E)
            yield Block(events_E, left_out=left_out)


def _events(words_N2: NDArray[np.uint32], overflow: int) -> np.ndarray:
    """Those that carry the mark of validity."""
    words_E2 = words_N2[words_N2[:, 0] & 1 == 1]
    address_E = words_E2[:, 0]
    events_E = np.empty(len(words_E2), EVENTS)
    events_E["x"], events_E["y"] = address_E >> 17, address_E >> 2 & 0x7FFF
    events_E["t"] = words_E2[:, 1].view("<i4").astype(np.int64) + (overflow << COUNTER_BITS)
    events_E["p"] = address_E >> 1 & 1
    return events_E
