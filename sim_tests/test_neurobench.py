"""NeuroBench's metrics, and what is measured of a run, against loops over synapses, spikes and steps."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from estimate_tools import small_network, synapses, with_zeros
from hypothesis import given, settings
from hypothesis import strategies as st
from small_programs import make_program, make_spikes

from decolle_hw.compiler.estimates import neurobench as ours
from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.sim.activity import activity_of, measure, takes_spikes
from decolle_hw.sim.random_program import random_spikes
from decolle_hw.sim.reference import run_reference

RECORDINGS = 3


@given(seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_every_metric_equals_loops_over_synapses_spikes_and_steps(seed):
    rng = np.random.default_rng(seed)
    program = with_zeros(small_network(seed), rng)
    spikes_RTI = random_spikes(rng, program, RECORDINGS)
    trace = run_reference(program, spikes_RTI, record=True)
    activity = activity_of(program, spikes_RTI, trace)
    dense = effective = zeros = weights = silent = places = updates = 0
    source_RTI = spikes_RTI
    for layer, run in zip(program.layers, trace.layers, strict=True):
        if not layer.is_pooling:
            for source, _, weight in synapses(layer):
                dense += program.steps * RECORDINGS
                effective += int(source_RTI[:, :, source].sum()) * (weight != 0)
            zeros += int((layer.weight == 0).sum())
            weights += layer.weight.size
            silent += int((run.spikes == 0).sum())
            places += run.spikes.size
            potential_RTN = run.registers["v"].astype(int)
            if layer.neuron == "decolle":
                potential_RTN = potential_RTN + run.registers["r"]
            for r, t, n in np.ndindex(potential_RTN.shape):
                updates += t == 0 or potential_RTN[r, t, n] != potential_RTN[r, t - 1, n]
        source_RTI = run.spikes
    found = ours.neurobench_metrics(program, activity)
    assert found.synaptic_operations.Dense == dense / RECORDINGS
    assert found.synaptic_operations.Effective_ACs == effective / RECORDINGS
    assert found.synaptic_operations.Effective_MACs == 0
    assert found.connection_sparsity == pytest.approx(zeros / weights, abs=1e-12)
    assert found.activation_sparsity == pytest.approx(silent / places, abs=1e-12)
    assert found.membrane_updates == updates / RECORDINGS


@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_a_neuron_is_active_where_a_spike_reaches_it_or_leaves_it(seed):
    rng = np.random.default_rng(seed)
    program = with_zeros(small_network(seed), rng)
    spikes_RTI = random_spikes(rng, program, RECORDINGS)
    trace = run_reference(program, spikes_RTI)
    activity = activity_of(program, spikes_RTI, trace)
    assert activity.layers[0].membrane_updates is None, "registers were not recorded"
    source_RTI = spikes_RTI
    for index, layer in enumerate(program.layers):
        taken_RTN = np.zeros_like(trace.layers[index].spikes)
        for source, neuron, weight in synapses(layer):
            late = 0 if layer.is_pooling else 1
            if isinstance(layer, DenseLayer) and layer.max_delay:
                late += int(layer.delay[neuron, source])
            if weight and late < program.steps:
                taken_RTN[:, late:, neuron] |= source_RTI[:, : program.steps - late, source]
        np.testing.assert_array_equal(takes_spikes(layer, source_RTI), taken_RTN)
        source_RTI = trace.layers[index].spikes
        np.testing.assert_array_equal(activity.layers[index].active, (taken_RTN | source_RTI).sum((0, 1)))
        np.testing.assert_array_equal(activity.layers[index].spikes, source_RTI.sum((0, 1)))


def test_measured_in_parts_is_measured_at_once():
    program, spikes_RTI = make_program("pooled", "decolle"), make_spikes(3, 5)
    whole = activity_of(program, spikes_RTI, run_reference(program, spikes_RTI, record=True))
    parts = measure(program, spikes_RTI, recordings_at_once=2)
    assert (parts.recordings, parts.steps) == (whole.recordings, whole.steps) == (5, program.steps)
    np.testing.assert_array_equal(parts.input, whole.input)
    for one, other in zip(parts.layers, whole.layers, strict=True):
        np.testing.assert_array_equal(one.spikes, other.spikes)
        np.testing.assert_array_equal(one.active, other.active)
        assert one.membrane_updates == other.membrane_updates


def test_the_input_of_a_network_with_an_input_block_is_what_its_neurons_send():
    block = InputBlock(weight=30, bias=40, du=4095, dv=0, vth=100)
    program = dataclasses.replace(make_program("dense", "cuba"), input_block=block)
    mantissas_RI = block.mantissas(np.random.default_rng(2).uniform(-1, 1, (3, program.num_inputs)))
    activity = measure(program, mantissas_RI, recordings_at_once=2)
    trace = run_reference(program, mantissas_RI)
    assert (activity.recordings, activity.steps) == (3, program.steps) and activity.input.sum() > 0
    np.testing.assert_array_equal(activity.input, trace.input.spikes.sum((0, 1)))
    np.testing.assert_array_equal(activity.layers[2].spikes, trace.layers[2].spikes.sum((0, 1)))


def test_footprint_counts_bits_of_parameters_and_state():
    layer = make_program("delayed", "cuba").layers[1]
    by_name = {name: (count, bits) for name, count, bits in ours.arrays(layer)}
    assert by_name["weight"] == (120, 8) and by_name["delay"] == (120, 3)  # delays of 0..4
    assert by_name["state"] == (20, 24) and by_name["bias_mant"] == (10, 13)
    program = make_program("pooled", "decolle")
    expected = 0
    for layer in program.layers:
        if not layer.is_pooling:
            n = layer.num_neurons
            # weights, exponent of 4 bits, thresholds of 18, three decays of 12, rho, and u, v, r of 24
            expected += layer.weight.size + 1 + -(-n * 18 // 8) + -(-36 // 8) + 3 + 9 * n
    assert ours.footprint(program) == expected
