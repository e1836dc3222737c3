"""One parameter of one layer is wrong on one side: `verify` names the layer, and the first step and neuron.

Where it must be found is worked out value by value in plain Python loops from the traces of both sides. Most cases
compare the reference with itself, which takes milliseconds; some run the wrong side in Lava.
"""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import dataclasses
import importlib
import itertools
from typing import NamedTuple

import numpy as np
import pytest
from small_programs import KINDS, make_program, make_spikes

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.fidelity.chain import run_chain
from decolle_hw.sim.compare import Divergence, compare
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import Trace

NEURONS = ("decolle", "cuba")
FAULTS = ("weight", "du", "dv", "dr", "rho", "vth", "bias", "delay")
LABELS = np.array([0, 1, 2, 0])


class Place(NamedTuple):
    """The first value that differs."""

    recording: int
    step: int
    layer: int
    quantity: str
    neuron: int
    left: int
    right: int


def corrupted(program: Program, index: int, fault: str, right: Trace, spikes_RTI: np.ndarray) -> Program | None:
    """A copy with one parameter of a layer changed; None where it has no such parameter.

    `right`: what the right program does with `spikes_RTI`: the fault sits where a spike passes.
    """
    layer = program.layers[index]
    before_RTI = spikes_RTI if index == 0 else right.layers[index - 1].spikes
    busiest = int(right.layers[index].spikes.sum((0, 1)).argmax())
    if fault == "weight":
        weight = layer.weight.copy()
        weight[_busy_synapse(layer, before_RTI)] -= 2
        wrong = dataclasses.replace(layer, weight=weight)
    elif fault in ("du", "dv") or (fault in ("dr", "rho") and layer.neuron == "decolle"):
        wrong = dataclasses.replace(layer, **{fault: getattr(layer, fault) + 40})
    elif fault == "vth":
        vth = layer.vth.copy()
        one = busiest if layer.neuron == "decolle" else slice(None)  # stock LIF has one for all
        vth[one] += np.abs(vth[one]) + 200
        wrong = dataclasses.replace(layer, vth=vth)
    elif fault == "bias" and layer.neuron == "cuba":
        bias_mant = layer.bias_mant.copy()
        bias_mant[busiest] += 1
        wrong = dataclasses.replace(layer, bias_mant=bias_mant)
    elif fault == "delay" and isinstance(layer, DenseLayer) and layer.max_delay:
        delay = layer.delay.copy()
        delay[_busy_synapse(layer, before_RTI)] += 1
        wrong = dataclasses.replace(layer, delay=delay)
    else:
        return None
    return dataclasses.replace(program, layers=(*program.layers[:index], wrong, *program.layers[index + 1 :]))


def _busy_synapse(layer: Layer, before_RTI: np.ndarray) -> tuple[int, ...]:
    """Where in `weight` a synapse stands that many spikes pass: the largest one of the busiest input or channel."""
    spikes_I = before_RTI.sum((0, 1))
    if isinstance(layer, ConvLayer):
        column = int(spikes_I.reshape(layer.input_shape[0], -1).sum(1).argmax())
    else:
        column = int(spikes_I.argmax())
    sizes = np.abs(layer.weight[:, column])
    place = tuple(int(i) for i in np.unravel_index(int(sizes.argmax()), sizes.shape))
    return place[0], column, *place[1:]


def by_brute_force(left: Trace, right: Trace) -> Place:
    """Recording after recording, step after step, layer after layer; u, v, r, spikes; neuron after neuron."""
    recordings, steps, _ = left.layers[0].spikes.shape
    for recording in range(recordings):
        for step in range(steps):
            for index, (mine, theirs) in enumerate(zip(left.layers, right.layers, strict=True)):
                for quantity in ("u", "v", "r", "spikes"):
                    if quantity not in mine.registers and quantity != "spikes":
                        continue
                    a = mine.spikes if quantity == "spikes" else mine.registers[quantity]
                    b = theirs.spikes if quantity == "spikes" else theirs.registers[quantity]
                    row, other_row = a[recording, step].tolist(), b[recording, step].tolist()
                    if row != other_row:
                        neuron = next(n for n in range(len(row)) if row[n] != other_row[n])
                        return Place(recording, step, index, quantity, neuron, row[neuron], other_row[neuron])
    raise AssertionError("the fault has no effect on these recordings: the test shows nothing")


def require_found(first: Divergence | None, place: Place, program: Program) -> None:
    assert first is not None
    found = Place(*(getattr(first, name) for name in Place._fields))
    assert found == place
    pooled_before = sum(layer.is_pooling for layer in program.layers[: place.layer + 1])
    assert first.chip_step == place.step + pooled_before
    layer = program.layers[place.layer]
    if isinstance(layer, ConvLayer):
        assert first.place is not None
        assert np.ravel_multi_index(first.place, layer.map_shape) == place.neuron
        assert f"(channel {first.place[0]}, y {first.place[1]}, x {first.place[2]})" in str(first)
    else:
        assert first.place is None
    assert f"step {place.step}" in str(first) and f"layer {place.layer}, neuron {place.neuron}" in str(first)


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_in_every_layer_is_found(kind, neuron):
    program, spikes_RTI = make_program(kind, neuron), make_spikes(5)
    right = run_reference(program, spikes_RTI, record=True)
    expected = {"weight", "du", "dv", "vth"} | ({"dr", "rho"} if neuron == "decolle" else {"bias"})
    if kind == "delayed":
        expected.add("delay")
    learning = [index for index, layer in enumerate(program.layers) if not layer.is_pooling]
    for index, fault in itertools.product(learning, FAULTS):
        wrong = corrupted(program, index, fault, right, spikes_RTI)
        assert (wrong is not None) == (fault in expected)
        if wrong is None:
            continue
        wrong_trace = run_reference(wrong, spikes_RTI, record=True)
        comparison = compare(program, right, wrong_trace)
        assert not comparison.equal, (index, fault)
        place = by_brute_force(right, wrong_trace)
        require_found(comparison.first, place, program)
        assert place.layer == index, (index, fault)
        quantity = {"du": "u", "weight": "u", "delay": "u", "dv": "v", "bias": "v", "dr": "r", "rho": "r"}.get(fault)
        # A threshold shows in the spikes, or, of stock LIF, in the v that they reset.
        assert place.quantity == quantity or (fault == "vth" and place.quantity in ("spikes", "v")), (index, fault)
        before = comparison.per_layer[:index]
        assert not any(mismatches for counts in before for _, mismatches in counts.values())


def test_a_wrong_weight_names_its_neuron_and_its_channel():
    """Nothing but neuron 3's own synapses can differ first."""
    for kind, index in (("dense", 1), ("pooled", 2)):
        program = make_program(kind, "decolle")
        weight = program.layers[index].weight.copy()
        weight[3] += 2
        layers = list(program.layers)
        layers[index] = dataclasses.replace(layers[index], weight=weight)
        wrong = dataclasses.replace(program, layers=tuple(layers))
        chain = run_chain(
            None, program, make_spikes(5), LABELS, lambda x, wrong=wrong: run_reference(wrong, x, record=True)
        )
        assert chain.comparison is not None
        first = chain.comparison.first
        assert first is not None and (first.layer, first.quantity) == (index, "u")
        assert (first.place[0] if first.place else first.neuron) == 3


LAVA_CASES = [("dense", "cuba", 1, "weight"), ("delayed", "decolle", 0, "delay"), ("conv", "decolle", 1, "dr"),
              ("pooled", "cuba", 2, "vth")]  # fmt: skip


@pytest.mark.parametrize("kind, neuron, index, fault", LAVA_CASES)
def test_a_fault_in_what_lava_runs_is_found(kind, neuron, index, fault):
    pytest.importorskip("lava", reason="Lava is not installed")
    run_lava = importlib.import_module("decolle_hw.lava_backend.runner").run_lava
    program, spikes_RTI = make_program(kind, neuron), make_spikes(5)
    right = run_reference(program, spikes_RTI, record=True)
    wrong = corrupted(program, index, fault, right, spikes_RTI)
    assert wrong is not None
    chain = run_chain(None, program, spikes_RTI, LABELS, lambda x: run_lava(wrong, x, record=True))
    assert chain.comparison is not None
    require_found(chain.comparison.first, by_brute_force(right, run_reference(wrong, spikes_RTI, record=True)), program)
