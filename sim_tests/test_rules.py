"""Rules of a target: every one shown to fire, alone and together, each with value, limit and remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.lowering.read import graph_of_program, graph_of_spec
from decolle_hw.compiler.mapping import Mapped, Wanted, map_graph
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.rules import RULES, Violation, require_none
from decolle_hw.errors import CompileError, SpecError
from decolle_hw.spec import load_model_spec
from decolle_hw.targets import Limit, Target, load_target

LOIHI1, LOIHI2 = load_target("loihi1"), load_target("loihi2")


def layer(num_neurons: int, num_inputs: int, **changes: Any) -> DenseLayer:
    plain = DenseLayer(
        neuron="cuba",
        weight=np.full((num_neurons, num_inputs), 2, np.int32),
        weight_exp=0,
        du=400,
        dv=200,
        vth=np.full(num_neurons, 1000, np.int32),
        bias_mant=np.zeros(num_neurons, np.int32),
        bias_exp=0,
        dr=0,
        rho=0,
        readout_weight=np.zeros((2, num_neurons), np.int32),
        readout_bias=np.zeros(2, np.int32),
    )
    return replace(plain, **changes)


def program(*layers: Layer) -> Program:
    inputs = layers[0].num_inputs
    return Program("test", layers, ("a", "b"), (1, 1, inputs), 10, 0, "loihi2", "", "")


def with_limits(target: Target, **values: Any) -> Target:
    """`target` with some limits replaced."""
    boards = values.pop("boards", None)
    update: dict[str, Any] = {name: a_limit(value) for name, value in values.items()}
    if boards is not None:
        update["boards"] = {name: a_limit(chips) for name, chips in boards.items()}
    return target.model_copy(update=update)


def a_limit(value: Any) -> Limit[Any]:
    return Limit(value=value, source="a test", confidence="assumed")


def mapped(compiled: Program, target: Target, **wanted: Any) -> Mapped:
    return map_graph(graph_of_program(compiled), Wanted(target, **wanted), classes=2, program=compiled)


def violations(compiled: Program, target: Target, **wanted: Any) -> list[Violation]:
    return mapped(compiled, target, **wanted).violations


MICROCODE = {"neuron": "decolle", "dr": 100, "rho": 5, "vth": np.full(6, -300, np.int32)}
BROKEN: list[tuple[str, Target, dict[str, Any], str]] = [
    ("neuron", LOIHI1, MICROCODE, "dense0: neuron decolle, allowed: cuba (train with network.neuron: cuba"),
    # 16 = 2**4 is a multiple of 2**(9-5): five bits hold it, four do not.
    (
        "weight",
        with_limits(LOIHI2, weight_bits=4),
        {"weight": np.full((6, 3), -16, np.int32), "weight_bits": 5},
        "dense0: weight bits 5, allowed: at most 4 (",
    ),
    ("exponent", LOIHI1, {"weight_exp": -8}, "layer 0: weight_exp -8, allowed: -7..7 ("),
    ("du", with_limits(LOIHI2, decay_bits=8), {"dv": 0}, "layer 0: du 400, allowed: 0..255 ("),
    ("dv", LOIHI2, {**MICROCODE, "dv": 4096}, "layer 0: dv 4096, allowed: 0..4095 ("),
    ("dr", LOIHI2, {**MICROCODE, "dr": 4096}, "layer 0: dr 4096, allowed: 0..4095 ("),
    ("vth", with_limits(LOIHI2, vth_bits=8), {}, "layer 0: vth 1000, allowed: 0..255 ("),
    ("vth size", with_limits(LOIHI2, vth_bits=8), MICROCODE, "layer 0: vth 300, allowed: 0..255 ("),
    (
        "bias high",
        with_limits(LOIHI2, bias_mant_bits=5),
        {"bias_mant": np.array([16, 0, 0, 0, 0, -16], np.int32)},
        "layer 0: bias_mant 16, allowed: -16..15 (",
    ),
    (
        "bias low",
        with_limits(LOIHI2, bias_mant_bits=5),
        {"bias_mant": np.full(6, -17, np.int32)},
        "layer 0: bias_mant -17, allowed: -16..15 (",
    ),
    (
        "bias_exp",
        with_limits(LOIHI2, bias_exp_bits=2),
        {"bias_exp": 4},
        "layer 0: bias_exp 4, allowed: 0..3 (",
    ),
    (
        "delay",
        with_limits(LOIHI2, max_delay=3),
        {"delay": np.full((6, 3), 4, np.int32)},
        "layer 0: delay 4, allowed: at most 3 steps (",
    ),
    # One neuron on a core: 3 axons of one word each.
    (
        "memory",
        with_limits(LOIHI2, synaptic_memory_bits=128),
        {},
        "dense0: synaptic memory 192, allowed: at most 128 (",
    ),
    ("in-axons", with_limits(LOIHI2, in_axons=2), {}, "dense0: in-axons 3, allowed: at most 2 ("),
    (
        "board",
        with_limits(LOIHI2, neurons_per_core=1, usable_cores=2, boards={"Tiny": 2}),
        {},
        "network: chips of Tiny 3, allowed: at most 2 (1 too few: use fewer units",
    ),
    (
        "neurons of a chip",
        with_limits(LOIHI2, neurons_per_chip=5, boards={"Tiny": 5}),
        {},
        "network: neurons per chip 6, allowed: at most 5 (",
    ),
    (
        "synapses of a chip",
        with_limits(LOIHI2, synapses_per_chip=9, boards={"Tiny": 2}),
        {},
        "network: synapses per chip 18, allowed: at most 9 (",
    ),
]


def test_a_fitting_network_passes() -> None:
    found = violations(program(layer(6, 3), layer(4, 6)), LOIHI1)
    assert found == []
    require_none(found, "test", LOIHI1)


@pytest.mark.parametrize(("target", "changes", "message"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN])
def test_each_rule_fires_alone(target: Target, changes: dict[str, Any], message: str) -> None:
    found = violations(program(layer(6, 3, **changes)), target)
    assert len(found) == 1 and found[0].remedy
    assert message in str(found[0])
    with pytest.raises(CompileError) as raised:
        require_none(found, "test", target)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_out_axons_of_one_neuron() -> None:
    target = with_limits(LOIHI2, neurons_per_core=1, out_axons=3)
    (found,) = violations(program(layer(2, 3), layer(4, 2)), target)
    assert str(found).startswith("dense0: out-axons 4, allowed: at most 3 (reduce the cores of the populations behind")


def test_fewer_cores_and_a_smaller_board_than_it_takes() -> None:
    target = with_limits(LOIHI2, neurons_per_core=2, usable_cores=1, boards={"One": 1, "Two": 2, "Many": 9})
    compiled = program(layer(6, 3))
    (cores,) = violations(compiled, target, cores=2)
    assert str(cores) == (
        "network: cores 3, allowed: at most 2 "
        "(1 too many, no placement has fewer than 3: allow more, or use fewer units)"
    )
    (board,) = violations(compiled, target, board="two")
    assert str(board) == "network: chips of Two 3, allowed: at most 2 (1 too few: use Many)"
    with pytest.raises(SpecError, match=r"loihi2 has no board 'Tow'; did you mean 'Two'\?"):
        violations(compiled, target, board="Tow")
    # Half of each limit takes twice the cores.
    assert len(mapped(compiled, target, utilisation=0.5).placement.cores) == 6


def convolution(**changes: Any) -> ConvLayer:
    plain = layer(50, 3)
    values = {name: getattr(plain, name) for name in plain.__dataclass_fields__ if name not in ("weight", "delay")}
    return ConvLayer(**values, weight=np.full((2, 1, 2, 2), 2, np.int32), input_shape=(1, 6, 6), **changes)


def test_a_plastic_convolution_is_refused_with_its_price() -> None:
    """A kernel is shared by all positions; what learns is not."""
    compiled = program(convolution())
    target = with_limits(LOIHI2, synaptic_memory_bits=4000, in_axons=100)
    (plastic,) = violations(compiled, target, plastic=(0,))
    assert (plastic.where, plastic.what, plastic.value) == ("conv0", "plastic", "convolution")
    # 50 neurons see 4 inputs each.
    assert "200 of them on at least" in plastic.remedy and "instead of 1; make a dense layer plastic" in plastic.remedy


def test_errors_need_graded_spikes() -> None:
    found = violations(program(layer(6, 3)), LOIHI1, plastic=(0,))
    assert [(one.where, one.what, one.value) for one in found] == [("error0", "spikes", "graded")]
    assert violations(program(layer(6, 3)), LOIHI2, plastic=(0,)) == []


def test_a_network_that_is_not_trained_is_looked_at_too() -> None:
    graph = graph_of_spec(load_model_spec("nmnist-paper"), 10, 8)
    found = map_graph(graph, Wanted(LOIHI1, board="Kapoho Bay", cores=100), classes=10).violations
    assert [(one.where, one.what, one.value) for one in found] == [
        ("conv0", "neuron", "decolle"), ("conv1", "neuron", "decolle"), ("conv2", "neuron", "decolle"),
        ("network", "cores", "152"),
    ]  # fmt: skip


def test_all_violations_are_listed() -> None:
    first = layer(6, 3, **MICROCODE, weight_exp=-8)
    broken = program(first, layer(4, 6, **{**MICROCODE, "vth": np.full(4, 9, np.int32)}))
    found = violations(broken, with_limits(LOIHI1, in_axons=2))
    assert [(one.where, one.what) for one in found] == [
        ("dense0", "neuron"), ("dense1", "neuron"), ("layer 0", "weight_exp"),
        ("dense0", "in-axons"), ("dense1", "in-axons"),
    ]  # fmt: skip
    with pytest.raises(CompileError) as raised:
        require_none(found, "test", LOIHI1)
    lines = str(raised.value).splitlines()
    assert lines[0] == "test does not fit loihi1:" and len(lines) == 6
    assert lines[1].startswith("  dense0: neuron decolle, allowed: cuba (")
    assert len(RULES) == 8
