"""Out-axons: how many (axon, destination core) pairs the blocks of a source need for one connection.

A `Load` is made of where the destination is cut, and then asked for any cut of the source: the number of destination
cores that need a row is counted once per row, not once per pair of cores.
"""

# c, h, w of the source; C, R, X parts of it; D parts of the destination

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from decolle_hw.compiler.lowering.graph import Shape
from decolle_hw.compiler.placement.axis import axes_of, least_window_sums, taps
from decolle_hw.compiler.placement.inputs import Incoming
from decolle_hw.compiler.placement.model import Form, IntArray, ceil_div
from decolle_hw.compiler.placement.split import Edges, Numbers, Split, outer, part_sums


class Load(Protocol):
    """Out-axons for one connection whose destination is cut and stored in a known way."""

    def per_core(self, split: Split) -> IntArray:
        """(C, R, X) out-axons of each block of the source."""

    def fewest(self, channels: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
        """Out-axons that a block of so many channels, rows and columns needs at least, wherever it lies."""


@dataclass(frozen=True)
class MapLoad:
    """Of a convolution: a product of axes."""

    needs: tuple[IntArray, IntArray]  # (D,) first source channel of each part of the destination, one behind the last
    cover_rows: IntArray  # (h,) parts of the destination's rows that need each row
    cover_columns: IntArray  # (w,)
    atoms: int  # of a shared axon; 1: axons are not shared
    slots: int

    def per_core(self, split: Split) -> IntArray:
        overlap_CD = channel_overlap(split.channels, self.needs)
        axons = ceil_div(overlap_CD, self.atoms) * self.slots
        rows, columns = part_sums(self.cover_rows, split.rows, 0), part_sums(self.cover_columns, split.columns, 0)
        return outer(axons.sum(axis=1), rows, columns)

    def fewest(self, channels: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
        first, behind = self.needs
        # Where parts need different channels, a block may lie so that one part alone needs all of it.
        everywhere = int(np.count_nonzero((first == first.min()) & (behind == behind.max())))
        axons = ceil_div(channels, self.atoms) * self.slots * max(1, everywhere)
        fewest_rows, fewest_columns = self._fewest
        fewest: IntArray = axons * fewest_rows[rows - 1] * fewest_columns[columns - 1]
        return fewest

    @cached_property
    def _fewest(self) -> tuple[IntArray, IntArray]:
        return least_window_sums(self.cover_rows), least_window_sums(self.cover_columns)


@dataclass(frozen=True)
class MatrixLoad:
    """Of a dense matrix: every neuron to every core, or to those to which it has a weight other than zero."""

    shape: Shape  # of the source
    cores: int
    cover: IntArray | None  # (c, h, w) cores that need each neuron; None: all do

    def per_core(self, split: Split) -> IntArray:
        if self.cover is None:
            return self.cores * split.neurons
        return block_sums(self.cover, split)

    def fewest(self, channels: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
        each = self.cores if self.cover is None else int(self.cover.min())
        fewest: IntArray = channels * rows * columns * each
        return fewest


def load_of(incoming: Incoming, source_shape: Shape, split: Split, form: Form) -> Load:
    """Of a connection whose destination has this split and stores its synapses in this form."""
    if incoming.connection.geometry is None:
        if form == "dense":
            return MatrixLoad(source_shape, split.cores, None)
        cover = np.count_nonzero(incoming.mask_counts(split), axis=(0, 1, 2))
        return MatrixLoad(source_shape, split.cores, cover.reshape(source_shape).astype(np.int64))
    row_axis, column_axis = axes_of(incoming.connection, incoming.shape)
    shared = incoming.limits.shares_axons(incoming.connection)
    return MapLoad(
        incoming.sources(split.channels),
        np.count_nonzero(taps(row_axis, split.rows), axis=0).astype(np.int64),
        np.count_nonzero(taps(column_axis, split.columns), axis=0).astype(np.int64),
        incoming.limits.axon_atoms if shared else 1,
        incoming.limits.shared_axon_slots if shared else 1,
    )


def channel_overlap(edges: Edges, needs: tuple[IntArray, IntArray]) -> IntArray:
    """(C, D) channels of each part of the source that each part of the destination needs."""
    low, high = np.array(edges[:-1], np.int64), np.array(edges[1:], np.int64)
    first, behind = needs
    common: IntArray = np.minimum(high[:, None], behind[None, :]) - np.maximum(low[:, None], first[None, :])
    return np.maximum(common, 0)


def block_sums(values: Numbers, split: Split) -> Numbers:
    """(C, R, X) sums of (c, h, w) values over each block."""
    for axis, edges in enumerate((split.channels, split.rows, split.columns)):
        values = part_sums(values, edges, axis)
    return values
