"""From a network to a graph of populations that cores can hold, in five steps that can be looked at one by one.

A stage is a function ``stage(graph, options) -> graph``. `STAGES` is their order; the last one, tiles, is placement
and has a package of its own (`decolle_hw.compiler.placement`), as it needs a target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from decolle_hw.compiler.lowering.graph import INPUT, Connection, Geometry, Graph, Population
from decolle_hw.errors import CompileError

FEEDBACK_BITS = 8  # of the fixed readout G and of its transpose, as `Layer.readout_weight`


@dataclass(frozen=True)
class Options:
    """What a stage is told besides the graph."""

    plastic: tuple[int, ...] = ()  # layers of the float network whose weights learn on chip
    classes: int = 0  # of a readout; read only where there is a plastic layer


Stage = Callable[[Graph, Options], Graph]


def normalise(graph: Graph, options: Options) -> Graph:
    """One word for one thing: what makes no difference is written as if it were not there.

    A stride along an axis with one place only, a dilation of a kernel of one, a mask without a zero.
    """
    connections = tuple(
        replace(
            connection,
            geometry=_plain(connection.geometry, graph.population(connection.target)),
            nonzero=None if connection.nonzero is None or bool(np.all(connection.nonzero)) else connection.nonzero,
        )
        for connection in graph.connections
    )
    return replace(graph, connections=connections)


def _plain(geometry: Geometry | None, target: Population) -> Geometry | None:
    if geometry is None:
        return None
    stride_y, stride_x = (
        1 if places == 1 else stride for places, stride in zip(target.shape[1:], geometry.stride, strict=True)
    )
    dilation_y, dilation_x = (
        1 if taps == 1 else dilation for taps, dilation in zip(geometry.kernel, geometry.dilation, strict=True)
    )
    return replace(geometry, stride=(stride_y, stride_x), dilation=(dilation_y, dilation_x))


def pooling(graph: Graph, options: Options) -> Graph:
    """Max-pooling of spikes becomes a population of its own: a memoryless OR over each window (design section 2.3).

    It takes the spikes of the population before through a grouped convolution, and passes on its own in their place.
    """
    populations: list[Population] = []
    connections = list(graph.connections)
    for population in graph.populations:
        size = population.pool_size
        populations.append(replace(population, pool_size=1))
        if size == 1:
            continue
        channels, height, width = population.shape
        pooled = Population(
            population.name.replace("conv", "pool"), "pooling", "pooling", (channels, height // size, width // size),
            None if population.layer is None else population.layer + 1,
        )  # fmt: skip
        populations.append(pooled)
        connections = [
            replace(connection, source=pooled.name, source_shape=pooled.shape)
            if connection.source == population.name else connection
            for connection in connections
        ]  # fmt: skip
        window = Geometry(kernel=(size, size), stride=(size, size), groups=channels)
        connections.append(Connection(population.name, pooled.name, population.shape, window, weight_bits=2))
    return replace(graph, populations=tuple(populations), connections=_in_order(populations, connections))


def delays(graph: Graph, options: Options) -> Graph:
    """Every pooling stage passes spikes on one step later: a latency is the number of those so far."""
    latency = {INPUT: 0}
    populations: list[Population] = []
    for population in graph.populations:
        before = max((latency[connection.source] for connection in graph.into(population.name)), default=0)
        latency[population.name] = before + (population.role == "pooling")
        populations.append(replace(population, latency=latency[population.name]))
    return replace(graph, populations=tuple(populations))


def learning(graph: Graph, options: Options) -> Graph:
    """Each plastic layer gets what its local rule needs (design section 3.2).

    ::

        spikes --G--> error (a neuron per class: readout - target, clipped) --G^T, graded--> third factor

    The readout takes pooled spikes where the layer has pooling, as in training. Its target comes from outside.

    Raises `CompileError` for a layer that there is not.
    """
    hidden = [population for population in graph.populations if population.role == "hidden"]
    wrong = [index for index in options.plastic if not 0 <= index < len(hidden)]
    if wrong:
        raise CompileError(
            f"plastic layers {', '.join(map(str, wrong))}: {graph.name} has layers 0..{len(hidden) - 1}; "
            "count the layers of the network, pooling not counted"
        )
    populations, connections = list(graph.populations), list(graph.connections)
    for index in options.plastic:
        learner = hidden[index]
        connections = [
            replace(connection, plastic=True) if connection.target == learner.name else connection
            for connection in connections
        ]
        read = next(
            (population for population in populations if population.name == learner.name.replace("conv", "pool")),
            learner,
        )
        shape = (options.classes, 1, 1)
        error = Population(f"error{index}", "error", "error", shape, None, latency=read.latency)
        populations.append(error)
        each = Geometry(kernel=(1, 1), groups=options.classes)
        connections += [
            Connection(read.name, error.name, read.shape, None, FEEDBACK_BITS),
            Connection(INPUT, error.name, shape, each, weight_bits=2),
            Connection(error.name, learner.name, shape, None, FEEDBACK_BITS, graded=True),
        ]
    return replace(graph, populations=tuple(populations), connections=_in_order(populations, connections))


STAGES: tuple[tuple[str, Stage, str], ...] = (
    ("normalise", normalise, "strides, dilations and masks that make no difference"),
    ("pooling", pooling, "max-pooling becomes populations of memoryless OR neurons"),
    ("delays", delays, "by how many steps each population runs later than the float network"),
    ("learning", learning, "readout, error and feedback of each plastic layer"),
)
TILES = ("tiles", "populations cut into blocks, one per core; cores to chips")


def stage_names() -> list[tuple[str, str]]:
    """(name, what it does) of all stages in order."""
    return [*((name, text) for name, _, text in STAGES), TILES]


def lower(graph: Graph, options: Options = Options()) -> tuple[tuple[str, Graph], ...]:
    """All stages but tiles, in order: (name of the stage, its result); the last is what is placed."""
    results: list[tuple[str, Graph]] = []
    for name, stage, _ in STAGES:
        graph = stage(graph, options)
        results.append((name, graph))
    return tuple(results)


def _in_order(populations: list[Population], connections: list[Connection]) -> tuple[Connection, ...]:
    """In the order of their targets."""
    order = {population.name: position for position, population in enumerate(populations)}
    return tuple(sorted(connections, key=lambda connection: order[connection.target]))
