"""A comparison must find what is planted, and count it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_programs import make_program, make_spikes

from decolle_hw.compiler.layers import NeuronKind
from decolle_hw.compiler.program import Program
from decolle_hw.sim.compare import compare, place_in_map
from decolle_hw.sim.random_program import random_program, random_spikes
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import Trace


def program_and_trace(neuron: NeuronKind) -> tuple[Program, Trace]:
    rng = np.random.default_rng(0)
    program = random_program(rng, neuron, sizes=(10, 8, 6), steps=12)
    return program, run_reference(program, random_spikes(rng, program, 3), record=True)


def planted(trace: Trace, layer: int, quantity: str, *places: tuple[int, int, int]) -> Trace:
    """A copy with one added to (recording, step, neuron)."""
    old = trace.layers[layer]
    values = (old.spikes if quantity == "spikes" else old.registers[quantity]).copy()
    for place in places:
        values[place] ^= 1
    if quantity == "spikes":
        new = replace(old, spikes=values)
    else:
        new = replace(old, registers={**old.registers, quantity: values})
    return Trace(tuple(new if index == layer else one for index, one in enumerate(trace.layers)))


def test_equal_traces_and_the_count_of_values() -> None:
    program, trace = program_and_trace("decolle")
    result = compare(program, trace, trace)
    values = 3 * 12 * (8 + 6)
    assert result.equal and result.first is None
    assert result.per_quantity == dict.fromkeys(("u", "v", "r", "spikes"), (values, 0))
    assert (result.compared, result.mismatches) == (4 * values, 0)


def test_steps_before_the_first_are_not_counted() -> None:
    program, trace = program_and_trace("cuba")
    result = compare(program, trace, planted(trace, 1, "spikes", (0, 0, 0), (2, 1, 5)))
    assert result.equal
    assert result.per_quantity["spikes"] == (3 * (11 * 8 + 10 * 6), 0)


@pytest.mark.parametrize("quantity", ["u", "v", "r", "spikes"])
def test_a_planted_difference_is_found(quantity: str) -> None:
    program, trace = program_and_trace("decolle")
    other = planted(trace, 1, quantity, (2, 0, 1), (1, 11, 0), (1, 7, 5), (1, 7, 4))
    result = compare(program, trace, other)
    assert not result.equal and result.mismatches == 4
    assert result.per_quantity[quantity][1] == 4
    first = result.first
    assert first is not None
    place = (first.recording, first.step, first.layer, first.quantity, first.neuron)
    assert place == (1, 7, 1, quantity, 4)
    values = trace.layers[1].spikes if quantity == "spikes" else trace.layers[1].registers[quantity]
    assert first.left == values[1, 7, 4] and first.right == (first.left ^ 1)
    assert f"recording 1, step 7, layer 1, neuron 4: {quantity} is {first.left} in one" in str(first)


def test_the_earliest_cause_comes_first() -> None:
    """At the same step the lower layer, and within it u before v before r before spikes."""
    program, trace = program_and_trace("decolle")
    other = planted(trace, 1, "u", (0, 5, 0))
    for quantity in ("spikes", "r", "v"):
        other = planted(other, 0, quantity, (0, 5, 3))
    first = compare(program, trace, other).first
    assert first is not None and (first.layer, first.quantity) == (0, "v")
    earlier = compare(program, trace, planted(other, 1, "spikes", (0, 4, 0))).first
    assert earlier is not None and (earlier.layer, earlier.step) == (1, 4)


def test_traces_that_cannot_be_compared() -> None:
    program, trace = program_and_trace("cuba")
    with pytest.raises(ValueError, match="shapes"):
        compare(program, trace, trace.take(0, 2))
    bare = Trace(tuple(replace(layer, registers={}) for layer in trace.layers))
    with pytest.raises(ValueError, match="registers"):
        compare(program, trace, bare)
    assert compare(program, bare, bare).per_quantity.keys() == {"spikes"}


def test_counts_of_each_layer() -> None:
    program, trace = program_and_trace("decolle")
    result = compare(program, trace, planted(trace, 1, "v", (2, 0, 1), (1, 11, 0)))
    assert result.per_layer == (
        dict.fromkeys(("u", "v", "r", "spikes"), (3 * 12 * 8, 0)),
        dict.fromkeys(("u", "v", "r", "spikes"), (3 * 12 * 6, 0)) | {"v": (3 * 12 * 6, 2)},
    )


def test_batches_are_joined() -> None:
    """Counts add up, and recordings are counted from the first batch on."""
    program, trace = program_and_trace("decolle")
    other = planted(trace, 1, "u", (1, 3, 2), (2, 0, 0))
    parts = [compare(program, trace.take(k, k + 1), other.take(k, k + 1)) for k in range(3)]
    assert parts[1].first is not None and parts[1].first.recording == 0
    assert parts[0].followed_by(parts[1], 1).followed_by(parts[2], 2) == compare(program, trace, other)
    assert parts[0].followed_by(parts[1].followed_by(parts[2], 1), 1) == compare(program, trace, other)


def test_place_and_step_on_chip() -> None:
    """A pooling stage runs one step later there, and so does all that follows it."""
    program = make_program("pooled", "decolle")  # convolution, pooling, convolution, dense
    trace = run_reference(program, make_spikes(0, 2), record=True)
    for layer, late in enumerate((0, 1, 1, 1)):
        neurons = program.layers[layer].num_neurons
        first = compare(program, trace, planted(trace, layer, "u", (1, 7, neurons - 2))).first
        assert first is not None and (first.step, first.chip_step) == (7, 7 + late)
        assert ("(8 on chip)" in str(first)) == bool(late)
        shape = program.layers[layer].map_shape
        assert first.place == (None if layer == 3 else (shape[0] - 1, shape[1] - 1, shape[2] - 2))
    assert place_in_map(program.layers[0], 1 * 36 + 2 * 6 + 3) == (1, 2, 3)
