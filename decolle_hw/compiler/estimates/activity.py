"""What was measured of a network: how often each neuron spiked and was at work, over some recordings.

Everything here is a whole number of events over all measured recordings and steps, so that what is computed from it
adds up exactly: over the cores of a layer, over the layers, over parts of a data set. Means are left to the end.
`decolle_hw.sim.activity` makes it from a run.
"""

# I inputs, N neurons

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.lowering.graph import INPUT, Connection, Graph, Population

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerActivity:
    """One layer of a compiled network."""

    spikes: IntArray  # (N,) spikes of each neuron
    active: IntArray | None = None  # (N,) steps in which it took a spike or sent one; None: not measured
    # Steps in which the potential of a neuron changed, those of all neurons together; the first step of a recording
    # counts for each of them. None: not measured. See `neurobench.membrane_updates`.
    membrane_updates: int | None = None


@dataclass(frozen=True, eq=False)
class Activity:
    """All layers of a compiled network and its input, over `recordings` of `steps` each."""

    recordings: int
    steps: int
    input: IntArray  # (I,) spikes of each input
    layers: tuple[LayerActivity, ...]

    def __post_init__(self) -> None:
        if self.recordings < 1 or self.steps < 1:
            raise ValueError(f"activity of {self.recordings} recordings of {self.steps} steps: expected at least one")
        counts = {"input": self.input}
        for index, layer in enumerate(self.layers):
            counts[f"layer {index}"] = layer.spikes
            if layer.active is not None:
                counts[f"layer {index}, active"] = layer.active
                if layer.active.shape != layer.spikes.shape or np.any(layer.active < layer.spikes):
                    raise ValueError(f"layer {index}: each neuron is active at least as often as it spikes")
        for name, values in counts.items():
            if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
                raise ValueError(f"{name}: expected one integer per neuron, got {values.dtype} {values.shape}")
            if values.size and not (values.min() >= 0 and values.max() <= self.all_steps):
                raise ValueError(f"{name}: {values.min()}..{values.max()} events of a neuron in {self.all_steps} steps")

    @property
    def all_steps(self) -> int:
        """Of all recordings together."""
        return self.recordings * self.steps

    def of(self, population: Population) -> LayerActivity | None:
        """None where the population is no layer of the compiled network (errors of learning).

        The neurons of an input block are the input themselves; their potentials were not looked at.
        """
        if population.role == "pixels":
            assert self.input.size == population.size, population
            return LayerActivity(self.input)
        if population.layer is None:
            return None
        measured = self.layers[population.layer]
        assert measured.spikes.size == population.size, (population, measured.spikes.size)
        return measured

    def of_source(self, graph: Graph, connection: Connection) -> IntArray | None:
        """(I,) spikes that enter a connection; None where they were not measured."""
        if connection.source == INPUT:
            # What enters an error population from outside is the target of learning.
            if graph.population(connection.target).role == "error":
                return None
            assert self.input.size == connection.source_size, (connection, self.input.size)
            return self.input
        measured = self.of(graph.population(connection.source))
        return None if measured is None else measured.spikes

    def spike_counts(self, graph: Graph) -> dict[str, NDArray[np.float64]]:
        """(c, h, w) spikes of each neuron by population, zero where not measured; whole numbers in floats.

        The input is among them unless something else, the target of a learning layer, enters from outside as well.
        """
        counts = {}
        if all(self.of_source(graph, connection) is not None for connection in graph.out_of(INPUT)):
            counts[INPUT] = self.input.astype(np.float64).reshape(graph.input_shape)
        for population in graph.populations:
            measured = self.of(population)
            spikes_N = np.zeros(population.size) if measured is None else measured.spikes.astype(np.float64)
            counts[population.name] = spikes_N.reshape(population.shape)
        return counts

    def rates(self, graph: Graph) -> dict[str, NDArray[np.float64]]:
        """(c, h, w) mean spikes of each neuron per step, by population: what placement weighs traffic with."""
        return {name: counts / self.all_steps for name, counts in self.spike_counts(graph).items()}

    @staticmethod
    def join(parts: Sequence[Activity]) -> Activity:
        """Of all recordings of all parts, which are of one network and of equally many steps."""
        first = parts[0]
        if any(part.steps != first.steps or len(part.layers) != len(first.layers) for part in parts):
            raise ValueError("only activities of one network and of recordings of one length can be joined")
        layers = tuple(_joined([part.layers[index] for part in parts]) for index in range(len(first.layers)))
        recordings = sum(part.recordings for part in parts)
        return Activity(recordings, first.steps, _sum([part.input for part in parts]), layers)


def _joined(parts: Sequence[LayerActivity]) -> LayerActivity:
    active = [part.active for part in parts if part.active is not None]
    changes = [part.membrane_updates for part in parts if part.membrane_updates is not None]
    return LayerActivity(
        _sum([part.spikes for part in parts]),
        _sum(active) if len(active) == len(parts) else None,
        sum(changes) if len(changes) == len(parts) else None,
    )


def _sum(arrays: Sequence[IntArray]) -> IntArray:
    total: IntArray = np.sum(arrays, axis=0, dtype=np.int64)
    return total
