"""From a graph to cores: all stages of lowering, then placement, then the rules of the target."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decolle_hw.atomic import write_json
from decolle_hw.compiler.estimates.activity import Activity
from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.lowering.stages import TILES, Options, lower
from decolle_hw.compiler.placement import Placement, place
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.rules import Subject, Violation, violations
from decolle_hw.targets import Target


@dataclass(frozen=True)
class Wanted:
    """What a user may ask of placement."""

    target: Target
    board: str | None = None  # None: the smallest that is large enough
    cores: int | None = None  # at most so many
    utilisation: float = 1.0  # share of each limit of a core
    plastic: tuple[int, ...] = ()  # layers of the float network that learn on chip


@dataclass(frozen=True)
class Mapped:
    """Result of `map_graph`: every stage, and whether the network may run there."""

    stages: tuple[tuple[str, Graph], ...]
    placement: Placement
    violations: list[Violation] = field(default_factory=list)

    @property
    def graph(self) -> Graph:
        """What was placed."""
        return self.stages[-1][1]


def map_graph(
    graph: Graph, wanted: Wanted, *, classes: int, program: Program | None = None, activity: Activity | None = None
) -> Mapped:
    """Lower and place a network; never raises for one that does not fit.

    Args:
        graph: as `decolle_hw.compiler.lowering.read` gives it.
        classes: of a readout.
        program: the compiled network, so that the widths of its registers are looked at as well.
        activity: with it cores that send each other many spikes come to lie close together.

    Raises `SpecError` for a board that the target has not, `CompileError` for a plastic layer that there is not.
    """
    stages = lower(graph, Options(wanted.plastic, classes))
    lowered = stages[-1][1]
    placement = place(
        lowered, wanted.target, cores=wanted.cores, utilisation=wanted.utilisation, board=wanted.board,
        activity=None if activity is None else activity.rates(lowered),
    )  # fmt: skip
    return Mapped(stages, placement, violations(Subject(lowered, placement, wanted.target, program)))


def save_stages(mapped: Mapped, folder: Path) -> list[Path]:
    """One JSON file per stage, numbered in their order; the last one is the placement."""
    contents: list[tuple[str, dict[str, Any]]] = [(name, graph.to_json()) for name, graph in mapped.stages]
    contents.append((TILES[0], mapped.placement.to_json()))
    paths: list[Path] = []
    for number, (name, content) in enumerate(contents, 1):
        path = folder / f"{number}-{name}.json"
        write_json(content, path)
        paths.append(path)
    return paths
