"""Interval analysis of registers: it holds everything that any input does, no more than the worst input does, and is
told apart from what was measured."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from decolle_hw.compiler.layers import DenseLayer, pooling_stage
from decolle_hw.compiler.ranges import RegisterRange, proven_ranges
from decolle_hw.fixedpoint import STATE_LIMIT, VTH_MAX
from decolle_hw.quantization.measure import asked_of
from decolle_hw.sim.random_program import random_conv_program, random_networks, random_program, random_spikes
from decolle_hw.sim.reference import run_layer, run_reference


def make_dense(weight, neuron="decolle", **changes) -> DenseLayer:
    weight = np.asarray(weight, np.int32)
    units = len(weight)
    zeros = np.zeros(units, np.int32)
    values = {
        "neuron": neuron, "weight": weight, "weight_exp": 0, "du": 613, "dv": 410, "vth": zeros + 500,
        "bias_mant": zeros, "bias_exp": 6, "dr": 1434 if neuron == "decolle" else 0, "rho": 900 * (neuron == "decolle"),
        "readout_weight": np.zeros((2, units), np.int32), "readout_bias": np.zeros(2, np.int32),
    }  # fmt: skip
    return DenseLayer(**(values | changes))


def by_name(layer, first=0, steps=30) -> dict[str, RegisterRange]:
    return {register.name: register for register in proven_ranges(layer, first=first, steps=steps)}


def test_by_hand():
    """One neuron with weights 10 and -6, everything forgotten within a step: u and v are the sum itself, times 64."""
    layer = make_dense([[10, -6]], du=4095, dv=4095, rho=100, dr=2048)
    found = by_name(layer)
    assert (found["u"].proven_low, found["u"].proven_high) == (-384, 640)
    # of v, 1/4096 stays: 640 + 640 // 4096
    assert (found["v"].proven_low, found["v"].proven_high) == (-384, 640)
    # r falls by 100 each step and halves towards zero: 100, 150, 175, 187, 193, 196, 198, 199, then 199 // 2 + 100
    assert (found["r"].proven_low, found["r"].proven_high) == (-199, 0)
    # three steps: the first has no spike behind it
    assert by_name(layer, steps=3)["r"].proven_low == -150
    assert all(register.proven for register in found.values())


@pytest.mark.parametrize("seed", range(3))
def test_everything_that_happens_lies_within(seed):
    """Random networks, extremes included: registers that wrap and clip come out where the analysis says, too."""
    seen = {"proven": 0, "not": 0}
    for program in islice(random_networks(seed), 24):
        trace = run_reference(program, random_spikes(np.random.default_rng(seed), program, 12), record=True)
        for index, (layer, recorded) in enumerate(zip(program.layers, trace.layers, strict=True)):
            ranges = proven_ranges(layer, first=program.first_step(index), steps=program.steps)
            asked = asked_of(layer, recorded, program.first_step(index))
            u = next(register for register in ranges if register.name == "u")
            for register in ranges:
                seen["proven" if register.proven else "not"] += 1
                if register.name == "u" and not register.proven:
                    continue  # wrapped values lie anywhere
                values = recorded.registers[register.name]
                # clipping only brings a register nearer
                assert register.proven_low <= values.min() and values.max() <= register.proven_high
                if u.proven:
                    low, high = asked[register.name]
                    assert register.proven_low <= low and high <= register.proven_high, (program.name, index, register)
    assert min(seen.values()) > 20  # or the test would say nothing


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
def test_all_inputs_on_attain_the_bound(neuron, sign):
    rng = np.random.default_rng(4)
    vth = np.full(5, VTH_MAX, np.int32)
    layer = make_dense(sign * 2 * rng.integers(0, 60, (5, 8)), neuron, vth=vth)
    first = 0 if neuron == "decolle" else 1
    trace = run_layer(layer, np.ones((1, 30, 8), np.uint8), first=first, record=True)
    assert not trace.spikes.any()  # a reset would keep v below
    found = by_name(layer, first=first)
    for name in "uv":
        values = trace.registers[name]
        reached = values.max() if sign > 0 else values.min()
        assert reached == (found[name].proven_high if sign > 0 else found[name].proven_low)
        assert reached != 0


def test_a_neuron_that_always_fires_attains_r():
    layer = make_dense(np.zeros((3, 4)), vth=np.full(3, -VTH_MAX, np.int32), rho=5000)
    trace = run_layer(layer, np.zeros((1, 30, 4), np.uint8), first=0, record=True)
    assert trace.spikes.all()
    assert trace.registers["r"].min() == by_name(layer)["r"].proven_low < -10000


def test_delays_arrive_one_after_the_other():
    """All-on input again: after four steps, delay 5 has not arrived."""
    weight = np.array([[20, 40]], np.int32)
    layer = make_dense(weight, delay=np.array([[0, 5]], np.int32), vth=np.array([VTH_MAX], np.int32))
    for steps in (4, 7, 8, 30):
        trace = run_layer(layer, np.ones((1, steps, 2), np.uint8), first=0, record=True)
        for name in "uv":
            assert trace.registers[name].max() == by_name(layer, steps=steps)[name].proven_high
    assert by_name(layer, steps=4)["u"].proven_high < by_name(layer, steps=30)["u"].proven_high / 2


def test_a_stock_lif_is_bounded_by_its_reset():
    """v of an integrator that forgets nothing grows for ever; one that fires at 500 << 6 does not."""
    layer = make_dense([[2]], "cuba", du=4095, dv=0)
    found = by_name(layer, first=1, steps=10**4)
    assert found["v"].proven_high == (500 << 6) + (2 << 6)
    silent = by_name(make_dense(np.full((1, 16), -256), "cuba", du=4095, dv=0), first=1, steps=100)
    assert not silent["v"].proven and silent["v"].proven_low < 1 - STATE_LIMIT


def test_convolutions_by_channel():
    """Against a dense layer with the same sums, and pooling, which can never leave its registers."""
    program = random_conv_program(np.random.default_rng(3), "decolle", weight_exp=0)
    layer = next(layer for layer in program.layers if not layer.is_pooling)
    channels = len(layer.weight)
    flat = layer.plain_weight.reshape(channels, -1)
    per_channel = layer.num_neurons // channels
    twin = make_dense(
        np.zeros((layer.num_neurons, flat.shape[1])), du=layer.du, dv=layer.dv, vth=layer.vth, dr=layer.dr,
        rho=layer.rho,
    )  # fmt: skip
    twin = replace(twin, weight=flat.repeat(per_channel, axis=0) & ~1)
    if not np.any(flat & 1):
        assert proven_ranges(layer, first=0, steps=20) == proven_ranges(twin, first=0, steps=20)
    pool = pooling_stage((2, 4, 4), 2, np.zeros((2, 8), np.int32), np.zeros(2, np.int32))
    ranges = proven_ranges(pool, first=0, steps=100)
    assert [register.name for register in ranges] == ["u", "v"] and all(register.proven for register in ranges)
    assert max(register.proven_high for register in ranges) == 4 * 2 * 64


def test_what_is_clipped_or_turned_over_shows_in_what_was_asked():
    layer = make_dense(np.full((1, 400), 254), dv=0, du=0, vth=np.array([VTH_MAX], np.int32))
    trace = run_layer(layer, np.ones((1, 20, 400), np.uint8), first=0, record=True)
    asked = asked_of(layer, trace, 0)
    assert trace.registers["u"].max() <= STATE_LIMIT < asked["u"][1]
    assert trace.registers["v"].max() == STATE_LIMIT - 1 < asked["v"][1]


def test_margin_and_words():
    proven = RegisterRange("u", -STATE_LIMIT + 1, STATE_LIMIT)
    assert proven.proven and proven.describe() == "proven" and proven.margin == float("inf")
    open_ = RegisterRange("v", -10, STATE_LIMIT, -5, (STATE_LIMIT - 1) // 2)
    assert not open_.proven and open_.describe() == "x2 measured"
    assert open_.to_json()["measured_low"] == -5 and open_.to_json()["proven"] is False


def test_many_kinds_of_neurons_at_once():
    """A layer's range is that of its widest neurons, one by one."""
    program = random_program(np.random.default_rng(8), "cuba", weight_kind="mixed", weight_exp=-1)
    layer = program.layers[0]
    together = by_name(layer, first=1, steps=25)
    single = [
        by_name(
            replace(
                layer, weight=layer.weight[n : n + 1], vth=layer.vth[n : n + 1], bias_mant=layer.bias_mant[n : n + 1],
                readout_weight=layer.readout_weight[:, n : n + 1],
            ),
            first=1, steps=25,
        )
        for n in range(layer.num_neurons)
    ]  # fmt: skip
    for name in "uv":
        assert together[name].proven_low == min(ranges[name].proven_low for ranges in single)
        assert together[name].proven_high == max(ranges[name].proven_high for ranges in single)
