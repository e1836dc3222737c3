"""What does not fit, in numbers: which limit, by how much, and what would help."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from decolle_hw.compiler.placement.bounds import PopulationBound, bounds_of
from decolle_hw.compiler.placement.candidates import Candidate
from decolle_hw.compiler.placement.chips import ChipLimits
from decolle_hw.compiler.placement.choose import Chooser
from decolle_hw.compiler.placement.model import RESOURCES, IntArray, Resource
from decolle_hw.compiler.placement.result import Problem
from decolle_hw.compiler.placement.site import BlockLimits, Site, without
from decolle_hw.compiler.placement.sites import Sites
from decolle_hw.targets import Target

REMEDIES: dict[Resource, str] = {
    "neurons": "choose a target or a utilisation that leaves a core room for a neuron",
    "synaptic memory": "reduce what one neuron takes: its inputs, its weight bits, or plasticity",
    "in-axons": "reduce the inputs of one neuron: they must fit one core",
    "out-axons": "reduce the cores of the populations behind it: fewer neurons there, or fewer bits of memory for each",
}


def beyond_any_split(sites: Sites, chooser: Chooser) -> tuple[dict[str, BlockLimits], list[Problem]]:
    """Limits that one neuron alone on a core exceeds, so no split helps; and the limits of each population without.

    Where there are any, out-axons are lifted for all populations.
    """
    limits = sites.limits.by_resource()
    found: dict[Site, list[tuple[Resource, int]]] = {}
    relaxed: dict[str, BlockLimits] = {}
    problems: list[Problem] = []
    for name, site in sites.by_name.items():
        if site not in found:
            found[site] = [] if chooser.alone(name) else list(_exceeded(site, limits))
        relaxed[name] = without(limits, [resource for resource, _ in found[site]])
        problems += [
            Problem(name, resource, needed, limits[resource], REMEDIES[resource]) for resource, needed in found[site]
        ]
    if problems:
        # How the rest would have to be cut to feed what cannot be placed is no use to anyone.
        proved = bounds_of(sites, relaxed)
        relaxed = {name: without(of_one, ["out-axons"]) for name, of_one in relaxed.items()}
        least = {bound.population: bound.cores for bound in bounds_of(sites, relaxed)}
        problems += [
            Problem(
                bound.population, "out-axons",
                max(limits["out-axons"] + 1, sum(least[link.target] for link in sites.out_of[bound.population])),
                limits["out-axons"], REMEDIES["out-axons"],
            )
            for bound in proved if bound.by_resource["out-axons"] is None
        ]  # fmt: skip
    return relaxed, problems


def _exceeded(site: Site, limits: BlockLimits) -> Iterator[tuple[Resource, int]]:
    """By the way of storing the synapses that exceeds fewest limits."""
    ways = []
    for forms in site.forms:
        needed = site.single_neurons(forms)
        ways.append([(resource, needed[resource]) for resource in RESOURCES if needed[resource] > limits[resource]])
    yield from min(ways, key=len)


def beyond_out_axons(
    sites: Sites, chooser: Chooser, chosen: dict[str, Candidate], bounds: dict[str, PopulationBound]
) -> list[Problem]:
    """Populations for which no split was found that keeps to the out-axons; what their most demanding neuron needs."""
    problems = []
    limit = sites.limits.out_axons
    for name in chooser.exceeding(chosen):
        loads = chooser.loads(name, chosen)
        needed = sites.by_name[name].single_neurons(chosen[name].forms, loads)["out-axons"]
        proved = bounds[name].by_resource["out-axons"] is None
        remedy = REMEDIES["out-axons"] if proved else f"no split was found: {REMEDIES['out-axons']}"
        problems.append(Problem(name, "out-axons", max(needed, limit + 1), limit, remedy))
    return problems


def beyond_cores(most: int, placed: int, bounds: dict[str, PopulationBound]) -> list[Problem]:
    """More cores than were asked for."""
    if placed <= most:
        return []
    least = sum(bound.cores for bound in bounds.values())
    why = f"no placement has fewer than {least}" if least > most else f"lower bound {least}, no such split was found"
    return [Problem(None, "cores", placed, most, f"{placed - most} too many, {why}: allow more, or use fewer units")]


def beyond_board(
    target: Target, asked: tuple[str, int] | None, chips: int, limits: ChipLimits, neurons: IntArray, synapses: IntArray
) -> list[Problem]:
    """More chips than the board has, or a core that a whole chip does not hold."""
    problems = []
    name, most = asked or target.largest_board
    if chips > most:
        larger = [board for board, count in target.board_chips.items() if count >= chips]
        remedy = f"use {larger[0]}" if larger else "use fewer units, or a target with larger boards"
        problems.append(Problem(None, f"chips of {name}", chips, most, f"{chips - most} too few: {remedy}"))
    for what, used, limit in (
        ("neurons per chip", neurons, limits.neurons), ("synapses per chip", synapses, limits.synapses),
    ):  # fmt: skip
        largest = int(np.max(used))
        if largest > limit:
            problems.append(Problem(None, what, largest, limit, "one core exceeds it: lower the utilisation"))
    return problems
