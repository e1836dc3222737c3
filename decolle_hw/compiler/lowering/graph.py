"""What is placed on cores: populations of neurons and the connections between them, without a single weight value.

The stages of `decolle_hw.compiler.lowering.stages` turn a network into such a graph, step by step; placement,
estimates and reports read it. It is small (a few numbers per layer), so that a network of any size is placed in
seconds and every stage's result can be saved as JSON.

A map has the shape (c, h, w); a dense population of n neurons is (n, 1, 1).
"""

# N neurons of a population, I of its source

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

INPUT = "input"  # the source of what arrives from outside: it occupies no core

Role = Literal["pixels", "hidden", "pooling", "error"]
Shape = tuple[int, int, int]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """A convolution, as `torch.nn.Conv2d` has it; pairs are (y, x)."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class Population:
    """Neurons of one kind that one core's worth of microcode runs."""

    name: str  # conv0, pool0, dense1, error1; pixels: an input block
    role: Role
    neuron: str  # cuba, decolle; or (memoryless cuba) pooling; errors: microcode of their own
    shape: Shape
    layer: int | None  # of the compiled program; None: it has no such layer
    pool_size: int = 1  # of a convolution before `pooling`; see that stage
    latency: int = 0  # steps that it runs later on chip than in the float network; set by `delays`

    @property
    def size(self) -> int:
        """N"""
        return math.prod(self.shape)

    def __post_init__(self) -> None:
        assert min(self.shape) >= 1, (self.name, self.shape)


@dataclass(frozen=True)
class Connection:
    """All synapses from one population to another."""

    source: str  # name of a population, or INPUT
    target: str
    source_shape: Shape
    geometry: Geometry | None = None  # None: dense
    weight_bits: int = 8
    delay_bits: int = 0  # of the longest synaptic delay
    plastic: bool = False  # its weights learn: unshared, with tag and traces
    graded: bool = False  # its spikes carry a payload
    # (N, I) where a dense matrix has a weight other than zero; None: everywhere, or not known.
    nonzero: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)

    @property
    def source_size(self) -> int:
        """I"""
        return math.prod(self.source_shape)


@dataclass(frozen=True)
class Graph:
    """Populations in the order in which they run, and their connections."""

    name: str
    input_shape: Shape
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]

    def population(self, name: str) -> Population:
        return next(population for population in self.populations if population.name == name)

    def into(self, name: str) -> tuple[Connection, ...]:
        """Connections that end at a population."""
        return tuple(connection for connection in self.connections if connection.target == name)

    def out_of(self, name: str) -> tuple[Connection, ...]:
        """Connections that start at a population."""
        return tuple(connection for connection in self.connections if connection.source == name)

    @property
    def neurons(self) -> int:
        return sum(population.size for population in self.populations)

    def synapses(self, connection: Connection) -> int:
        """Connections between two neurons: zeros of a matrix and the padding of a convolution included."""
        target = self.population(connection.target)
        if connection.geometry is None:
            return target.size * connection.source_size
        per_neuron = connection.source_shape[0] // connection.geometry.groups * math.prod(connection.geometry.kernel)
        return target.size * per_neuron

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; of a matrix of non-zero weights their number."""
        plain = asdict(self)
        for entry, connection in zip(plain["connections"], self.connections, strict=True):
            entry["nonzero"] = None if connection.nonzero is None else int(np.count_nonzero(connection.nonzero))
            entry["synapses"] = self.synapses(connection)
        return plain
