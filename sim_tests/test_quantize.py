"""The quantizer: integers stand for the float network on the stated scale, within every limit of the registers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decolle_hw.compiler.quantize import FloatRanges, calibrate, quantize_layer
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import CompileError
from decolle_hw.fidelity import float_against_integer
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.nn.layer import DecolleLayer, Dynamics
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import LayerShape, parse_model_spec

NEURONS = ("decolle", "cuba")


def make_layer(neuron: str, *, alpha=0.9, beta=0.85, seed=0, inputs=30, units=20) -> DecolleLayer:
    dynamics = Dynamics(neuron, alpha, beta, alpharp=0.65, wrp=1.0, vth=0.1)
    generator = torch.Generator().manual_seed(seed)
    layer = DecolleLayer(LayerShape.dense(inputs, units), 4, dynamics, 0, bias=True, lc_ampl=0.5, generator=generator)
    with torch.no_grad():
        layer.bias.uniform_(-0.1, 0.1, generator=generator)
    return layer


def make_network(neuron: str, **changes) -> DecolleNetwork:
    network = {"neuron": neuron, "Mhid": [40, 20], "alpha": 0.9, "beta": 0.85} | changes
    spec = parse_model_spec(
        {
            "name": "x",
            "dataset": {"input_shape": [2, 5, 5], "chunk_size_train": 40, "chunk_size_test": 40},
            "network": network,
            "training": {"burnin_steps": 5},
        },
        "test",
    )
    return DecolleNetwork(spec, 3, torch.Generator().manual_seed(1))


def random_recordings(rng: np.random.Generator, count: int = 12, steps: int = 40) -> BinnedRecordings:
    active, bounds = [], [0]
    for _ in range(count):
        flat = np.flatnonzero(rng.random(steps * 50) < 0.05)
        active.append(flat)
        bounds.append(bounds[-1] + len(flat))
    return BinnedRecordings(
        np.array(bounds), np.concatenate(active).astype(np.int32), rng.integers(0, 3, count),
        tuple(str(i) for i in range(count)), ("a", "b", "c"), steps, (2, 5, 5),
    )  # fmt: skip


def test_by_hand_decolle():
    """Every register of a two-synapse layer, worked out on paper.

    alpha = 3/4 and beta = 1/2 are realised exactly: dv = 1024, du = 2047. max|W| = 1 gives k = 254. One unit of U is
    64 * 254 / (1/4 * 1/2) = 130048 units of v. vth = -b * 130048 / 64 = -b * 2032; rho = 130048 * (1 - 1/2) * 1.
    """
    layer = make_layer("decolle", alpha=0.75, beta=0.5, inputs=2, units=2)
    layer.dynamics = dataclasses.replace(layer.dynamics, alpharp=0.5)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.0, -0.5], [0.25, 0.0]])
        layer.bias[:] = torch.tensor([0.5, -0.25])
    integers, figures = quantize_layer(layer, FloatRanges(1.0, 1.0), 0)
    assert (integers.du, integers.dv, integers.dr, integers.weight_exp) == (2047, 1024, 2048, 0)
    # 254/4 = 63.5: halfway between the even neighbours 62 and 64 of sign mode MIXED
    np.testing.assert_array_equal(integers.weight, [[254, -128], [64, 0]])
    np.testing.assert_array_equal(integers.vth, [-1016, 508])
    assert integers.rho == 65024
    assert figures["weight_scale"] == 254 and figures["register_units_per_potential"] == 130048


def test_by_hand_cuba():
    """As above; vth = 0.1 * 2032 for all; the bias is added per step: b * 130048 * (1 - alpha) / 2**6."""
    layer = make_layer("cuba", alpha=0.75, beta=0.5, inputs=2, units=2)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.0, -0.5], [0.25, 0.0]])
        layer.bias[:] = torch.tensor([0.5, -0.25])
    integers, _ = quantize_layer(layer, FloatRanges(1.0, 1.0), 0)
    np.testing.assert_array_equal(integers.vth, [203, 203])
    np.testing.assert_array_equal(integers.bias_mant, [254, -127])
    assert integers.bias_exp == 6 and integers.rho == 0


@settings(max_examples=60, deadline=None)
@given(
    neuron=st.sampled_from(NEURONS),
    alpha=st.floats(0.0, 0.999),
    beta=st.floats(0.0, 0.999),
    voltage=st.floats(0.0, 50.0),
    seed=st.integers(0, 1000),
    size=st.floats(1e-3, 1e3),
)
def test_every_limit_holds(neuron, alpha, beta, voltage, seed, size):
    layer = make_layer(neuron, alpha=alpha, beta=beta, seed=seed)
    with torch.no_grad():
        layer.weight.mul_(size)
        layer.bias.mul_(size)
    ranges = FloatRanges(voltage * size, voltage * size)
    try:
        integers, figures = quantize_layer(layer, ranges, 0)
    except CompileError as error:
        assert "round to zero" in str(error)
        return
    per_unit = figures["register_units_per_potential"]
    # rounding moves a limit by no more than the last float digit
    assert per_unit * ranges.voltage <= STATE_LIMIT / 2 * (1 + 1e-9)
    assert integers.weight_exp <= 0
    # shifting the sum back down loses nothing: every stored weight is a multiple of the shift
    assert not np.any(integers.weight % (1 << -integers.weight_exp))
    effective = integers.weight >> -integers.weight_exp
    error = np.abs(effective / figures["weight_scale"] - layer.weight.numpy())
    step = 2 if integers.weight_exp == 0 else 1
    # half a step of rounding, and up to one at the positive end, where 254 is the last even weight
    assert error.max() <= step / figures["weight_scale"] * (1 + 1e-5)


def test_no_scale_left_is_an_error():
    layer = make_layer("decolle", alpha=0.9995, beta=0.9995)
    with pytest.raises(CompileError, match=r"layer 3: v leaves a weight scale .*smaller alpha, beta"):
        quantize_layer(layer, FloatRanges(1e6, 1.0), 3)


@pytest.mark.parametrize("neuron", NEURONS)
def test_calibrate_measures_what_the_layers_do(neuron):
    """Against traces filtered step by step in the test."""
    network = make_network(neuron)
    recordings = random_recordings(np.random.default_rng(0), count=40)
    measured = calibrate(network, recordings)
    spikes = torch.from_numpy(recordings.dense(np.arange(40))).double()
    for layer, ranges in zip(network.layers, measured, strict=True):
        dyn = layer.dynamics
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


@pytest.mark.parametrize("neuron", NEURONS)
def test_integers_follow_the_float_network(neuron):
    """With fine weights, integers and floats spike alike; an integer network that is off by a step does not."""
    from decolle_hw.compiler.program import Program

    network = make_network(neuron, **({"vth": 0.01} if neuron == "cuba" else {}))
    recordings = random_recordings(np.random.default_rng(2), count=24)
    layers = tuple(
        quantize_layer(layer, ranges, index)[0]
        for index, (layer, ranges) in enumerate(zip(network.layers, calibrate(network, recordings), strict=True))
    )
    program = Program("x", layers, ("a", "b", "c"), (2, 5, 5), 40, 5, "loihi2", "", "")
    good = float_against_integer(network, program, recordings)
    assert min(good.float_rate) > 0.02  # alive, or agreement would mean nothing
    assert min(good.spike_agreement) > 0.97
    assert max(max(peak.values()) for peak in good.register_peak) < 0.75  # margin of two, plus decay roundings
    slow = dataclasses.replace(layers[0], dv=layers[0].dv // 2)
    bad = float_against_integer(network, dataclasses.replace(program, layers=(slow, layers[1])), recordings)
    assert bad.spike_agreement[0] < good.spike_agreement[0] - 0.02


@pytest.mark.parametrize("neuron", NEURONS)
def test_decays_that_12_bits_cannot_hold_are_an_error(neuron):
    layer = make_layer(neuron, alpha=0.9999)
    with pytest.raises(CompileError, match=r"layer 1: alpha 0.9999 .* the largest is 0.99976; use a smaller alpha"):
        quantize_layer(layer, FloatRanges(1.0, 1.0), 1)
