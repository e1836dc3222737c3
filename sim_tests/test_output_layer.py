"""A plastic output layer on frozen features: centring and scale by their definitions, teaching, equality with Lava."""

# R recordings, S steps of a slot, N neurons

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from learning_tools import compared, first_difference
from online_tools import recorded, untaught
from small_programs import make_program

from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.errors import CompileError
from decolle_hw.sim.frozen import frozen_frames
from decolle_hw.sim.learned import classify
from decolle_hw.sim.learning import learn
from decolle_hw.sim.learning_state import start_state
from decolle_hw.sim.output_layer import OutputSettings, feature_layer, with_output_layer

CLASSES = ("a", "b", "c")
FEATURES, CENTRING, OUTPUT = 0, 1, 2
SETTINGS = OutputSettings()


@pytest.fixture(scope="module", params=["decolle", "cuba"])
def learning(request: pytest.FixtureRequest) -> LearningProgram:
    program, usual = untaught(request.param)
    return with_output_layer(program, CLASSES, usual)


def test_two_layers_on_the_lowest_dense_one(learning: LearningProgram) -> None:
    """What was above is gone; the output starts from zero and is the only layer that is read out, or learns."""
    program = learning.program
    features, centring, output = program.layers
    assert [layer.has_readout for layer in program.layers] == [False, False, True]
    assert centring.num_neurons == features.num_neurons and not output.weight.any()
    assert np.count_nonzero(centring.weight) == centring.num_neurons and np.all(np.diag(centring.weight) > 0)
    assert [plastic.layer for plastic in learning.plastic] == [OUTPUT] and learning.plastic[0].rule.error_triggered
    assert learning.teach == (round(program.steps / 3), learning.slot)


def test_centring_fires_while_a_trace_is_above_what_is_usual(learning: LearningProgram) -> None:
    """Mean and deviation of every feature's trace, from its spikes; integers differ at the edge only."""
    _, usual = untaught(learning.program.layers[0].neuron)
    spikes_RSN = frozen_frames(learning.program, usual, CENTRING).astype(float)
    kept, trace = np.exp(-1 / SETTINGS.feature_tau), np.zeros(spikes_RSN[:, 0].shape)
    traces = []
    for step in range(spikes_RSN.shape[1]):
        trace = kept * trace + spikes_RSN[:, step]
        traces.append(trace)
    trace_RSN = np.stack(traces, 1)
    deviation_N = np.sqrt(((trace_RSN - trace_RSN.mean((0, 1))) ** 2).mean((0, 1)))
    level_N = trace_RSN.mean((0, 1)) + SETTINGS.margin * (deviation_N + 0.05)
    fires_RSN = frozen_frames(learning.program, usual, OUTPUT)
    # A spike arrives one step later; frames start with the reset of their layer.
    resets = learning.program.reset_steps
    late = 1 - (resets[CENTRING] - resets[FEATURES])
    expected = (trace_RSN > level_N)[:, : trace_RSN.shape[1] - late]
    assert 0.1 < expected.mean() < 0.9
    assert np.mean(fires_RSN[:, late:] == expected) > 0.998
    for wrong in (expected[:, ::-1], trace_RSN[:, : expected.shape[1]] > 1.1 * level_N):
        assert np.mean(fires_RSN[:, late:] == wrong) < 0.99, "a wrong level or order is seen"


def test_the_scale_follows_from_the_activity(learning: LearningProgram) -> None:
    """A weight of `threshold_weight` everywhere just drives an output neuron to its threshold, whatever the network."""
    _, usual = untaught(learning.program.layers[0].neuron)
    output = learning.program.layers[OUTPUT]
    spikes_per_step = frozen_frames(learning.program, usual, OUTPUT).sum(2).mean()
    kept = 1 - (output.du + 1) / 4096
    reached = SETTINGS.threshold_weight * spikes_per_step / (1 - kept) * 2.0**output.weight_exp
    # A steady drive u takes v to u / leak: all of it at once in a decolle neuron, in some steps in a stock one.
    np.testing.assert_allclose(output.vth * output.dv / 4096, reached, atol=1, rtol=0.02)
    plastic = learning.plastic[0]
    largest_trace = min(127, SETTINGS.trace_impulse / (1 - np.exp(-1 / SETTINGS.trace_tau)))
    largest_error = plastic.error.on >> plastic.error.shift
    y = (largest_error * plastic.readout_weight.max()) >> plastic.feedback_shift
    step = plastic.rule.products[0].gain * largest_trace * y / SETTINGS.threshold_weight
    assert SETTINGS.step / 2 < step < SETTINGS.step * 2
    # Finer in the units of the network, the same as a share of the threshold.
    twice = with_output_layer(
        *_of(learning, usual), settings=replace(SETTINGS, step=2 * SETTINGS.step)
    ).plastic[0]  # fmt: skip
    ratio = 2.0 ** (plastic.feedback_shift - twice.feedback_shift) * twice.rule.products[0].gain
    assert ratio == 2 * plastic.rule.products[0].gain


def _of(learning: LearningProgram, usual: np.ndarray):
    return untaught(learning.program.layers[0].neuron)[0], CLASSES, usual


def test_teaching_raises_accuracy_and_a_test_does_not_teach(learning: LearningProgram) -> None:
    """Two runs of other orders, one pass over 45 recordings; recordings without a target leave every weight alone."""
    known = recorded()
    tests = known.tests()
    state = start_state(learning, [1, 2])
    before = (classify(learning, state, known.spikes[tests]) == known.labels[tests]).mean()
    order = np.stack([np.random.default_rng(seed).permutation(known.trained) for seed in (1, 2)])
    _, taught = learn(learning, state, known.spikes, order, known.labels[order])
    decided = classify(learning, taught, known.spikes[tests])
    assert before < 0.5 and (decided == known.labels[tests]).mean() > 0.9
    assert np.any(taught.weights(learning, OUTPUT)[0] != taught.weights(learning, OUTPUT)[1])
    # What was sent in the last step of the last lesson arrives in the first step of the next recording.
    first, rested = learn(learning, taught, known.spikes, order[:, :1], np.full((2, 1), -1))
    assert np.all(first.changed[OUTPUT] <= taught.weights(learning, OUTPUT)[0].size)
    learned, tested = learn(learning, rested, known.spikes, order[:, :9], np.full((2, 9), -1))
    np.testing.assert_array_equal(tested.weights(learning, OUTPUT), rested.weights(learning, OUTPUT))
    assert not learned.changed[OUTPUT].any()
    wrong = (known.labels[order] + 1) % 3
    _, misled = learn(learning, state, known.spikes, order, wrong)
    assert (classify(learning, misled, known.spikes[tests]) == known.labels[tests]).mean() < 0.1, "it learns the target"


def test_it_equals_lava(learning: LearningProgram) -> None:
    """Every spike, register, trace and weight, with lessons and a test between them."""
    try:
        from decolle_hw.lava_backend.learning_runner import learn_in_lava
    except ImportError as error:
        if sys.version_info < (3, 11):
            raise
        pytest.skip(f"lava cannot be imported: {error}")
    known = recorded(train=6, test=3)
    order, targets = np.array([0, 1, 6, 2]), np.array([known.labels[0], known.labels[1], -1, known.labels[2]])
    reference, state = learn(
        learning, start_state(learning, [7]), known.spikes, order[None], targets[None], record=True
    )  # fmt: skip
    lava, weights = learn_in_lava(learning, known.spikes, order, targets, seed=7, record=True)
    assert first_difference(reference, lava) is None, first_difference(reference, lava)
    np.testing.assert_array_equal(weights[OUTPUT], state.weights(learning, OUTPUT)[0])
    assert compared(reference)["of them that changed a weight"] > 100


def test_features_that_there_are_not() -> None:
    program, usual = untaught("decolle")
    for features in (-1, 2):
        with pytest.raises(CompileError, match=rf"features {features}: x has layers 0\.\.1"):
            with_output_layer(program, CLASSES, usual, features=features)
    with pytest.raises(CompileError, match="layer 0: no neuron fires in calibration"):
        with_output_layer(replace(program, layers=(_silent(program.layers[0]), program.layers[1])), CLASSES, usual)
    with pytest.raises(CompileError, match="margin 1e\\+06: no centring neuron fires"):
        with_output_layer(program, CLASSES, usual, settings=replace(SETTINGS, margin=1e6))
    upper = with_output_layer(program, CLASSES, usual, features=1)
    assert [layer.num_neurons for layer in upper.program.layers] == [40, 20, 20, 3]


def _silent(layer):
    return replace(layer, weight=layer.weight * 0, vth=np.full_like(layer.vth, 1 << 16))


def test_features_of_a_convolution_are_pooled_ones() -> None:
    program = make_program("pooled", "decolle")
    pooling = [index for index, layer in enumerate(program.layers) if layer.is_pooling]
    assert pooling and feature_layer(program) == next(
        (index for index, layer in enumerate(program.layers) if layer.kind == "dense"), len(program.layers) - 1
    )
    usual = (np.random.default_rng(1).random((6, program.steps, program.num_inputs)) < 0.2).astype(np.uint8)
    with pytest.raises(CompileError, match=f"a convolution before its pooling stage; take layer {pooling[0]}"):
        with_output_layer(program, CLASSES, usual, features=pooling[0] - 1)
    learning = with_output_layer(program, CLASSES, usual, features=pooling[0])
    count = program.layers[pooling[0]].num_neurons
    assert [layer.num_neurons for layer in learning.program.layers[-2:]] == [count, 3]
