"""Resources and rules: numbers worked out by hand, and every rule shown to fire."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.resources import UNUSED_LIMITS, resource_table
from decolle_hw.compiler.rules import RULES, check, violations
from decolle_hw.errors import CompileError
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
    update = {name: Limit(value=value, source="a test", confidence="assumed") for name, value in values.items()}
    return target.model_copy(update=update)


def thinned(num_neurons: int, num_inputs: int, per_axon: int) -> DenseLayer:
    """The first `per_axon` synapses of each input axon, all others zero."""
    weight = np.zeros((num_neurons, num_inputs), np.int32)
    weight[:per_axon] = 2
    return layer(num_neurons, num_inputs, weight=weight)


def test_dense_layer_by_hand() -> None:
    # 16 neurons: idx 4. dense: 10 + 16*8 + 4 = 142 -> 3 words of 64; sparse: 10 + 16*8 + 16*4 = 202 -> 4.
    only = resource_table(program(layer(16, 3)), LOIHI2).layers[0]
    assert (only.memory_format, only.memory_bits) == ("dense", 3 * 3 * 64)
    assert (only.neurons, only.inputs, only.synapses, only.synapses_nonzero) == (16, 3, 48, 48)
    assert (only.cores, only.neurons_per_core) == (1, 16)
    memory = only.usage["synaptic memory"]
    assert (memory.used, memory.limit, memory.share, memory.cores) == (576, 1_048_576, 576 / 1_048_576, 1)
    assert (only.usage["in-axons"].used, only.usage["out-axons"].used) == (
        3,
        0,
    )  # the last layer's go to the host
    assert only.limited_by == "neurons"  # 16/8192 is the largest share of a core


def test_narrow_weights_and_delays_by_hand() -> None:
    # 16 neurons: 10 + 16 * (4 + 3) + 4 = 126 -> 2 words; 4-bit weights, delays of up to 5 steps in 3 bits.
    narrow = layer(16, 3, weight=np.full((16, 3), 32, np.int32), weight_bits=4, delay=np.full((16, 3), 5, np.int32))
    assert resource_table(program(narrow), LOIHI2).layers[0].memory_bits == 2 * 3 * 64


def convolution() -> ConvLayer:
    """3 channels of 4x6 from 2 of 4x6, a kernel of 3x3 with 9 of 54 weights zero."""
    weight = np.full((3, 2, 3, 3), 2, np.int32)
    weight[0, 0] = 0
    fields = {name: getattr(layer(72, 1), name) for name in ("vth", "bias_mant", "readout_weight", "readout_bias")}
    return ConvLayer(
        neuron="cuba", weight=weight, weight_exp=0, du=400, dv=200, bias_exp=0, dr=0, rho=0, input_shape=(2, 4, 6),
        padding=1, **fields,
    )  # fmt: skip


def test_convolution_by_hand() -> None:
    # Kernel: 54 * 8 = 432 bits -> 7 words, on each core; 48 inputs of one word.
    only = resource_table(program(convolution()), LOIHI2).layers[0]
    assert (only.memory_format, only.memory_bits, only.stored_synapses) == ("shared", 7 * 64 + 48 * 64, 54)
    assert (only.neurons, only.inputs, only.synapses, only.synapses_nonzero) == (72, 48, 72 * 18, 24 * 45)
    # 20 neurons on a core: 4 cores, a kernel on each, and a quarter of the inputs.
    split = resource_table(program(convolution()), with_limits(LOIHI2, neurons_per_core=20)).layers[0]
    assert (split.cores, split.limited_by, split.memory_bits) == (4, "neurons", 4 * 7 * 64 + 48 * 64)
    assert split.usage["in-axons"].used == 12
    # 10 words on a core: 3 are left beside the kernel for 48 entries.
    small = resource_table(program(convolution()), with_limits(LOIHI2, synaptic_memory_bits=640)).layers[0]
    assert (small.cores, small.limited_by) == (16, "synaptic memory")
    # Not shared: 72 * 18 synapses of 8 + 7 bits, the index one of 72 neurons, and a word per input.
    unshared = resource_table(program(convolution()), with_limits(LOIHI2, shared_weights=False)).layers[0]
    assert (unshared.memory_format, unshared.memory_bits) == ("sparse", 72 * 18 * 15 + 48 * 64)
    # A kernel that no core holds.
    tiny = with_limits(LOIHI2, synaptic_memory_bits=448)
    assert any("synaptic memory" in str(found) for found in violations(program(convolution()), tiny))


def test_sparse_layer_by_hand() -> None:
    # 2 synapses per axon: 10 + 2*8 + 2*4 = 34 -> 1 word, against 3 words if zeros are stored.
    only = resource_table(program(thinned(16, 3, 2)), LOIHI2).layers[0]
    assert (only.memory_format, only.memory_bits) == ("sparse", 3 * 64)
    assert (only.synapses, only.synapses_nonzero, only.stored_synapses) == (48, 6, 6)


def test_an_axon_without_synapses_keeps_its_header() -> None:
    only = resource_table(program(thinned(16, 3, 0)), LOIHI2).layers[0]
    assert (only.memory_format, only.memory_bits) == ("sparse", 3 * 64)


def test_memory_splits_a_layer() -> None:
    # One core: 576 bits. Two: 8 neurons, idx 3: 10 + 64 + 3 = 77 -> 2 words, 3 axons: 384 bits on each.
    report = resource_table(program(layer(16, 3)), with_limits(LOIHI2, synaptic_memory_bits=400))
    only = report.layers[0]
    assert (only.cores, only.neurons_per_core, only.limited_by) == (2, 8, "synaptic memory")
    assert (only.usage["synaptic memory"].used, only.memory_bits, report.cores) == (384, 768, 2)


def test_neurons_split_a_layer_and_the_last_core_may_hold_fewer() -> None:
    # 7 neurons, 3 per core: 3, 3 and 1. idx 2: 10 + 24 + 2 = 36 and 10 + 8 + 2 = 20: one word per axon each.
    only = resource_table(program(layer(7, 2)), with_limits(LOIHI2, neurons_per_core=3)).layers[0]
    assert (only.cores, only.neurons_per_core, only.limited_by) == (3, 3, "neurons")
    assert (only.memory_bits, only.usage["synaptic memory"].used) == (3 * 2 * 64, 2 * 64)


def test_out_axons_count_the_cores_of_the_next_layer() -> None:
    # Layer 1 (4 neurons, 2 per core) lies on 2 cores, so a neuron of layer 0 needs 2 of the 3 of its core:
    # one per core, 6 cores, where its neurons alone would ask for 3.
    target = with_limits(LOIHI2, neurons_per_core=2, out_axons=3)
    first, second = resource_table(program(layer(6, 3), layer(4, 6)), target).layers
    assert (second.cores, first.cores, first.neurons_per_core) == (2, 6, 1)
    assert first.limited_by == "out-axons"
    assert (first.usage["out-axons"].used, first.usage["out-axons"].cores, first.usage["neurons"].cores) == (
        2,
        6,
        3,
    )


def test_the_shipped_digits_shape_on_loihi2() -> None:
    report = resource_table(program(layer(512, 512), layer(128, 512), layer(128, 128)), LOIHI2)
    # Layer 0 on 2 cores: 10 + 256*8 + 8 = 2066 -> 33 words * 512 axons = 1,081,344 > 1,048,576 bits.
    # On 3: 171 neurons: 10 + 1368 + 8 = 1386 -> 22 words; the last core has 170: 1378 -> 22 words.
    assert [one.cores for one in report.layers] == [3, 1, 1]
    # Layers 1 and 2: 10 + 128*8 + 7 = 1041 -> 17 words per axon.
    assert [one.memory_bits for one in report.layers] == [3 * 22 * 64 * 512, 17 * 64 * 512, 17 * 64 * 128]
    assert (report.neurons, report.synapses) == (768, 512 * 512 + 512 * 128 + 128 * 128)
    assert (report.cores, report.usable_cores, report.chips, report.board) == (5, 120, 1, "Oheo Gulch")
    assert violations(program(layer(512, 512), layer(128, 512), layer(128, 128)), LOIHI2) == []


def slow_memory_cores(weight: np.ndarray[Any, Any], limit: int) -> int | None:
    """The formula of design section 6 in plain loops."""
    num_neurons = len(weight)
    for cores in range(1, num_neurons + 1):
        per_core = math.ceil(num_neurons / cores)
        idx = max(1, math.ceil(math.log2(per_core)))
        for form in ("dense", "sparse"):
            fullest = 0
            for start in range(0, num_neurons, per_core):
                part, total = weight[start : start + per_core], 0
                for axon in part.T:
                    n = len(part) if form == "dense" else int((axon != 0).sum())
                    total += math.ceil((10 + n * 8 + (n * idx if form == "sparse" else idx)) / 64)
                fullest = max(fullest, total * 64)
            if fullest <= limit:
                return cores
    return None


@pytest.mark.parametrize("seed", range(20))
def test_the_search_for_cores_equals_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_neurons, num_inputs = int(rng.integers(1, 60)), int(rng.integers(1, 8))
    density = rng.choice([0.05, 0.3, 0.9])
    weight = np.where(rng.random((num_neurons, num_inputs)) < density, 2, 0).astype(np.int32)
    limit = int(rng.integers(100, 1500))
    target = with_limits(LOIHI2, synaptic_memory_bits=limit)
    only = resource_table(program(layer(num_neurons, num_inputs, weight=weight)), target).layers[0]
    expected = slow_memory_cores(weight, limit)
    assert only.usage["synaptic memory"].cores == expected
    assert (only.usage["synaptic memory"].used <= limit) == (expected is not None)
    # Whatever else splits the layer further, the fullest core still has to hold its part.
    narrow = with_limits(target, neurons_per_core=int(rng.integers(1, num_neurons + 1)))
    only = resource_table(program(layer(num_neurons, num_inputs, weight=weight)), narrow).layers[0]
    assert (only.usage["synaptic memory"].used <= limit) == (expected is not None)
    assert only.usage["neurons"].share <= 1


def test_chips_and_boards() -> None:
    target = with_limits(LOIHI2, usable_cores=2, neurons_per_core=4, boards={"Big": 8, "Small": 1, "Middle": 3})
    report = resource_table(program(layer(20, 3)), target)  # 5 cores on chips of 2
    assert (report.cores, report.chips, report.board) == (5, 3, "Middle")
    assert report.chips_for == {"cores": 3, "neurons": 1, "synapses": 1}


def test_json_is_plain() -> None:
    report = resource_table(program(layer(6, 3), layer(4, 6)), LOIHI2)
    plain = report.to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["layers"][0]["usage"]["in-axons"]["used"] == 3
    assert any("readouts" in note for note in plain["notes"])


def test_limits_are_printed_with_their_source() -> None:
    used = {limit.name: limit for limit in resource_table(program(layer(6, 3)), LOIHI2).limits_used}
    assert set(used) == set(Target.model_fields) - {"name", "description", *UNUSED_LIMITS}
    assert used["out_axons"].value == 4096
    assert used["out_axons"].confidence == "assumed"
    assert used["out_axons"].source == LOIHI2.out_axons.source


def test_a_fitting_network_passes() -> None:
    check(program(layer(6, 3), layer(4, 6)), LOIHI1)


MICROCODE = {"neuron": "decolle", "dr": 100, "rho": 5, "vth": np.full(6, -300, np.int32)}
BROKEN: list[tuple[str, Target, dict[str, Any], str]] = [
    ("neuron", LOIHI1, MICROCODE, "layer 0: neuron decolle, allowed: cuba (train with network.neuron: cuba"),
    # 16 = 2**4 is a multiple of 2**(9-5): five bits hold it, four do not.
    (
        "weight",
        with_limits(LOIHI2, weight_bits=4),
        {"weight": np.full((6, 3), -16, np.int32), "weight_bits": 5},
        "layer 0: weight bits 5, allowed: at most 4 (",
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
        "synaptic memory 192 bits for one neuron, allowed: at most 128",
    ),
    ("in-axons", with_limits(LOIHI2, in_axons=2), {}, "layer 0: in-axons 3, allowed: at most 2 per core ("),
    (
        "cores",
        with_limits(LOIHI2, neurons_per_core=1, usable_cores=2, boards={"Tiny": 2}),
        {},
        "network: chips for its cores 3, allowed: at most 2 (Tiny) (",
    ),
    (
        "neurons",
        with_limits(LOIHI2, neurons_per_chip=1, boards={"Tiny": 5}),
        {},
        "chips for its neurons 6, allowed",
    ),
    (
        "synapses",
        with_limits(LOIHI2, synapses_per_chip=9, boards={"Tiny": 1}),
        {},
        "chips for its synapses 2, allowed",
    ),
]


@pytest.mark.parametrize(("target", "changes", "message"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN])
def test_each_rule_fires_alone(target: Target, changes: dict[str, Any], message: str) -> None:
    broken = program(layer(6, 3, **changes))
    found = violations(broken, target)
    assert len(found) == 1 and found[0].remedy
    assert message in str(found[0])
    with pytest.raises(CompileError) as raised:
        check(broken, target)
    assert message in str(raised.value)


def test_fan_in_of_one_neuron() -> None:
    # 20 neurons on one core need 3 words per axon; one neuron alone still needs a word for each of 3 axons.
    broken, target = program(layer(20, 3)), with_limits(LOIHI2, synaptic_memory_bits=128)
    (found,) = violations(broken, target)
    assert (found.layer, found.value, found.limit) == (0, "192 bits for one neuron", "at most 128 per core")
    memory = resource_table(broken, target).layers[0].usage["synaptic memory"]
    assert (memory.used, memory.share, memory.cores) == (192, 1.5, None)


def test_out_axons_of_one_neuron() -> None:
    target = with_limits(LOIHI2, neurons_per_core=1, out_axons=3)
    (found,) = violations(program(layer(2, 3), layer(4, 2)), target)
    assert str(found) == ("layer 0: out-axons 4, allowed: at most 3 per core (reduce the units of the next layer)")


def test_all_violations_are_reported_in_one_line() -> None:
    first = layer(6, 3, **MICROCODE, weight_exp=-8)
    broken = program(first, layer(4, 6, **{**MICROCODE, "vth": np.full(4, 9, np.int32)}))
    target = with_limits(LOIHI1, in_axons=2)
    assert [(v.layer, v.what) for v in violations(broken, target)] == [
        (0, "neuron"),
        (1, "neuron"),
        (0, "weight_exp"),
        (0, "in-axons"),
        (1, "in-axons"),
    ]
    with pytest.raises(CompileError) as raised:
        check(broken, target)
    text = str(raised.value)
    assert text.startswith("test does not fit loihi1: layer 0: neuron decolle")
    assert text.count("; ") == 4 and "\n" not in text
    assert len(RULES) == 7
