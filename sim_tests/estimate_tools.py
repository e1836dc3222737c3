"""Networks for tests of estimates; and their events, counted synapse by synapse and spike by spike."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from decolle_hw.compiler.estimates.activity import Activity
from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.lowering.graph import INPUT, Graph
from decolle_hw.compiler.lowering.read import graph_of_program
from decolle_hw.compiler.lowering.stages import lower
from decolle_hw.compiler.program import Program
from decolle_hw.sim.activity import measure
from decolle_hw.sim.random_program import random_conv_program, random_program, random_spikes

RECORDINGS = 2


def synapses(layer: Layer) -> list[tuple[int, int, int]]:
    """(input, neuron, weight) of every synapse that is not in the padding, by its definition."""
    if isinstance(layer, DenseLayer):
        return [(i, n, int(layer.weight[n, i])) for n in range(layer.num_neurons) for i in range(layer.num_inputs)]
    assert isinstance(layer, ConvLayer)
    found = []
    channels, height, width = layer.map_shape
    _, input_height, input_width = layer.input_shape
    per_group_out, per_group_in = channels // layer.groups, layer.weight.shape[1]
    for c, y, x in np.ndindex(channels, height, width):
        for k, ky, kx in np.ndindex(*layer.weight.shape[1:]):
            row = y * layer.strides[0] - layer.paddings[0] + ky * layer.dilations[0]
            column = x * layer.strides[1] - layer.paddings[1] + kx * layer.dilations[1]
            if 0 <= row < input_height and 0 <= column < input_width:
                channel = c // per_group_out * per_group_in + k
                source = (channel * input_height + row) * input_width + column
                found.append((source, (c * height + y) * width + x, int(layer.weight[c, k, ky, kx])))
    return found


def small_network(seed: int) -> Program:
    rng = np.random.default_rng(seed)
    if seed % 2:
        return random_program(rng, "cuba", sizes=(9, 7, 5), steps=6, max_delay=seed % 3)
    return random_conv_program(rng, "decolle", input_shape=(2, 6, 5), units=4, steps=7)


def with_zeros(program: Program, rng: np.random.Generator, share: float = 1 / 3) -> Program:
    """So many of the weights are zero."""

    def thinned(layer: Layer) -> Layer:
        if layer.is_pooling:
            return layer
        return dataclasses.replace(layer, weight=layer.weight * (rng.random(layer.weight.shape) > share).astype("i4"))

    return dataclasses.replace(program, layers=tuple(map(thinned, program.layers)))


def lowered(program: Program) -> Graph:
    return lower(graph_of_program(program))[-1][1]


def measured_network(seed: int) -> tuple[Program, Graph, Activity, np.random.Generator]:
    rng = np.random.default_rng(seed)
    program = with_zeros(small_network(seed), rng, 0.9 if seed % 5 == 0 else 1 / 3)  # 0.9: sparse formats pay
    return program, lowered(program), measure(program, random_spikes(rng, program, RECORDINGS)), rng


def core_of_neurons(graph: Graph, cores) -> dict[str, np.ndarray]:
    """(N,) index of the core of each neuron, by population."""
    found = {}
    for population in graph.populations:
        core_chw = np.full(population.shape, -1)
        for position, core in enumerate(cores):
            if core.population == population.name:
                block = core_chw[slice(*core.channels), slice(*core.rows), slice(*core.columns)]
                assert np.all(block == -1)
                block[...] = position
        assert core_chw.min() >= 0
        found[population.name] = core_chw.reshape(-1)
    return found


def events_by_loops(
    program: Program, graph: Graph, cores, activity: Activity, sparse: set[str]
) -> tuple[list[Counter], Counter]:
    """Events of each core, and messages by (source core, destination core): spike by spike, synapse by synapse."""
    events, pairs = [Counter() for _ in cores], Counter()
    home = core_of_neurons(graph, cores)
    for population in graph.populations:
        layer, measured = program.layers[population.layer], activity.layers[population.layer]
        source = graph.into(population.name)[0].source
        sent = activity.input if source == INPUT else activity.layers[graph.population(source).layer].spikes
        goes_to: dict[int, set[int]] = {i: set() for i in range(layer.num_inputs)}
        for i, n, weight in synapses(layer):
            if weight or population.name not in sparse:
                events[home[population.name][n]]["synaptic_ops"] += int(sent[i])
                goes_to[i].add(int(home[population.name][n]))
        for i, destinations in goes_to.items():
            for destination in destinations:
                if source == INPUT:
                    events[destination]["spikes_from_input"] += int(sent[i])
                else:
                    pairs[int(home[source][i]), destination] += int(sent[i])
        for n in range(layer.num_neurons):
            own = events[home[population.name][n]]
            own["spikes"] += int(measured.spikes[n])
            own["updates_active"] += int(measured.active[n])
            own["updates_idle"] += activity.all_steps - int(measured.active[n])
    for (one, other), messages in pairs.items():
        a, b = cores[one], cores[other]
        if one == other:
            events[one]["messages_within_core"] += messages
        elif a.chip != b.chip:
            events[one]["messages_between_chips"] += messages
        elif (a.x, a.y) == (b.x, b.y):
            events[one]["messages_within_tile"] += messages
        else:
            events[one]["messages_between_tiles"] += messages
            events[one]["hops_east_west"] += messages * abs(a.x - b.x)
            events[one]["hops_north_south"] += messages * abs(a.y - b.y)
    return events, pairs
