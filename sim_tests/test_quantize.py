"""The quantizer: integers stand for the float network on the stated scale, within every limit of the registers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_tools import NEURONS, make_layer, make_network, random_recordings

from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.quantization.calibration import FloatRanges, calibrate
from decolle_hw.quantization.compile import grids_of
from decolle_hw.quantization.integers import build, figures, plan_layer
from decolle_hw.quantization.scale import GridSpace
from decolle_hw.quantization.search import shortlist
from decolle_hw.weightgrid import grid_limits

ONE = FloatRanges(1.0, 1.0)


def analytic(layer, ranges=ONE, bits=8):
    """The layer without a search, and its figures."""
    plan = plan_layer(layer, ranges, bits)
    grid = plan.space.analytic(plan.weight)
    (integers,) = build(plan, grid)
    return integers, figures(plan, grid)


def two_synapses(neuron):
    layer = make_layer(neuron, alpha=0.75, beta=0.5, inputs=2, units=2)
    layer.dynamics = dataclasses.replace(layer.dynamics, alpharp=0.5)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.0, -0.5], [0.25, 0.0]])
        layer.bias[:] = torch.tensor([0.5, -0.25])
    return layer


def test_by_hand_decolle():
    """Every register of a two-synapse layer, worked out on paper.

    alpha = 3/4 and beta = 1/2 are realised exactly: dv = 1024, du = 2047. max|W| = 1 gives k = 254. One unit of U is
    64 * 254 / (1/4 * 1/2) = 130048 units of v. vth = -b * 130048 / 64 = -b * 2032; rho = 130048 * (1 - 1/2) * 1.
    """
    integers, quality = analytic(two_synapses("decolle"))
    assert (integers.du, integers.dv, integers.dr, integers.weight_exp) == (2047, 1024, 2048, 0)
    # 254/4 = 63.5: halfway between the even neighbours 62 and 64 of sign mode MIXED
    np.testing.assert_array_equal(integers.weight, [[254, -128], [64, 0]])
    np.testing.assert_array_equal(integers.vth, [-1016, 508])
    assert integers.rho == 65024
    assert quality["weight_scale"] == 254 and quality["register_units_per_potential"] == 130048


def test_by_hand_cuba():
    """As above; vth = 0.1 * 2032 for all; the bias is added per step: b * 130048 * (1 - alpha) / 2**6."""
    integers, _ = analytic(two_synapses("cuba"))
    np.testing.assert_array_equal(integers.vth, [203, 203])
    np.testing.assert_array_equal(integers.bias_mant, [254, -127])
    assert integers.bias_exp == 6 and integers.rho == 0


def test_by_hand_four_bits():
    """q = 7, -4.2 -> -4, 1.75 -> 2, stored 32 apart; k = 7 * 32 = 224."""
    layer = two_synapses("decolle")
    with torch.no_grad():
        layer.weight[0, 1] = -0.6
    integers, quality = analytic(layer, bits=4)
    np.testing.assert_array_equal(integers.weight, [[224, -128], [64, 0]])
    assert quality["weight_scale"] == 224 and integers.weight_bits == 4 and integers.weight_exp == 0


@settings(max_examples=60, deadline=None)
@given(
    neuron=st.sampled_from(NEURONS),
    alpha=st.floats(0.0, 0.999),
    beta=st.floats(0.0, 0.999),
    voltage=st.floats(0.0, 50.0),
    seed=st.integers(0, 1000),
    size=st.floats(1e-3, 1e3),
    bits=st.integers(2, 8),
)
def test_every_limit_holds_on_every_grid(neuron, alpha, beta, voltage, seed, size, bits):
    layer = make_layer(neuron, alpha=alpha, beta=beta, seed=seed)
    with torch.no_grad():
        layer.weight.mul_(size)
        layer.bias.mul_(size)
    ranges = FloatRanges(voltage * size, voltage * size)
    try:
        plan = plan_layer(layer, ranges, bits)
    except CompileError as error:
        assert "round to zero" in str(error)
        return
    weight = layer.weight.numpy()
    low, high = grid_limits(bits)
    for grid in shortlist(plan):
        (integers,) = build(plan, grid)  # checks every field
        # rounding moves a limit by no more than the last float digit
        per_unit = figures(plan, grid)["register_units_per_potential"]
        assert per_unit * ranges.voltage <= STATE_LIMIT / 2 * (1 + 1e-9)
        assert integers.weight_exp <= 0 and integers.weight_bits <= bits
        effective = integers.weight * 2.0**integers.weight_exp
        if neuron == "cuba":
            assert not np.any(effective % 1.0)  # netx knows plain integers only
        # half a step of rounding, wherever nothing is clipped
        inside = (weight / grid.step > low - 0.5) & (weight / grid.step < high + 0.5)
        error = np.abs(effective / grid.scale - weight)[inside]
        assert error.max(initial=0.0) <= grid.step / 2 * (1 + 1e-5)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("neuron", NEURONS)
def test_bits_and_sign_modes(neuron, bits):
    """One-signed weights use the bit of the sign for their size, and halve the error.

    But for a stock layer whose 255 steps would reach from zero to the most negative: netx turns that into another one.
    """
    error, modes = {}, {}
    for mode in ("mixed", "excitatory", "inhibitory"):
        layer = make_layer(neuron, seed=3, inputs=200)
        with torch.no_grad():
            layer.weight.abs_()
            if mode == "inhibitory":
                layer.weight.neg_()
        ranges = FloatRanges(0.1, 0.1)
        plan, grids = grids_of(layer, ranges, bits, [])
        if mode == "mixed":
            plan = plan_layer(layer, ranges, bits, "mixed")
            grids = shortlist(plan)
        grid = min(grids, key=lambda grid: figures(plan, grid)["weight_error_rms"])
        (integers,) = build(plan, grid)
        step = 2 ** (8 - bits + (mode == "mixed"))
        assert not np.any(integers.weight % step)
        error[mode], modes[mode] = figures(plan, grid)["weight_error_rms"], integers.sign_mode
        assert (
            figures(plan, grid)["largest_effective_weight"] == np.abs(integers.weight * 2.0**integers.weight_exp).max()
        )
    assert modes.pop("excitatory") == "excitatory" and error["excitatory"] < 0.6 * error["mixed"]
    if (neuron, bits) == ("cuba", 8):
        assert modes["inhibitory"] == "mixed"
    else:
        assert modes["inhibitory"] == "inhibitory" and error["inhibitory"] < 0.6 * error["mixed"]


def test_lossy_sums_only_where_a_microcode_neuron_sees_a_matrix():
    """A range of v that leaves four bits of plain integers: cutting the sum buys finer weights, for decolle alone."""
    plans = {neuron: plan_layer(make_layer(neuron), FloatRanges(120.0, 0.0), 8) for neuron in NEURONS}
    units = {neuron: {grid.unit for grid in shortlist(plan)} for neuron, plan in plans.items()}
    assert min(units["decolle"]) < 1.0 == min(units["cuba"])
    fine = min(shortlist(plans["decolle"]), key=lambda grid: grid.unit)
    (integers,) = build(plans["decolle"], fine)
    assert np.any(integers.weight % (1 << -integers.weight_exp))
    plain = plans["decolle"].space.analytic(plans["decolle"].weight)
    error = {grid: figures(plans["decolle"], grid)["weight_error_rms"] for grid in (fine, plain)}
    assert error[fine] < error[plain] / 2


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_exponent_of_a_grid_exists(bits):
    """Register limits over twelve decades: the exponent stays within -8..7 whatever bits the weights need."""
    layer = make_layer("decolle")
    plan = plan_layer(layer, ONE, bits)
    for limit in 10.0 ** np.arange(-1, 8, 0.5):
        for mode in ("mixed", "excitatory"):
            space = GridSpace(bits, mode, float(limit), True)
            with torch.no_grad():
                weight = np.abs(plan.weight) if mode == "excitatory" else plan.weight
            for grid in space.candidates(weight):
                assert grid.scale <= limit * (1 + 1e-9)
                build(dataclasses.replace(plan, weight=weight, space=space), grid)


def test_no_scale_left_is_an_error():
    layer = make_layer("decolle", alpha=0.9995, beta=0.9995, index=3)
    with pytest.raises(CompileError, match=r"layer 3: v leaves a weight scale .*fan-in of 30 .*smaller alpha, beta"):
        plan_layer(layer, FloatRanges(1e6, 1.0), 8)


@pytest.mark.parametrize(
    ("neuron", "changes", "match"),
    [
        ("decolle", {"wrp": 1e6}, r"layer 0: r leaves .*: wrp 1e\+06 fills its register .*; use a smaller wrp, or"),
        ("cuba", {"vth": 1e6}, r"layer 0: vth leaves .*: vth 1e\+06 fills its register .*; use a smaller vth, or"),
        ("decolle", {"bias": 1e6}, r"layer 0: vth leaves .*: the largest bias 1e\+06 fills .*; use smaller biases, or"),
        ("cuba", {"bias": 1e6}, r"layer 0: bias leaves .*: the largest bias 1e\+06 fills .*; use smaller biases, or"),
    ],
)
def test_what_leaves_no_scale_is_named(neuron, changes, match):
    """Fewer inputs or smaller weights would not help here."""
    layer = make_layer(neuron)
    with torch.no_grad():
        layer.bias.fill_(changes.get("bias", 0.0))
    dynamics = {name: value for name, value in changes.items() if name != "bias"}
    layer.dynamics = dataclasses.replace(layer.dynamics, **dynamics)
    with pytest.raises(CompileError, match=match):
        plan_layer(layer, ONE, 8)


@pytest.mark.parametrize("neuron", NEURONS)
def test_decays_that_12_bits_cannot_hold_are_an_error(neuron):
    layer = make_layer(neuron, alpha=0.9999, index=1)
    with pytest.raises(CompileError, match=r"layer 1: alpha 0.9999 .* the largest is 0.99976; use a smaller alpha"):
        plan_layer(layer, ONE, 8)


@pytest.mark.parametrize(("name", "what"), [("weight", "weights"), ("bias", "biases")])
def test_weights_that_are_not_finite_are_an_error(name, what):
    network = make_network("decolle")
    with torch.no_grad():
        values = getattr(network.layers[1], name)
        (values[0] if values.ndim == 2 else values)[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    with pytest.raises(CompileError, match=rf"layer 1: 3 of \d+ {what} are not finite.* lower training.learning_rate"):
        calibrate(network, random_recordings(0, 4))
