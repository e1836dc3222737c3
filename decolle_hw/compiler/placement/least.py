"""Out-axons that a population needs at least, when of the populations behind it only their bounds are known."""

# c, h, w of the source; q channels, a rows, b columns of a block; I source neurons

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from decolle_hw.compiler.lowering.graph import Shape
from decolle_hw.compiler.placement.axis import axes_of, least_window_sums, taps
from decolle_hw.compiler.placement.inputs import Incoming
from decolle_hw.compiler.placement.model import IntArray, ceil_div
from decolle_hw.compiler.placement.outputs import Load, block_sums
from decolle_hw.compiler.placement.split import Split, whole

TABLE_MAX = 2**13  # neurons of a source of which all sizes of blocks are looked at, everywhere: that is their square


@dataclass(frozen=True)
class LeastMapLoad:
    """Into a convolution, whatever its cut."""

    atoms: int
    slots: int
    rows: IntArray  # (h,) fewest rows, of 1..h neighbours, that anything sees
    columns: IntArray  # (w,)
    sources_per_group: int
    targets_per_group: int
    channels_per_core: int  # of the destination

    def per_core(self, split: Split) -> IntArray:
        c, r, x = split.sizes
        return self.fewest(c[:, None, None], r[None, :, None], x[None, None, :])

    def fewest(self, channels: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
        groups = -(-channels // self.sources_per_group)
        cores = ceil_div(groups * self.targets_per_group, self.channels_per_core)
        # Every core has an axon of the pixel; and every channel goes to the cores that hold its own group.
        cores_of_channel = ceil_div(self.targets_per_group, self.channels_per_core)
        axons = np.maximum(cores, ceil_div(channels * cores_of_channel, self.atoms)) * self.slots
        least: IntArray = axons * self.rows[rows - 1] * self.columns[columns - 1]
        return least


@dataclass(frozen=True)
class LeastMatrixLoad:
    """Into a dense matrix without a mask, whatever its cut."""

    cores: int  # that need every neuron

    def per_core(self, split: Split) -> IntArray:
        return self.cores * split.neurons

    def fewest(self, channels: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
        least: IntArray = channels * rows * columns * self.cores
        return least


@dataclass(frozen=True, eq=False)
class LeastMaskedLoad:
    """Into a dense matrix with a mask, whatever its cut and its format."""

    cover: IntArray  # (c, h, w) cores at least that need each neuron

    def per_core(self, split: Split) -> IntArray:
        return block_sums(self.cover, split)

    def fewest(self, channels: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
        if self.cover.size <= TABLE_MAX:
            in_place: IntArray = self._by_size[channels - 1, rows - 1, columns - 1]
            return in_place
        # No block has less than as many neurons have that are needed by the fewest cores, wherever those lie.
        anywhere: IntArray = self._of_least[channels * rows * columns]
        return anywhere

    @cached_property
    def _by_size(self) -> IntArray:
        """(c, h, w) the smallest sum over any block of q + 1 channels, a + 1 rows, b + 1 columns."""
        c, h, w = self.cover.shape
        before = np.zeros((c + 1, h + 1, w + 1), np.int64)
        before[1:, 1:, 1:] = self.cover.cumsum(axis=0).cumsum(axis=1).cumsum(axis=2)
        least = np.zeros((c, h, w), np.int64)
        for q in range(1, c + 1):
            of_channels = before[q:] - before[:-q]
            for a in range(1, h + 1):
                of_rows = of_channels[:, a:] - of_channels[:, :-a]
                for b in range(1, w + 1):
                    least[q - 1, a - 1, b - 1] = (of_rows[:, :, b:] - of_rows[:, :, :-b]).min()
        return least

    @cached_property
    def _of_least(self) -> IntArray:
        """(n + 1,) sum over the 0..n neurons that are needed by the fewest cores."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.sort(self.cover, axis=None))])


def least_load(
    into: Incoming, source: Shape, cores: int, neurons_per_core: int, channels_per_core: int
) -> Load:  # fmt: skip
    """Of a connection into a population that takes `cores` or more, none with more neurons or channels than those."""
    if into.connection.geometry is None:
        if into.forms == ("dense",):
            return LeastMatrixLoad(cores)
        return LeastMaskedLoad(_fewest_ranges(into, max(1, neurons_per_core)).reshape(source))
    everything = whole(into.shape)
    rows, columns = (
        least_window_sums(np.minimum(taps(axis, edges)[0], 1))
        for axis, edges in zip(axes_of(into.connection, into.shape), (everything.rows, everything.columns), strict=True)
    )
    shared = into.limits.shares_axons(into.connection)
    groups = into.connection.geometry.groups
    return LeastMapLoad(
        into.limits.axon_atoms if shared else 1,
        into.limits.shared_axon_slots if shared else 1,
        rows, columns,
        into.connection.source_shape[0] // groups,
        into.shape[0] // groups,
        channels_per_core,
    )  # fmt: skip


def _fewest_ranges(into: Incoming, longest: int) -> IntArray:
    """(I,) cores that hold a weight other than zero of each source neuron, at least.

    None has more than `longest` neurons. Blocks of a dense population are ranges: the fewest that reach all targets of
    a neuron begin at its first target, and again at the first that the last range did not reach. The dense format has
    an axon on every core, so on no fewer.
    """
    mask = into.connection.nonzero
    assert mask is not None
    if into.shape[1:] != (1, 1):
        weights: IntArray = np.count_nonzero(mask, axis=0).astype(np.int64)
        return ceil_div(weights, longest)
    ranges, behind = np.zeros(into.connection.source_size, np.int64), np.zeros(into.connection.source_size, np.int64)
    for neuron, has_weight in enumerate(mask):
        begins = has_weight & (behind <= neuron)
        ranges += begins
        np.putmask(behind, begins, neuron + longest)
    return ranges
