"""The stages between float and integers: each of them against another way to compute the same."""

# R recordings, T steps, N neurons

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_programs import EXACT, KINDS, float_twin, make_program, make_spikes

from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import UsageError
from decolle_hw.fidelity.agreement import PotentialCorrelation, SpikeAgreement, population_correlation
from decolle_hw.fidelity.chain import (
    FLOAT,
    LAVA,
    QUANTIZED,
    REFERENCE,
    integer_potential,
    recordings_at_once,
    run_chain,
    run_float,
)
from decolle_hw.fidelity.summary import float_against_integer
from decolle_hw.fidelity.unrounded import run_unrounded
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import decide

NEURONS = ("decolle", "cuba")
LABELS = np.array([0, 1, 2, 0])


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_decay_real_numbers_and_integers_are_one(kind, neuron):
    """Where no register is rounded, the quantized stage is the reference, spike by spike and peak by peak."""
    program = make_program(kind, neuron, decays=EXACT)
    spikes_RTI = make_spikes(3)
    unrounded, reference = run_unrounded(program, spikes_RTI), run_reference(program, spikes_RTI, record=True)
    for index, layer in enumerate(reference.layers):
        np.testing.assert_array_equal(unrounded.trace.layers[index].spikes, layer.spikes, err_msg=f"layer {index}")
        assert 0.01 < layer.spikes.mean() < 0.9
        if neuron == "decolle":  # of cuba the reference shows v after its reset only
            for name, peak in unrounded.peaks[index].items():
                assert peak == np.abs(layer.registers[name]).max()


@pytest.mark.parametrize("neuron", NEURONS)
def test_the_exponent_scales_the_sum(neuron):
    """Weights four times as large, and a sum shifted back down, stand for the same real numbers."""
    program = make_program("dense", neuron)
    shifted = [dataclasses.replace(layer, weight=4 * layer.weight, weight_exp=-2) for layer in program.layers]
    plain = run_unrounded(program, make_spikes(3))
    other = run_unrounded(dataclasses.replace(program, layers=tuple(shifted)), make_spikes(3))
    assert plain.peaks == other.peaks
    for one, two in zip(plain.trace.layers, other.trace.layers, strict=True):
        np.testing.assert_array_equal(one.spikes, two.spikes)


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("kind", ["dense", "conv", "pooled"])
def test_the_quantized_stage_is_the_float_network_of_its_parameters(kind, neuron):
    """Two programs for one mathematics: torch layers in units of W P, and registers in units of the chip."""
    program = make_program(kind, neuron)
    twin, spikes_RTI = float_twin(program), make_spikes(5)
    floats, unrounded = run_float(twin, program, spikes_RTI), run_unrounded(program, spikes_RTI)
    pooled = {index - 1 for index, layer in enumerate(program.layers) if layer.is_pooling}
    assert floats.layers.keys() == set(range(len(program.layers))) - pooled
    for index, layer in floats.layers.items():
        np.testing.assert_array_equal(layer.spikes_RTN, unrounded.trace.layers[index].spikes, err_msg=f"layer {index}")
    np.testing.assert_array_equal(floats.decisions_R, decide(program, unrounded.trace))


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("kind", ["dense", "pooled"])
def test_the_chain_of_a_network_that_loses_nothing(kind, neuron):
    program = make_program(kind, neuron)
    chain = run_chain(
        float_twin(program), program, make_spikes(5), LABELS, lambda x: run_reference(program, x, record=True)
    )
    assert list(chain.decisions) == [FLOAT, QUANTIZED, REFERENCE, LAVA]
    assert chain.comparison is not None and chain.comparison.equal
    for index, figures in enumerate(chain.layers):
        kept = not (index + 1 < len(chain.layers) and program.layers[index + 1].is_pooling)
        assert (FLOAT in figures.rates) == kept
        if kept:
            pair = figures.agreement[FLOAT, QUANTIZED]
            assert pair.agreement == pair.overlap == 1.0 and pair.time_correlation == pytest.approx(1.0)
            assert figures.agreement[FLOAT, REFERENCE] == figures.agreement[QUANTIZED, REFERENCE]
        # Registers are rounded towards zero at every step, which is little beside their size here.
        assert figures.agreement[QUANTIZED, REFERENCE].agreement > 0.97
        assert (figures.potential.value is None) == (program.layers[index].is_pooling or not kept)
        assert figures.potential.value is None or figures.potential.value > 0.98


@pytest.mark.parametrize("kind", ["dense", "pooled"])
def test_batches_add_up(kind):
    program = make_program(kind, "decolle")
    twin, spikes_RTI = float_twin(program), make_spikes(5)
    wrong = dataclasses.replace(program, layers=(dataclasses.replace(program.layers[0], dv=501), *program.layers[1:]))

    def part(start, stop):
        # The first recordings run on the right program, so the first divergence lies in a later batch.
        other = program if start == 0 else wrong
        return run_chain(
            twin, program, spikes_RTI[start:stop], LABELS[start:stop], lambda x: run_reference(other, x, record=True)
        )

    whole, joined = part(0, 4), part(0, 1).followed_by(part(1, 3)).followed_by(part(3, 4))
    for stage in (FLOAT, QUANTIZED, REFERENCE):
        np.testing.assert_array_equal(whole.decisions[stage], joined.decisions[stage])
        assert whole.hits(stage) == joined.hits(stage)
    for one, other in zip(whole.layers, joined.layers, strict=True):
        assert (one.peak, one.needed) == (other.peak, other.needed)
        assert one.rates == other.rates
        for pair in one.agreement:
            assert one.agreement[pair].to_json() == pytest.approx(other.agreement[pair].to_json())
    assert joined.comparison is not None and joined.comparison.first is not None
    assert joined.comparison.compared == whole.comparison.compared
    later = part(1, 4).comparison
    assert joined.comparison.mismatches == later.mismatches > 0
    assert joined.comparison.first == dataclasses.replace(later.first, recording=later.first.recording + 1)


def test_figures_by_hand():
    left = np.array([[[1, 0], [1, 1], [0, 0], [0, 1]], [[0, 0], [0, 0], [0, 0], [0, 0]]], np.uint8)
    right = np.array([[[1, 0], [0, 1], [1, 0], [0, 1]], [[0, 0], [0, 0], [1, 0], [0, 0]]], np.uint8)
    pair = SpikeAgreement.of(left, right)
    assert (pair.entries, pair.equal, pair.left_spikes, pair.right_spikes, pair.common) == (16, 13, 4, 5, 3)
    assert pair.agreement == 13 / 16 and pair.overlap == 6 / 9
    # Populations 1 2 0 1 and 1 1 1 1: the second never changes; recording 1 is silent on the left.
    assert pair.time_correlation is None and pair.correlated == 0
    right[0, 3] = 0  # now 1 1 1 0
    correlation = population_correlation(left.sum(2, dtype=int), right.sum(2, dtype=int))
    assert correlation[0] == pytest.approx(np.corrcoef([1, 2, 0, 1], [1, 1, 1, 0])[0, 1]) and np.isnan(correlation[1])
    joined = SpikeAgreement.of(left[:1], right[:1]) + SpikeAgreement.of(left[1:], right[1:])
    assert joined == SpikeAgreement.of(left, right) and joined.correlated == 1
    silent = SpikeAgreement.of(left[1:], left[1:])
    assert silent.agreement == 1.0 and silent.overlap is None and silent.time_correlation is None
    with pytest.raises(ValueError, match="shapes"):
        SpikeAgreement.of(left, right[:1])


def test_correlation_of_potentials():
    rng = np.random.default_rng(0)
    left = rng.normal(3.0, 2.0, (4, 5, 6))
    right = (1000 * left + rng.normal(0, 500, left.shape)).astype(np.int64)
    together = PotentialCorrelation.of(left[:1], right[:1], 64.0) + PotentialCorrelation.of(left[1:], right[1:], 64.0)
    assert together.value == pytest.approx(np.corrcoef(left.ravel(), right.ravel())[0, 1], abs=1e-9)
    assert PotentialCorrelation().value is None
    assert PotentialCorrelation.of(left, np.full(left.shape, 7), 64.0).value is None


def test_integer_potential_decides_the_spikes():
    program = make_program("dense", "decolle")
    trace = run_reference(program, make_spikes(5), record=True)
    for layer, one in zip(program.layers, trace.layers, strict=True):
        np.testing.assert_array_equal(integer_potential(layer, one) > 0, one.spikes)


def test_needed_range_beyond_24_bits():
    """A register that wraps looks small; what it would have needed does not."""
    program = make_program("dense", "decolle")
    loud = dataclasses.replace(program.layers[0], weight_exp=7)
    loud_program = dataclasses.replace(program, layers=(loud, *program.layers[1:]))
    chain = run_chain(None, loud_program, make_spikes(5, rate=1.0), LABELS)
    assert chain.layers[0].peak["u"] <= 1 << 23 < chain.layers[0].needed["u"]
    assert chain.comparison is None and list(chain.decisions) == [QUANTIZED, REFERENCE]


def test_a_run_of_another_network_is_refused():
    one, other = make_program("dense", "decolle"), make_program("pooled", "decolle")
    with pytest.raises(UsageError, match=r"float layer 0 has .* neurons .* --run"):
        run_float(float_twin(one), other, make_spikes(5))
    short = dataclasses.replace(one, layers=one.layers[:2])
    with pytest.raises(UsageError, match="3 layers, the artifact 2"):
        run_float(float_twin(one), short, make_spikes(5))


@pytest.mark.parametrize("neuron", NEURONS)
def test_fidelity_of_a_pooled_network(neuron):
    """What `compile` prints: one row per float layer, peaks of every layer of the program."""
    program = make_program("pooled", neuron)
    twin = float_twin(program)
    spikes_RTI = make_spikes(5)
    flat = [np.flatnonzero(one) for one in spikes_RTI]
    recordings = BinnedRecordings(
        np.cumsum([0, *map(len, flat)]), np.concatenate(flat).astype(np.int32), LABELS, tuple("abcd"),
        program.classes, program.steps, program.input_shape,
    )  # fmt: skip
    fidelity = float_against_integer(twin, program, recordings)
    assert fidelity.compared_layers == [1, 2, 3] and len(fidelity.register_peak) == 4
    chain = run_chain(twin, program, spikes_RTI, LABELS)
    pairs = [chain.layers[index].agreement[FLOAT, REFERENCE] for index in (1, 2, 3)]
    assert fidelity.spike_agreement == [pair.agreement for pair in pairs]
    assert (fidelity.float_rate, fidelity.integer_rate) == (
        [pair.left_rate for pair in pairs], [pair.right_rate for pair in pairs],
    )  # fmt: skip
    assert (fidelity.float_hits, fidelity.integer_hits) == (chain.hits(FLOAT), chain.hits(REFERENCE))


def test_batches_are_bounded_by_memory():
    program = make_program("pooled", "decolle")
    assert recordings_at_once(program, program.steps) == 64
    assert recordings_at_once(program, 10**9) == 1
