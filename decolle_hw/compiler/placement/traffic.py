"""Spike messages between cores: one per spike and destination core that has an in-axon for its neuron.

Counted by axes, as everything here: the messages of two cores of a convolution are those of the rows, columns and
channels that the block of the one and the receptive block of the other have in common.
"""

# c, h, w of the source; S source cores, D destination cores; M pairs of cores

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from decolle_hw.compiler.lowering.graph import INPUT, Graph, Shape
from decolle_hw.compiler.placement.axis import axes_of, taps
from decolle_hw.compiler.placement.inputs import Incoming
from decolle_hw.compiler.placement.model import Form, IntArray
from decolle_hw.compiler.placement.outputs import block_sums, channel_overlap
from decolle_hw.compiler.placement.result import Placement, TrafficFigures, first_cores
from decolle_hw.compiler.placement.site import Forms
from decolle_hw.compiler.placement.sites import Sites
from decolle_hw.compiler.placement.split import Edges, Split, part_sums, whole
from decolle_hw.errors import UsageError

FloatArray = NDArray[np.float64]
CorePairs = tuple[IntArray, IntArray, FloatArray]  # source, destination, messages
Parts = tuple[IntArray, IntArray]  # part of the source, part of the destination
Activity = Mapping[str, ArrayLike]  # mean spikes per step, by population (or "input"): (c, h, w), (N,) or one number
DEFAULT_RATE = 1.0  # spikes per step of a population that is not in an Activity


@dataclass(frozen=True)
class Traffic:
    """Messages per time step. `source`, `destination`, `messages` are parallel; pairs without messages are left out."""

    source: IntArray  # (M,) index of the core
    destination: IntArray  # (M,)
    messages: FloatArray  # (M,)
    from_outside: FloatArray  # (cores,) input spikes that arrive at each core


def traffic(placement: Placement, activity: Activity | None = None) -> Traffic:
    """Messages between the cores of a placement.

    Args: activity: mean spikes per step of the neurons of each population, by name, and of the input as "input";
    `DEFAULT_RATE` where there is none. Raises `UsageError` for a shape that does not fit.
    """
    splits = {tiling.population: tiling.split for tiling in placement.tilings}
    forms = {tiling.population: tiling.forms for tiling in placement.tilings}
    return core_traffic(placement.graph, Sites.of(placement.graph, placement.limits), splits, forms, activity)


def core_traffic(
    graph: Graph, sites: Sites, splits: dict[str, Split], forms: dict[str, Forms], activity: Activity | None = None
) -> Traffic:
    """As `traffic`, for splits whose cores lie in the order of the populations."""
    rates = activity or {}
    first = dict(first_cores(splits))
    cores = sum(split.cores for split in splits.values())
    outside = np.zeros(cores, np.float64)
    parts: list[CorePairs] = []
    for population, links in sites.into.items():
        for link in links:
            incoming, form = sites.incoming(link), forms[population][link.position]
            is_input = link.source == INPUT
            shape = incoming.connection.source_shape if is_input else sites.by_name[link.source].shape
            split = whole(shape) if is_input else splits[link.source]
            rate = _rate(link.source, rates.get(link.source, DEFAULT_RATE), shape)
            source, destination, messages = _pairs(incoming, form, shape, split, splits[population], rate)
            if is_input:
                np.add.at(outside, first[population] + destination, messages)
            else:
                parts.append((first[link.source] + source, first[population] + destination, messages))
    ends = {(link.source, link.target) for links in sites.into.values() for link in links}
    return _merged(parts, len(ends) < len(graph.connections), cores, outside)


def figures(traffic: Traffic, chip: IntArray, x: IntArray, y: IntArray) -> TrafficFigures:
    """How far messages go; chip and tile (x, y) of each core as arrays."""
    source, destination, messages = traffic.source, traffic.destination, traffic.messages
    same_core = source == destination
    same_chip = chip[source] == chip[destination]
    dx, dy = np.abs(x[source] - x[destination]), np.abs(y[source] - y[destination])
    same_tile = same_chip & (dx == 0) & (dy == 0)

    def total(mask: NDArray[np.bool_], times: IntArray | int = 1) -> float:
        return float((messages * mask * times).sum())

    return TrafficFigures(
        total=float(messages.sum()),
        within_core=total(same_core),
        within_tile=total(same_tile & ~same_core),
        between_tiles=total(same_chip & ~same_tile),
        between_chips=total(~same_chip),
        hops_east_west=total(same_chip, dx),
        hops_north_south=total(same_chip, dy),
        from_outside=float(traffic.from_outside.sum()),
    )


def _rate(name: str, rate: ArrayLike, shape: Shape) -> FloatArray:
    """(c, h, w), or () where all neurons have the same."""
    values = np.asarray(rate, np.float64)
    if values.ndim == 0:
        return values
    if values.size != np.prod(shape):
        raise UsageError(f"activity of {name}: {values.shape}, expected {shape} or one number")
    return values.reshape(shape)


def _merged(parts: list[CorePairs], repeated: bool, cores: int, outside: FloatArray) -> Traffic:
    """Pairs that several connections have in common become one; `repeated`: whether there may be any."""
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Traffic(nothing, nothing, np.zeros(0, np.float64), outside)
    source, destination = (np.concatenate([part[which] for part in parts]) for which in range(2))
    weights = np.concatenate([part[2] for part in parts])
    if not repeated:
        return Traffic(source, destination, weights, outside)
    pairs, is_pair = np.unique(source * cores + destination, return_inverse=True)
    messages = np.bincount(is_pair.ravel(), weights=weights, minlength=len(pairs)).astype(np.float64)
    return Traffic(pairs // cores, pairs % cores, messages, outside)


def _pairs(
    incoming: Incoming, form: Form, shape: Shape, source: Split, destination: Split, rate: FloatArray
) -> CorePairs:
    """(core of the source, core of the destination, messages) of one connection, cores counted from 0."""
    if incoming.connection.geometry is None:
        return _matrix_pairs(incoming, form, shape, source, destination, rate)
    channels = channel_overlap(source.channels, incoming.sources(destination.channels))
    edges = (source.rows, source.columns), (destination.rows, destination.columns)
    axes = axes_of(incoming.connection, incoming.shape)
    row_needs, column_needs = (np.minimum(taps(axis, cut), 1) for axis, cut in zip(axes, edges[1], strict=True))
    pairs_C = _nonzero(channels)
    pairs_R, rows = _overlapping(row_needs, source.rows)
    pairs_X, columns = _overlapping(column_needs, source.columns)
    if rate.ndim == 0:
        messages = rate * np.multiply.outer(np.multiply.outer(channels[pairs_C], rows), columns)
    else:
        of_channels = _channel_rates(rate, source.channels, incoming.sources(destination.channels), pairs_C)
        of_rows = np.einsum("ry,cyx->crx", _window(row_needs, source.rows, pairs_R), of_channels, optimize=True)
        messages = of_rows @ _window(column_needs, source.columns, pairs_X).T
    (s_c, d_c), (s_r, d_r), (s_x, d_x) = pairs_C, pairs_R, pairs_X
    (_, source_R, source_X), (_, destination_R, destination_X) = source.parts, destination.parts
    source_core = (s_c[:, None, None] * source_R + s_r[None, :, None]) * source_X + s_x
    destination_core = (d_c[:, None, None] * destination_R + d_r[None, :, None]) * destination_X + d_x
    return source_core.ravel(), destination_core.ravel(), messages.ravel()


def _matrix_pairs(
    incoming: Incoming, form: Form, shape: Shape, source: Split, destination: Split, rate: FloatArray
) -> CorePairs:
    rates = np.broadcast_to(rate, shape)
    if form == "dense":
        messages_SD = np.repeat(block_sums(rates, source).ravel()[:, None], destination.cores, axis=1)
    else:
        needs = incoming.mask_counts(destination).reshape(destination.cores, -1) > 0
        messages_SD = np.stack([block_sums(need.reshape(shape) * rates, source).ravel() for need in needs], axis=1)
    source_core, destination_core = np.nonzero(messages_SD)
    return source_core, destination_core, messages_SD[source_core, destination_core].astype(np.float64)


def _overlapping(needs: IntArray, edges: Edges) -> tuple[Parts, IntArray]:
    """((part of the source, part of the destination), places in common), where there are any."""
    common_SD = part_sums(needs, edges, 1).T
    pairs = _nonzero(common_SD)
    return pairs, common_SD[pairs]


def _nonzero(common_SD: IntArray) -> Parts:
    source, destination = np.nonzero(common_SD)
    return source.astype(np.int64), destination.astype(np.int64)


def _window(needs: IntArray, edges: Edges, pairs: Parts) -> FloatArray:
    """(pairs, places) 1 where a place of the source's part is needed by the destination's."""
    source, destination = pairs
    place = np.arange(needs.shape[1])
    bounds = np.array(edges)
    inside = (place >= bounds[source][:, None]) & (place < bounds[source + 1][:, None])
    window: FloatArray = (needs[destination] * inside).astype(np.float64)
    return window


def _channel_rates(rate: FloatArray, edges: Edges, needs: Parts, pairs: Parts) -> FloatArray:
    """(pairs, h, w) spikes of the channels that a pair has in common."""
    first, behind = needs
    source, destination = pairs
    bounds = np.array(edges)
    low = np.maximum(bounds[source], first[destination])
    high = np.minimum(bounds[source + 1], behind[destination])
    return np.stack([rate[a:b].sum(axis=0) for a, b in zip(low, high, strict=True)])
