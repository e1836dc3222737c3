"""Convolutional networks become integers: every geometry, both neurons, pooling stages, parameters of each layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantize_tools import CLASSES, NEURONS, FakeRun, make_spec, random_recordings
from torch.nn import functional

from decolle_hw.compiler.artifact import load_artifact, save_artifact
from decolle_hw.compiler.layers import ConvLayer, DenseLayer
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import nearest_decay
from decolle_hw.nn.network import decide
from decolle_hw.quantization.calibration import calibrate
from decolle_hw.quantization.compile import compile_run
from decolle_hw.quantization.search import run_layers
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import decide as decide_integers
from decolle_hw.weightgrid import grid_limits

SHAPE = (2, 9, 9)
GEOMETRIES = {
    "plain": {"Nhid": [4], "Mhid": [10], "kernel_size": 3},
    "strided": {"Nhid": [4, 5], "Mhid": [], "kernel_size": 3, "stride": [2, 1], "padding": [0, 1]},
    "dilated": {"Nhid": [4], "Mhid": [8], "kernel_size": 3, "dilation": 2, "padding": 1},
    "grouped": {"Nhid": [4, 6], "Mhid": [], "kernel_size": [3, 5], "groups": [2, 2]},
    "pooled": {"Nhid": [4, 6], "Mhid": [8], "kernel_size": 3, "pool_size": [2, 2]},  # 9 -> 4 -> 2
    "pooled last": {"Nhid": [4, 5], "Mhid": [], "kernel_size": 3, "stride": [1, 2], "pool_size": [1, 3]},
}


def make_run(neuron: str, geometry: str, **changes) -> FakeRun:
    values = GEOMETRIES[geometry] | ({"vth": 0.02} if neuron == "cuba" else {}) | changes
    return FakeRun(make_spec(neuron, SHAPE, **values), bias=0.05 if neuron == "decolle" else 0.01)


def recordings(count: int = 12, rate: float = 0.06):
    return random_recordings(4, count, rate, SHAPE)


def float_layers(run: FakeRun, spikes_RTI: np.ndarray):
    network = run.network()
    spikes_TBI = torch.from_numpy(spikes_RTI.transpose(1, 0, 2).copy()).float()
    with torch.no_grad():
        outputs, _ = network(spikes_TBI, network.zero_state(len(spikes_RTI)))
    return outputs


def visible_layers(program) -> list[int]:
    """The layer of the program whose spikes are those of each float layer: its pooling stage where it has one."""
    followed = [*(layer.is_pooling for layer in program.layers[1:]), False]
    return [index for index, pooled in enumerate(followed) if not pooled]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("neuron", NEURONS)
def test_integers_follow_the_float_network(neuron, geometry, tmp_path):
    run = make_run(neuron, geometry)
    compiled = compile_run(run, "loihi2", recordings())
    program = compiled.program
    assert compiled.warnings == ()
    spikes_RTI = np.ascontiguousarray(recordings(20).dense(np.arange(20)).transpose(1, 0, 2))
    outputs = float_layers(run, spikes_RTI)
    trace = run_reference(program, spikes_RTI)
    visible = visible_layers(program)
    assert len(visible) == len(outputs)
    before = 0
    for output, index in zip(outputs, visible, strict=True):
        float_RTN = output.spikes_TBN.numpy().transpose(1, 0, 2).astype(np.uint8)
        rate = float_RTN.mean()
        assert rate > 0.01  # alive, or agreement would mean nothing
        # Errors of untrained layers add up; each one alone, on the float layer's own input, is nearly exact.
        assert (float_RTN != trace.layers[index].spikes).mean() < min(0.08, rate)
        starts = [program.first_step(which) for which in range(before, index + 1)]
        alone_RTN = run_layers(program.layers[before : index + 1], spikes_RTI, starts)
        assert (float_RTN != alone_RTN).mean() < min(0.02, rate / 5)
        before, spikes_RTI = index + 1, float_RTN
    decisions = decide(outputs[-1].readout_TBC, program.burnin_steps).numpy()
    assert (decisions == decide_integers(program, trace)).mean() >= 0.9
    for layer, entry, ranges in zip(program.layers, program.quantization, compiled.ranges, strict=True):
        assert (entry == {}) == layer.is_pooling
        if layer.is_pooling:
            assert all(register.proven for register in ranges)
        else:
            assert entry["spike_agreement"] >= entry["spike_agreement_analytic"] > 0.9
    save_artifact(program, tmp_path / "x.net")
    again = load_artifact(tmp_path / "x.net")
    for layer, loaded in zip(program.layers, again.layers, strict=True):
        np.testing.assert_array_equal(layer.weight, loaded.weight)
    assert list(again.quantization) == list(program.quantization)


def test_layers_and_their_readouts():
    run = make_run("decolle", "pooled")
    program = compile_run(run, "loihi2", recordings(6)).program
    kinds = [(type(layer), layer.is_pooling) for layer in program.layers]
    pair = [(ConvLayer, False), (ConvLayer, True)]
    assert kinds == [*pair, *pair, (DenseLayer, False)]
    for index, (first, pool) in enumerate(((0, 1), (2, 3))):
        float_layer = run.trained.layers[index]
        conv, stage = program.layers[first], program.layers[pool]
        assert conv.readout_weight.shape == (0, conv.num_neurons) and not conv.has_readout
        assert stage.readout_weight.shape == (len(CLASSES), float_layer.shape.outputs)
        readout = float_layer.readout_weight.numpy()
        scale = 127 / np.abs(readout).max()
        assert np.abs(stage.readout_weight - readout * scale).max() <= 0.5 + 1e-4
        assert conv.map_shape == float_layer.shape.map_shape == stage.input_shape
        # a bias per channel becomes one threshold for its map
        per_unit = program.quantization[first]["register_units_per_potential"]
        expected = np.rint(-per_unit * float_layer.bias.double().numpy() / 64)
        np.testing.assert_array_equal(conv.vth.reshape(conv.map_shape), np.broadcast_to(
            expected[:, None, None], conv.map_shape,
        ))  # fmt: skip


def test_stock_neurons_get_a_bias_per_channel():
    run = make_run("cuba", "plain")
    program = compile_run(run, "loihi2", recordings(6)).program
    conv, bias = program.layers[0], run.trained.layers[0].bias.double().numpy()
    per_unit = program.quantization[0]["register_units_per_potential"]
    alpha = 1 - conv.dv / 4096
    expected = np.rint(per_unit * (1 - alpha) * bias / 64)
    np.testing.assert_array_equal(conv.bias_mant.reshape(len(bias), -1), np.repeat(expected[:, None], 81, axis=1))


def test_every_layer_has_its_own_parameters():
    of_layers = {"alpha": [0.9, 0.8, 0.7], "beta": [0.85, 0.6, 0.5]}
    of_layers |= {"alpharp": [0.65, 0.4, 0.3], "wrp": [1.0, 2.0, 0.5]}
    program = compile_run(make_run("decolle", "pooled", **of_layers), "loihi2", recordings(6)).program
    layers = [layer for layer in program.layers if not layer.is_pooling]
    entries = [entry for entry in program.quantization if entry]
    for index, (layer, entry) in enumerate(zip(layers, entries, strict=True)):
        alpha, beta, alpharp, wrp = (of_layers[key][index] for key in ("alpha", "beta", "alpharp", "wrp"))
        assert layer.dv == nearest_decay(alpha, 0) and layer.du == nearest_decay(beta, 1)
        assert layer.dr == nearest_decay(alpharp, 0)
        gamma = 1 - layer.dr / 4096
        assert layer.rho == round(entry["register_units_per_potential"] * (1 - gamma) * wrp)
        assert entry["alpha_error"] == (4096 - layer.dv) / 4096 - alpha
        assert entry["alpharp_error"] == pytest.approx(gamma - alpharp)
    program = compile_run(make_run("cuba", "pooled", vth=[0.02, 0.03, 0.01]), "loihi2", recordings(6)).program
    for layer, entry, vth in zip(
        [layer for layer in program.layers if not layer.is_pooling],
        [entry for entry in program.quantization if entry], (0.02, 0.03, 0.01), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(layer.vth, round(entry["register_units_per_potential"] * vth / 64))


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_of_few_bits(bits):
    """The effective weights are those of the float kernel on the grid, and plain integers."""
    run = make_run("decolle", "grouped")
    program = compile_run(run, "loihi2", recordings(6), weight_bits=bits).program
    for trained, layer, entry in zip(run.trained, program.layers, program.quantization, strict=True):
        assert layer.weight_bits <= bits
        step, scale = entry["weight_step"], entry["weight_scale"]
        weight = trained.weight.numpy()
        effective = layer.plain_weight
        np.testing.assert_array_equal(effective, layer.weight * 2.0**layer.weight_exp)
        low, high = grid_limits(bits)
        inside = (weight / step > low - 0.5) & (weight / step < high + 0.5)
        assert np.abs(effective / scale - weight)[inside].max() <= step / 2 * (1 + 1e-4)
        assert np.abs(effective / scale).max() <= (1 << (bits - 1)) * step * (1 + 1e-6)


def test_a_pooled_stock_layer_is_measured_before_pooling():
    """How far v goes below zero shows in the map; the largest of each window says little about it."""
    run = make_run("cuba", "pooled")
    calibration = calibrate(run.network(), recordings(6))
    layer = run.trained.layers[0]
    dyn = layer.dynamics
    u = torch.zeros(6, layer.shape.inputs)
    v = torch.zeros(6, layer.shape.neurons)
    lowest = 0.0
    for t, spikes in enumerate(torch.from_numpy(recordings(6).dense(np.arange(6))).float()):
        drive = functional.conv2d(u.reshape(6, *SHAPE), layer.weight, layer.bias, padding=1).reshape(6, -1)
        v = dyn.alpha * v + (1 - dyn.alpha) * (drive if t > 0 else 0.0)
        lowest = min(lowest, v.min().item())
        v[v > dyn.vth] = 0.0
        u = dyn.beta * u + (1 - dyn.beta) * spikes
    assert calibration.ranges[0].voltage == pytest.approx(-lowest, rel=1e-4)


def test_kernels_that_fit_at_no_scale():
    run = make_run("decolle", "plain", alpha=0.9995, beta=0.9995)
    with torch.no_grad():
        run.trained.layers[0].weight[:] = 1e-6
        run.trained.layers[0].weight[0, 0, 0, 0] = 1e-5
        run.trained.layers[0].bias[:] = 1e4
    with pytest.raises(CompileError, match=r"layer 0: vth leaves a weight scale .*the largest bias 1e\+04"):
        compile_run(run, "loihi2", recordings(4))
