"""lava-dl's netx runs a cuba artifact as it is, stops at a decolle one, and what it would change is refused."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_programs import many_channels

from decolle_hw.compiler.artifact import load_artifact, save_artifact
from decolle_hw.compiler.netx import as_netx_runs_it, netx_entries
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError
from decolle_hw.sim.compare import compare
from decolle_hw.sim.random_program import random_conv_program, random_program, random_spikes
from decolle_hw.sim.reference import run_reference

importlib.import_module("decolle_hw.lava_backend")  # lets Lava be imported after other tests have started processes

try:
    from lava.lib.dl.netx.hdf5 import Network
    from lava.lib.dl.netx.utils import optimize_weight_bits
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights

    from decolle_hw.lava_backend.runner import run_lava
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava-dl cannot be imported: {error}", allow_module_level=True)


def run_netx(path: Path, program: Program, spikes_RTI: np.ndarray) -> list[np.ndarray]:
    """(R, steps on chip, N) spikes of every layer, channels first, read with Lava's own sinks."""
    logging.getLogger("lava").setLevel(logging.ERROR)
    recordings, steps, inputs = spikes_RTI.shape
    slot = program.slot_steps()
    network = Network(net_config=str(path), reset_interval=slot, reset_offset=1)
    slots_RSI = np.zeros((recordings, slot, inputs), np.int32)
    slots_RSI[:, :steps] = spikes_RTI
    shape = network.inp.shape
    if len(shape) == 3:  # netx counts x, y, channel
        source = Source(data=slots_RSI.reshape(-1, *shape[::-1]).transpose(3, 2, 1, 0))
    else:
        source = Source(data=slots_RSI.reshape(-1, inputs).T)
    source.s_out.connect(network.inp)
    sinks = []
    for layer in network.layers:
        sink = Sink(shape=layer.out.shape, buffer=recordings * slot)
        layer.out.connect(sink.a_in)
        sinks.append(sink)
    network.run(RunSteps(recordings * slot), Loihi2SimCfg(select_tag="fixed_pt"))
    data = [sink.data.get() for sink in sinks]
    network.stop()
    return [values.T.reshape(recordings, slot, -1) for values in data]


def assert_netx_spikes_equal(program: Program, spikes_RTI: np.ndarray, path: Path) -> None:
    save_artifact(program, path)
    reference = run_reference(program, spikes_RTI)
    assert all(0.005 < rate < 0.995 for rate in reference.firing_rates()), "nothing is tested"
    for index, spikes_RTN in enumerate(run_netx(path, program, spikes_RTI)):
        start, delay = program.reset_steps[index], program.delays[index]
        expected = reference.layers[index].spikes[:, start - delay :]
        np.testing.assert_array_equal(spikes_RTN[:, start : start + expected.shape[1]], expected)


@pytest.mark.parametrize("seed", range(4))
def test_random_networks_spike_alike(seed: int, tmp_path: Path) -> None:
    """Several recordings, biases, and weights of every exponent that the quantizer makes."""
    rng = np.random.default_rng([seed, 5])
    rates = [0.0]
    while not all(0.005 < rate < 0.995 for rate in rates):
        program = random_program(rng, "cuba", sizes=(16, 14, 12, 10), steps=20, like_quantizer=True)
        spikes_RTI = random_spikes(rng, program, 4)
        rates = run_reference(program, spikes_RTI).firing_rates()
    assert any(layer.weight_exp < 0 for layer in program.layers)
    assert_netx_spikes_equal(program, spikes_RTI, tmp_path / "random.net")


def test_an_artifact_needs_nothing_of_ours(tmp_path: Path) -> None:
    """A process in which this package cannot be imported."""
    rng = np.random.default_rng([1, 5])
    program = random_program(rng, "cuba", sizes=(16, 14, 12), steps=20, like_quantizer=True)
    spikes_RTI = random_spikes(rng, program, 4)[1:2]
    save_artifact(program, tmp_path / "x.net")
    np.save(tmp_path / "in.npy", spikes_RTI[0])
    script = Path(__file__).with_name("netx_alone.py")
    paths = (str(tmp_path / name) for name in ("x.net", "in.npy", "out.npy"))
    done = subprocess.run([sys.executable, str(script), *paths], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = run_reference(program, spikes_RTI).layers[-1].spikes[0]
    start = program.reset_steps[-1]
    assert expected[start:].any()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy")[start:], expected[start:])


@pytest.mark.parametrize("seed", range(3))
def test_convolutions_and_pooling_spike_alike(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([seed, 6])
    rates, program = [0.0], random_conv_program(rng, "cuba", like_quantizer=True)
    while not all(0.005 < rate < 0.995 for rate in rates) or not any(layer.is_pooling for layer in program.layers):
        program = random_conv_program(rng, "cuba", like_quantizer=True)
        spikes_RTI = random_spikes(rng, program, 4)
        rates = run_reference(program, spikes_RTI).firing_rates()
    assert_netx_spikes_equal(program, spikes_RTI, tmp_path / "conv.net")


@pytest.mark.parametrize("channels", [128, 129, 131, 254])  # 131 has no divisor but 1
def test_fewer_groups_make_the_same_convolution(channels: int) -> None:
    pool = many_channels(channels).layers[1]
    weight, groups = pool.in_lava()
    assert groups <= 127 and weight.shape[:2] == (channels, channels // groups)
    for channel in range(channels):
        first = channel // (channels // groups) * (channels // groups)
        np.testing.assert_array_equal(np.flatnonzero(weight[channel].any((1, 2))) + first, [channel])
        np.testing.assert_array_equal(weight[channel, channel - first], pool.weight[channel, 0])


def test_more_groups_than_lava_counts(tmp_path: Path) -> None:
    """In netx, and in our own Lava network: a group per channel, as the paper's pooling of 128 channels has."""
    program = many_channels(128)
    spikes_RTI = (np.random.default_rng(5).random((1, program.steps, 32)) < 0.2).astype(np.uint8)
    assert_netx_spikes_equal(program, spikes_RTI, tmp_path / "many.net")
    assert load_artifact(tmp_path / "many.net").layers[1].groups == 128
    lava = run_lava(program, spikes_RTI, record=True)
    assert compare(program, run_reference(program, spikes_RTI, record=True), lava).equal


def test_delays(tmp_path: Path) -> None:
    """A single recording: netx has no means to empty a synapse between two."""
    rng = np.random.default_rng(7)
    rates = [0.0]
    while not all(0.005 < rate < 0.995 for rate in rates):
        program = random_program(rng, "cuba", sizes=(16, 14, 12), steps=20, like_quantizer=True, max_delay=6)
        spikes_RTI = random_spikes(rng, program, 6)[4:5]
        rates = run_reference(program, spikes_RTI).firing_rates()
    assert_netx_spikes_equal(program, spikes_RTI, tmp_path / "delays.net")


def test_a_delay_that_netx_would_clamp_is_refused(tmp_path: Path) -> None:
    program = random_program(np.random.default_rng(0), "cuba", sizes=(4, 3), like_quantizer=True)
    layer = replace(program.layers[0], delay=np.full((3, 4), 63, np.int32))  # type: ignore[call-arg]
    with pytest.raises(CompileError, match="layer 0: a delay of 63 steps would become 62 in netx"):
        save_artifact(replace(program, layers=(layer,)), tmp_path / "late.net")


def single_signed(sign: int, weight_exp: int) -> Program:
    rng = np.random.default_rng(1)
    program = random_program(rng, "cuba", sizes=(10, 8), steps=20, like_quantizer=True)
    weight = sign * (rng.integers(1, 1 + (254 >> max(1, -weight_exp)), (8, 10)) << max(1, -weight_exp))
    layer = replace(
        program.layers[0], weight=weight.astype(np.int32), weight_exp=weight_exp, du=1000, dv=500,
        vth=np.full(8, 300, np.int32), bias_mant=np.full(8, 3000 if sign < 0 else 0, np.int32),
    )  # fmt: skip
    return replace(program, layers=(layer,))


@pytest.mark.parametrize("weight_exp", [0, -2, -5])
@pytest.mark.parametrize("sign", [1, -1])
def test_single_signed_weights(sign: int, weight_exp: int, tmp_path: Path) -> None:
    """Lava sees EXCITATORY or INHIBITORY synapses here, where our own run says MIXED."""
    program = single_signed(sign, weight_exp)
    assert_netx_spikes_equal(program, random_spikes(np.random.default_rng(2), program, 4), tmp_path / "signed.net")


def test_a_decolle_artifact_is_not_run_by_netx(tmp_path: Path) -> None:
    program = random_program(np.random.default_rng(0), "decolle", sizes=(10, 8), like_quantizer=True)
    save_artifact(program, tmp_path / "decolle.net")
    with pytest.raises(AttributeError):  # how netx answers a neuron type that it does not know
        Network(net_config=str(tmp_path / "decolle.net"))


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("seed", range(300))
def test_our_account_of_netx_equals_its_code(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = (int(v) for v in rng.choice([-256, -255, -254, -128, -127, -3, -1, 0, 1, 5, 127, 128, 254, 255], 2))
    low, high = min(low, high), max(low, high)
    if high > 254:
        low = max(low, 0)  # netx clips what it cannot hold; our weights never get there
    weight = rng.integers(low, high, (3, 4), endpoint=True)
    weight[0, :2] = low, high
    if not np.any(weight):
        weight[0, 0] = 1
    stored, bits, exponent, _ = optimize_weight_bits(weight)
    # Then Lava's Dense, which infers the sign mode again: lava.proc.dense.models.
    sign_mode = determine_sign_mode(stored)
    in_lava = truncate_weights(clip_weights(stored, sign_mode, num_bits=8), sign_mode, bits)
    ours, our_exponent = as_netx_runs_it(weight.astype(np.int32))
    assert our_exponent == exponent
    np.testing.assert_array_equal(ours, in_lava)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("positive exponent", {"weight_exp": 2}, r"layer 0: weight_exp 2 does not leave plain integers"),
    ("lossy exponent", {"weight_exp": -2}, r"layer 0: weight_exp -2 does not leave plain integers"),
    ("zero", {"weight": np.zeros((3, 2), np.int32)}, r"layer 0: all weights are zero"),
    (
        "inhibitory -256",
        {"weight": np.array([[-2, -4], [-6, -256], [-2, -2]], np.int32)},
        r"layer 0: weight -256 of neuron 1, input 1 would become -254 in netx",
    ),
    ("up to zero", {"weight": np.full((3, 2), -256, np.int32), "weight_exp": -8}, r"weight -1 of neuron 0, input 0"),
    ("bias", {"bias_mant": np.array([0, 0, 33], np.int32), "bias_exp": 5}, r"layer 0: bias_exp 5 cannot become 6"),
    ("large bias", {"bias_mant": np.array([0, 0, 4000], np.int32), "bias_exp": 7}, r"bias_exp 7 cannot become 6"),
]


@pytest.mark.parametrize(("changes", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_netx_would_change_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    program = random_program(np.random.default_rng(0), "cuba", sizes=(2, 3), like_quantizer=True)
    weight = np.array([[2, -4], [6, 254], [-256, 2]], np.int32)
    layer = replace(program.layers[0], **{"weight": weight, "weight_exp": 0, **changes})
    with pytest.raises(CompileError, match=message):
        save_artifact(replace(program, layers=(layer,)), tmp_path / "refused.net")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("exponent", "mantissa", "in_netx"), [(7, 100, 200), (6, -4096, -4096), (0, 128, 2)])
def test_a_bias_moves_to_the_exponent_of_netx(exponent: int, mantissa: int, in_netx: int) -> None:
    program = random_program(np.random.default_rng(0), "cuba", sizes=(2, 3), like_quantizer=True)
    layer = replace(program.layers[0], bias_mant=np.full(3, mantissa, np.int32), bias_exp=exponent)
    weight = np.array([[2, -4], [6, 254], [-256, 2]], np.int32)
    layer = replace(layer, weight=weight, weight_exp=0)
    assert netx_entries(replace(program, layers=(layer,)))["layer/1/bias"].tolist() == [in_netx] * 3
