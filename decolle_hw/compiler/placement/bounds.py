"""A lower bound on cores, population by population, that holds for every placement of `model` by blocks.

Let V be the most neurons that one core can hold of a population. A population of N neurons then takes at least
ceil(N / V) cores, however it is cut. V is found by trying every size (q channels, a rows, b columns) of a block with
what it holds *at least*, wherever it lies in the map:

neurons          q * a * b
in-axons         fewest input rows seen by any a neighbouring rows x fewest input columns x source channels of
                 ceil(q / channels per group) groups
synaptic memory  kernels of q channels and a word per in-axon; unshared: a word per entry, or all bits without rounding,
                 whichever is more; dense matrix: exactly
out-axons        fewest axons of q * a * b neurons x the fewest cores that need each of them. A neuron before a dense
                 matrix is needed by every core of the destination, so by as many as the destination's own bound says;
                 before a convolution, its targets at one place are channels of ceil(q / channels per source group)
                 groups, and one core has at most as many channels as fit one.

synapses         of a convolution that is stored unshared: a core with s of them has s / (synapses of a neuron) neurons
                 or more, so indices of that width; so many fit its memory, and together they must hold all of them

Each is what a core holds at least and grows with q, a and b, so a block within all limits has a size within all of
these; hence V bounds it from above. A dense matrix with a mask of zeros differs from neuron to neuron: there ranges
of neurons are filled one after the other, each connection in the format that is better for this range alone, which
no placement can beat (a part of what fits one core fits one core).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.placement.axis import axes_of, least_window_sums, taps
from decolle_hw.compiler.placement.inputs import Incoming
from decolle_hw.compiler.placement.model import RESOURCES, IntArray, Limits, Resource, ceil_div, index_bits
from decolle_hw.compiler.placement.outputs import Load
from decolle_hw.compiler.placement.site import BlockLimits, Site, without
from decolle_hw.compiler.placement.sites import Sites
from decolle_hw.compiler.placement.split import Split, pack, whole
from decolle_hw.targets import Target


@dataclass(frozen=True)
class PopulationBound:
    """No placement has fewer cores for this population."""

    population: str
    cores: int
    by_resource: dict[Resource, int | None]  # if it were the only limit; None: one neuron alone exceeds it
    neurons_per_core: int  # V
    channels_per_core: int  # most channels of any block that fits


@dataclass(frozen=True)
class LeastMapLoad:
    """Out-axons into a convolution, whatever its cut."""

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
    """Out-axons into a dense matrix, whatever its cut."""

    cores: int  # that need every neuron

    def per_core(self, split: Split) -> IntArray:
        return self.cores * split.neurons

    def fewest(self, channels: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
        least: IntArray = channels * rows * columns * self.cores
        return least


def lower_bounds(graph: Graph, target: Target, utilisation: float = 1.0) -> tuple[PopulationBound, ...]:
    """Of each population of a graph, in its order. Raises as `Sites.of` does."""
    return bounds_of(Sites.of(graph, Limits.of(target, utilisation)))


def bounds_of(sites: Sites, limits: dict[str, BlockLimits] | None = None) -> tuple[PopulationBound, ...]:
    """Of each population, out-axons from the last to the first; limits may be given population by population."""
    limits_of = limits or {name: sites.limits.by_resource() for name in sites.by_name}

    def key_of(name: str) -> object:
        return sites.by_name[name], tuple(limits_of[name].values())

    alone: dict[object, PopulationBound] = {}
    found: dict[str, PopulationBound] = {}
    for name, site in sites.by_name.items():
        if key_of(name) not in alone:
            alone[key_of(name)] = _bound(name, site, limits_of[name], [])
        found[name] = alone[key_of(name)]
    coupled: dict[object, PopulationBound] = {}
    for name in reversed(sites.by_name):
        site = sites.by_name[name]
        following = [(sites.incoming(link), found[link.target]) for link in sites.out_of[name]]
        if following:
            needs = tuple((into, bound.cores, bound.channels_per_core) for into, bound in following)
            coupled_key = (key_of(name), needs)
            if coupled_key not in coupled:
                loads = [_least_load(into, bound) for into, bound in following]
                coupled[coupled_key] = _bound(name, site, limits_of[name], loads)
            found[name] = coupled[coupled_key]
    return tuple(
        PopulationBound(name, bound.cores, bound.by_resource, bound.neurons_per_core, bound.channels_per_core)
        for name, bound in ((name, found[name]) for name in sites.by_name)
    )


def _bound(name: str, site: Site, limits: BlockLimits, loads: list[Load]) -> PopulationBound:
    by_resource: dict[Resource, int | None] = {
        resource: _fewest_cores(site, limits, loads, (resource,)) for resource in RESOURCES
    }
    widest = site.largest_columns(limits, site.optimistic_forms, loads)
    heights = np.arange(1, site.shape[1] + 1)[None, :]
    channels = np.arange(1, site.shape[0] + 1)
    block = int((channels[:, None] * heights * widest).max())
    fitting = channels[(widest > 0).any(axis=1)]
    together = _fewest_cores(site, limits, loads, RESOURCES)
    # Where even one neuron is too much, nothing is claimed but the cores that the other limits ask for.
    cores = together or max(of_one or 1 for of_one in by_resource.values())
    return PopulationBound(name, cores, by_resource, block, int(fitting.max(initial=1)))


def _fewest_cores(site: Site, limits: BlockLimits, loads: list[Load], resources: Collection[Resource]) -> int | None:
    if site.is_masked and site.shape[1:] == (1, 1) and resources != ("neurons",) and resources != ("out-axons",):
        needed = without(limits, set(RESOURCES) - set(resources))
        longest = min(site.size, needed["neurons"])
        edges = pack(site.size, longest, lambda split: site.least_use(split, loads).fits(needed))
        return None if edges is None else len(edges) - 1
    widest = site.largest_columns(limits, site.optimistic_forms, loads, resources)
    channels, rows = np.arange(1, site.shape[0] + 1)[:, None], np.arange(1, site.shape[1] + 1)[None, :]
    block = int((channels * rows * widest).max())
    if not block:
        return None
    by_synapses = 1
    if "synaptic memory" in resources:
        by_synapses = max((_synapse_cores(into, limits["synaptic memory"]) for into in site.incoming), default=1)
    return max(ceil_div(site.size, block), by_synapses)


def _synapse_cores(into: Incoming, limit: int) -> int:
    """Cores that hold all synapses of a convolution one by one, headers left aside; 1 for all else."""
    if into.forms != ("unshared",):
        return 1
    total, most = into.synapse_counts()
    low, high = 0, total
    while low < high:
        middle = (low + high + 1) // 2
        index = int(index_bits(np.array(ceil_div(middle, most))))
        if middle * (into.limits.synapse_bits(into.connection) + index) <= limit:
            low = middle
        else:
            high = middle - 1
    return ceil_div(total, low) if low else 1


def _least_load(into: Incoming, following: PopulationBound) -> Load:
    """Of a connection into a population of which only its bound is known."""
    if into.connection.geometry is None:
        # A neuron without a weight has no axon: of a masked matrix nothing is claimed.
        return LeastMatrixLoad(following.cores if into.forms == ("dense",) else 0)
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
        following.channels_per_core,
    )  # fmt: skip
