"""What each population does, neuron by neuron: the part of an estimate that no placement changes."""

# I inputs, N neurons; c, h, w channels, height, width

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from decolle_hw.compiler.estimates.activity import Activity, IntArray
from decolle_hw.compiler.estimates.operations import operations_per_neuron
from decolle_hw.compiler.lowering.graph import Connection, Graph, Population


@dataclass(frozen=True, eq=False)
class Work:
    """(c, h, w) events of each neuron of one population, over all measured recordings and steps."""

    population: Population
    synaptic_ops: IntArray
    active: IntArray  # updates in which it takes or sends a spike
    idle: IntArray  # all others
    spikes: IntArray
    missing: tuple[str, ...] = ()  # what was not measured and counts as nothing
    notes: tuple[str, ...] = ()  # what was not measured and is taken to be


def work_of(graph: Graph, population: Population, activity: Activity, sparse: Collection[Connection] = ()) -> Work:
    """Synaptic operations, updates and spikes of each neuron.

    Args: sparse: connections stored without their weights of zero; see `operations_per_neuron`.
    """
    missing, notes = [], []
    operations = np.zeros(population.shape, np.int64)
    for connection in graph.into(population.name):
        spikes_I = activity.of_source(graph, connection)
        if spikes_I is None:
            missing.append(f"synaptic operations of {population.name} for spikes from {connection.source}")
            continue
        skip_zeros = connection in sparse
        operations += operations_per_neuron(connection, population.shape, spikes_I, skip_zeros=skip_zeros)
    measured = activity.of(population)
    if measured is None:
        spikes = np.zeros(population.shape, np.int64)
        missing.append(f"spikes of {population.name} and their messages")
    else:
        spikes = measured.spikes.reshape(population.shape)
    if measured is None or measured.active is None:
        active = np.full(population.shape, activity.all_steps, np.int64)
        notes.append(f"{population.name}: which updates are active was not measured: all are taken to be")
    else:
        active = measured.active.reshape(population.shape)
    return Work(population, operations, active, activity.all_steps - active, spikes, tuple(missing), tuple(notes))
