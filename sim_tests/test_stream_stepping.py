"""A few steps at a time equal one long recording: every spike of every layer, and the registers at the end."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from small_programs import INPUT_SHAPE, KINDS, make_program, many_channels

from decolle_hw.compiler.layers import NeuronKind
from decolle_hw.compiler.program import Program
from decolle_hw.sim.random_program import random_networks
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.stepping import Stepper

STEPS = 61


def long_recording(seed: int, inputs: int, steps: int = STEPS) -> np.ndarray:
    """(K, I): busy, silent and full parts."""
    rng = np.random.default_rng(seed)
    rate_K = np.repeat(rng.choice([0.0, 0.05, 0.2, 0.6], -(-steps // 7)), 7)[:steps]
    return (rng.random((steps, inputs)) < rate_K[:, None]).astype(np.uint8)


def equal_in_pieces(program: Program, spikes_KI: np.ndarray, pieces: list[int]) -> None:
    expected = run_reference(program, spikes_KI[None], record=True)
    stepper = Stepper(program)
    state, got = stepper.reset_state(), []
    for start, stop in itertools.pairwise([0, *np.cumsum(pieces)]):
        spikes, state = stepper.step(spikes_KI[start:stop], state)
        got.append(spikes)
    assert state.step == len(spikes_KI)
    for index, trace in enumerate(expected.layers):
        np.testing.assert_array_equal(np.concatenate([spikes[index] for spikes in got]), trace.spikes[0])
        registers = stepper.registers(state, index)
        assert registers.keys() == trace.registers.keys()
        for name, values_N in registers.items():
            np.testing.assert_array_equal(values_N, trace.registers[name][0, -1], err_msg=f"layer {index} {name}")


@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_every_size_equal_one_recording(kind: str, neuron: NeuronKind) -> None:
    program = make_program(kind, neuron)
    spikes_KI = long_recording(KINDS.index(kind), int(np.prod(INPUT_SHAPE)))
    assert run_reference(program, spikes_KI[None]).layers[-1].spikes[0, 20:].any(), "the network must not be dead"
    for pieces in ([STEPS], [1] * STEPS, [1, 2, 0, 3, STEPS - 6], [7] * 8 + [5]):
        equal_in_pieces(program, spikes_KI, pieces)


def test_random_networks_in_random_pieces() -> None:
    """Registers from the ends of their ranges, delays, negative exponents, geometries of all kinds."""
    rng = np.random.default_rng(5)
    for program in (*itertools.islice(random_networks(11), 12), many_channels(9)):
        cuts = np.sort(rng.integers(0, STEPS, 5))
        pieces = np.diff([0, *cuts, STEPS]).tolist()
        equal_in_pieces(program, long_recording(3, program.num_inputs), pieces)


def test_a_state_that_was_given_stays_as_it_is() -> None:
    program = make_program("delayed", "cuba")
    stepper = Stepper(program)
    spikes_KI = long_recording(1, program.num_inputs)
    _, state = stepper.step(spikes_KI[:30], stepper.reset_state())
    once, _ = stepper.step(spikes_KI[30:], state)
    again, _ = stepper.step(spikes_KI[30:], state)
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_wrong_state_is_seen() -> None:
    """The comparison can fail: from the reset state the same steps come out otherwise."""
    program = make_program("dense", "decolle")
    stepper = Stepper(program)
    spikes_KI = long_recording(2, program.num_inputs)
    _, state = stepper.step(spikes_KI[:30], stepper.reset_state())
    right, _ = stepper.step(spikes_KI[30:], state)
    wrong, _ = stepper.step(spikes_KI[30:], replace(stepper.reset_state(), step=30))
    assert any(np.any(a != b) for a, b in zip(right, wrong, strict=True))


@pytest.mark.parametrize(("spikes", "words"), [(np.zeros((3, 5), np.uint8), "expected"), (2, "0 or 1"), (-1, "0 or 1")])
def test_input_that_does_not_fit(spikes: np.ndarray | int, words: str) -> None:
    stepper = Stepper(make_program("dense", "cuba"))
    given = spikes if isinstance(spikes, np.ndarray) else np.full((2, int(np.prod(INPUT_SHAPE))), spikes, np.int8)
    with pytest.raises(ValueError, match=words):
        stepper.step(given, stepper.reset_state())
