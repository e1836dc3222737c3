"""Prophesee ``.raw`` with EVT 3.0: little-endian words of 16 bits, type in the upper four, that change a state.

    0 y                     2 event at x[10:0] of polarity [11]      3 base x and polarity of the vectors to come
    4 vector of 12 pixels   5 vector of 8 pixels, from base x on, which moves on by their number
    6 time[11:0]            8 time[23:12]                            others hold no events

The time of 24 bits starts again every 16.8 s. Source: Prophesee's documentation, "EVT 3.0 format".
"""

# E events, N words, V words that hold events, B bits of a vector

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.clock import Clock, unwrap
from decolle_hw.data.formats.events import BLOCK_BYTES, EVENTS, Block, Opened
from decolle_hw.data.formats.pieces import pieces
from decolle_hw.data.formats.prophesee import last_of, read_header

TITLE = "Prophesee EVT 3.0 .raw"
WORD_BYTES = 2
Y, X, BASE_X, VECTOR_12, VECTOR_8, TIME_LOW, TIME_HIGH = 0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8
VECTOR_BITS = 12
TIME_BITS = 12  # of each half
# A word of a vector can hold twelve events of 13 bytes.
MOST_BYTES = BLOCK_BYTES // 16


@dataclass(frozen=True)
class State:
    """Of the decoder between two words."""

    clock: Clock
    high: int = -1  # continuous upper half of the time; -1: none yet
    low: int = 0
    y: int = -1  # none yet
    base: int = 0
    base_is_on: int = 0
    left_out: int = 0


def open_evt3(stream: BinaryIO, place: str) -> Opened:
    """EVT 3.0, with or without the line ``% end``."""
    header = read_header(stream)
    return Opened("evt3", _blocks(stream, header.rest, place), header.sensor_size)


def _blocks(stream: BinaryIO, rest: bytes, place: str) -> Iterator[Block]:
    state = State(Clock(TIME_BITS))
    for piece in pieces(stream, WORD_BYTES, place, TITLE, rest, MOST_BYTES):
        events_E, state = decode(np.frombuffer(piece, "<u2"), state)
        yield Block(events_E, state.clock.wraps, state.left_out)


def decode(word_N: NDArray[np.uint16], state: State) -> tuple[np.ndarray, State]:
    """Events of the next words (at least one), and the state after them.

    Events before the first time and the first row are left out: nothing says when or where they were.
    """
    code_N = word_N.astype(np.int64)
    kind_N, payload_N = code_N >> 12, code_N & 0xFFF
    high_N, low_N, clock = _time(kind_N, payload_N, state)
    is_y_N = kind_N == Y
    y_N = last_of(is_y_N, payload_N[is_y_N] & 0x7FF, state.y)
    base_N, base_is_on_N = _base(kind_N, payload_N, state)

    is_single_N = kind_N == X
    holds_events_N = is_single_N | (kind_N == VECTOR_12) | (kind_N == VECTOR_8)
    x_N = np.where(is_single_N, payload_N & 0x7FF, base_N)
    on_N = np.where(is_single_N, payload_N >> 11, base_is_on_N)
    pixels_N = np.where(is_single_N, 1, np.where(kind_N == VECTOR_8, payload_N & 0xFF, payload_N))

    known_N = holds_events_N & (high_N >= 0) & (y_N >= 0)
    left_out = state.left_out + int(_pixels(pixels_N[holds_events_N & ~known_N]).sum())
    of_word_E, bit_E = np.nonzero(_pixels(pixels_N[known_N]))
    at_E = np.flatnonzero(known_N)[of_word_E]
    events_E = np.empty(len(at_E), EVENTS)
    events_E["x"], events_E["y"] = x_N[at_E] + bit_E, y_N[at_E]
    events_E["t"] = (high_N[at_E] << TIME_BITS) + low_N[at_E]
    events_E["p"] = on_N[at_E]

    moved = {VECTOR_12: 12, VECTOR_8: 8}.get(int(kind_N[-1]), 0)
    return events_E, State(
        clock=clock,
        high=int(high_N[-1]),
        low=int(low_N[-1]),
        y=int(y_N[-1]),
        base=int(base_N[-1]) + moved,
        base_is_on=int(base_is_on_N[-1]),
        left_out=left_out,
    )


def _time(
    kind_N: NDArray[np.int64], payload_N: NDArray[np.int64], state: State
) -> tuple[NDArray[np.int64], NDArray[np.int64], Clock]:
    """Both halves of the time at each word. A new upper half begins with a lower half of zero."""
    is_high_N = kind_N == TIME_HIGH
    highs, clock = unwrap(payload_N[is_high_N], state.clock)
    high_N = last_of(is_high_N, highs, state.high)
    is_new_N = np.diff(high_N, prepend=state.high) != 0
    is_low_N = (kind_N == TIME_LOW) | is_new_N
    low_N = last_of(is_low_N, np.where(is_new_N, 0, payload_N)[is_low_N], state.low)
    return high_N, low_N, clock


def _base(
    kind_N: NDArray[np.int64], payload_N: NDArray[np.int64], state: State
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column at which a vector at each word would begin, and its polarity."""
    is_base_N = kind_N == BASE_X
    width_N = np.where(kind_N == VECTOR_12, 12, np.where(kind_N == VECTOR_8, 8, 0))
    moved_N = np.cumsum(width_N) - width_N  # before each word
    since_N = moved_N - last_of(is_base_N, moved_N[is_base_N], 0)
    base_N = last_of(is_base_N, payload_N[is_base_N] & 0x7FF, state.base) + since_N
    return base_N, last_of(is_base_N, payload_N[is_base_N] >> 11, state.base_is_on)


def _pixels(mask_V: NDArray[np.int64]) -> NDArray[np.int64]:
    """(V, B) bits, the lowest first."""
    return mask_V[:, None] >> np.arange(VECTOR_BITS) & 1
