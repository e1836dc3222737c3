"""Estimates against loops over every neuron, synapse and spike, and by hand."""

# R recordings, T steps, I inputs, N neurons, K cores

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from estimate_tools import events_by_loops, lowered, measured_network
from hypothesis import given, settings
from hypothesis import strategies as st
from small_programs import make_program, make_spikes

from decolle_hw.compiler.estimates.activity import Activity, LayerActivity
from decolle_hw.compiler.estimates.cores import core_events
from decolle_hw.compiler.estimates.events import Events, busy_ns, constants_of, energy_of, figures_label
from decolle_hw.compiler.estimates.layers import work_of
from decolle_hw.compiler.estimates.operations import operations_per_neuron
from decolle_hw.compiler.lowering.graph import INPUT, Connection, Geometry, Graph, Population
from decolle_hw.sim.activity import measure
from decolle_hw.targets import load_target


@dataclass(frozen=True)
class Block:
    """A core by hand."""

    index: int
    population: str
    channels: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    chip: int = 0
    x: int = 0
    y: int = 0

    @property
    def neurons(self) -> int:
        return int(np.prod([high - low for low, high in (self.channels, self.rows, self.columns)]))


def cut(rng: np.random.Generator, graph: Graph) -> list[Block]:
    """Every population in up to 3 parts along each axis, on random tiles of three chips."""
    cores: list[Block] = []
    for population in graph.populations:
        edges = []
        for size in population.shape:
            inner = rng.choice(np.arange(1, size), min(size - 1, int(rng.integers(0, 3))), replace=False)
            edges.append([0, *sorted(inner.tolist()), size])
        for c, y, x in np.ndindex(*(len(places) - 1 for places in edges)):
            block = [(places[at], places[at + 1]) for places, at in zip(edges, (c, y, x), strict=True)]
            place = dict(zip(("chip", "x", "y"), rng.integers(0, 3, 3).tolist(), strict=True))
            cores.append(Block(len(cores), population.name, *block, **place))
    return cores


@given(seed=st.integers(0, 1000), keep_zeros=st.booleans())
@settings(max_examples=25)
def test_events_of_cores_equal_loops_over_neurons_synapses_and_spikes(seed, keep_zeros):
    program, graph, activity, rng = measured_network(seed)
    cores = cut(rng, graph)
    sparse = () if keep_zeros else tuple(connection for connection in graph.connections if connection.geometry is None)
    masked = {connection.target for connection in sparse if connection.nonzero is not None}
    expected, pairs = events_by_loops(program, graph, cores, activity, masked)
    works = {population.name: work_of(graph, population, activity, sparse) for population in graph.populations}
    source, destination = np.array(list(pairs), np.int64).reshape(-1, 2).T
    messages = np.array(list(pairs.values()), np.float64)
    found = core_events(graph, cores, works, (source, destination, messages), activity, sparse)
    assert [dataclasses.asdict(events) for events in found] == [
        {field.name: counter[field.name] for field in dataclasses.fields(Events)} for counter in expected
    ]
    assert all(work.missing == work.notes == () for work in works.values())


@given(seed=st.integers(0, 1000))
@settings(max_examples=12)
def test_operations_of_a_layer_are_its_fan_out_times_the_spikes(seed):
    program, graph, activity, _ = measured_network(seed)
    for population in graph.populations:
        spikes_I = activity.input if population.layer == 0 else activity.layers[population.layer - 1].spikes
        expected = int(program.layers[population.layer].fan_out() @ spikes_I)
        assert work_of(graph, population, activity).synaptic_ops.sum() == expected


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)), dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60)
def test_operations_of_any_convolution_are_those_of_its_windows(kernel, stride, padding, dilation, groups, seed):
    geometry = Geometry(kernel, stride, padding, dilation, groups)
    source_shape = (4, 9, 8)
    height, width = (
        (source_shape[1 + d] + 2 * padding[d] - dilation[d] * (kernel[d] - 1) - 1) // stride[d] + 1 for d in (0, 1)
    )
    if min(height, width) < 1:
        return
    spikes = np.random.default_rng(seed).integers(0, 9, source_shape)
    connection = Connection(INPUT, "conv0", source_shape, geometry)
    found = operations_per_neuron(connection, (8, height, width), spikes.reshape(-1))
    for c, y, x in np.ndindex(8, height, width):
        group = c // (8 // groups)
        seen = 0
        for ky, kx in np.ndindex(*kernel):
            row = y * stride[0] - padding[0] + ky * dilation[0]
            column = x * stride[1] - padding[1] + kx * dilation[1]
            if 0 <= row < 9 and 0 <= column < 8:
                seen += spikes[group * (4 // groups) : (group + 1) * (4 // groups), row, column].sum()
        assert found[c, y, x] == seen


def test_what_was_not_measured_is_named():
    """Learning attachments have no activity; without `active`, all updates are taken to be active ones."""
    spikes = LayerActivity(np.array([3, 0]))
    activity = Activity(1, 10, np.array([5]), (spikes,))
    dense, error = (
        Population("dense0", "hidden", "cuba", (2, 1, 1), 0),
        Population("error0", "error", "error", (2, 1, 1), None),
    )
    each = Geometry((1, 1), groups=2)
    graph = Graph(
        "learner", (1, 1, 1), (dense, error),
        (
            Connection(INPUT, "dense0", (1, 1, 1), plastic=True),
            Connection("error0", "dense0", (2, 1, 1), graded=True),
            Connection("dense0", "error0", (2, 1, 1)), Connection(INPUT, "error0", (2, 1, 1), each),
        ),
    )  # fmt: skip
    learner, teacher = (work_of(graph, population, activity) for population in graph.populations)
    assert learner.synaptic_ops.sum() == 2 * 5 and learner.active.sum() == 20 and learner.idle.sum() == 0
    assert learner.missing == ("synaptic operations of dense0 for spikes from error0",)
    assert "all are taken to be" in learner.notes[0]
    assert teacher.synaptic_ops.sum() == 2 * 3 and teacher.spikes.sum() == 0
    assert teacher.missing == (
        "synaptic operations of error0 for spikes from input", "spikes of error0 and their messages",
    )  # fmt: skip


def test_a_message_to_the_own_core_is_not_one_to_another_core_of_the_tile():
    population = Population("dense0", "hidden", "cuba", (2, 1, 1), 0)
    graph = Graph("loop", (1, 1, 1), (population,), (Connection(INPUT, "dense0", (1, 1, 1)),))
    activity = Activity(1, 10, np.array([5]), (LayerActivity(np.array([3, 4])),))
    cores = [Block(k, "dense0", (k, k + 1), (0, 1), (0, 1)) for k in range(2)]
    pairs = (np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([3.0, 3.0, 4.0]))
    first, second = core_events(graph, cores, {"dense0": work_of(graph, population, activity)}, pairs, activity)
    assert (first.messages_within_core, first.messages_within_tile) == (3, 3)
    assert (second.messages_within_core, second.messages_within_tile) == (0, 4)


def test_energy_and_time_by_hand():
    events = Events(
        synaptic_ops=10, updates_active=3, updates_idle=7, spikes=4, spikes_from_input=100, messages_within_core=1,
        messages_within_tile=2, messages_between_tiles=3, messages_between_chips=1000, hops_east_west=4,
        hops_north_south=5,
    )  # fmt: skip
    target = load_target("loihi1")
    energy = energy_of(events, target.energy)
    assert energy.synaptic_ops == pytest.approx(236.0)
    assert (energy.updates_active, energy.updates_idle) == pytest.approx((243.0, 364.0))
    assert energy.messages == pytest.approx(6 * 1.7), "those between chips have no price"
    assert energy.hops == pytest.approx(4 * 3.0 + 5 * 4.0)
    assert energy.total == pytest.approx(236 + 243 + 364 + 10.2 + 32)
    assert busy_ns(events, target.time) == pytest.approx({"synaptic_ops": 35.0, "neuron_updates": 3 * 8.4 + 7 * 5.3})
    assert (events.updates, events.messages, events.messages_on_chip) == (10, 1006, 6)
    assert events.per(2)["messages"] == 503 and (events + events).hops_north_south == 10


def test_figures_say_whose_they_are():
    assert figures_label(load_target("loihi1"), "energy") == "figures of Davies et al. 2018, table 2 (pre-silicon)"
    borrowed = figures_label(load_target("loihi2"), "energy")
    assert borrowed.startswith("figures of Loihi 1: Davies et al. 2018, table 2 (pre-silicon): an upper-side estimate")
    assert "none per event have been published for loihi2" in borrowed
    nothing = load_target("loihi2").model_copy(update={"energy": None})
    assert figures_label(nothing, "energy") == "no energy per event is known for loihi2"
    constants = {constant.name: constant for constant in constants_of(load_target("loihi2"))}
    assert constants["energy.synaptic_op"].value == 23.6 and constants["energy.synaptic_op"].unit == "pJ"
    assert constants["time.barrier"].unit == "ns" and constants["time.barrier"].source
    assert len(constants) == 6 + 4, "those of learning updates are not read"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recordings": 0}, "at least one"),
        ({"input": np.array([21])}, r"input: 21\.\.21 events of a neuron in 20 steps"),
        ({"input": np.array([-1])}, "input: -1"),
        ({"input": np.array([0.5])}, "input: expected one integer per neuron"),
        ({"layers": (LayerActivity(np.array([3]), np.array([2])),)}, "layer 0: each neuron is active at least"),
    ],
)  # fmt: skip
def test_activity_that_cannot_be_is_refused(changes, message):
    values = {"recordings": 2, "steps": 10, "input": np.array([1]), "layers": (LayerActivity(np.array([1])),)}
    with pytest.raises(ValueError, match=message):
        Activity(**{**values, **changes})


def test_rates_are_what_placement_takes():
    program, spikes_RTI = make_program("pooled", "cuba"), make_spikes(5)
    graph, activity = lowered(program), measure(program, spikes_RTI)
    rates = activity.rates(graph)
    assert set(rates) == {INPUT, *(population.name for population in graph.populations)}
    np.testing.assert_allclose(rates[INPUT].reshape(-1), spikes_RTI.mean((0, 1)), rtol=1e-12)
    assert all(rates[population.name].shape == population.shape for population in graph.populations)
