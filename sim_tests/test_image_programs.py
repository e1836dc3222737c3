"""Networks that take an image, and the ways in which a network decides, against plain Python."""

# R recordings, T steps, N neurons, C classes

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.program import Program, input_kind
from decolle_hw.errors import CompileError
from decolle_hw.sim.compare import INPUT_BLOCK, compare
from decolle_hw.sim.random_program import random_program, random_spikes
from decolle_hw.sim.reference import run_input_block, run_reference
from decolle_hw.sim.trace import Trace, decide, readouts

BLOCK = InputBlock(weight=76, bias=64, du=4095, dv=123, vth=80)


@pytest.fixture
def program() -> Program:
    return replace(random_program(np.random.default_rng(2), "cuba", sizes=(9, 8, 7), steps=20), input_block=BLOCK)


@pytest.mark.parametrize("block", [BLOCK, InputBlock(weight=-3, bias=4000, du=0, dv=0, vth=131071, bias_exp=7)])
def test_input_neurons_equal_plain_integers(block: InputBlock) -> None:
    mantissa_RI = np.array([[-4096, -12, 0, 1, 79, 80, 81, 140, 4095]])
    trace = run_input_block(block, mantissa_RI, 30, record=True)
    assert not trace.registers["u"].any() and trace.spikes.any()
    for place, mantissa in enumerate(mantissa_RI[0].tolist()):
        v = 0
        for t in range(30):
            kept = abs(v) * (4096 - block.dv) // 4096
            v = (kept if v >= 0 else -kept) + mantissa * 2**block.bias_exp
            v = max(1 - 2**23, min(2**23 - 1, v))
            spike = v > block.vth * 64
            v = 0 if spike else v
            assert (trace.spikes[0, t, place], trace.registers["v"][0, t, place]) == (spike, v)


def test_pixels_become_the_nearest_mantissas() -> None:
    pixels = np.array([[-1.0, -0.5, 0.0, 1 / 152, 3 / 152, 0.99, 1.0]])
    assert BLOCK.mantissas(pixels).tolist() == [[-12, 26, 64, 64, 66, 139, 140]]
    for wrong in (1.01, -1.01, np.nan):
        with pytest.raises(ValueError, match=r"pixels are -1\.\.1"):
            BLOCK.mantissas(np.array([[0.0, wrong]]))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"weight": -4000, "bias": 96}, "weight, bias: expected biases of 13 bit"),
    ({"du": 4096}, "du: expected 0..4095"),
    ({"dv": -1}, "dv: expected 0..4095"),
    ({"vth": 1 << 17}, "vth: expected an unsigned value of 17 bit"),
    ({"bias_exp": 8}, "bias_exp: expected 0..7"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_blocks_that_do_not_exist_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CompileError, match=re.escape(f"input block: {message}")):
        replace(BLOCK, **changes)


def test_layers_see_the_spikes_of_the_input_block(program: Program) -> None:
    mantissa_RI = np.random.default_rng(0).integers(-12, 141, (6, 9))
    assert input_kind(program) == "image" and input_kind(replace(program, input_block=None)) == "events"
    trace = run_reference(program, mantissa_RI, record=True)
    assert trace.input is not None and trace.input.spikes.shape == (6, 20, 9)
    spikes = run_reference(replace(program, input_block=None), trace.input.spikes, record=True)
    assert spikes.input is None
    for mine, theirs in zip(trace.layers, spikes.layers, strict=True):
        np.testing.assert_array_equal(mine.registers["v"], theirs.registers["v"])
    parts = Trace.join([trace.take(0, 2), trace.take(2, 6)])
    assert compare(program, trace, parts).equal and compare(program, trace, parts).input["v"] == (6 * 20 * 9, 0)
    with pytest.raises(ValueError, match="only one of the traces is of an input block"):
        compare(program, trace, spikes)


def test_a_difference_in_the_input_block_comes_first(program: Program) -> None:
    mantissa_RI = np.full((2, 9), 100)
    trace = run_reference(program, mantissa_RI)
    mantissa_RI[1, 4] = -100
    other = run_reference(program, mantissa_RI)
    result = compare(program, trace, other)
    assert not result.equal and result.first is not None and result.first.layer == INPUT_BLOCK
    assert result.per_quantity["spikes"][1] > result.input["spikes"][1] > 0
    assert str(result.first).startswith("recording 1, step 0, input block, neuron 4: spikes is 1 in one and 0 in")
    twice = result.followed_by(result, 2)
    assert twice.input["spikes"] == tuple(2 * count for count in result.input["spikes"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 20, 9), int), "expected (R, 9) bias mantissas, got (2, 20, 9)"),
        (np.zeros((2, 8), int), "expected (R, 9) bias mantissas"),
        (np.zeros((2, 9)), "bias mantissas are integers, got float64"),
        (np.full((2, 9), 4096), "bias mantissas have 13 bit, got 4096..4096"),
    ],
)
def test_wrong_input_is_refused(given: np.ndarray, message: str, program: Program) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run_reference(program, given)


@pytest.mark.parametrize("prediction", ["sum", "mode", "voltage"])
def test_decisions_equal_plain_python(prediction: str) -> None:
    """The first of the largest wins, in every vote and in the end."""
    rng = np.random.default_rng(5)
    decisions = {0}
    while len(decisions) < 2:  # many random networks are silent, or always of one mind
        drawn = random_program(rng, "cuba", sizes=(20, 15, 10), steps=24, weight_kind="mixed")
        readout = {
            "readout_weight": rng.integers(-1, 2, (3, 10)).astype(np.int32),
            "readout_bias": np.zeros(3, np.int32),
        }
        small = replace(drawn.layers[-1], **readout)
        program = replace(drawn, layers=(*drawn.layers[:-1], small), prediction=prediction)  # type: ignore[arg-type]
        trace = run_reference(program, random_spikes(rng, program, 30))
        decisions = set(decide(program, trace).tolist())
    assert ("v" in trace.layers[-1].registers) == (prediction == "voltage") and not trace.layers[0].registers
    weight = small.readout_weight.tolist()
    ties, voted = 0, readouts(program, trace)
    for recording, winner in enumerate(decide(program, trace).tolist()):
        spikes_TN = trace.layers[-1].spikes[recording].tolist()
        rows = [[sum(w * s for w, s in zip(row, step, strict=True)) for row in weight] for step in spikes_TN]
        counted = rows[program.burnin_steps :]
        if prediction == "sum":
            expected = [sum(row[c] for row in counted) for c in range(3)]
        elif prediction == "mode":
            votes = [row.index(max(row)) for row in counted]
            expected = [votes.count(c) for c in range(3)]
        else:
            v_N = trace.layers[-1].registers["v"][recording, -1].tolist()
            expected = [sum(w * v for w, v in zip(row, v_N, strict=True)) for row in weight]
        assert voted[recording].tolist() == expected
        assert winner == expected.index(max(expected))
        ties += expected.count(max(expected)) > 1 or any(row.count(max(row)) > 1 for row in counted)
    assert ties
    with pytest.raises(CompileError, match="prediction 'median': expected one of sum, mode, voltage"):
        replace(program, prediction="median")  # type: ignore[arg-type]
