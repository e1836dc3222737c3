"""Lava that is fed piece by piece makes the same steps as the reference, and a decision comes as late as we say."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_programs import STEPS
from stream_tools import DELTAT, described, draw_events
from test_stream_session import excitable

from decolle_hw.compiler.program import Program
from decolle_hw.sim.reference import run_reference
from decolle_hw.streaming import engines
from decolle_hw.streaming.aim import stream_dataset
from decolle_hw.streaming.latency import latency_steps
from decolle_hw.streaming.session import Decision, StreamSession, StreamSettings
from decolle_hw.streaming.source import Opened
from decolle_hw.streaming.steps import AT_ONCE

try:
    lava = importlib.import_module("decolle_hw.lava_backend.streaming")
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava cannot be imported: {error}", allow_module_level=True)


def streamed(program: Program, events: np.ndarray, **settings: object) -> tuple[StreamSession, list[Decision]]:
    session = StreamSession(program, stream_dataset(program, None), StreamSettings(**settings))  # type: ignore[arg-type]
    blocks = (events[start : start + 97] for start in range(0, len(events), 97))
    return session, list(session.run(Opened("the stream", "nmnist", blocks)))


@pytest.mark.parametrize(("kind", "neuron", "reset_every"), [("pooled", "cuba", None), ("delayed", "decolle", STEPS)])
def test_lava_decides_as_the_reference_and_every_spike_is_compared(kind, neuron, reset_every, monkeypatch) -> None:
    monkeypatch.setattr(lava, "ROWS", AT_ONCE)
    program = described(kind, neuron)
    events = draw_events(1, 700, 5 * STEPS * DELTAT)  # more steps than a tape has rows now
    settings = {"reset_every": reset_every} if reset_every else {"every": 1}
    session, decisions = streamed(program, events, backend="lava", **settings)
    _, expected = streamed(program, events, backend="reference", **settings)
    assert decisions == expected and len(decisions) >= 5
    comparison = session.summary().comparison
    assert comparison is not None and comparison.equal
    steps = session.summary().steps
    recordings = steps // reset_every if reset_every else 1
    begun = [steps - recordings * program.first_step(index) for index in range(len(program.layers))]
    neurons = [layer.num_neurons for layer in program.layers]
    assert comparison.compared == int(np.dot(begun, neurons))


def test_latency_and_voltages_on_chip() -> None:
    """By the steps that Lava counts itself, pooling stages included."""
    program = replace(excitable("pooled", "decolle"), prediction="voltage")
    frames = np.zeros((40, program.num_inputs), np.uint8)
    frames[25] = 1
    found = []
    with lava.open_stream(program, None) as stream:
        for start, stop in ((0, 24), (24, 29), (29, 40)):
            found.append(stream.run(frames[start:stop])[-1])
    spikes, voltages = (np.concatenate([piece[name] for piece in found]) for name in ("spikes", "v"))
    assert np.flatnonzero(spikes.any(1))[0] == 25 + latency_steps(program) == 29
    expected = run_reference(program, frames[None]).layers[-1].registers["v"][0]
    delay = program.delays[-1]
    np.testing.assert_array_equal(voltages[delay:], expected[: len(expected) - delay])


def test_a_wrong_spike_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference with another threshold in its middle layer: the first spike that differs is named."""
    program = described("pooled", "decolle")
    events = draw_events(2, 800, 40 * DELTAT)

    class Wrong(engines.Stepper):
        def __init__(self, right: Program) -> None:
            layer = replace(right.layers[2], vth=right.layers[2].vth - 60)
            super().__init__(replace(right, layers=(*right.layers[:2], layer, *right.layers[3:])))

    monkeypatch.setattr(engines, "Stepper", Wrong)
    session, _ = streamed(program, events, backend="lava")
    comparison = session.summary().comparison
    assert comparison is not None and comparison.mismatches > 0 and comparison.first is not None
    assert comparison.per_layer[0]["spikes"][1] == comparison.per_layer[1]["spikes"][1] == 0
    wrong = run_reference(Wrong(program).program, frames := frames_of(program, events)).layers[2].spikes[0]
    right = run_reference(program, frames).layers[2].spikes[0]
    step, neuron = np.argwhere(wrong != right)[0]
    first = comparison.first
    assert (first.layer, first.step, first.neuron, first.chip_step) == (2, step, neuron, step + 1)


def frames_of(program: Program, events: np.ndarray) -> np.ndarray:
    from test_stream_steps import WHOLE, expected_frames

    return expected_frames(WHOLE, events)[None]
