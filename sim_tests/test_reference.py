"""The compiled kernels against the same equations in unbounded Python integers, one value at a time."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer, NeuronKind, pooling_stage
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError
from decolle_hw.sim.random_layers import draw_neurons, draw_readout
from decolle_hw.sim.random_program import random_conv_program, random_program, random_spikes
from decolle_hw.sim.reference import run_layer, run_reference
from decolle_hw.sim.trace import Trace, decide, readouts

NEURONS: tuple[NeuronKind, ...] = ("cuba", "decolle")
LIMIT = 2**23
Seen = Counter[str]


def in_32_bits(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def decayed(value: int, parts: int) -> int:
    kept = abs(value) * (4096 - parts) // 4096
    return kept if value >= 0 else -kept


def clipped(value: int, seen: Seen, name: str) -> int:
    result = max(1 - LIMIT, min(LIMIT - 1, value))
    seen[f"{name} saturates"] += result != value
    return result


def dense_sum(layer: DenseLayer, spikes_TI: list[list[int]], t: int, i: int) -> int:
    """What neuron i receives at step t, from the docstring of `DenseLayer`."""
    delays = layer.delay[i].tolist() if layer.delay.size else [0] * layer.num_inputs
    result = 0
    for d in set(delays):
        if t - 1 - d >= 0:
            arriving = spikes_TI[t - 1 - d]
            part = sum(int(layer.weight[i, j]) for j, delay in enumerate(delays) if delay == d and arriving[j])
            result += in_32_bits(part * 2**layer.weight_exp if layer.weight_exp > 0 else part // 2**-layer.weight_exp)
    return in_32_bits(result)


def conv_sum(layer: ConvLayer, spikes_TI: list[list[int]], t: int, i: int) -> int:
    """The same from the docstring of `ConvLayer`: torch's convolution, written out."""
    came = t if layer.is_pooling else t - 1
    if came < 0:
        return 0
    c_in, height, width = layer.input_shape
    channels, map_height, map_width = layer.map_shape
    channel, y, x = i // (map_height * map_width), i // map_width % map_height, i % map_width
    per_group = c_in // layer.groups
    base = channel // (channels // layer.groups) * per_group
    total = 0
    (sy, sx), (py, px), (dy, dx) = layer.strides, layer.paddings, layer.dilations
    for c in range(per_group):
        for ky in range(layer.weight.shape[2]):
            for kx in range(layer.weight.shape[3]):
                iy = y * sy - py + ky * dy
                ix = x * sx - px + kx * dx
                if 0 <= iy < height and 0 <= ix < width:
                    spike = spikes_TI[came][((base + c) * height + iy) * width + ix]
                    total += int(layer.weight[channel, c, ky, kx]) * spike
    shifted = total * 2**layer.weight_exp if layer.weight_exp > 0 else total // 2**-layer.weight_exp
    return (shifted + LIMIT) % (2 * LIMIT) - LIMIT


def slow_layer(layer: Layer, spikes_TI: np.ndarray, first: int, seen: Seen) -> dict[str, np.ndarray]:
    """One recording through one layer, from the docstrings of its class. `seen` counts what went out of range."""
    steps, n = len(spikes_TI), layer.num_neurons
    rows_in = spikes_TI.tolist()
    vth, bias = layer.vth.tolist(), layer.bias_mant.tolist()
    u, v, r, spike = [0] * n, [0] * n, [0] * n, [0] * n
    rows: dict[str, list[list[int]]] = {name: [[0] * n] * first for name in ("u", "v", "r", "spikes")}
    for t in range(first, steps):
        for i in range(n):
            if isinstance(layer, ConvLayer):
                arrived = conv_sum(layer, rows_in, t, i)
            else:
                assert isinstance(layer, DenseLayer)
                arrived = dense_sum(layer, rows_in, t, i)
            synaptic = in_32_bits(arrived * 64)
            seen["synaptic input overflows"] += synaptic != arrived * 64
            u[i] = in_32_bits(decayed(u[i], layer.du + 1) + synaptic)
            seen["u wraps"] += not -LIMIT < u[i] <= LIMIT
            u[i] += -2 * LIMIT if u[i] > LIMIT else 2 * LIMIT if u[i] <= -LIMIT else 0
            seen["u stays beyond 24 bits"] += not -LIMIT < u[i] <= LIMIT
            v[i] = decayed(v[i], layer.dv) + u[i]
            if layer.neuron == "cuba":
                v[i] += bias[i] * 2**layer.bias_exp
            v[i] = clipped(in_32_bits(v[i]), seen, "v")
            r[i] = clipped(decayed(r[i], layer.dr) - layer.rho * spike[i], seen, "r")
            spike[i] = int(v[i] + r[i] > vth[i] * 64)
            if layer.neuron == "cuba" and spike[i]:
                v[i] = 0
        for name, values in (("u", u), ("v", v), ("r", r), ("spikes", spike)):
            rows[name].append(list(values))
    return {name: np.array(values) for name, values in rows.items()}


def assert_equals_slow(program: Program, spikes_RTI: np.ndarray, trace: Trace, seen: Seen) -> None:
    for recording, spikes_TI in enumerate(spikes_RTI):
        for index, layer in enumerate(program.layers):
            slow = slow_layer(layer, spikes_TI, program.first_step(index), seen)
            fast = trace.layers[index]
            np.testing.assert_array_equal(fast.spikes[recording], slow["spikes"])
            for name, values in fast.registers.items():
                np.testing.assert_array_equal(values[recording], slow[name], err_msg=f"layer {index} {name}")
            spikes_TI = slow["spikes"]


@pytest.mark.parametrize("neuron", NEURONS)
def test_random_networks_equal_plain_integers(neuron: NeuronKind) -> None:
    seen: Seen = Counter()
    for seed in range(25):
        rng = np.random.default_rng([seed, 1])
        program = random_program(rng, neuron, sizes=(int(rng.integers(1, 20)), 9, 7, 5), steps=14)
        spikes_RTI = random_spikes(rng, program)
        assert_equals_slow(program, spikes_RTI, run_reference(program, spikes_RTI, record=True), seen)
    for seed in range(12):
        rng = np.random.default_rng([seed, 2])
        if seed % 2:
            program = random_conv_program(rng, neuron, steps=9, units=4)
        else:
            program = random_program(rng, neuron, sizes=(8, 6, 5), steps=14, max_delay=int(rng.integers(1, 7)))
        spikes_RTI = random_spikes(rng, program, 4)
        assert_equals_slow(program, spikes_RTI, run_reference(program, spikes_RTI, record=True), seen)
    # 1100 inputs always on, at full weight and exponent: 1100 * 254 << 13 exceeds 31 bits.
    for kind in ("largest", "ends"):
        rng = np.random.default_rng(2)
        program = random_program(rng, neuron, sizes=(1100, 3, 4), steps=8, weight_kind=kind, weight_exp=7)
        spikes_RTI = random_spikes(rng, program)
        assert_equals_slow(program, spikes_RTI, run_reference(program, spikes_RTI, record=True), seen)
    # The networks must have reached what they were drawn for.
    for event in ("u wraps", "v saturates", "synaptic input overflows", "u stays beyond 24 bits"):
        assert seen[event] > 0, event
    assert (seen["r saturates"] > 0) == (neuron == "decolle")


@pytest.mark.parametrize("neuron", NEURONS)
def test_most_random_layers_are_alive(neuron: NeuronKind) -> None:
    rates = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        program = random_program(rng, neuron)
        rates.append(run_reference(program, random_spikes(rng, program)).firing_rates())
    alive = (np.array(rates) > 0.002) & (np.array(rates) < 0.998)
    assert alive.mean(0).min() > 0.7, alive.mean(0)


@pytest.mark.parametrize("neuron", NEURONS)
def test_recordings_are_independent(neuron: NeuronKind) -> None:
    rng = np.random.default_rng(3)
    program = random_program(rng, neuron)
    spikes_RTI = random_spikes(rng, program, 7)
    together = run_reference(program, spikes_RTI, record=True)
    parts = [run_reference(program, spikes_RTI[k : k + 1], record=True) for k in range(7)]
    for whole in (Trace.join(parts), Trace.join([together.take(0, 3), together.take(3, 7)])):
        for one, other in zip(together.layers, whole.layers, strict=True):
            np.testing.assert_array_equal(one.spikes, other.spikes)
            for name, values in one.registers.items():
                np.testing.assert_array_equal(values, other.registers[name])


@pytest.mark.parametrize("neuron", NEURONS)
def test_recording_registers_changes_no_spike(neuron: NeuronKind) -> None:
    rng = np.random.default_rng(4)
    program = random_program(rng, neuron)
    spikes_RTI = random_spikes(rng, program)
    with_registers, without = (run_reference(program, spikes_RTI, record=record) for record in (True, False))
    for one, other in zip(with_registers.layers, without.layers, strict=True):
        np.testing.assert_array_equal(one.spikes, other.spikes)
        assert not other.registers
        assert [*one.registers] == (["u", "v", "r"] if neuron == "decolle" else ["u", "v"])


@pytest.mark.parametrize("neuron", NEURONS)
def test_layouts_and_types_of_the_input(neuron: NeuronKind) -> None:
    """A strided view, booleans and a width that is no multiple of the kernel's word."""
    rng = np.random.default_rng(5)
    program = random_program(rng, neuron, sizes=(13, 11, 5))
    spikes_RTI = random_spikes(rng, program)
    plain = run_reference(program, spikes_RTI).layers[-1].spikes
    strided = np.repeat(spikes_RTI, 2, axis=2)[:, :, ::2]
    for same in (strided, spikes_RTI.astype(bool), spikes_RTI.astype(np.int64), np.asfortranarray(spikes_RTI)):
        np.testing.assert_array_equal(run_reference(program, same).layers[-1].spikes, plain)


def test_first_step() -> None:
    """A cuba layer starts at step index + 1, however large its bias; a decolle layer at step 0."""
    rng = np.random.default_rng(6)
    cuba = random_program(rng, "cuba", sizes=(5, 4, 4, 4))
    biased = tuple(
        replace(layer, bias_mant=np.full(4, 4095, np.int32), bias_exp=7, vth=np.zeros(4, np.int32), weight_exp=-8)
        for layer in cuba.layers
    )
    spikes_RTI = np.zeros((2, 25, 5), np.uint8)
    trace = run_reference(replace(cuba, layers=biased), spikes_RTI)
    for index, layer in enumerate(trace.layers):
        started = np.arange(25) >= index + 1
        np.testing.assert_array_equal(layer.spikes, np.broadcast_to(started[None, :, None], (2, 25, 4)))
    decolle = random_program(rng, "decolle", sizes=(5, 4))
    always = tuple(replace(layer, vth=np.full(4, -1, np.int32), rho=0) for layer in decolle.layers)
    assert run_reference(replace(decolle, layers=always), spikes_RTI).layers[0].spikes[:, 0].all()


def test_readouts_count_after_burn_in_and_the_lowest_index_wins_a_tie() -> None:
    program = random_program(np.random.default_rng(7), "cuba", sizes=(5, 4), steps=10)
    readout = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 5, 0]], np.int32)
    layer = replace(program.layers[0], readout_weight=readout, readout_bias=np.array([2, 2, -1], np.int32))
    program = replace(program, layers=(layer,), burnin_steps=4)
    spikes = np.zeros((1, 10, 4), np.uint8)
    spikes[0, :4, 2] = 1  # before the burn-in ends: do not count
    spikes[0, 4:, :2] = 1
    trace = Trace((replace(run_reference(program, np.zeros((1, 10, 5), np.uint8)).layers[0], spikes=spikes),))
    assert readouts(program, trace).tolist() == [[6 + 12, 6 + 12, -6]]
    assert decide(program, trace).tolist() == [0]


def test_wrong_input_is_refused() -> None:
    program = random_program(np.random.default_rng(8), "cuba")
    with pytest.raises(ValueError, match=r"\(R, T, 60\) spikes, got \(1, 25, 59\)"):
        run_reference(program, np.zeros((1, 25, 59), np.uint8))
    with pytest.raises(ValueError, match=r"0 or 1, got 0\.\.2"):
        run_reference(program, np.eye(60, dtype=np.uint8)[None] * 2)
    with pytest.raises(ValueError, match="3 steps are too short for 3 layers"):
        run_reference(program, np.zeros((1, 3, 60), np.uint8))


def test_pooling_is_an_or_without_memory_or_delay() -> None:
    """Against numpy's own maximum over windows; borders that fill no window are left out, as torch does."""
    rng = np.random.default_rng(5)
    shape, size = (3, 7, 8), 3
    stage = pooling_stage(shape, size, np.zeros((0, 3 * 2 * 2), np.int32), np.zeros(0, np.int32))
    spikes_RTI = (rng.random((4, 12, 3 * 7 * 8)) < np.array([0, 0.03, 0.3, 1])[:, None, None]).astype(np.uint8)
    windows = spikes_RTI.reshape(4, 12, 3, 7, 8)[..., :6, :6].reshape(4, 12, 3, 2, 3, 2, 3)
    expected = windows.max((4, 6)).reshape(4, 12, -1)
    np.testing.assert_array_equal(run_layer(stage, spikes_RTI, first=0, record=False).spikes, expected)


@pytest.mark.parametrize("neuron", NEURONS)
def test_pooling_delays_on_chip_and_not_in_a_trace(neuron: NeuronKind) -> None:
    """A stage that pools nothing changes nothing but the time that the chip takes."""
    rng = np.random.default_rng(6)
    layers = random_conv_program(rng, neuron, convolutions=1, input_shape=(2, 6, 6)).layers
    convolution = layers[0]
    assert isinstance(convolution, ConvLayer)
    convolution = replace(convolution, **draw_readout(rng, convolution.num_neurons, 0))
    stage = pooling_stage(convolution.map_shape, 1, **draw_readout(rng, convolution.num_neurons, 0))
    dense = random_program(rng, neuron, sizes=(stage.num_neurons, 4)).layers[0]
    without = Program("p", (convolution, dense), ("a", "b", "c"), (2, 6, 6), 20, 0, "loihi2", "", "")
    program = replace(without, layers=(convolution, stage, dense))
    assert (program.delays, program.slot_steps()) == ((0, 1, 1), 21)
    assert program.reset_steps == ((0, 1, 1) if neuron == "decolle" else (1, 2, 3))
    spikes_RTI = random_spikes(rng, program)
    one, other = run_reference(program, spikes_RTI, record=True), run_reference(without, spikes_RTI, record=True)
    assert one.layers[0].spikes.any()
    np.testing.assert_array_equal(one.layers[0].spikes, one.layers[1].spikes)
    for name, values in one.layers[2].registers.items():
        np.testing.assert_array_equal(values, other.layers[1].registers[name])


WRONG: list[tuple[NeuronKind, dict[str, Any], str]] = [
    ("cuba", {"weight": np.zeros((0, 5), np.int32)}, "weight: expected no dimension of 0"),
    ("cuba", {"weight": np.full((4, 5), 256, np.int32)}, "weight: expected multiples of 2 in -256..254 (mixed, 8 bit)"),
    ("cuba", {"weight": np.full((4, 5), 3, np.int32)}, "weight: expected multiples of 2"),
    ("cuba", {"weight_exp": 8}, "weight_exp: expected -8..7"),
    ("cuba", {"du": 4096}, "du: expected 0..4095"),
    ("cuba", {"dv": 4096}, "dv: expected 0..4095"),
    ("decolle", {"dv": -1}, "dv: expected 0..4096"),
    ("cuba", {"weight_bits": 9}, "weight_bits: expected 2..8"),
    ("cuba", {"weight_bits": 3, "weight": np.full((4, 5), 32, np.int32)}, "weight: expected multiples of 64"),
    ("cuba", {"sign_mode": "positive"}, "sign_mode: expected mixed"),
    ("cuba", {"sign_mode": "excitatory", "weight": np.full((4, 5), -2, np.int32)}, "in 0..255"),
    ("cuba", {"delay": np.zeros((4, 4), np.int32)}, "delay: expected none, or as weight (4, 5)"),
    ("cuba", {"delay": np.full((4, 5), 64, np.int32)}, "delay: expected 0..63"),
    ("decolle", {"dr": 4097}, "dr: expected 0..4096"),
    ("decolle", {"rho": 2**23}, "rho: expected"),
    ("decolle", {"vth": np.full(4, 2**17, np.int32)}, "vth: expected 4 values of 17 bit"),
    ("cuba", {"vth": np.arange(4, dtype=np.int32)}, "vth: expected one unsigned value"),
    ("cuba", {"vth": np.full(4, -1, np.int32)}, "vth: expected one unsigned value"),
    ("cuba", {"bias_mant": np.full(4, 4096, np.int32)}, "bias_mant: expected 4 values of 13 bit"),
    ("decolle", {"bias_mant": np.ones(4, np.int32)}, "bias_mant: expected zero for decolle"),
    ("cuba", {"bias_exp": 8}, "bias_exp: expected 0..7"),
    ("cuba", {"readout_weight": np.full((3, 4), 128, np.int32)}, "readout_weight: expected"),
    ("cuba", {"readout_bias": np.zeros(2, np.int32)}, "readout_bias: expected"),
]


@pytest.mark.parametrize(("neuron", "changes", "message"), WRONG)
def test_registers_that_do_not_exist_are_refused(neuron: NeuronKind, changes: dict[str, Any], message: str) -> None:
    layer = random_program(np.random.default_rng(9), neuron, sizes=(5, 4)).layers[0]
    with pytest.raises(CompileError, match=re.escape(message)):
        replace(layer, **changes)


WRONG_CONVOLUTIONS: list[tuple[dict[str, Any], str]] = [
    ({"weight": np.zeros((3, 2, 3), np.int32)}, "weight: expected four dimensions"),
    ({"weight": np.zeros((3, 2, 3, 128), np.int32)}, "weight: expected four dimensions"),
    ({"stride": (1, 2, 1)}, "stride: expected one number, or two"),
    ({"stride": (1, 0)}, "stride: expected 1..127"),
    ({"padding": (1, -1)}, "padding: expected 0..127"),
    ({"dilation": (1, 9)}, "weight: expected a kernel that fits the padded map"),
    ({"weight": np.full((3, 2, 3, 3), 6, np.int32), "weight_exp": -2}, "weight_exp: expected a shift that cuts off no"),
    ({"input_shape": (2, 0, 5)}, "input_shape: expected three positive numbers"),
    ({"stride": 0}, "stride: expected 1..127"),
    ({"padding": 128}, "padding: expected 0..127"),
    ({"groups": 2}, "groups: expected a divisor"),
    ({"input_shape": (3, 5, 5)}, "weight: expected 3 input channels per group"),
    ({"dilation": 9}, "weight: expected a kernel that fits the padded map"),
    ({"padding": 0}, "vth: expected 27 values"),
    ({"pooling": True}, "pooling: expected the registers of `pooling_stage`"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_CONVOLUTIONS)
def test_convolutions_that_do_not_exist_are_refused(changes: dict[str, Any], message: str) -> None:
    neurons = draw_neurons(np.random.default_rng(0), "decolle", 3 * 5 * 5, 2, False)
    weight = np.full((3, 2, 3, 3), 4, np.int32)
    layer = ConvLayer(weight=weight, weight_exp=-2, input_shape=(2, 5, 5), padding=1, **neurons)
    with pytest.raises(CompileError, match=re.escape(message)):
        replace(layer, **changes)


def test_sums_beyond_31_bits_are_refused() -> None:
    neurons = draw_neurons(np.random.default_rng(0), "decolle", 1, 2, False)
    with pytest.raises(CompileError, match="sums of at most 31 bits"):
        ConvLayer(weight=np.full((1, 8, 97, 97), 254, np.int32), weight_exp=7, input_shape=(8, 97, 97), **neurons)


LAYERS = random_program(np.random.default_rng(1), "decolle", sizes=(5, 4, 3)).layers
WRONG_PROGRAMS: list[tuple[dict[str, Any], str]] = [
    ({"layers": ()}, "needs at least one layer"),
    ({"layers": LAYERS[1:]}, "layer 0: weight has 4 inputs, 5 arrive"),
    ({"classes": ("a",)}, "layer 0: readout has 3 rows, there are 1 classes"),
    ({"steps": 0}, "0 steps are too short"),
    ({"burnin_steps": 25}, "burnin_steps 25 must be below"),
    (
        {
            "layers": (
                LAYERS[0],
                replace(LAYERS[1], readout_weight=np.zeros((0, 3), np.int32), readout_bias=np.zeros(0)),
            )
        },
        "layer 1: the last layer has no readout",
    ),
    (
        {"layers": (LAYERS[0], *random_program(np.random.default_rng(1), "cuba", sizes=(4, 3)).layers)},
        "one kind of neuron, found ['cuba', 'decolle']",
    ),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_PROGRAMS)
def test_programs_that_do_not_exist_are_refused(changes: dict[str, Any], message: str) -> None:
    program = random_program(np.random.default_rng(1), "decolle", sizes=(5, 4, 3))
    with pytest.raises(CompileError, match=re.escape(message)):
        replace(program, **changes)
