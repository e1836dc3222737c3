"""The figures in words: the headline, the resource table, the costs, and what the page does not hold."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from decolle_hw.page.content import MEMORY, RESOURCES, CoreUse, Costs, Figure, PageContent, PlacementFigures
from decolle_hw.page.core_map import fullest
from decolle_hw.page.words import NOT_KNOWN, bits, number, percent, quantity

LISTED_CORES = 512  # of more cores the page holds no table


@dataclass(frozen=True)
class Table:
    """Headings and rows of words; the first column is flush left, the others flush right."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: tuple[str, ...] = ()


def headline(content: PageContent) -> tuple[Figure, ...]:
    """What stands on top of the page; `note` is the small print."""
    placed = content.placement
    bound, cores = placed.lower_bound, len(placed.cores)
    against = f"lower bound {bound:,}" if bound is not None else "lower bound not known"
    if bound and cores:
        against += f", {cores / bound:.2f}x"
    board = placed.board or "no board is large enough"
    on_board = f"of {placed.board_chips:,} on the board" if placed.board_chips is not None else ""
    neurons = sum(math.prod(population.shape) for population in placed.populations)
    synapses = [population.synapses for population in placed.populations]
    figures = [
        Figure("cores", cores or None, note=against),
        Figure("chips", placed.chips or None, note=on_board),
        Figure("board", board, note=content.target),
        Figure("neurons", neurons, note=f"in {len(placed.populations)} layers"),
    ]
    if synapses and None not in synapses:
        memory = bits(sum(core.memory_bits for core in placed.cores))
        figures.append(Figure("synapses", sum(count or 0 for count in synapses), note=f"in {memory}"))
    if placed.cores:
        core = max(placed.cores, key=lambda one: fullest(one, placed)[1])
        name, share = fullest(core, placed)
        figures.append(Figure("fullest core", percent(share), note=f"{name}, {core.population}"))
    if content.accuracy:
        last = content.accuracy[-1]
        figures.append(Figure("accuracy", percent(last.hits / last.recordings), note=last.name))
    if content.costs and any(layer.energy_pj for layer in content.costs.layers):
        total = quantity(math.fsum(energy_of(content.costs)), "pJ")
        figures.append(Figure("dynamic energy", total, note="per time step, estimated"))
    return tuple(figures)


def resource_table(placed: PlacementFigures) -> Table:
    """One row per layer; memory and axons are those of all its cores together."""
    rows = []
    for population in placed.populations:
        cores = [core for core in placed.cores if core.population == population.name]
        most = Counter(fullest(core, placed)[0] for core in cores).most_common(1)
        kind = " ".join(dict.fromkeys(word for word in (population.neuron, population.role) if word))
        rows.append((
            population.name, "×".join(map(str, population.shape)), kind, number(math.prod(population.shape)),
            _known(population.synapses), bits(_sum(cores, MEMORY)), population.memory_format,
            *(number(_sum(cores, name)) for name in RESOURCES[2:]), number(len(cores)),
            _known(population.lower_bound), population.limited_by or (most[0][0] if most else ""),
        ))  # fmt: skip
    total = (
        "all", "", "", number(sum(math.prod(population.shape) for population in placed.populations)),
        _known(_sum_known([population.synapses for population in placed.populations])),
        bits(_sum(placed.cores, MEMORY)), "", *(number(_sum(placed.cores, name)) for name in RESOURCES[2:]),
        number(len(placed.cores)), _known(placed.lower_bound), "",
    )  # fmt: skip
    headings = (
        "layer", "shape", "neuron", "neurons", "synapses", "memory", "format", "in-axons", "out-axons", "cores",
        "lower bound", "limited by",
    )  # fmt: skip
    return Table(headings, tuple(rows), total if len(rows) > 1 else ())


def core_table(placed: PlacementFigures) -> Table | None:
    """One row per core, for readers without a pointer; None where it would be too long."""
    if not 0 < len(placed.cores) <= LISTED_CORES:
        return None
    rows = []
    for core in placed.cores:
        name, share = fullest(core, placed)
        rows.append((
            str(core.index), core.population, core.block, f"{core.chip}: {core.x}, {core.y}", number(core.neurons),
            bits(core.memory_bits), number(core.in_axons), number(core.out_axons), f"{name} {percent(share)}",
        ))  # fmt: skip
    headings = ("core", "layer", "block", "chip: tile", "neurons", "memory", "in-axons", "out-axons", "fullest")
    return Table(headings, tuple(rows))


def cost_table(costs: Costs) -> Table:
    """One row per layer; events and energy in one time step."""
    headings = ("layer", "SynOps", "neuron updates", "spikes", "messages", "energy")
    energies = energy_of(costs)
    rows = tuple(
        (layer.layer, number(layer.synops), number(layer.updates), number(layer.spikes), number(layer.messages),
         quantity(energy, "pJ") if layer.energy_pj else NOT_KNOWN)
        for layer, energy in zip(costs.layers, energies, strict=True)
    )  # fmt: skip
    sums = [
        math.fsum(getattr(layer, name) for layer in costs.layers)
        for name in ("synops", "updates", "spikes", "messages")
    ]
    known = any(layer.energy_pj for layer in costs.layers)
    total = ("all", *map(number, sums), quantity(math.fsum(energies), "pJ") if known else NOT_KNOWN)
    return Table(headings, rows, total if len(rows) > 1 else ())


def energy_of(costs: Costs) -> list[float]:
    """Dynamic energy of each layer in a time step, pJ."""
    return [math.fsum(layer.energy_pj.values()) for layer in costs.layers]


def not_held(content: PageContent) -> tuple[str, ...]:
    """Sections that the page leaves out, as nothing was given for them."""
    parts = {
        "spikes of a recording": content.rasters,
        "firing rates": content.rates,
        "weights": content.weights,
        "accuracy": content.accuracy,
        "estimates of operations, energy and time": content.costs,
        "limits of the target": content.limits,
        "how it was made": content.made,
    }
    return tuple(name for name, part in parts.items() if not part)


def _sum(cores: tuple[CoreUse, ...] | list[CoreUse], resource: str) -> int:
    return sum(core.used[resource] for core in cores)


def _sum_known(values: list[int | None]) -> int | None:
    return None if None in values else sum(value or 0 for value in values)


def _known(value: int | None) -> str:
    return NOT_KNOWN if value is None else number(value)
