"""From the float rule to the engine's numbers: what is chosen and what is refused; networks with random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from quantize_tools import CLASSES, STEPS, make_spec

from decolle_hw.compiler.learning_program import GATE_OPEN
from decolle_hw.compiler.program import Program
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import CompileError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.quantization.lower_rule import LEAST_CHANGE, MOST_CHANGE, float_layers, lower_rule
from decolle_hw.quantization.lower_rule_choice import (
    double_trace,
    exponential_trace,
    responses,
    smallest_gain,
    subsampled,
)
from decolle_hw.quantization.lower_rule_observed import correction, cosine, observe, relabelled
from decolle_hw.quantization.untrained import untrained_program
from decolle_hw.sim.float_learning import learn_float, start_float_state
from decolle_hw.sim.learned import classify
from decolle_hw.sim.learning import learn
from decolle_hw.sim.learning_state import start_state
from decolle_hw.spec_on_chip import OnChipSpec

INPUT_SHAPE = (2, 5, 5)


class Tiny(NamedTuple):
    """Random weights, and recordings that are easy to tell apart."""

    program: Program
    network: DecolleNetwork
    recordings: BinnedRecordings


def patterns(seed: int, count: int) -> BinnedRecordings:
    """Each class has its own places at which events are frequent."""
    rng = np.random.default_rng(seed)
    inputs = int(np.prod(INPUT_SHAPE))
    rates = np.where(np.random.default_rng(99).random((len(CLASSES), inputs)) < 0.3, 0.25, 0.02)
    labels = rng.permutation(np.arange(count) % len(CLASSES))
    active = [np.flatnonzero(rng.random((STEPS, inputs)) < rates[label]) for label in labels]
    bounds = np.concatenate([[0], np.cumsum([len(events) for events in active])])
    return BinnedRecordings(
        bounds, np.concatenate(active).astype(np.int32), labels, tuple(map(str, range(count))), CLASSES, STEPS,
        INPUT_SHAPE,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["decolle", "cuba"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    recordings = patterns(1, 30)
    program, network = untrained_program(make_spec(request.param), CLASSES, 3, recordings, "loihi2")
    return Tiny(program, network, recordings)


def lowered(tiny: Tiny, plastic: tuple[int, ...] = (0, 1), **settings: object):
    return lower_rule(tiny.program, tiny.network, OnChipSpec(**settings), tiny.recordings, plastic)


def test_what_is_not_asked_for_is_chosen(tiny: Tiny) -> None:
    """Gate, traces, shifts, gain: with them the modelled update is near the float one, at the rate that is wanted."""
    found = lowered(tiny)
    assert [layer.layer for layer in found.layers] == [plastic.layer for plastic in found.learning.plastic] == [0, 1]
    assert not found.warnings
    for plastic, layer in zip(found.learning.plastic, found.layers, strict=True):
        assert layer.modelled_cosine > 0.9
        assert 0.025 < layer.correction < 0.2
        assert plastic.epoch == layer.epoch
        assert plastic.x1.impulse == plastic.x2.impulse > 0
        units = tiny.program.quantization[plastic.layer]["register_units_per_potential"]
        assert plastic.gate_width == round(layer.gate * units)
        # The readout that is taught is what the float network's is on the scale of its integers.
        largest = float(tiny.network.layers[plastic.layer].readout_weight.abs().max())
        assert plastic.error.on == round(127 / largest)
        assert layer.to_json()["x1"] == {"impulse": plastic.x1.impulse, "tau": plastic.x1.tau}


def test_what_is_asked_for_is_kept(tiny: Tiny) -> None:
    chosen = lowered(tiny).layers[0]
    found = lowered(tiny, (0,), epoch=3, gate=0.3, trace="single", learning_rate=4 * chosen.learning_rate)
    plastic, layer = found.learning.plastic[0], found.layers[0]
    assert (plastic.epoch, layer.gate, layer.trace, plastic.x2.impulse) == (3, 0.3, "single", 0)
    assert len(plastic.rule.products) == 2
    np.testing.assert_allclose(layer.learning_rate, 4 * chosen.learning_rate, rtol=0.3)


def test_the_learning_rate_is_what_the_weights_do(tiny: Tiny) -> None:
    """The float twin moves them as far as the float rule does at that rate, as long as they hardly move."""
    order = np.arange(len(tiny.recordings))[None]
    inputs = np.ascontiguousarray(tiny.recordings.dense(order[0]).transpose(1, 0, 2))
    new = relabelled(tiny.recordings)
    seen = observe(tiny.network, make_spec(tiny.program.layers[0].neuron), new, [0])[0]
    found = lowered(tiny, (0,), epoch=1)
    slow = replace(found.learning.plastic[0], feedback_shift=found.learning.plastic[0].feedback_shift + 8)
    learning = replace(found.learning, plastic=(slow,))
    _, state = learn_float(learning, start_float_state(learning), inputs, order, new.labels[None])
    unit = 2.0 ** tiny.program.layers[0].weight_exp / tiny.program.quantization[0]["weight_scale"]
    update = (state.weights(learning, 0)[0] - tiny.program.layers[0].weight) * unit
    expected = found.layers[0].learning_rate / 2**8 * seen.update()
    assert cosine(update, expected) > 0.85, "what is left of traces of the recording before counts, too"
    np.testing.assert_allclose(np.linalg.norm(update), np.linalg.norm(expected), rtol=0.8)


def test_it_learns_from_scratch(tiny: Tiny) -> None:
    """Random weights, both layers plastic, on the engine and in real numbers: new recordings are told apart."""
    found = lower_rule(tiny.program, tiny.network, OnChipSpec(), tiny.recordings, (0, 1)).learning
    train, test = patterns(2, 60), patterns(3, 60)
    inputs, others = (np.ascontiguousarray(r.dense(np.arange(60)).transpose(1, 0, 2)) for r in (train, test))
    order = np.stack([np.random.default_rng(seed).permutation(np.tile(np.arange(60), 4)) for seed in range(2)])
    state, real = start_state(found, [1, 2]), start_float_state(found, 2)
    before = classify(found, state, others)
    _, state = learn(found, state, inputs, order, train.labels[order])
    _, real = learn_float(found, real, inputs, order, train.labels[order])
    accuracy = [(decided == test.labels).mean() for decided in (classify(found, state, others), before)]
    assert accuracy[0] > 0.8, accuracy
    assert accuracy[1] < 0.7, "random weights know nothing"
    tests = np.tile(np.arange(60), (2, 1))
    decided = learn_float(found, real, others, tests, np.full(tests.shape, -1), frozen=True)[0].decisions
    assert (decided == test.labels).mean() > 0.8


def test_head_room(tiny: Tiny) -> None:
    """The largest initial weight takes a share of the range; all 8 bits are there; the seed decides on them."""
    spec = make_spec(tiny.program.layers[0].neuron)
    again, _ = untrained_program(spec, CLASSES, 3, tiny.recordings, "loihi2")
    other, _ = untrained_program(spec, CLASSES, 4, tiny.recordings, "loihi2")
    roomy, _ = untrained_program(spec, CLASSES, 3, tiny.recordings, "loihi2", head_room=4.0)
    for mine, same, different, with_room in zip(
        tiny.program.layers, again.layers, other.layers, roomy.layers, strict=True
    ):
        assert 240 <= np.abs(mine.weight).max() <= 256
        assert 60 <= np.abs(with_room.weight).max() <= 66
        assert mine.weight_bits == with_room.weight_bits == 8
        np.testing.assert_array_equal(mine.weight, same.weight)
        assert np.any(mine.weight != different.weight)
    with pytest.raises(CompileError, match=r"head_room 0\.5"):
        untrained_program(spec, CLASSES, 3, tiny.recordings, "loihi2", head_room=0.5)


def test_rates_without_numbers_are_refused(tiny: Tiny) -> None:
    """Values, limits and remedy; of all layers at once."""
    with pytest.raises(CompileError) as low:
        lowered(tiny, learning_rate=1e-9)
    assert str(low.value).count("rounds to nothing: a recording would change a weight by") == 2
    assert "or leave it out" in str(low.value)
    with pytest.raises(CompileError, match="saturates"):
        lowered(tiny, (1,), learning_rate=1e3)
    assert LEAST_CHANGE < MOST_CHANGE


def test_gates_that_open_never_or_always(tiny: Tiny) -> None:
    """A width that no neuron comes near to is refused, with one that would do; a very wide one is always open."""
    with pytest.raises(
        CompileError, match=r"layer 0: on_chip\.gate 1e-12: no neuron .*; give about 0\.\d+, or leave it out"
    ):
        lowered(tiny, (0,), gate=1e-12)
    found = lowered(tiny, (0,), gate=1e30)
    assert found.learning.plastic[0].gate_width == GATE_OPEN and found.layers[0].gate_cosine < 0.9


def test_layers_that_cannot_learn(tiny: Tiny) -> None:
    with pytest.raises(CompileError, match="no layer is plastic"):
        lowered(tiny, ())
    few = replace(tiny.program.layers[0], weight=tiny.program.layers[0].weight // 32 * 32, weight_bits=4)
    program = replace(tiny.program, layers=(few, tiny.program.layers[1]))
    found = lower_rule(program, tiny.network, OnChipSpec(), tiny.recordings, (0,))
    assert found.warnings == ("layer 0: its weights have 4 bits; as it learns it takes all 8",)
    assert found.learning.program.layers[0].weight_bits == 8
    with pytest.raises(CompileError, match=r"layer 7: x has layers 0\.\.1"):
        lower_rule(program, tiny.network, OnChipSpec(), tiny.recordings, (0, 7))


def test_silent_input_is_said(tiny: Tiny) -> None:
    nothing = replace(tiny.recordings, indptr=tiny.recordings.indptr * 0, active=tiny.recordings.active[:0])
    with pytest.raises(CompileError, match="layer 0: nothing reaches its synapses on 30 calibration recordings"):
        lower_rule(tiny.program, tiny.network, OnChipSpec(), nothing, (0,))


def test_what_is_left_out_is_said() -> None:
    recordings = patterns(1, 12)
    spec = make_spec("decolle", training={"loss": ["cross_entropy", "none"], "feedback": "random", "reg_l": 0.1})
    program, network = untrained_program(spec, CLASSES, 3, recordings, "loihi2")
    found = lower_rule(program, network, OnChipSpec(), recordings, (0, 1))
    text = "\n".join(found.warnings)
    assert "layer 0: the error is target - readout; that of cross_entropy needs a softmax" in text
    assert "layer 1: had no loss in training" in text
    assert text.count("random matrix") == 2
    assert "layer 0: the regularizers" in text


def test_the_difference_of_two_traces_is_p(tiny: Tiny) -> None:
    """x1 - x2 is the float trace, but for a factor."""
    spec = make_spec(tiny.program.layers[0].neuron)
    seen = observe(tiny.network, spec, tiny.recordings, [0])[0]
    x1, x2 = double_trace(0.9, 0.85, seen)
    difference = exponential_trace(seen.spikes_TBI, x1.tau) - exponential_trace(seen.spikes_TBI, x2.tau)
    factor = (1 - 0.9) * (1 - 0.85) / (0.9 - 0.85)
    np.testing.assert_allclose(difference * factor, seen.trace_TBI, atol=1e-4)
    unit = exponential_trace(seen.spikes_TBI, x1.tau)
    assert 100 < np.quantile(unit[unit > 0.05], 0.999) * x1.impulse <= 127


def test_correction_is_what_an_update_does(tiny: Tiny) -> None:
    """Positive, as an update lowers the error; that of some inputs is less than that of all."""
    spec = make_spec(tiny.program.layers[0].neuron)
    seen = observe(tiny.network, spec, tiny.recordings, [0])[0]
    assert correction(seen) > 0
    one = seen.of_recording(0)
    assert 0 < correction(one.inputs(np.arange(10))) < correction(one)


def test_gains_are_ordered(tiny: Tiny) -> None:
    """Within an octave above what is asked for, with as large a y as that leaves."""
    spec = make_spec(tiny.program.layers[0].neuron)
    seen = subsampled(observe(tiny.network, spec, relabelled(tiny.recordings), [0])[0])
    plastic = lowered(tiny, (0,)).learning.plastic[0]
    open_TBN = np.abs(seen.potential_TBN) < 0.2
    error_TBC = np.rint(100 * seen.error_TBC * len(CLASSES)).astype(np.float32)
    found = responses(seen, error_TBC, plastic.readout_weight, open_TBN, seen.trace_TBI)
    assert [response.feedback_shift for response in found] == list(range(len(found)))
    assert found[0].change > found[-1].change
    middle = smallest_gain(found, 1e-2, 1)
    wanted = middle.slope / 1.5
    assert wanted <= smallest_gain(found, wanted, 1).slope < 2 * wanted
    assert smallest_gain(found, 1e12, 1).exponent == 8
    assert smallest_gain(found, 1e-12, 1).exponent == -7
    assert float_layers(tiny.program) == {0: 0, 1: 1}
