"""Decisions of a stream: over the last steps, exactly; their latency; and memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from small_programs import KINDS, STEPS
from stream_tools import DELTAT, described, draw_events
from test_stream_steps import WHOLE, expected_frames

from decolle_hw.compiler.layers import DenseLayer, NeuronKind
from decolle_hw.compiler.program import Program
from decolle_hw.errors import UsageError
from decolle_hw.report.streamed import notes
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.stepping import Stepper
from decolle_hw.sim.trace import Trace, decide, readouts
from decolle_hw.streaming.aim import stream_dataset
from decolle_hw.streaming.decision import SlidingDecision
from decolle_hw.streaming.latency import latency_steps
from decolle_hw.streaming.session import Decision, StreamSession, StreamSettings
from decolle_hw.streaming.source import Opened


def stream_of(
    program: Program, events: np.ndarray, size: int = 50, **settings: object
) -> tuple[StreamSession, list[Decision]]:
    blocks = (events[start : start + size] for start in range(0, len(events), size))
    chosen = StreamSettings(backend="reference", **settings)  # type: ignore[arg-type]
    session = StreamSession(program, stream_dataset(program, None), chosen)
    return session, list(session.run(Opened("the stream", "nmnist", blocks)))


@pytest.mark.parametrize("prediction", ["sum", "mode", "voltage"])
def test_every_decision_equals_that_of_a_recording_cut_there(prediction: str) -> None:
    """The window of step t is that of a recording whose steps before it do not count."""
    program = replace(described("dense", "decolle"), prediction=prediction)
    events = draw_events(1, 1200, 70 * DELTAT)
    frames = expected_frames(WHOLE, events)
    _, decisions = stream_of(program, events, every=1)
    burnin, window = program.burnin_steps, program.steps - program.burnin_steps
    first = 0 if prediction == "voltage" else burnin
    assert [decision.step for decision in decisions] == list(range(first, len(frames)))
    trace = run_reference(replace(program, prediction="voltage"), frames[None])
    for decision in decisions:
        stop = decision.step + 1
        cut = Trace(tuple(replace_steps(layer, stop) for layer in trace.layers))
        begin = max(burnin, stop - window)
        expected = readouts(replace(program, steps=stop + program.steps, burnin_steps=begin), cut)[0]
        assert decision.readouts == tuple(expected) and decision.winner == expected.argmax()
        assert decision.time_us == stop * DELTAT
        assert decision.margin == np.sort(expected)[-1] - np.sort(expected)[-2]


def replace_steps(layer, stop: int):
    return replace(
        layer, spikes=layer.spikes[:, :stop],
        registers={name: values[:, :stop] for name, values in layer.registers.items()},
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 9, 5000])
def test_only_changes_are_told_unless_asked_for_more(size: int) -> None:
    program = described("conv", "cuba")
    events = draw_events(2, 600, 60 * DELTAT)
    _, all_of_them = stream_of(program, events, every=1)
    changes = [now for at, now in enumerate(all_of_them) if not at or now.winner != all_of_them[at - 1].winner]
    session, told = stream_of(program, events, size)
    assert told == changes and len(changes) > 1
    assert session.summary().decisions == len(changes) and session.summary().last == all_of_them[-1]
    _, sometimes = stream_of(program, events, size, every=7)
    assert sometimes == [decision for decision in all_of_them if (decision.step + 1) % 7 == 0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_per_recording_decides_as_in_testing(kind: str) -> None:
    """A stream of three recordings and a part of a fourth, which ends in silence as `run` has it."""
    program = described(kind, "cuba")
    events = draw_events(3, 1000, 3 * STEPS * DELTAT + 5 * DELTAT)
    frames = expected_frames(WHOLE, events)
    padded = np.zeros((4 * STEPS, program.num_inputs), np.uint8)
    padded[: len(frames)] = frames
    recordings = padded.reshape(4, STEPS, -1)
    trace = run_reference(program, recordings)
    session, decisions = stream_of(program, events, reset_every=STEPS)
    assert [decision.recording for decision in decisions] == [0, 1, 2, 3]
    assert [decision.winner for decision in decisions] == decide(program, trace).tolist()
    np.testing.assert_array_equal([decision.readouts for decision in decisions], readouts(program, trace))
    assert (session.summary().steps, session.summary().recordings) == (4 * STEPS, 4)


def test_recordings_without_events_have_no_decision() -> None:
    program = described("dense", "decolle")
    events = draw_events(4, 300, STEPS * DELTAT)
    events["t"][150:] += 5 * STEPS * DELTAT
    session, decisions = stream_of(program, events, reset_every=STEPS)
    assert [decision.recording for decision in decisions] == [0, 5]
    assert session.summary().silent_recordings == 4


def test_the_window_forgets_exactly() -> None:
    """Pieces longer and shorter than the window; sums that would be lost in floats."""
    program = described("dense", "decolle")
    rng = np.random.default_rng(5)
    spikes = (rng.random((300, program.layers[-1].num_neurons)) < 0.3).astype(np.uint8)
    whole, _ = SlidingDecision(program, 11).add(spikes)
    pieces, again = SlidingDecision(program, 11), []
    for start, stop in ((0, 1), (1, 40), (40, 45), (45, 45), (45, 300)):
        again.append(pieces.add(spikes[start:stop])[0])
    np.testing.assert_array_equal(np.concatenate(again), whole)
    layer = program.layers[-1]
    of_step = spikes.astype(int) @ layer.readout_weight.T + layer.readout_bias
    np.testing.assert_array_equal(whole[-1], of_step[-11:].sum(0))
    np.testing.assert_array_equal(whole[5], of_step[3:6].sum(0))  # three steps of burn-in


def excitable(kind: str, neuron: NeuronKind) -> Program:
    """One spike anywhere is enough for every neuron behind it."""
    program = described(kind, neuron)
    layers = [
        layer if layer.is_pooling else replace(
            layer, weight=np.full_like(layer.weight, 20), vth=np.zeros_like(layer.vth),
            bias_mant=np.zeros_like(layer.bias_mant),
        )
        for layer in program.layers
    ]  # fmt: skip
    if kind == "delayed":
        assert isinstance(layers[0], DenseLayer)
        delay = layers[0].delay.copy()
        delay[0] += 3
        weight = layers[0].weight.copy()
        weight[1:] = 0  # only the slowest neuron can be reached
        layers[0] = replace(layers[0], delay=delay, weight=weight)
    return replace(program, layers=tuple(layers))


@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
@pytest.mark.parametrize("kind", KINDS)
def test_latency_is_what_an_impulse_takes(kind: str, neuron: NeuronKind) -> None:
    program = excitable(kind, neuron)
    stepper, impulse_at = Stepper(program), 20
    frames = np.zeros((60, program.num_inputs), np.uint8)
    frames[impulse_at] = 1
    spikes, _ = stepper.step(frames, stepper.reset_state())
    seen = int(np.flatnonzero(spikes[-1].any(1))[0]) + program.delays[-1]  # on chip
    assert seen - impulse_at == latency_steps(program)
    assert latency_steps(program) == {"dense": 3, "conv": 3, "pooled": 4}.get(kind, seen - impulse_at) >= 3


def test_a_network_that_nothing_gets_through_has_no_latency() -> None:
    program = described("dense", "decolle")
    cut = replace(program.layers[1], weight=np.zeros_like(program.layers[1].weight))
    assert latency_steps(replace(program, layers=(program.layers[0], cut, program.layers[2]))) is None


def test_memory_does_not_grow_with_the_stream() -> None:
    """Two million events: what is held is counted, and bounded by the steps that are not over."""
    program = described("dense", "decolle")
    size, count = 20_000, 2_000_000
    block = draw_events(9, size, 20 * DELTAT)
    held, waiting = [], []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(count // size):
            later = block.copy()
            later["t"] += number * 20 * DELTAT
            yield later
            held.append(len(session._ends_us))
            waiting.append(session.summary().counts.held)

    session = StreamSession(program, stream_dataset(program, None), StreamSettings(backend="reference"))
    told = sum(1 for _ in session.run(Opened("the stream", "nmnist", blocks())))
    summary = session.summary()
    assert summary.counts.events == count and summary.steps == 20 * count // size == 2_000
    assert max(waiting) == summary.counts.held <= 3 * program.num_inputs
    assert max(held) == 0  # every step that was made is decided on
    assert told == summary.decisions and summary.counts.waiting <= 22


def test_a_sensor_of_another_size_is_said() -> None:
    program = described("dense", "cuba")
    source = Opened("the stream", "aedat4", iter([draw_events(1, 50, 5 * DELTAT)]), sensor_size=(180, 240))
    session = StreamSession(program, WHOLE, StreamSettings(backend="reference"))
    list(session.run(source))
    (note,) = notes(session.summary())
    assert "180x240" in note and "6x6" in note


def test_settings_that_do_not_fit() -> None:
    program = described("dense", "cuba")
    for settings, words in (
        (StreamSettings(reset_every=3), "--reset-every 3.*at least 4"),
        (StreamSettings(backend="reference", tolerance=500, max_gap=400), "--max-gap 400"),
    ):
        with pytest.raises(UsageError, match=words):
            list(StreamSession(program, WHOLE, settings).run(Opened("it", "nmnist", iter(()))))
