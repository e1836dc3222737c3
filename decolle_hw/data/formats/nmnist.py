"""N-MNIST ``.bin``: five bytes per event: x, y, polarity << 7 | t[22:16], t[15:8], t[7:0], t in microseconds.

y = 240 is no event but adds 2^13 us to all later times (Orchard et al. 2015, "Converting static image datasets to
spiking neuromorphic datasets using saccades", and its eventvision.py). Written for N-MNIST, N-Caltech101 and by ATIS
and DVS128 tools. There is no header, so nothing but the length can be checked.
"""

# E events, N records

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.clock import Clock, unwrap
from decolle_hw.data.formats.events import EVENTS, Block, Opened
from decolle_hw.data.formats.pieces import pieces

RECORD_BYTES = 5
COUNTER_BITS = 23
OVERFLOW_ROW = 240
OVERFLOW_US = 1 << 13
TITLE = "N-MNIST .bin"


def open_nmnist(stream: BinaryIO, place: str) -> Opened:
    """Nothing is known before the first event."""
    return Opened("nmnist", _blocks(stream, place))


def _blocks(stream: BinaryIO, place: str) -> Iterator[Block]:
    clock, overflows = Clock(COUNTER_BITS), 0
    for piece in pieces(stream, RECORD_BYTES, place, TITLE):
        # Columns that lie together in memory: most of the time of reading thousands of small files goes here.
        bytes_5E = np.ascontiguousarray(np.frombuffer(piece, np.uint8).reshape(-1, RECORD_BYTES).T)
        is_overflow_N = bytes_5E[1] == OVERFLOW_ROW
        overflows_E: NDArray[np.int64] | int = overflows
        if is_overflow_N.any():
            overflows_N = overflows + np.cumsum(is_overflow_N)
            overflows = int(overflows_N[-1])
            bytes_5E, overflows_E = bytes_5E[:, ~is_overflow_N], overflows_N[~is_overflow_N]
        t_E, clock = unwrap(_counter(bytes_5E), clock)
        events_E = np.empty(len(t_E), EVENTS)
        events_E["x"], events_E["y"] = bytes_5E[:2]
        events_E["t"] = t_E + OVERFLOW_US * overflows_E
        events_E["p"] = bytes_5E[2] >> 7
        yield Block(events_E, clock.wraps)


def _counter(bytes_5E: NDArray[np.uint8]) -> NDArray[np.int64]:
    high_E, middle_E, low_E = bytes_5E[2:].astype(np.int64)
    return (high_E & 127) << 16 | middle_E << 8 | low_E
