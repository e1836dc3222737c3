"""Graphs and limits for the tests of placement: chains by hand, and anything small at random."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from decolle_hw.compiler.lowering.graph import INPUT, Connection, Geometry, Graph, Population, Shape
from decolle_hw.compiler.placement import Placement
from decolle_hw.targets import Limit, Target, load_target

LOIHI1, LOIHI2 = load_target("loihi1"), load_target("loihi2")


def with_limits(target: Target, **values: Any) -> Target:
    """`target` with some limits replaced."""
    update = {name: Limit(value=value, source="a test", confidence="assumed") for name, value in values.items()}
    return target.model_copy(update=update)


def as_json(placement: Placement) -> dict[str, Any]:
    """As it comes back from a file."""
    plain: dict[str, Any] = json.loads(json.dumps(placement.to_json()))
    return plain


def population(name: str, *shape: int) -> Population:
    c, h, w = (*shape, 1, 1)[:3]
    return Population(name, "hidden", "cuba", (c, h, w), None)


def chain(input_shape: Shape, *layers: tuple[Shape, Geometry | None]) -> Graph:
    """Populations one after the other: (shape, geometry) of each."""
    populations, connections, source, source_shape = [], [], INPUT, input_shape
    for index, (shape, geometry) in enumerate(layers):
        populations.append(population(f"p{index}", *shape))
        connections.append(Connection(source, f"p{index}", source_shape, geometry))
        source, source_shape = f"p{index}", shape
    return Graph("chain", input_shape, tuple(populations), tuple(connections))


def conv_chain(channels: list[int], pools: list[int], side: int, kernel: int = 7, inputs: int = 2) -> Graph:
    """Convolutions that keep the size of their map, each with a pooling stage of its own behind it where pool > 1."""
    layers: list[tuple[Shape, Geometry | None]] = []
    for count, pool in zip(channels, pools, strict=True):
        layers.append(((count, side, side), Geometry((kernel, kernel), padding=(kernel // 2, kernel // 2))))
        if pool > 1:
            side //= pool
            layers.append(((count, side, side), Geometry((pool, pool), (pool, pool), groups=count)))
    first = layers[0][0]
    return chain((inputs, first[1], first[2]), *layers)


def dense_chain(inputs: int, *neurons: int) -> Graph:
    return chain((inputs, 1, 1), *(((count, 1, 1), None) for count in neurons))


@st.composite
def geometries(draw: st.DrawFn, source: Shape, channels: int) -> tuple[Shape, Geometry] | None:
    """A convolution from this map, and the shape of its own."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = draw(pair), draw(pair), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 4) if source[0] % g == 0 and channels % g == 0]))
    sizes = [
        (source[1 + d] + 2 * padding[d] - dilation[d] * (kernel[d] - 1) - 1) // stride[d] + 1 for d in range(2)
    ]  # fmt: skip
    if min(sizes) < 1:
        return None
    return (channels, sizes[0], sizes[1]), Geometry(kernel, stride, padding, dilation, groups)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """One to four populations in a chain, with feedback and second connections, matrices with and without zeros."""
    input_shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)))
    populations: list[Population] = []
    connections: list[Connection] = []
    source, shape = INPUT, input_shape
    for index in range(draw(st.integers(1, 4))):
        name = f"p{index}"
        found = draw(geometries(shape, draw(st.integers(1, 4)))) if draw(st.booleans()) else None
        new, geometry = found or ((draw(st.integers(1, 12)), 1, 1), None)
        populations.append(population(name, *new))
        connections.append(draw(_connection(source, shape, name, new, geometry)))
        source, shape = name, new
    for _ in range(draw(st.integers(0, 2))):  # feedback, shortcuts, a population to itself
        one, other = (populations[draw(st.integers(0, len(populations) - 1))] for _ in range(2))
        connections.append(draw(_connection(one.name, one.shape, other.name, other.shape, None)))
    return Graph("random", input_shape, tuple(populations), tuple(connections))


@st.composite
def _connection(
    draw: st.DrawFn, source: str, source_shape: Shape, target: str, shape: Shape, geometry: Geometry | None
) -> Connection:
    nonzero = None
    if geometry is None and draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        density = draw(st.sampled_from([0.0, 0.1, 0.5, 0.95]))
        nonzero = rng.random((int(np.prod(shape)), int(np.prod(source_shape)))) < density
    return Connection(
        source, target, source_shape, geometry, draw(st.integers(2, 8)), draw(st.integers(0, 3)),
        draw(st.sampled_from([False, False, True])), nonzero=nonzero,
    )  # fmt: skip


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """Loihi 2 with narrow limits; two of the four of a core at most, or nearly nothing would fit."""
    atoms = draw(st.sampled_from([1, 2, 3, 1024]))
    narrow = {
        "neurons_per_core": [1, 3, 7, 20],
        "synaptic_memory_bits": [500, 1500, 5000, 20000],
        "in_axons": [4, 10, 30, 60],
        "out_axons": [3, 12, 30, 60],
    }
    chosen = draw(st.sets(st.sampled_from(sorted(narrow)), min_size=1, max_size=2))
    return with_limits(
        LOIHI2,
        axon_atoms=atoms,
        shared_axon_slots=1 if atoms == 1 else draw(st.integers(1, 2)),
        shared_weights=draw(st.booleans()),
        usable_cores=draw(st.sampled_from([3, 10, 120])),
        neurons_per_chip=draw(st.sampled_from([30, 10**6])),
        synapses_per_chip=draw(st.sampled_from([400, 10**8])),
        cores_per_tile=draw(st.sampled_from([4, 15])),
        **{name: draw(st.sampled_from(values)) for name, values in narrow.items() if name in chosen},
    )


TINY = [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (1, 2, 2), (2, 1, 2), (1, 1, 4), (1, 2, 3), (2, 2, 1)]


@st.composite
def tiny_graphs(draw: st.DrawFn) -> Graph:
    """One to three populations of up to six neurons: few enough to try every way to cut them."""
    input_shape = draw(st.sampled_from([*TINY, (2, 3, 3)]))
    populations: list[Population] = []
    connections: list[Connection] = []
    source, shape = INPUT, input_shape
    for index in range(draw(st.integers(1, 3))):
        found = draw(geometries(shape, draw(st.integers(1, 2)))) if draw(st.booleans()) else None
        new, geometry = found if found and found[0] in TINY else (draw(st.sampled_from(TINY)), None)
        populations.append(population(f"p{index}", *new))
        connections.append(draw(_connection(source, shape, f"p{index}", new, geometry)))
        source, shape = f"p{index}", new
    if draw(st.integers(0, 3)) == 0:
        one, other = (populations[draw(st.integers(0, len(populations) - 1))] for _ in range(2))
        connections.append(draw(_connection(one.name, one.shape, other.name, other.shape, None)))
    return Graph("tiny", input_shape, tuple(populations), tuple(connections))


@st.composite
def tiny_targets(draw: st.DrawFn) -> Target:
    """Limits that cut a few neurons apart."""
    atoms = draw(st.sampled_from([1, 2, 1024]))
    return with_limits(
        LOIHI2,
        neurons_per_core=draw(st.sampled_from([2, 3, 4, 1000])),
        synaptic_memory_bits=draw(st.sampled_from([200, 400, 800, 10**6])),
        in_axons=draw(st.sampled_from([3, 6, 9, 1000])),
        out_axons=draw(st.sampled_from([2, 3, 4, 6, 10, 1000])),
        axon_atoms=atoms,
        shared_axon_slots=1 if atoms == 1 else draw(st.integers(1, 2)),
        shared_weights=draw(st.booleans()),
    )
