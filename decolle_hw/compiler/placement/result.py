"""What placement returns: plain numbers, enough for anyone to count again that every limit holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.placement.bounds import PopulationBound
from decolle_hw.compiler.placement.model import Limits, Resource
from decolle_hw.compiler.placement.site import Forms
from decolle_hw.compiler.placement.split import Range, Split


@dataclass(frozen=True)
class Core:
    """One block of one population; a tile (x, y) of the mesh has several cores."""

    index: int  # in Placement.cores
    chip: int
    x: int
    y: int
    population: str
    channels: Range  # [lo, hi)
    rows: Range
    columns: Range
    neurons: int
    in_axons: int
    out_axons: int
    memory_bits: int
    memory: tuple[int, ...]  # bits by connection into the population, in the order of the graph
    synapses: int  # stored

    def used(self) -> dict[Resource, int]:
        return {
            "neurons": self.neurons,
            "synaptic memory": self.memory_bits,
            "in-axons": self.in_axons,
            "out-axons": self.out_axons,
        }


@dataclass(frozen=True)
class Tiling:
    """How one population is cut, and in what form the synapses of each connection into it are stored.

    Its cores follow one another in `Placement.cores`, in the order of `Split.blocks`.
    """

    population: str
    split: Split
    forms: Forms
    first_core: int
    bound: PopulationBound
    limited_by: Resource  # asks for the most cores, or, where several do, is the fullest
    fullest: dict[Resource, int]  # most that one of its cores uses

    @property
    def cores(self) -> int:
        return self.split.cores


@dataclass(frozen=True)
class Problem:
    """A limit that the network exceeds, and what would help."""

    population: str | None  # None: the network as a whole
    resource: str
    needed: int
    limit: int
    remedy: str

    def __str__(self) -> str:
        return f"{self.population or 'network'}: {self.resource} {self.needed}, at most {self.limit} ({self.remedy})"


@dataclass(frozen=True)
class TrafficFigures:
    """Messages per time step: one per spike and destination core. Hops are those inside chips."""

    total: float
    within_core: float
    within_tile: float  # to another core of the tile
    between_tiles: float  # of one chip
    between_chips: float
    hops_east_west: float
    hops_north_south: float
    from_outside: float  # input spikes to the cores that take them; not in `total`


@dataclass(frozen=True)
class Placement:
    """A network on the cores of a board. Where there are `problems`, the limits that they name do not hold."""

    graph: Graph
    target_name: str
    board: str | None  # None: no board of the target is large enough
    board_chips: int | None
    chips: int
    utilisation: float
    limits: Limits
    tilings: tuple[Tiling, ...]  # in the order of the graph
    cores: tuple[Core, ...]
    problems: tuple[Problem, ...]
    traffic: TrafficFigures
    crossings: dict[str, float]  # messages between chips, by how cores were ordered; the last is what was taken
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.problems

    @property
    def bound(self) -> int:
        """No placement has fewer cores."""
        return sum(tiling.bound.cores for tiling in self.tilings)

    @cached_property
    def by_population(self) -> dict[str, Tiling]:
        return {tiling.population: tiling for tiling in self.tilings}

    def cores_of(self, population: str) -> tuple[Core, ...]:
        tiling = self.by_population[population]
        return self.cores[tiling.first_core : tiling.first_core + tiling.cores]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, ready for `json.dumps`."""
        return {
            "graph": self.graph.name,
            "target": self.target_name,
            "board": self.board,
            "board_chips": self.board_chips,
            "chips": self.chips,
            "utilisation": self.utilisation,
            "limits": asdict(self.limits),
            "bound": self.bound,
            "populations": [_population_json(tiling) for tiling in self.tilings],
            "cores": [dict(vars(core)) for core in self.cores],
            "problems": [asdict(problem) for problem in self.problems],
            "traffic": asdict(self.traffic),
            "crossings": self.crossings,
            "notes": list(self.notes),
        }


def _population_json(tiling: Tiling) -> dict[str, Any]:
    return {
        "population": tiling.population,
        "cores": tiling.cores,
        "bound": tiling.bound.cores,
        "bound_by_resource": tiling.bound.by_resource,
        "limited_by": tiling.limited_by,
        "fullest": tiling.fullest,
        "forms": list(tiling.forms),
        "channels": list(tiling.split.channels),
        "rows": list(tiling.split.rows),
        "columns": list(tiling.split.columns),
        "first_core": tiling.first_core,
    }


def first_cores(splits: dict[str, Split]) -> Iterator[tuple[str, int]]:
    """Index of the first core of each population, when all lie in a row."""
    starts = itertools.accumulate((split.cores for split in splits.values()), initial=0)
    yield from zip(splits, starts, strict=False)
