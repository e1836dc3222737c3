"""The way through placement: splits, chips, tiles, and all that does not fit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.placement.bounds import PopulationBound, bounds_of
from decolle_hw.compiler.placement.candidates import Candidate
from decolle_hw.compiler.placement.chips import Assignment, ChipLimits, assign
from decolle_hw.compiler.placement.choose import Chooser
from decolle_hw.compiler.placement.mesh import tiles_of
from decolle_hw.compiler.placement.model import RESOURCES, IntArray, Limits, Resource
from decolle_hw.compiler.placement.problems import beyond_any_split, beyond_board, beyond_cores, beyond_out_axons
from decolle_hw.compiler.placement.result import Core, Placement, Tiling, first_cores
from decolle_hw.compiler.placement.site import Use
from decolle_hw.compiler.placement.sites import Sites
from decolle_hw.compiler.placement.traffic import Activity, core_traffic, figures
from decolle_hw.errors import UsageError
from decolle_hw.targets import Target

NOTES = (
    "layers do not share cores; routing between cores is not considered",
    "out-axons: none for what goes to the host",
    "one memory entry per axon, however long; nengo-loihi cuts entries at 64 synapses, about an eighth more",
    "where a neuron alone exceeds a limit, that limit and those of all out-axons are left aside in what is shown",
    "which cores of a chip are usable is not published: tiles are filled from (0, 0) on",
)


def place(
    graph: Graph, target: Target, *, cores: int | None = None, utilisation: float = 1.0, board: str | None = None,
    activity: Activity | None = None,
) -> Placement:  # fmt: skip
    """Cut every population into blocks, one per core, and give each core a place on a board.

    Never raises for a network that does not fit: `Placement.problems` then says what, by how much and what would help.
    The cores are those that the limits which can be met ask for.

    Args:
        graph: the last stage of `decolle_hw.compiler.lowering.stages.lower`, or any other graph.
        cores: at most so many.
        utilisation: in (0, 1]: share of the limits of a core that may be used. Those of a chip are left as they are.
        board: by name; the smallest that is large enough where it is not given.
        activity: mean spikes per step, see `decolle_hw.compiler.placement.traffic.traffic`.

    Raises `UsageError` for a wrong argument, `SpecError` for a board that the target has not, `CompileError` for a
    graph that contradicts itself.
    """
    if cores is not None and cores < 1:
        raise UsageError(f"cores {cores}: expected 1 or more")
    asked = None if board is None else (_name(target, board), target.chips_of(board))
    limits = Limits.of(target, utilisation)
    sites = Sites.of(graph, limits)
    chooser = Chooser(sites, {name: limits.by_resource() for name in sites.by_name})
    chooser.limits, problems = beyond_any_split(sites, chooser)
    bounds = {bound.population: bound for bound in bounds_of(sites, chooser.limits)}
    chosen = chooser.choose()
    problems += beyond_out_axons(sites, chooser, chosen, bounds)
    if cores is not None:
        problems += beyond_cores(cores, sum(one.cores for one in chosen.values()), bounds)

    uses = {
        name: sites.by_name[name].use(one.split, one.forms, chooser.loads(name, chosen)) for name, one in chosen.items()
    }
    splits = {name: one.split for name, one in chosen.items()}
    traffic = core_traffic(graph, sites, splits, {name: one.forms for name, one in chosen.items()}, activity)
    neurons, synapses = _neurons_and_synapses(uses)
    chip_limits = ChipLimits(target.usable_cores.value, target.neurons_per_chip.value, target.synapses_per_chip.value)
    assignment = assign(splits, traffic, neurons, synapses, chip_limits)
    x, y = tiles_of(target, assignment.chip, assignment.row, traffic)
    chips = int(assignment.chip.max()) + 1
    problems += beyond_board(target, asked, chips, chip_limits, neurons, synapses)
    fitting = [one for one in target.board_chips.items() if one[1] >= chips]
    board_name, board_chips = asked or (fitting[0] if fitting else (None, None))
    return Placement(
        graph=graph,
        target_name=target.name,
        board=board_name,
        board_chips=board_chips,
        chips=chips,
        utilisation=utilisation,
        limits=limits,
        tilings=tuple(_tilings(sites, chosen, uses, bounds)),
        cores=tuple(_cores(chosen, uses, assignment, x, y)),
        problems=tuple(problems),
        traffic=figures(traffic, assignment.chip, x, y),
        crossings=assignment.crossings,
        notes=NOTES,
    )


def _name(target: Target, board: str) -> str:
    """As the target spells it."""
    target.chips_of(board)  # raises for an unknown one
    return next(name for name in target.board_chips if name.casefold() == board.casefold())


def _neurons_and_synapses(uses: dict[str, Use]) -> tuple[IntArray, IntArray]:
    """(K,) each"""
    neurons = np.concatenate([use.used["neurons"].ravel() for use in uses.values()])
    synapses = np.concatenate(
        [sum((held.synapses for held in use.held), np.zeros_like(use.used["neurons"])).ravel() for use in uses.values()]
    )
    return neurons, synapses


def _tilings(
    sites: Sites, chosen: dict[str, Candidate], uses: dict[str, Use], bounds: dict[str, PopulationBound]
) -> Iterator[Tiling]:
    limits = sites.limits.by_resource()
    for name, first in first_cores({name: one.split for name, one in chosen.items()}):
        fullest: dict[Resource, int] = {resource: int(uses[name].used[resource].max()) for resource in RESOURCES}
        asks = bounds[name].by_resource
        limited_by = max(
            RESOURCES, key=lambda one: (asks[one] or np.inf, fullest[one] / max(1, limits[one]))
        )  # fmt: skip
        yield Tiling(name, chosen[name].split, chosen[name].forms, first, bounds[name], limited_by, fullest)


def _cores(
    chosen: dict[str, Candidate], uses: dict[str, Use], assignment: Assignment, x: IntArray, y: IntArray
) -> Iterator[Core]:
    index = 0
    chip, xs, ys = assignment.chip.tolist(), x.tolist(), y.tolist()
    for name, one in chosen.items():
        use = uses[name]
        neurons, memory, in_axons, out_axons = (use.used[resource].ravel().tolist() for resource in RESOURCES)
        by_connection = list(zip(*(held.memory_bits.ravel().tolist() for held in use.held), strict=True))
        synapses = np.sum([held.synapses.ravel() for held in use.held], axis=0, dtype=np.int64)
        stored = synapses.tolist() if use.held else [0] * one.cores
        for at, (channels, rows, columns) in enumerate(one.split.blocks()):
            yield Core(
                index, chip[index], xs[index], ys[index], name, channels, rows, columns, neurons[at], in_axons[at],
                out_axons[at], memory[at], by_connection[at] if by_connection else (), stored[at],
            )  # fmt: skip
            index += 1
