"""Real numbers of a NIR graph as integers: grids, scales, registers, recordings that choose, and what is warned of."""

# R recordings, T steps, I inputs

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decolle_hw.compiler.artifact import load_artifact, save_artifact
from decolle_hw.compiler.ranges import proven_ranges
from decolle_hw.errors import CompileError, UsageError
from decolle_hw.interchange.float_grid import common_step, exact_grid, scale_limits
from decolle_hw.interchange.float_network import FloatLayer, FloatNetwork, simulate
from decolle_hw.interchange.float_synapse import Convolution, Matrix
from decolle_hw.interchange.nir_quantize import import_nir, quantize
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import decide
from sim_tests.nir_tools import DT, conv, cuba, lif, sink, source, write

STEPS, INPUTS = 30, 20


def layer(weight, *, bias=0.0, vth=1.0, current_keep=0.0, voltage_keep=0.9) -> FloatLayer:
    weight = np.asarray(weight, float)
    return FloatLayer(
        "fc", Matrix(weight), (weight.shape[1],), np.zeros(len(weight)) + bias, current_keep, voltage_keep, vth
    )


def network(*layers: FloatLayer) -> FloatNetwork:
    return FloatNetwork("net", layers, (1, 1, layers[0].synapse.weight.shape[1]))


def normal(seed: int, outputs: int = 12, inputs: int = INPUTS) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.3, (outputs, inputs))


def recordings(seed: int, inputs: int = INPUTS, number: int = 4) -> np.ndarray:
    return (np.random.default_rng(seed).random((number, STEPS, inputs)) < 0.2).astype(np.uint8)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000), bits=st.integers(2, 8), step=st.floats(1e-3, 1e3), single=st.booleans(),
    bias=st.sampled_from([0.0, 3.0, -7.0]),
)  # fmt: skip
def test_weights_that_lie_on_a_grid_stay_there(seed, bits, step, single, bias):
    """Whatever the step, whether float32 rounded it or not, the integers are those that the weights were made of."""
    rng = np.random.default_rng(seed)
    q = rng.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1, (8, 9), endpoint=True)
    q.flat[:3] = (1, -1, (1 << (bits - 1)) - 1)
    weight = (q * step).astype(np.float32 if single else np.float64).astype(np.float64)
    assert common_step(weight) == pytest.approx(step, rel=1e-6)
    program, _ = quantize(
        network(layer(weight, vth=40 * step, bias=bias * step)), steps=9, target="loihi2", weight_bits=8
    )
    integers = program.layers[0]
    scale = program.quantization[0]["weight_scale"]
    times = round(scale * step)
    assert times >= 1
    np.testing.assert_array_equal(integers.plain_weight, times * q)
    np.testing.assert_array_equal(integers.vth, 40 * times)
    np.testing.assert_array_equal(integers.bias, 64 * int(bias) * times)
    assert program.quantization[0]["weight_error_rms"] < 1e-6


def test_numbers_that_are_integers_of_the_chip_are_taken_as_they_are():
    weight = np.array([[2.0, -6, 10], [4, 8, 0]])
    found = exact_grid(layer(weight, vth=100.0, bias=3.0), 8)
    assert found is not None and found.scale == 1.0
    # With a threshold that is none, the scale is one at which it nearly is, and 30 times of 0.1 is.
    found = exact_grid(layer(weight, vth=100.1), 8)
    assert found is not None and abs(found.scale * 100.1 - round(found.scale * 100.1)) < 0.02


def test_weights_on_no_grid():
    assert common_step(normal(1)) is None
    assert exact_grid(layer(normal(1)), 8) is None


@pytest.mark.parametrize("bits", [3, 5, 8])
@pytest.mark.parametrize("sign", ["mixed", "excitatory", "inhibitory"])
def test_integers_are_the_nearest_within_every_limit(tmp_path, bits, sign):
    weight = {"mixed": normal(2), "excitatory": abs(normal(2)), "inhibitory": -abs(normal(2))}[sign]
    given = layer(weight, vth=2.3, bias=normal(3)[:, 0], current_keep=0.5)
    program, warnings = quantize(network(given), steps=30, target="loihi2", weight_bits=bits)
    integers, figures = program.layers[0], program.quantization[0]
    assert integers.weight_bits <= bits
    scale = figures["weight_scale"]
    error = integers.plain_weight / scale - weight
    assert figures["weight_error_rms"] == pytest.approx(np.sqrt((error**2).mean() / (weight**2).mean()), rel=1e-3)
    # A uniform grid of n bits over a normal distribution: about 0.35 of a step in units of 2**(1-n) of the largest.
    assert figures["weight_error_rms"] < 2.0 ** (1.5 - bits)
    assert abs(integers.vth[0] / scale - 2.3) <= 0.5 / scale + 1e-9
    assert np.abs(integers.bias / 64 / scale - given.bias).max() <= 0.5 / scale + 1e-9
    for name, limit in scale_limits(given).items():
        assert scale <= limit * (1 + 1e-9), name
    assert all(register.proven for register in proven_ranges(integers, first=1, steps=30) if register.name == "u")
    assert not any("turn over" in warning for warning in warnings)
    save_artifact(program, tmp_path / "net.net")
    assert load_artifact(tmp_path / "net.net").classes == tuple(map(str, range(12)))


def test_registers_limit_the_scale():
    """A high threshold, a large bias take the room; a long fan-in does, up to two bits, so that u cannot turn over."""
    high = quantize(network(layer(normal(1), vth=4000.0)), steps=9, target="loihi2")[0]
    assert high.layers[0].vth[0] > 60_000 and high.quantization[0]["limit"] == "vth"
    biased = quantize(network(layer(normal(1), bias=300.0)), steps=9, target="loihi2")[0]
    assert abs(biased.layers[0].bias_mant[0]) > 2000 and biased.quantization[0]["limit"] == "bias"
    wide = layer(abs(normal(1, 4, 2000)), current_keep=0.6)
    program, warnings = quantize(network(wide), steps=9, target="loihi2")
    assert program.quantization[0]["limit"] == "u" and not warnings
    assert program.quantization[0]["ranges"][0]["proven"]
    wider = layer(abs(normal(1, 4, 2000)), current_keep=0.99)
    program, warnings = quantize(network(wider), steps=400, target="loihi2")
    assert "u may turn over" in warnings[0] and not program.quantization[0]["ranges"][0]["proven"]


def test_recordings_choose_the_grid():
    """Never a worse agreement than without, on the recordings themselves, and sometimes a better one."""
    gains = []
    for seed in range(6):
        floats = network(layer(normal(seed), vth=1.2), layer(normal(seed + 9, 5, 12), vth=0.9, voltage_keep=0.95))
        spikes_RTI = recordings(seed)
        with_data, _ = quantize(floats, steps=STEPS, target="loihi2", weight_bits=4, calibration=spikes_RTI)
        first = with_data.quantization[0]
        assert first["spike_agreement"] >= first["spike_agreement_analytic"] > 0.8
        gains.append(first["spike_agreement"] - first["spike_agreement_analytic"])
        trace = run_reference(with_data, spikes_RTI)
        agreement = (trace.layers[0].spikes == simulate(floats, spikes_RTI)[0].spikes).mean()
        assert agreement == first["spike_agreement"]
        assert first["calibration_recordings"] == 4
    assert max(gains) > 0


def test_a_network_from_file_to_decisions(tmp_path):
    """Convolution, pooling by OR, dense: eight bits agree with the float network in nearly all spikes.

    Each layer hears the wrong spikes of those before it, too: 0.3 % of them, 0.6 % and 4.3 % when this was written.
    """
    rng = np.random.default_rng(5)
    import nir

    path = write(
        tmp_path / "net.nir", source(2, 8, 8), conv(rng.normal(0.1, 0.5, (4, 2, 3, 3)), padding=1),
        cuba(4, 8, 8, r=5.0), nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.zeros(2, int)),
        lif(4, 4, 4, tau=DT, vth=0.5), nir.Flatten({"input": np.array([4, 4, 4])}, 0),
        nir.Affine(rng.normal(0.0, 0.3, (5, 64)), np.full(5, 0.1)), lif(5, r=8.0), sink(5),
    )  # fmt: skip
    imported = import_nir(path, steps=STEPS)
    program = imported.program
    assert [layer.kind for layer in program.layers] == ["convolution", "pooling", "dense"]
    assert program.input_shape == (2, 8, 8) and program.classes == ("0", "1", "2", "3", "4") and program.steps == STEPS
    spikes_RTI = recordings(1, 128)
    trace, floats = run_reference(program, spikes_RTI), simulate(imported.network, spikes_RTI)
    for mine, theirs, least in zip(trace.layers, floats, (0.99, 0.99, 0.95), strict=True):
        assert 0.01 < theirs.spikes.mean() < 0.9
        assert (mine.spikes == theirs.spikes).mean() > least
    np.testing.assert_array_equal(decide(program, trace), trace.layers[-1].spikes.sum(1).argmax(1))
    # What the spikes of the float network decide, where it is not a matter of one spike.
    counts_RC = np.sort(floats[-1].spikes.sum(1, dtype=int), 1)
    clear_R = counts_RC[:, -1] - counts_RC[:, -2] > 1
    np.testing.assert_array_equal(decide(program, trace)[clear_R], floats[-1].spikes.sum(1).argmax(1)[clear_R])


def test_all_layers_that_cannot_be_are_named():
    zero = layer(np.zeros((12, INPUTS)))
    far = layer(normal(1, 5, 12) * 1e-6, vth=1.0)
    words = r"(?s)layer 0 \(fc\): all its weights are zero.*layer 1.*vth 1 fills"
    with pytest.raises(CompileError, match=words) as raised:
        quantize(network(zero, far), steps=9, target="loihi2")
    assert raised.value.exit_code == 2
    with pytest.raises(CompileError, match="9000 neurons, one class each"):
        quantize(network(layer(np.ones((9000, 1)))), steps=9, target="loihi2")
    with pytest.raises(CompileError, match="weight_bits 9"):
        quantize(network(layer(normal(1))), steps=9, target="loihi2", weight_bits=9)
    with pytest.raises(UsageError, match=r"calibration: is of shape \(2, 5, 19\).*20 inputs"):
        quantize(network(layer(normal(1))), steps=9, target="loihi2", calibration=np.zeros((2, 5, 19), np.uint8))
    with pytest.raises(CompileError, match="2 steps are too short"):
        quantize(network(layer(normal(1)), layer(normal(2, 5, 12))), steps=2, target="loihi2")


def test_a_threshold_that_rounds_badly_is_warned_of():
    _, warnings = quantize(network(layer(normal(1), vth=0.012)), steps=9, target="loihi2")
    assert "vth 0.012 becomes" in warnings[0] and "%" in warnings[0]


def test_more_groups_than_lava_can_count():
    kernel = np.random.default_rng(1).normal(0.5, 0.5, (130, 1, 1, 1))
    many = FloatLayer("dw", Convolution(kernel, groups=130), (130, 1, 2), np.zeros(260), 0.0, 0.9, 1.0)
    program, _ = quantize(FloatNetwork("net", (many,), (130, 1, 2)), steps=9, target="loihi2")
    assert program.layers[0].groups == 130 and program.layers[0].weight.shape == (130, 1, 1, 1)
    spikes_RTI = recordings(1, 260)
    mine, theirs = run_reference(program, spikes_RTI).layers[0].spikes, simulate(
        FloatNetwork("net", (many,), (130, 1, 2)), spikes_RTI
    )[0].spikes  # fmt: skip
    assert (mine == theirs).mean() > 0.98 and theirs.any()
