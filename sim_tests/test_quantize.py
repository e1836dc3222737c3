"""The quantizer: integers stand for the float network on the stated scale, within every limit of the registers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_tools import NEURONS, FakeRun, make_layer, make_network, make_spec, random_recordings

from decolle_hw.compiler.netx import netx_entries
from decolle_hw.errors import CompileError
from decolle_hw.fidelity.summary import float_against_integer
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.quantization.calibration import FloatRanges, calibrate
from decolle_hw.quantization.compile import compile_run, grids_of
from decolle_hw.quantization.integers import build, figures, plan_layer
from decolle_hw.quantization.scale import GridSpace
from decolle_hw.quantization.search import choose, shortlist
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


@pytest.mark.parametrize("chunk", [1 << 24, 4000])
@pytest.mark.parametrize("neuron", NEURONS)
def test_calibrate_measures_what_the_layers_do(neuron, chunk, monkeypatch):
    """Against traces filtered step by step in the test; the same where steps are taken in chunks."""
    from decolle_hw.quantization import calibration

    monkeypatch.setattr(calibration, "CHUNK_ENTRIES", chunk)
    network = make_network(neuron)
    recordings = random_recordings(0, count=40)
    measured = calibrate(network, recordings, keep=7)
    chosen = np.linspace(0, 39, 7).round().astype(int)
    np.testing.assert_array_equal(measured.inputs_RTI, recordings.dense(chosen).transpose(1, 0, 2))
    spikes = torch.from_numpy(recordings.dense(np.arange(40))).double()
    for index, layer in enumerate(network.layers):
        dyn, ranges = layer.dynamics, measured.ranges[index]
        Q = P = torch.zeros(40, spikes.shape[2], dtype=torch.float64)
        largest_u = largest_v = 0.0
        for step in spikes:
            P = dyn.alpha * P + (1 - dyn.alpha) * Q
            largest_u = max(largest_u, (Q @ layer.weight.double().T).abs().max().item())
            Q = dyn.beta * Q + (1 - dyn.beta) * step
            largest_v = max(largest_v, (P @ layer.weight.double().T).abs().max().item())
        # W Q is recovered from a difference of float32 potentials, divided by 1 - alpha
        assert ranges.current == pytest.approx(largest_u, rel=1e-4)
        if neuron == "decolle":
            assert ranges.voltage == pytest.approx(largest_v, rel=1e-5)
        output, _ = layer(spikes.float(), layer.zero_state(40))
        spikes = output.spikes_TBN.double()
        kept = spikes[:, chosen].numpy().transpose(1, 0, 2)
        # chunks add up in another order, which may flip a spike at its threshold
        assert (measured.spikes[index] != kept).mean() < (1e-3 if chunk < 10**4 else 1e-12)
        assert measured.rates[index] == pytest.approx(spikes.mean().item(), rel=0.02)


@pytest.mark.parametrize("neuron", NEURONS)
def test_the_search_is_never_worse_than_no_search(neuron):
    network = make_network(neuron, **({"vth": 0.01} if neuron == "cuba" else {}))
    calibration = calibrate(network, random_recordings(5, count=24))
    gained = 0.0
    for bits in (2, 3, 4, 8):
        inputs_RTI = calibration.inputs_RTI
        for index, layer in enumerate(network):
            plan = plan_layer(layer, calibration.ranges[index], bits)
            grids = shortlist(plan)
            assert grids[0] == plan.space.analytic(plan.weight) and len(grids) > 1
            starts = (index + 1 if neuron == "cuba" else 0,)
            found = choose(plan, grids, inputs_RTI, calibration.spikes[index], starts)
            alone = choose(plan, grids[:1], inputs_RTI, calibration.spikes[index], starts)
            agreement = found.figures["spike_agreement"]
            assert agreement == 1 - (found.spikes_RTM != calibration.spikes[index]).mean()
            assert agreement >= alone.figures["spike_agreement"] == found.figures["spike_agreement_analytic"]
            gained += agreement - alone.figures["spike_agreement"]
            inputs_RTI = found.spikes_RTM
    assert gained > 0.02


@pytest.mark.parametrize("neuron", NEURONS)
def test_integers_follow_the_float_network(neuron):
    """With fine weights, integers and floats spike alike; an integer network that is off by a step does not."""
    run = FakeRun(make_spec(neuron, **({"vth": 0.01} if neuron == "cuba" else {})))
    recordings = random_recordings(2, count=24)
    compiled = compile_run(run, "loihi2", recordings)
    program = compiled.program
    assert compiled.warnings == ()
    good = float_against_integer(run.network(), program, recordings)
    assert min(good.float_rate) > 0.02  # alive, or agreement would mean nothing
    assert min(good.spike_agreement) > 0.97
    assert max(max(peak.values()) for peak in good.register_peak) < 0.75  # margin of two, plus decay roundings
    slow = dataclasses.replace(program.layers[0], dv=program.layers[0].dv // 2)
    bad = float_against_integer(
        run.network(), dataclasses.replace(program, layers=(slow, program.layers[1])), recordings
    )
    assert bad.spike_agreement[0] < good.spike_agreement[0] - 0.02
    json.dumps(program.quantization, allow_nan=False)
    for entry, ranges in zip(program.quantization, compiled.ranges, strict=True):
        assert [register["register"] for register in entry["ranges"]] == [register.name for register in ranges]
        assert all(register.margin > 1.0 for register in ranges)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_stock_network_of_one_sign_has_an_artifact(sign):
    run = FakeRun(make_spec("cuba", vth=0.01))
    for layer in run.trained.layers:
        with torch.no_grad():
            layer.weight.abs_().mul_(sign)
            layer.bias.fill_(0.3 if sign < 0 else 0.0)
    program = compile_run(run, "loihi2", random_recordings(2, count=8)).program
    netx_entries(program)
    assert {layer.sign_mode for layer in program.layers} <= {"mixed", "excitatory" if sign > 0 else "inhibitory"}
    assert program.layers[0].sign_mode == ("excitatory" if sign > 0 else "mixed")  # see above: 8 bits, netx


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("neuron", NEURONS)
def test_a_network_trained_with_quantized_weights_keeps_them(neuron, bits):
    low_threshold = {"vth": 0.01} if neuron == "cuba" else {}
    run = FakeRun(make_spec(neuron, training={"quantize": {"weight_bits": bits}}, **low_threshold))
    recordings = random_recordings(2, count=8)
    compiled = compile_run(run, "loihi2", recordings)
    network = run.network()
    assert compiled.warnings == ()
    for trained, layer, quality in zip(network, compiled.program.layers, compiled.program.quantization, strict=True):
        assert layer.weight_bits <= bits
        low, high = grid_limits(bits)
        q = np.clip(np.rint(trained.master_weight.numpy() / np.float32(trained.weight_step)), low, high).astype(int)
        effective = layer.weight * 2.0**layer.weight_exp
        np.testing.assert_array_equal(effective / np.abs(effective).max(), q / np.abs(q).max())
        assert quality["weight_error_rms"] < 1e-6
        assert quality["alpha_error"] == quality["beta_error"] == quality["alpharp_error"] == 0.0
    other = compile_run(run, "loihi2", recordings, weight_bits=8)
    assert max(layer.weight_bits for layer in other.program.layers) > bits


def test_biases_alone_drive_a_trained_layer_without_weights():
    """Zeros are on every grid; the scale that goes with the one they were trained on is nothing to go by."""
    run = FakeRun(make_spec("decolle", training={"quantize": {"weight_bits": 8}}, Mhid=[20], alpha=0.3, beta=0.0))
    with torch.no_grad():
        run.trained.layers[0].weight.zero_()
        run.trained.layers[0].bias.copy_(torch.linspace(1e-3, 1e-2, 20))
    compiled = compile_run(run, "loihi2", random_recordings(2, count=8))
    assert compiled.warnings == ()
    assert compiled.program.quantization[0]["spike_agreement"] > 0.99


def test_a_trained_grid_without_room_is_a_warning():
    run = FakeRun(
        make_spec("cuba", alpha=0.998, beta=0.99, vth=0.5, training={"quantize": {"weight_bits": 8}}), size=40.0
    )
    compiled = compile_run(run, "loihi2", random_recordings(2, count=8, rate=0.5))
    assert any("leaves no room for the weights it was trained with" in warning for warning in compiled.warnings)


def test_silent_layers_are_named():
    """The first layer never reaches its threshold; then one that only the quantizer silences."""
    recordings = random_recordings(2, count=8)
    run = FakeRun(make_spec("cuba", vth=[0.01, 50.0]))
    (warning,) = compile_run(run, "loihi2", recordings).warnings
    assert warning.startswith("layer 1: never spikes on 8 calibration recordings, as the float network does not")
    assert "lower vth" in warning
    run = FakeRun(make_spec("cuba", vth=[0.01, 0.1]))
    # one outlier takes the whole range of two bits, and clipping it is worse than rounding all others away
    with torch.no_grad():
        run.trained.layers[1].weight[:] *= 0.1
        run.trained.layers[1].bias.fill_(0.099)
        run.trained.layers[1].weight[0, 0] = -1e4
    warnings = compile_run(run, "loihi2", recordings, weight_bits=2, search=False).warnings
    assert [warning for warning in warnings if "as integers, while the float network does" in warning], warnings


def test_registers_that_overflow_are_named():
    """Calibrated on sparse recordings' ranges, then shown dense ones: what turned over is named with its margin."""
    from decolle_hw.quantization.compile import range_warnings
    from decolle_hw.quantization.measure import measured_ranges

    run = FakeRun(make_spec("decolle"))
    program = compile_run(run, "loihi2", random_recordings(2, count=8, rate=0.002)).program
    dense = random_recordings(3, count=8, rate=1.0)
    ranges, spikes = measured_ranges(program, dense)
    warnings = list(range_warnings(program, ranges, len(dense)))
    assert warnings and warnings[0].startswith("layer 0: register ")
    assert "on 8 calibration recordings (margin x0." in warnings[0] and "train with" in warnings[0]
    assert len(spikes) == len(program.layers)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"output_layer": True}, "network.output_layer true"),
        ({"random_tau": {}}, "network.random_tau"),
        ({"prediction": "mode"}, "network.prediction mode"),
    ],
)
def test_what_has_no_integers_is_refused(changes, match):
    run = FakeRun(make_spec("decolle", **changes))
    with pytest.raises(CompileError, match=match):
        compile_run(run, "loihi2", random_recordings(0, 4))


def test_network_of_the_fake_run_is_the_real_one():
    """The helper gives what `Run.network` gives: a network of its spec, quantized where the spec says so."""
    spec = make_spec("decolle", training={"quantize": {"weight_bits": 3}})
    network = FakeRun(spec).network()
    assert isinstance(network, DecolleNetwork) and network.layers[0].weight_step is not None
