"""One axis of a convolution: which input places a part of the map sees, and how often.

A convolution's receptive block is a product of axes, so nothing here ever looks at a map as a whole: a part of n
neurons of an axis costs n * kernel, however many channels there are.
"""

# P parts, n neurons of the axis, i input places of the axis, k kernel places

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from decolle_hw.compiler.lowering.graph import Connection, Shape
from decolle_hw.compiler.placement.model import IntArray
from decolle_hw.compiler.placement.split import Edges

NEVER = 2**62  # a place that no neuron before has seen was last seen so long ago


@dataclass(frozen=True)
class Axis:
    """Neuron p sees the places p * stride - padding + j * dilation, 0 <= j < kernel, that lie in 0..inputs-1."""

    inputs: int
    neurons: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    def places(self) -> IntArray:
        """(n, k) of each neuron, those outside of the map too."""
        neurons, taps = np.arange(self.neurons, dtype=np.int64), np.arange(self.kernel, dtype=np.int64)
        places: IntArray = neurons[:, None] * self.stride - self.padding + taps[None, :] * self.dilation
        return places


def axes_of(connection: Connection, shape: Shape) -> tuple[Axis, Axis]:
    """Of the rows and of the columns of a convolution into a map of this shape."""
    geometry = connection.geometry
    assert geometry is not None
    rows, columns = (
        Axis(
            connection.source_shape[1 + d], shape[1 + d], geometry.kernel[d], geometry.stride[d],
            geometry.padding[d], geometry.dilation[d],
        )
        for d in range(2)
    )  # fmt: skip
    return rows, columns


@lru_cache(maxsize=128)
def taps(axis: Axis, edges: Edges) -> IntArray:
    """(P, i) pairs of a neuron of the part and a kernel place that see each input place."""
    parts = len(edges) - 1
    places = axis.places()[edges[0] : edges[-1]]
    part = np.repeat(np.arange(parts), np.diff(edges))
    inside = (places >= 0) & (places < axis.inputs)
    flat = (part[:, None] * axis.inputs + places)[inside]
    return np.bincount(flat, minlength=parts * axis.inputs).reshape(parts, axis.inputs).astype(np.int64)


@lru_cache(maxsize=4096)
def seen(axis: Axis, edges: Edges) -> IntArray:
    """(P,) input places that each part sees."""
    counts: IntArray = np.count_nonzero(taps(axis, edges), axis=1).astype(np.int64)
    return counts


@lru_cache(maxsize=4096)
def tap_counts(axis: Axis, edges: Edges) -> IntArray:
    """(P, highest + 1) input places that a part sees 0, 1, 2, ... times."""
    seen_Pi = taps(axis, edges)
    highest = int(seen_Pi.max(initial=0))
    parts = len(seen_Pi)
    flat = (np.arange(parts)[:, None] * (highest + 1) + seen_Pi).ravel()
    return np.bincount(flat, minlength=parts * (highest + 1)).reshape(parts, highest + 1).astype(np.int64)


@lru_cache(maxsize=256)
def fewest_seen(axis: Axis) -> IntArray:
    """(n,) input places that the luckiest n' = 1..n neighbours see together: at a border of the map, if it is padded.

    Place y is new to a window that starts at p0 where neuron p sees it and none of p0..p-1 did.
    """
    places = axis.places()
    inside = (places >= 0) & (places < axis.inputs)
    last = np.full(axis.inputs, -NEVER, np.int64)
    since = np.zeros_like(places)
    for neuron, (row, valid) in enumerate(zip(places, inside, strict=True)):
        since[neuron, valid] = neuron - last[row[valid]]
        last[row[valid]] = neuron
    count = np.zeros(axis.neurons, np.int64)
    fewest = np.zeros(axis.neurons, np.int64)
    for length in range(axis.neurons):  # windows of length + 1 neurons: count[p0] grows by those new at p0 + length
        new = np.count_nonzero(since[length:] > length, axis=1)
        count = count[: axis.neurons - length] + new
        fewest[length] = count.min()
    return fewest


@lru_cache(maxsize=256)
def fewest_taps(axis: Axis) -> IntArray:
    """(n,) pairs of a neuron and a place that it sees, of the luckiest 1..n neighbours."""
    places = axis.places()
    return least_window_sums(np.count_nonzero((places >= 0) & (places < axis.inputs), axis=1).astype(np.int64))


def least_window_sums(values: IntArray) -> IntArray:
    """(n,) the smallest sum of 1..n neighbours of n values."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    return np.array([(before[length:] - before[:-length]).min() for length in range(1, len(before))], np.int64)
