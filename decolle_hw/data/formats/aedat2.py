"""AEDAT 2.0 of jAER: lines of text that begin with ``#``, then per event an address and a counter, big-endian, 32 bits.

The line ``# AEChip: <class>`` names the camera. DVS128: polarity[0] (0 is ON), x[7:1], y[14:8]; bits 15 and 31 mark
synchronization. DAVIS: bit 31 marks samples of frames, bit 10 samples of the inertial unit and external events;
polarity[11], x[21:12], y[30:22]. Both count x from the right and y from the bottom; here x counts from the left and y
from the top, so that pictures look as in jAER. tonic's `read_davis_346` does the same.

Source: jAER's ``DVS128.Extractor`` and ``DavisBaseCamera.DavisEventExtractor``.
"""

# E events, N records

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.clock import Clock, unwrap
from decolle_hw.data.formats.events import EVENTS, Block, Opened
from decolle_hw.data.formats.pieces import header_lines, pieces
from decolle_hw.errors import DataError

TITLE = "AEDAT 2"
RECORD_BYTES = 8
COUNTER_BITS = 32
CHIP = re.compile(r"AEChip: (?:\w+\.)*(\w+)")
# Of the cameras of the DAVIS family, by the number in their names: height, width.
DAVIS_SIZES = {
    "128": (128, 128),
    "208": (192, 208),
    "240": (180, 240),
    "346": (260, 346),
    "640": (480, 640),
}
KNOWN = "DVS128 and DAVIS " + ", ".join(DAVIS_SIZES)


@dataclass(frozen=True)
class Layout:
    """Which bits of an address are what."""

    size: tuple[int, int]  # height, width
    x: tuple[int, int]  # lowest bit, number of bits
    y: tuple[int, int]
    polarity_bit: int
    on: int  # the polarity bit of an ON event
    others: int  # an address with any of these bits is no pixel event
    unused: int = 0  # bits that this camera cannot set


DVS128 = Layout((128, 128), x=(1, 7), y=(8, 7), polarity_bit=0, on=0, others=0x80008000, unused=0x7FFF0000)


def davis(size: tuple[int, int]) -> Layout:
    """All cameras of the family write the same bits."""
    return Layout(size, x=(12, 10), y=(22, 9), polarity_bit=11, on=1, others=0x80000400)


def open_aedat2(stream: BinaryIO, place: str) -> Opened:
    """Raises `DataError` for a camera whose addresses are not known here."""
    lines, rest = header_lines(stream, b"#", ("End of ASCII Header",))
    if not lines or not lines[0].startswith("!AER-DAT2"):
        raise DataError(f"{place}: does not begin with #!AER-DAT2.0, so it is no {TITLE}; give its true format")
    layout, notes = _layout(lines, place)
    return Opened("aedat2", _blocks(stream, rest, layout, place), layout.size, notes)


def _layout(lines: list[str], place: str) -> tuple[Layout, tuple[str, ...]]:
    chip = next((match.group(1) for line in lines if (match := CHIP.match(line))), None)
    if chip is None:
        return DVS128, ("the header names no camera: read as DVS128",)
    name = chip.lower()
    if name in ("dvs128", "tmpdiff128"):
        return DVS128, ()
    if name.startswith("sbret"):  # the DAVIS 240 before it was called so
        return davis(DAVIS_SIZES["240"]), ()
    number = re.match(r"davis?\w*?(\d{3})", name)
    if number is None or number.group(1) not in DAVIS_SIZES:
        raise DataError(f"{place}: was recorded by {chip} ({TITLE}); known are {KNOWN}; export it in another format")
    return davis(DAVIS_SIZES[number.group(1)]), ()


def _blocks(stream: BinaryIO, rest: bytes, layout: Layout, place: str) -> Iterator[Block]:
    clock = Clock(COUNTER_BITS)
    height, width = layout.size
    for piece in pieces(stream, RECORD_BYTES, place, TITLE, rest):
        words_N2 = np.frombuffer(piece, ">u4").reshape(-1, 2)
        words_E2 = words_N2[(words_N2[:, 0] & layout.others) == 0]
        address_E = words_E2[:, 0].astype(np.int64)
        if (address_E & layout.unused).any():
            raise DataError(
                f"{place}: has addresses that a DVS128 cannot send ({TITLE}), and no line '# AEChip: ...' that names "
                f"its camera; add one (known are {KNOWN}) or export it again"
            )
        events_E = np.empty(len(address_E), EVENTS)
        events_E["x"] = width - 1 - _bits(address_E, *layout.x)
        events_E["y"] = height - 1 - _bits(address_E, *layout.y)
        events_E["t"], clock = unwrap(words_E2[:, 1].astype(np.int64), clock)
        events_E["p"] = (address_E >> layout.polarity_bit & 1) == layout.on
        yield Block(events_E, clock.wraps)


def _bits(address_E: NDArray[np.int64], lowest: int, count: int) -> NDArray[np.int64]:
    return address_E >> lowest & ((1 << count) - 1)
