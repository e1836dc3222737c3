"""How a population is cut into blocks: a grid of cuts along channels, rows and columns."""

# c, h, w channels, height, width; C, R, X parts of each; K = C*R*X cores

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.lowering.graph import Shape
from decolle_hw.compiler.placement.model import IntArray, ceil_div

Edges = tuple[int, ...]
Range = tuple[int, int]
Numbers = TypeVar("Numbers", NDArray[np.int64], NDArray[np.float64])


@dataclass(frozen=True)
class Split:
    """Where the parts of each axis begin, and where the last ends. Blocks come in the order of (C, R, X)."""

    channels: Edges
    rows: Edges = (0, 1)
    columns: Edges = (0, 1)

    @property
    def parts(self) -> tuple[int, int, int]:
        """(C, R, X)"""
        return len(self.channels) - 1, len(self.rows) - 1, len(self.columns) - 1

    @property
    def cores(self) -> int:
        """K"""
        c, r, x = self.parts
        return c * r * x

    @cached_property
    def sizes(self) -> tuple[IntArray, IntArray, IntArray]:
        """Length of each part, axis by axis."""
        c, r, x = (np.diff(np.array(edges, np.int64)) for edges in (self.channels, self.rows, self.columns))
        return c, r, x

    @property
    def neurons(self) -> IntArray:
        """(C, R, X) of each block."""
        return outer(*self.sizes)

    def blocks(self) -> Iterator[tuple[Range, Range, Range]]:
        """Channels, rows and columns of each block."""
        yield from itertools.product(*map(itertools.pairwise, (self.channels, self.rows, self.columns)))


def whole(shape: Shape) -> Split:
    """One block."""
    c, h, w = shape
    return Split((0, c), (0, h), (0, w))


def near_equal(shape: Shape, parts: tuple[int, int, int]) -> Split:
    """Parts of an axis differ in length by at most one."""
    channels, rows, columns = (
        tuple(size * part // count for part in range(count + 1)) for size, count in zip(shape, parts, strict=True)
    )
    return Split(channels, rows, columns)


def useful_parts(size: int) -> list[int]:
    """Numbers of parts whose longest part is shorter than with fewer parts: at most 2 * sqrt(size) of them."""
    parts, found = 1, []
    while parts <= size:
        found.append(parts)
        longest = ceil_div(size, parts)
        if longest == 1:
            break
        parts = ceil_div(size, longest - 1)
    return found


def outer(channels: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
    """(C, R, X) products of one factor per part of each axis."""
    product: IntArray = channels[:, None, None] * rows[None, :, None] * columns[None, None, :]
    return product


def part_sums(values: Numbers, edges: Edges, axis: int) -> Numbers:
    """Sums over the parts of one axis, which has as many entries as there are parts afterwards."""
    shape = list(values.shape)
    shape[axis] = 1
    before = np.concatenate([np.zeros(shape, values.dtype), np.cumsum(values, axis=axis)], axis=axis)
    sums: Numbers = np.diff(np.take(before, np.array(edges), axis=axis), axis=axis)
    return sums


def pack(size: int, longest: int, fits: Callable[[Split], bool]) -> Edges | None:
    """Cut 0..size into ranges of at most `longest`, each as long as `fits` allows; None: some single one does not fit.

    The fewest ranges that there can be, if every part of what fits fits.
    """
    edges, guess = [0], 1
    while edges[-1] < size:
        end = _reach(edges[-1], min(size, edges[-1] + longest), guess, fits)
        guess = end - edges[-1]
        if not guess:
            return None
        edges.append(end)
    return tuple(edges)


def longest_range(size: int, longest: int, fits: Callable[[Split], bool]) -> int:
    """No range in 0..size that fits is longer, nor than `longest`; if every part of what fits fits.

    Ranges are looked at from every `step`th place only: one that begins up to step - 1 places before ends where a
    range from there on does, at the latest. Steps are a sixteenth of the first range, so that is how loose this is.
    """
    guess = _reach(0, min(size, longest), 1, fits)
    step, most = max(1, guess // 16), guess
    for start in range(step, size, step):
        end = min(size, start + longest)
        if end - start <= most:
            break
        if fits(Split((start, start + most + 1))):
            most = _reach(start, end, most + 2, fits) - start
    return min(size, longest, most + step - 1)


def _reach(start: int, last: int, guess: int, fits: Callable[[Split], bool]) -> int:
    """Where the longest range from `start` ends that fits, at most at `last`; looked for from a guessed length on."""
    low, high, step = start, last, 1
    probe = min(max(start + guess, start + 1), last)
    while low < high:
        if fits(Split((start, probe))):
            low = probe
        else:
            high = probe - 1
        if low == start:  # nothing fitted yet
            probe = max(start + 1, high + 1 - step)
        elif high == last:  # everything did
            probe = min(last, low + step)
        else:
            probe = (low + high + 1) // 2
        step *= 2
    return low
