"""Estimates of placed networks: against loops over everything, sums, the figures of one network by hand, and JSON."""

# R recordings, T steps, I inputs, N neurons, K cores

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from estimate_tools import events_by_loops, lowered, measured_network
from hypothesis import given, settings
from hypothesis import strategies as st
from small_programs import make_program, make_spikes

from decolle_hw.compiler.estimates.activity import Activity, LayerActivity
from decolle_hw.compiler.estimates.estimate import estimate
from decolle_hw.compiler.estimates.events import NOT_PRICED, NOT_TIMED, Events
from decolle_hw.compiler.estimates.neurobench import neurobench_metrics
from decolle_hw.compiler.estimates.result import Estimate
from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.compiler.lowering.read import graph_of_program
from decolle_hw.compiler.lowering.stages import Options, lower
from decolle_hw.compiler.placement import place, traffic
from decolle_hw.compiler.program import Program
from decolle_hw.sim.activity import measure
from decolle_hw.targets import Limit, Target, load_target

LOIHI1, LOIHI2 = load_target("loihi1"), load_target("loihi2")


def with_limits(target: Target, **values: Any) -> Target:
    """`target` with some limits replaced."""
    update = {name: Limit(value=value, source="a test", confidence="assumed") for name, value in values.items()}
    return target.model_copy(update=update)


def small_cores(rng: np.random.Generator) -> Target:
    """Few neurons per core, few cores per tile and chip."""
    return with_limits(
        LOIHI2, neurons_per_core=int(rng.integers(3, 30)), usable_cores=int(rng.integers(3, 9)), cores_per_tile=2,
        neurons_per_chip=10_000, axon_atoms=int(rng.choice([1, 2, 1024])),
    )  # fmt: skip


def add(rows) -> Events:
    return sum((row.events for row in rows), Events())


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_placed_networks_equal_loops_over_neurons_synapses_and_spikes(seed):
    program, graph, activity, rng = measured_network(seed)
    target = small_cores(rng)
    placement = place(graph, target)
    found = estimate(program, graph, placement, target, activity)
    masked = {tiling.population for tiling in placement.tilings if "sparse" in tiling.forms}
    expected, _ = events_by_loops(program, graph, placement.cores, activity, masked)
    assert [dataclasses.asdict(row.events) for row in found.cores] == [
        {field.name: counter[field.name] for field in dataclasses.fields(Events)} for counter in expected
    ]
    assert add(found.cores) == add(found.layers) == found.total
    for row in found.layers:
        own = [core for core in found.cores if core.population == row.name]
        assert add(own) == row.events and len(own) == row.cores
        assert sum(core.neurons for core in own) == row.neurons
    assert found.total.updates == sum(layer.num_neurons for layer in program.layers) * activity.all_steps
    # The very same messages as placement counts, which takes means.
    figures = traffic(placement, activity.rates(graph))
    assert found.total.messages / activity.all_steps == pytest.approx(figures.messages.sum())
    assert found.total.spikes_from_input / activity.all_steps == pytest.approx(figures.from_outside.sum())


def test_several_cores_tiles_and_chips_are_used():
    """So that the property above is not about nothing."""
    program = make_program("pooled", "decolle")
    graph, target = lowered(program), with_limits(LOIHI2, neurons_per_core=20, usable_cores=6, neurons_per_chip=10_000)
    activity = measure(program, make_spikes(3))
    found = estimate(program, graph, place(graph, target), target, activity)
    assert found.chips > 1
    assert min(found.total.messages_between_chips, found.total.messages_between_tiles) > 0
    assert min(found.total.messages_within_tile, found.total.hops_east_west, found.total.spikes_from_input) > 0
    assert 0 < found.total.updates_active < found.total.updates


def two_neurons() -> tuple[Program, Activity]:
    """Two layers of one neuron each, on 3 inputs: 10 recordings of 20 steps."""

    def layer(inputs: int) -> DenseLayer:
        nothing_N = np.zeros(1, np.int32)
        return DenseLayer(
            neuron="cuba", weight=np.full((1, inputs), 2, np.int32), weight_exp=0, du=0, dv=0, vth=nothing_N,
            bias_mant=nothing_N, bias_exp=0, dr=0, rho=0, readout_weight=np.zeros((2, 1), np.int32),
            readout_bias=np.zeros(2, np.int32),
        )  # fmt: skip

    program = Program("two", (layer(3), layer(1)), ("a", "b"), (1, 1, 3), 20, 0, "loihi1", "", "")
    layers = (
        LayerActivity(np.array([80]), np.array([120]), 150),
        LayerActivity(np.array([10]), np.array([85]), 90),
    )
    return program, Activity(10, 20, np.array([40, 50, 60]), layers)


def test_two_neurons_by_hand():
    program, activity = two_neurons()
    graph = lowered(program)
    found = estimate(program, graph, place(graph, LOIHI1), LOIHI1, activity)
    first, second = found.layers
    assert (first.events.synaptic_ops, second.events.synaptic_ops) == (150, 80)
    assert (first.events.spikes_from_input, second.events.spikes_from_input) == (150, 0)
    assert (first.events.updates_active, first.events.updates_idle) == (120, 80)
    assert (second.events.updates_active, second.events.updates_idle) == (85, 115)
    # Two cores of one tile: each spike of the first neuron is one message within it.
    assert [(core.core, core.chip, core.population) for core in found.cores] == [(0, 0, "dense0"), (1, 0, "dense1")]
    assert (first.events.messages_within_tile, first.events.messages, second.events.messages) == (80, 80, 0)
    energy = 150 * 23.6 + 120 * 81 + 80 * 52 + 80 * 1.7, 80 * 23.6 + 85 * 81 + 115 * 52
    assert (first.energy.total, second.energy.total) == pytest.approx(energy)
    assert found.energy.total == pytest.approx(sum(energy))
    # The first core: 150 operations and 120 + 80 updates in 200 steps; and the barrier of 465 ns.
    updates = (120 * 8.4 + 80 * 5.3) / 200
    assert found.cores[0].busy_ns == pytest.approx({"synaptic_ops": 150 * 3.5 / 200, "neuron_updates": updates})
    assert found.time.step_ns == pytest.approx(465 + 150 * 3.5 / 200 + updates)
    assert (found.time.core, found.time.population, found.time.limited_by) == (0, "dense0", "neuron_updates")
    assert found.time.steps_per_second == pytest.approx(1e9 / found.time.step_ns)
    assert found.static_power_mw is None
    assert not any("input block" in note for note in found.notes)
    bench = found.neurobench
    assert bench == neurobench_metrics(program, activity)
    assert dataclasses.asdict(bench.synaptic_operations) == {"Dense": 80, "Effective_MACs": 0, "Effective_ACs": 23}
    assert (bench.activation_sparsity, bench.connection_sparsity) == pytest.approx((1 - 90 / 400, 0))
    assert bench.membrane_updates == 24
    # weights of 8 bits, exponents of 4 and 3, a threshold of 17, two decays of 12, u and v of 24: rounded up to bytes
    assert bench.footprint == (3 + 1 + 3 + 1 + 3 + 6) + (1 + 1 + 3 + 1 + 3 + 6)

    plain = json.loads(json.dumps(found.to_json()))
    assert plain["energy"]["static"] == "not known" and plain["energy"]["static_power_mw"] is None
    assert plain["energy"]["dynamic_pj_per_recording"]["total"] == pytest.approx(sum(energy) / 10)
    assert plain["per_recording"]["synaptic_ops"] == 23 and plain["total"]["synaptic_ops"] == 230
    assert plain["layers"][0]["per_step"]["updates"] == 1 and plain["cores"][1]["total"]["synaptic_ops"] == 80
    assert plain["layers"][1]["energy_pj_per_step"]["total"] == pytest.approx(energy[1] / 200)
    assert plain["recording_ms"] == pytest.approx(20 * found.time.step_ns / 1e6)
    assert all(constant["source"] and constant["confidence"] == "published" for constant in plain["constants"])
    assert set(plain["notes"]) == {*NOT_PRICED, *NOT_TIMED}


def test_static_power_stands_apart():
    program, activity = two_neurons()
    graph, static = lowered(program), with_limits(LOIHI1, static_power_mw=50.0, usable_cores=1)
    found = estimate(program, graph, place(graph, static), static, activity)
    without = estimate(program, graph, place(graph, LOIHI1), LOIHI1, activity)
    assert found.chips == 2 and found.static_power_mw == 100.0
    assert found.total.messages_between_chips == 80
    assert found.energy.total == pytest.approx(without.energy.total - 80 * 1.7), "between chips: no price"
    plain = found.to_json()
    assert plain["energy"]["static_nj_per_recording"] == pytest.approx(100e-3 * 20 * found.time.step_ns)
    assert [constant["unit"] for constant in plain["constants"] if constant["name"] == "static_power_mw"] == [
        "mW per chip"
    ]


def test_a_target_without_figures_counts_all_the_same():
    program, activity = two_neurons()
    graph, bare = lowered(program), LOIHI1.model_copy(update={"energy": None, "time": None})
    found = estimate(None, graph, place(graph, bare), bare, activity)
    assert found.total.synaptic_ops == 230
    assert found.energy is found.time is found.neurobench is found.layers[0].energy is found.cores[0].busy_ns is None
    plain = json.loads(json.dumps(found.to_json()))
    assert (
        plain["energy"]["dynamic_pj_per_step"] is plain["time"] is plain["recording_ms"] is plain["neurobench"] is None
    )
    assert plain["energy"]["label"] == "no energy per event is known for loihi1" and plain["constants"] == []


def test_learning_attachments_are_named_as_not_measured():
    program = make_program("pooled", "decolle")
    graph = lower(graph_of_program(program), Options(plastic=(0, 1), classes=3))[-1][1]
    activity = measure(program, make_spikes(3))
    placement = place(graph, LOIHI2, activity=activity.rates(graph))
    found = estimate(program, graph, placement, LOIHI2, activity)
    assert add(found.cores) == add(found.layers) == found.total
    text = " ".join(found.notes)
    assert "not counted: spikes of error0 and their messages" in text
    assert "not counted: synaptic operations of conv0 for spikes from error0" in text
    assert "pooling lengthens a recording by 1 step on chip" in text


def test_neurons_of_an_input_block_are_a_population_that_sends_the_input():
    program, activity = two_neurons()
    program = dataclasses.replace(program, input_block=InputBlock(weight=30, bias=40, du=4095, dv=0, vth=100))
    graph = lowered(program)
    found = estimate(program, graph, place(graph, LOIHI1), LOIHI1, activity)
    pixels, layer = found.layers[0], found.layers[1]
    assert (pixels.name, pixels.events.synaptic_ops, pixels.cores) == ("pixels", 0, 1)
    assert pixels.events.spikes == pixels.events.messages == activity.input.sum()
    assert pixels.events.updates == pixels.neurons * activity.all_steps
    # One neuron with three inputs: a synapse for each spike.
    assert layer.events.synaptic_ops == activity.input.sum()


def test_everything_in_json_is_plain():
    program = make_program("conv", "cuba")
    graph = lowered(program)
    found: Estimate = estimate(program, graph, place(graph, LOIHI2), LOIHI2, measure(program, make_spikes(3)))
    text = json.dumps(found.to_json(), allow_nan=False)
    assert "Loihi 1: Davies et al. 2018, table 2 (pre-silicon): an upper-side estimate" in text
    assert json.loads(text)["neurobench"]["synaptic_operations"].keys() == {"Dense", "Effective_MACs", "Effective_ACs"}
