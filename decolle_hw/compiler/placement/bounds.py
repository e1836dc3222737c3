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
                 with a mask of zeros, its weights other than zero lie in so many ranges of V neurons, or, where the
                 destination is a map, on n / V cores if there are n;
                 before a convolution, its targets at one place are channels of ceil(q / channels per source group)
                 groups, and one core has at most as many channels as fit one.

synapses         of a convolution that is stored unshared: a core with s of them has s / (synapses of a neuron) neurons
                 or more, so indices of that width; so many fit its memory, and together they must hold all of them

all out-axons    the population needs as many as it would on one core, or more, and no core has more than its limit

Each is what a core holds at least and grows with q, a and b, so a block within all limits has a size within all of
these; hence V bounds it from above. A dense matrix with a mask of zeros differs from neuron to neuron: there ranges
of neurons are filled one after the other, each connection in the format that is better for this range alone, which
no placement can beat (a part of what fits one core fits one core); for what it asks of the population before it, V
is the longest such range.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.placement.inputs import Incoming
from decolle_hw.compiler.placement.least import least_load
from decolle_hw.compiler.placement.model import RESOURCES, Limits, Resource, ceil_div, index_bits
from decolle_hw.compiler.placement.outputs import Load
from decolle_hw.compiler.placement.site import BlockLimits, Site, without
from decolle_hw.compiler.placement.sites import Link, Sites
from decolle_hw.compiler.placement.split import longest_range, pack
from decolle_hw.targets import Target


@dataclass(frozen=True)
class PopulationBound:
    """No placement has fewer cores for this population."""

    population: str
    cores: int
    by_resource: dict[Resource, int | None]  # if it were the only limit; None: one neuron alone exceeds it
    neurons_per_core: int  # V
    channels_per_core: int  # most channels of any block that fits


def lower_bounds(graph: Graph, target: Target, utilisation: float = 1.0) -> tuple[PopulationBound, ...]:
    """Of each population of a graph, in its order. Raises as `Sites.of` does."""
    return bounds_of(Sites.of(graph, Limits.of(target, utilisation)))


def bounds_of(sites: Sites, limits: dict[str, BlockLimits] | None = None) -> tuple[PopulationBound, ...]:
    """Of each population, out-axons from the last to the first; limits may be given population by population."""
    limits_of = limits or {name: sites.limits.by_resource() for name in sites.by_name}

    def key_of(name: str) -> object:
        return sites.by_name[name], tuple(limits_of[name].values())

    def most_neurons(link: Link, bound: PopulationBound) -> int:
        """V of the target of a masked matrix, as close as ranges can tell; only these ask for it."""
        site, limits = sites.by_name[link.target], limits_of[link.target]
        if not _is_ranges(site):
            return bound.neurons_per_core
        if key_of(link.target) not in longest:
            longest[key_of(link.target)] = longest_range(
                site.size, limits["neurons"], lambda split: site.least_use(split).fits(limits)
            )
        return min(bound.neurons_per_core, longest[key_of(link.target)])

    longest: dict[object, int] = {}
    alone: dict[object, PopulationBound] = {}
    found: dict[str, PopulationBound] = {}
    for name, site in sites.by_name.items():
        if key_of(name) not in alone:
            alone[key_of(name)] = _bound(name, site, limits_of[name], [])
        found[name] = alone[key_of(name)]
    coupled: dict[object, PopulationBound] = {}
    for name in reversed(sites.by_name):
        site = sites.by_name[name]
        following = [(link, found[link.target]) for link in sites.out_of[name]]
        if following:
            needs = tuple(
                (sites.by_name[link.target], link.position, bound.cores, bound.neurons_per_core,
                 bound.channels_per_core)
                for link, bound in following
            )  # fmt: skip
            coupled_key = (key_of(name), needs)
            if coupled_key not in coupled:
                loads = [
                    least_load(sites.incoming(link), site.shape, bound.cores, most_neurons(link, bound),
                               bound.channels_per_core)
                    for link, bound in following
                ]  # fmt: skip
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
    if _is_ranges(site) and resources != ("neurons",) and resources != ("out-axons",):
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
    by_axons = 1
    if "out-axons" in resources and loads and limits["out-axons"]:
        c, h, w = (np.array(size) for size in site.shape)
        by_axons = ceil_div(sum(int(load.fewest(c, h, w)) for load in loads), limits["out-axons"])
    return max(ceil_div(site.size, block), by_synapses, by_axons)


def _is_ranges(site: Site) -> bool:
    """Whether blocks are ranges of neurons that differ by a mask of zeros."""
    return site.is_masked and site.shape[1:] == (1, 1)


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
