"""The graph as placement walks through it: sites by population, and links in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from decolle_hw.compiler.lowering.graph import INPUT, Connection, Graph, Population, Shape
from decolle_hw.compiler.placement.axis import axes_of
from decolle_hw.compiler.placement.inputs import Incoming
from decolle_hw.compiler.placement.model import Limits
from decolle_hw.compiler.placement.site import Site
from decolle_hw.errors import CompileError


@dataclass(frozen=True)
class Link:
    """A connection and its place among those into its target."""

    source: str
    target: str
    position: int


@dataclass(frozen=True)
class Sites:
    """Populations in the order of the graph; those that are alike share a site."""

    limits: Limits
    by_name: dict[str, Site]
    into: dict[str, tuple[Link, ...]]
    out_of: dict[str, tuple[Link, ...]]

    @classmethod
    def of(cls, graph: Graph, limits: Limits) -> Sites:
        """Raises `CompileError` with all that contradicts itself in the graph."""
        check_graph(graph)
        connections: dict[str, list[Connection]] = {population.name: [] for population in graph.populations}
        into: dict[str, list[Link]] = {name: [] for name in connections}
        out_of: dict[str, list[Link]] = {name: [] for name in connections}
        for connection in graph.connections:
            link = Link(connection.source, connection.target, len(connections[connection.target]))
            connections[connection.target].append(connection)
            into[connection.target].append(link)
            if connection.source != INPUT:
                out_of[connection.source].append(link)
        alike: dict[object, Site] = {}
        by_name: dict[str, Site] = {}
        for population in graph.populations:
            here = connections[population.name]
            key = (population.shape, tuple(map(_kind, here)))
            if key not in alike:
                alike[key] = Site.of(population.shape, here, limits)
            by_name[population.name] = alike[key]
        return cls(
            limits, by_name,
            {name: tuple(links) for name, links in into.items()},
            {name: tuple(links) for name, links in out_of.items()},
        )  # fmt: skip

    def incoming(self, link: Link) -> Incoming:
        return self.by_name[link.target].incoming[link.position]


def _kind(connection: Connection) -> object:
    """Equal for connections that ask for the same on every core; a mask is told apart by its identity."""
    mask = None if connection.nonzero is None else id(connection.nonzero)
    return (
        connection.source_shape, connection.geometry, connection.weight_bits, connection.delay_bits,
        connection.plastic, mask,
    )  # fmt: skip


def check_graph(graph: Graph) -> None:
    """Raise `CompileError` with everything in the graph that does not fit together, in one line."""
    by_name = {population.name: population for population in graph.populations}
    problems = [f"{graph.name}: no population"] if not by_name else []
    if len(by_name) != len(graph.populations):
        problems.append(f"{graph.name}: two populations of one name")
    for connection in graph.connections:
        problems += [
            f"{connection.source} -> {connection.target}: {problem}" for problem in _problems(connection, by_name)
        ]
    if problems:
        raise CompileError("; ".join(problems))


def _problems(connection: Connection, by_name: dict[str, Population]) -> Iterator[str]:
    target = by_name.get(connection.target)
    if target is None:
        yield f"there is no population {connection.target}"
        return
    if connection.source != INPUT:
        source = by_name.get(connection.source)
        if source is None:
            yield f"there is no population {connection.source}"
            return
        # A matrix takes a map as the row of its neurons; a convolution needs its shape.
        if connection.source_size != source.size:
            yield f"source_shape {connection.source_shape} has not the {source.size} neurons of the source"
        elif connection.geometry is not None and connection.source_shape != source.shape:
            yield f"source_shape {connection.source_shape}, expected {source.shape}"
    if connection.geometry is None:
        if connection.nonzero is not None and connection.nonzero.shape != (target.size, connection.source_size):
            yield f"nonzero {connection.nonzero.shape}, expected {(target.size, connection.source_size)}"
        return
    yield from _convolution_problems(connection, target.shape)


def _convolution_problems(connection: Connection, shape: Shape) -> Iterator[str]:
    geometry = connection.geometry
    assert geometry is not None
    if connection.source_shape[0] % geometry.groups or shape[0] % geometry.groups:
        yield f"groups {geometry.groups}, expected a divisor of {connection.source_shape[0]} and of {shape[0]} channels"
    for name, axis in zip(("rows", "columns"), axes_of(connection, shape), strict=True):
        last = (axis.neurons - 1) * axis.stride + (axis.kernel - 1) * axis.dilation
        padded = axis.inputs + 2 * axis.padding
        if last >= padded:
            yield f"{axis.neurons} {name} reach over {last + 1} places, the padded map has {padded}"
