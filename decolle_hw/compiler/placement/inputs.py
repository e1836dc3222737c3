"""What the blocks of a population hold of one connection into it: in-axons, synaptic memory, stored synapses.

All counts are exact, by the arithmetic of `decolle_hw.compiler.placement.axis`; `fewest` gives what a block of some
size holds at least, wherever it lies, for lower bounds.
"""

# c channels, h rows, w columns; C, R, X parts of each; I source neurons; m neurons of a block

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.lowering.graph import Connection, Shape
from decolle_hw.compiler.placement.axis import Axis, axes_of, fewest_seen, fewest_taps, seen, tap_counts
from decolle_hw.compiler.placement.model import AXON_HEADER_BITS, Form, IntArray, Limits, ceil_div, index_bits, words
from decolle_hw.compiler.placement.split import Edges, Split, outer, part_sums


@dataclass(frozen=True)
class Held:
    """Of one connection, on each core: (C, R, X)."""

    in_axons: IntArray
    memory_bits: IntArray
    synapses: IntArray


@dataclass(frozen=True)
class Incoming:
    """A connection into a population of some shape, under the limits of a target."""

    connection: Connection
    shape: Shape  # (c, h, w) of the population
    limits: Limits

    @property
    def forms(self) -> tuple[Form, ...]:
        return self.limits.forms(self.connection)

    def held(self, split: Split, form: Form) -> Held:
        """Raises nothing: what exceeds a limit is the caller's matter."""
        if self.connection.geometry is not None:
            return self._convolution(split, form)
        return self._full_matrix(split) if form == "dense" else self._sparse_matrix(split)

    def least_held(self, split: Split) -> Held:
        """The least of each count over its forms."""
        each = [self.held(split, form) for form in self.forms]
        if len(each) == 1:
            return each[0]
        return Held(
            np.minimum.reduce([one.in_axons for one in each]),
            np.minimum.reduce([one.memory_bits for one in each]),
            np.minimum.reduce([one.synapses for one in each]),
        )

    def fewest(self, channels: IntArray, rows: IntArray, columns: IntArray, form: Form) -> tuple[IntArray, IntArray]:
        """(in-axons, memory bits) that a block of so many channels, rows and columns holds at least.

        Arguments of shapes that broadcast. For the sparse format of a matrix: zero, which is true of any block.
        """
        neurons = channels * rows * columns
        if form == "sparse":
            return np.zeros_like(neurons), np.zeros_like(neurons)
        if form == "dense":
            return np.full_like(neurons, self.connection.source_size), self._matrix_bits(neurons)
        row_axis, column_axis = self._axes
        pixels = fewest_seen(row_axis)[rows - 1] * fewest_seen(column_axis)[columns - 1]
        groups = ceil_div(channels, self._channels_per_group)
        sources = groups * self._sources_per_group
        in_axons = pixels * self._axons_of(sources)
        if form == "shared":
            return in_axons, words(channels * self._kernel_bits) + words(np.ones_like(in_axons)) * in_axons
        entries = pixels * sources
        synapses = channels * self._sources_per_group * (
            fewest_taps(row_axis)[rows - 1] * fewest_taps(column_axis)[columns - 1]
        )  # fmt: skip
        each = self.limits.synapse_bits(self.connection) + index_bits(neurons)
        header = AXON_HEADER_BITS + self.limits.entry_extra(self.connection)
        # An entry takes a word at least, and no less than its bits.
        memory = np.maximum(words(np.ones_like(entries)) * entries, header * entries + each * synapses)
        return in_axons, memory

    def synapse_counts(self) -> tuple[int, int]:
        """Of a convolution: (all synapses but those into the padding, the most that a neuron may have)."""
        taps = [int(fewest_taps(axis)[-1]) for axis in self._axes]  # of all neurons of the axis together
        return self.shape[0] * self._sources_per_group * math.prod(taps), self._kernel_values

    def sources(self, channels: Edges) -> tuple[IntArray, IntArray]:
        """(C,) first and (C,) one behind the last source channel that each part of the channels needs."""
        edges = np.array(channels, np.int64)
        first, last = edges[:-1] // self._channels_per_group, (edges[1:] - 1) // self._channels_per_group
        return first * self._sources_per_group, (last + 1) * self._sources_per_group

    @cached_property
    def _axes(self) -> tuple[Axis, Axis]:
        return axes_of(self.connection, self.shape)

    @property
    def _groups(self) -> int:
        assert self.connection.geometry is not None
        return self.connection.geometry.groups

    @property
    def _channels_per_group(self) -> int:
        return self.shape[0] // self._groups

    @property
    def _sources_per_group(self) -> int:
        return self.connection.source_shape[0] // self._groups

    @property
    def _kernel_values(self) -> int:
        """Of one channel of the population."""
        assert self.connection.geometry is not None
        return self._sources_per_group * math.prod(self.connection.geometry.kernel)

    @property
    def _kernel_bits(self) -> int:
        return self._kernel_values * (self.connection.weight_bits + self.connection.delay_bits)

    def _axons_of(self, channels: IntArray) -> IntArray:
        """In-axons of one pixel with so many source channels."""
        return ceil_div(channels, self.limits.axon_atoms) if self.limits.shares_axons(self.connection) else channels

    def _convolution(self, split: Split, form: Form) -> Held:
        row_axis, column_axis = self._axes
        first, behind = self.sources(split.channels)
        in_axons = outer(self._axons_of(behind - first), seen(row_axis, split.rows), seen(column_axis, split.columns))
        if form == "unshared":
            memory, synapses = self._unshared(split)
            return Held(in_axons, memory, synapses)
        channels = split.sizes[0][:, None, None]
        kernels = words(channels * self._kernel_bits)
        stored = np.broadcast_to(channels * self._kernel_values, in_axons.shape)
        return Held(in_axons, kernels + words(np.ones_like(in_axons)) * in_axons, stored)

    def _unshared(self, split: Split) -> tuple[IntArray, IntArray]:
        """Memory and synapses, entry by entry; parts that look alike are counted once."""
        kinds_C, is_C = np.unique(self._group_shares(split.channels), axis=0, return_inverse=True)
        (kinds_R, is_R), (kinds_X, is_X) = (
            _kinds(tap_counts(axis, edges), sizes)
            for axis, edges, sizes in zip(self._axes, (split.rows, split.columns), split.sizes[1:], strict=True)
        )
        channels, share, of_share = kinds_C[:, 0], kinds_C[:, 1:4], kinds_C[:, 4:7]  # see _group_shares
        neurons = outer(channels, kinds_R[:, 0], kinds_X[:, 0])
        # Axes: C, R, X kinds; share of the block's channels; times that a row is seen; times that a column is.
        taps = (
            share[:, None, None, :, None, None]
            * np.arange(kinds_R.shape[1] - 1)[:, None] * np.arange(kinds_X.shape[1] - 1)[None, :]
        )  # fmt: skip
        entries = (
            of_share[:, None, None, :, None, None]
            * kinds_R[None, :, None, None, 1:, None] * kinds_X[None, None, :, None, None, 1:]
        )  # fmt: skip
        each = (self.limits.synapse_bits(self.connection) + index_bits(neurons))[..., None, None, None]
        bits = words(AXON_HEADER_BITS + taps * each + self.limits.entry_extra(self.connection))
        memory = np.where(taps > 0, entries * bits, 0).sum(axis=(3, 4, 5))
        synapses = (entries * taps).sum(axis=(3, 4, 5))
        places = np.ix_(is_C.ravel(), is_R.ravel(), is_X.ravel())
        return memory[places], synapses[places]

    def _group_shares(self, edges: Edges) -> IntArray:
        """(C, 7) channels of each part; how many of them lie in its first group, in one between, in its last; and
        how many source channels see so many."""
        size, sources = self._channels_per_group, self._sources_per_group
        low, high = np.array(edges[:-1], np.int64), np.array(edges[1:], np.int64)
        first, last = low // size, (high - 1) // size
        alone = first == last
        in_first = np.where(alone, high - low, (first + 1) * size - low)
        in_last = np.where(alone, 0, high - last * size)
        between = np.where(alone, 0, last - first - 1) * sources
        columns = (high - low, in_first, np.full_like(low, size), in_last)
        counts = (np.full_like(low, sources), between, np.where(alone, 0, sources))
        return np.stack([*columns, *counts], axis=1)

    def _matrix_bits(self, neurons: IntArray) -> IntArray:
        synapse = self.limits.synapse_bits(self.connection)
        entry = AXON_HEADER_BITS + neurons * synapse + index_bits(neurons) + self.limits.entry_extra(self.connection)
        bits: IntArray = self.connection.source_size * words(entry)
        return bits

    def _full_matrix(self, split: Split) -> Held:
        neurons, inputs = split.neurons, self.connection.source_size
        return Held(np.full_like(neurons, inputs), self._matrix_bits(neurons), neurons * inputs)

    def _sparse_matrix(self, split: Split) -> Held:
        counts_CRXI = self.mask_counts(split)
        each = self.limits.synapse_bits(self.connection) + index_bits(split.neurons)[..., None]
        bits = words(AXON_HEADER_BITS + counts_CRXI * each)
        memory = np.where(counts_CRXI > 0, bits, 0).sum(axis=3)
        return Held(np.count_nonzero(counts_CRXI, axis=3), memory, counts_CRXI.sum(axis=3))

    def mask_counts(self, split: Split) -> IntArray:
        """(C, R, X, I) weights other than zero from each source neuron to each block."""
        edges = np.array(split.channels)
        counts: IntArray = (self._nonzero_before[edges[1:]] - self._nonzero_before[edges[:-1]]).astype(np.int64)
        if self.shape[1:] == (1, 1):
            return counts
        return part_sums(part_sums(counts, split.rows, 1), split.columns, 2)

    @cached_property
    def _nonzero_before(self) -> NDArray[np.int32]:
        """(c+1, h, w, I) of the channels before each: slices are differences."""
        assert self.connection.nonzero is not None
        mask = self.connection.nonzero.reshape(*self.shape, self.connection.source_size)
        before = np.zeros((self.shape[0] + 1, *mask.shape[1:]), np.int32)
        for channel, here in enumerate(mask):  # forty times as fast as a cumulated sum over the first axis
            np.add(before[channel], here, out=before[channel + 1])
        return before


def _kinds(counts: IntArray, sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct parts of an axis, (kinds, 1 + counts) with their length first, and which of them each part is."""
    kinds, is_kind = np.unique(np.concatenate([sizes[:, None], counts], axis=1), axis=0, return_inverse=True)
    return kinds, is_kind
