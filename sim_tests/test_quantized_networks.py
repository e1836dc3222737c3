"""Whole networks through calibration, search and compilation: what they keep, and what is said when they do not."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from quantize_tools import NEURONS, FakeRun, make_network, make_spec, random_recordings

from decolle_hw.compiler.netx import netx_entries
from decolle_hw.errors import CompileError
from decolle_hw.fidelity.summary import float_against_integer
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.quantization.calibration import calibrate
from decolle_hw.quantization.compile import compile_run
from decolle_hw.quantization.integers import plan_layer
from decolle_hw.quantization.search import choose, shortlist
from decolle_hw.weightgrid import grid_limits


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
    ],
)
def test_what_has_no_integers_is_refused(changes, match):
    run = FakeRun(make_spec("decolle", **changes))
    with pytest.raises(CompileError, match=match):
        compile_run(run, "loihi2", random_recordings(0, 4))


@pytest.mark.parametrize("prediction", ["sum", "mode"])
def test_the_integers_decide_as_the_float_network_does(prediction):
    """The authors' most frequent arg-max of a step survives compilation, as the sum does."""
    run = FakeRun(make_spec("decolle", prediction=prediction))
    recordings = random_recordings(0, 24)
    program = compile_run(run, "loihi2", recordings).program
    assert program.prediction == prediction
    fidelity = float_against_integer(run.network(), program, recordings)
    assert fidelity.same_decision >= 18


def test_network_of_the_fake_run_is_the_real_one():
    """The helper gives what `Run.network` gives: a network of its spec, quantized where the spec says so."""
    spec = make_spec("decolle", training={"quantize": {"weight_bits": 3}})
    network = FakeRun(spec).network()
    assert isinstance(network, DecolleNetwork) and network.layers[0].weight_step is not None
