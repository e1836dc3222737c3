"""The reference equals Lava's CPU simulator, value by value, and the comparison can fail."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, NeuronKind, pooling_stage
from decolle_hw.compiler.program import Program
from decolle_hw.fixedpoint import DECAY_UNITY, VTH_MAX
from decolle_hw.sim.compare import Comparison, compare
from decolle_hw.sim.random_layers import draw_readout
from decolle_hw.sim.random_program import random_conv_program, random_networks, random_program, random_spikes
from decolle_hw.sim.reference import run_reference

try:
    runner = importlib.import_module("decolle_hw.lava_backend.runner")
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava cannot be imported: {error}", allow_module_level=True)

NEURONS: tuple[NeuronKind, ...] = ("cuba", "decolle")
VALUES = 4_000_000  # compared in `test_large_networks`, at least


@pytest.fixture(scope="module")
def compared(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Values compared with Lava by the tests of this module; printed at their end."""
    counts: Counter[str] = Counter()
    yield counts
    text = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{sum(counts.values()):,} values compared with Lava, all equal ({text})", end=" ")


def against_lava(program: Program, spikes_RTI: np.ndarray) -> Comparison:
    reference = run_reference(program, spikes_RTI, record=True)
    return compare(program, reference, runner.run_lava(program, spikes_RTI, record=True))


@pytest.mark.parametrize("neuron", NEURONS)
def test_large_networks(neuron: NeuronKind, compared: Counter[str]) -> None:
    """Every spike, u, v and r at every step of many recordings, the ends of all registers included."""
    counts: Counter[str] = Counter()
    for index in itertools.count():
        rng = np.random.default_rng([index, 3])
        program = random_program(rng, neuron, sizes=(70, 900, 200, 100), steps=25)
        result = against_lava(program, random_spikes(rng, program, 24))
        assert result.equal, f"network {index}: {result.first}"
        counts.update({name: count for name, (count, _) in result.per_quantity.items()})
        if sum(counts.values()) >= VALUES // len(NEURONS):
            break
    compared.update(counts)


@settings(max_examples=7, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), place=st.integers(0, 5))
def test_random_networks(seed: int, place: int, compared: Counter[str]) -> None:
    """Dense, with delays, convolutional and pooled; both neurons; everything drawn, extremes included."""
    program = next(itertools.islice(random_networks(seed), place, None))
    result = against_lava(program, random_spikes(np.random.default_rng(seed), program))
    assert result.equal, result.first
    compared.update({name: count for name, (count, _) in result.per_quantity.items()})


REGISTERS = st.sampled_from([0, 1, 2, 409, 2047, 4094, DECAY_UNITY - 1])
THRESHOLDS = st.sampled_from([-VTH_MAX, -1, 0, 1, 5000, VTH_MAX - 1, VTH_MAX])


@settings(max_examples=7, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), neuron=st.sampled_from(NEURONS), kind=st.sampled_from(["dense", "conv"]))
def test_chosen_registers(data: st.DataObject, neuron: NeuronKind, kind: str, compared: Counter[str]) -> None:
    """Decays, thresholds and exponents from the ends of what there is, which random numbers seldom meet together."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    weight_exp = data.draw(st.sampled_from([-8, -1, 0, 1, 7]))
    weights = data.draw(st.sampled_from(["ends", "largest", "mixed"]))
    if kind == "dense":
        program = random_program(rng, neuron, sizes=(40, 20, 10), weight_kind=weights, weight_exp=weight_exp)
    else:
        program = random_conv_program(rng, neuron, weight_kind=weights, weight_exp=weight_exp, convolutions=1)
    layers = []
    for layer in program.layers:
        if not layer.is_pooling:
            threshold = data.draw(THRESHOLDS)
            layer = replace(
                layer, du=data.draw(REGISTERS), dv=data.draw(REGISTERS),
                vth=np.full(layer.num_neurons, abs(threshold) if neuron == "cuba" else threshold, np.int32),
                **({"dr": data.draw(REGISTERS)} if neuron == "decolle" else {}),
            )  # fmt: skip
        layers.append(layer)
    program = replace(program, layers=tuple(layers))
    result = against_lava(program, random_spikes(rng, program))
    assert result.equal, result.first
    compared.update({name: count for name, (count, _) in result.per_quantity.items()})


@pytest.mark.parametrize("neuron", NEURONS)
def test_a_convolution_whose_sum_wraps(neuron: NeuronKind) -> None:
    """288 inputs at full weight and exponent: beyond 24 bits Lava's Conv turns over, and its Dense does not."""
    rng = np.random.default_rng(3)
    program = random_conv_program(
        rng, neuron, input_shape=(32, 4, 4), convolutions=1, units=3, weight_kind="largest", weight_exp=7
    )  # fmt: skip
    convolution = program.layers[0]
    assert isinstance(convolution, ConvLayer)
    weight = np.full((2, 32, 3, 3), -256, np.int32)
    fields = {name: getattr(convolution, name)[:1].repeat(32) for name in ("vth", "bias_mant")}
    wide = replace(
        convolution, weight=weight, stride=1, padding=1, dilation=1, groups=1, **fields, **draw_readout(rng, 32, 3)
    )  # fmt: skip
    program = replace(program, layers=(wide,))
    spikes_RTI = random_spikes(rng, program)
    assert np.abs(spikes_RTI.sum(2, dtype=np.int64)).max() * 256 << 7 > 1 << 23
    result = against_lava(program, spikes_RTI)
    assert result.equal, result.first


@pytest.mark.parametrize("neuron", NEURONS)
def test_two_pooling_stages_in_a_row_of_layers(neuron: NeuronKind) -> None:
    """Each adds a step on chip; recordings follow each other without a gap, and none sees the one before."""
    rng = np.random.default_rng(4)
    layers: list[ConvLayer | DenseLayer] = []
    shape = (2, 12, 12)
    for _ in range(2):
        found = random_conv_program(rng, neuron, input_shape=shape, convolutions=1, weight_kind="mixed").layers[0]
        assert isinstance(found, ConvLayer)
        layers.append(replace(found, **draw_readout(rng, found.num_neurons, 0)))
        size = 2 if min(found.map_shape[1:]) > 1 else 1
        shape = (found.map_shape[0], found.map_shape[1] // size, found.map_shape[2] // size)
        layers.append(pooling_stage(found.map_shape, size, **draw_readout(rng, int(np.prod(shape)), 3)))
    program = replace(random_conv_program(rng, neuron, input_shape=(2, 12, 12)), layers=tuple(layers))
    assert program.delays == (0, 1, 1, 2)
    spikes_RTI = random_spikes(rng, program, 4)
    spikes_RTI[0] = 1  # leaves as much behind as possible
    together = runner.run_lava(program, spikes_RTI, record=True)
    result = compare(program, run_reference(program, spikes_RTI, record=True), together)
    assert result.equal, result.first
    alone = runner.run_lava(program, spikes_RTI[1:2], record=True)
    assert compare(program, together.take(1, 2), alone).equal


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("kind", ["largest", "ends"])
def test_synaptic_input_beyond_32_bits(neuron: NeuronKind, kind: str) -> None:
    """1100 inputs always on at full weight: the aligned sum overflows in Lava, and in the reference."""
    rng = np.random.default_rng(2)
    program = random_program(rng, neuron, sizes=(1100, 12, 8), steps=12, weight_kind=kind, weight_exp=7)
    result = against_lava(program, random_spikes(rng, program))
    assert result.equal, result.first


def biased(rng: np.random.Generator) -> Program:
    """Cuba neurons that their bias alone drives across the threshold, each layer at another pace."""
    program = random_program(rng, "cuba", sizes=(12, 10, 9, 8), steps=17, weight_kind="mixed", weight_exp=-2)
    layers = [
        replace(
            layer,
            bias_mant=rng.integers(500, 4095, layer.num_neurons).astype(np.int32),
            bias_exp=2,
            dv=80,
            du=900,
            vth=np.full(layer.num_neurons, 300 + 100 * index, np.int32),
        )
        for index, layer in enumerate(program.layers)
    ]
    return replace(program, layers=tuple(layers))


def test_biased_networks_are_reset_at_the_right_step() -> None:
    rng = np.random.default_rng(11)
    program = biased(rng)
    result = against_lava(program, random_spikes(rng, program))
    assert result.equal, result.first


@pytest.mark.parametrize("wrong_by", [-1, 1])
def test_a_reset_at_the_wrong_step_is_found(wrong_by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    program = biased(rng)
    spikes_RTI = random_spikes(rng, program)
    reference = run_reference(program, spikes_RTI, record=True)
    right = program.reset_steps
    monkeypatch.setattr(Program, "reset_steps", property(lambda self: tuple(step + wrong_by for step in right)))
    monkeypatch.setattr(Program, "first_step", lambda self, index: index + 1)
    assert not compare(program, reference, runner.run_lava(program, spikes_RTI, record=True)).equal


@pytest.mark.parametrize("neuron", NEURONS)
def test_one_changed_weight_is_found(neuron: NeuronKind) -> None:
    rng = np.random.default_rng(12)
    program = random_program(rng, neuron, sizes=(20, 16, 8), weight_kind="mixed", weight_exp=0)
    spikes_RTI = random_spikes(rng, program)
    weight = program.layers[0].weight.copy()
    weight[3, 5] ^= 2
    changed = replace(program, layers=(replace(program.layers[0], weight=weight), program.layers[1]))
    lava = runner.run_lava(changed, spikes_RTI, record=True)
    result = compare(program, run_reference(program, spikes_RTI, record=True), lava)
    assert result.first is not None
    assert (result.first.layer, result.first.neuron, result.first.quantity) == (0, 3, "u")
    assert compare(changed, run_reference(changed, spikes_RTI, record=True), lava).equal


@pytest.mark.parametrize("neuron", NEURONS)
def test_recordings_in_one_run_equal_each_alone(neuron: NeuronKind) -> None:
    """Nothing of a recording survives the reset; also without registers, and with progress reports."""
    rng = np.random.default_rng(13)
    program = random_program(rng, neuron, sizes=(30, 20, 15), steps=20)
    spikes_RTI = random_spikes(rng, program, 3)
    spikes_RTI[0] = 1  # leaves as much behind as possible
    reports: list[tuple[int, int]] = []
    together = runner.run_lava(program, spikes_RTI, progress=lambda done, total: reports.append((done, total)))
    assert reports[-1] == (3, 3)
    for k in range(3):
        alone = runner.run_lava(program, spikes_RTI[k : k + 1])
        result = compare(program, together.take(k, k + 1), alone)
        assert result.equal and result.per_quantity.keys() == {"spikes"}, result.first


@pytest.mark.parametrize("neuron", NEURONS)
def test_delayed_spikes_do_not_reach_the_next_recording(neuron: NeuronKind) -> None:
    rng = np.random.default_rng(15)
    program = random_program(rng, neuron, sizes=(20, 15, 10), steps=9, max_delay=7)
    spikes_RTI = random_spikes(rng, program, 3)
    spikes_RTI[0], spikes_RTI[1] = 1, 0
    result = against_lava(program, spikes_RTI)
    assert result.equal, result.first


def test_a_run_in_several_segments_equals_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(14)
    program = random_program(rng, "decolle", sizes=(30, 20, 15), steps=20)
    spikes_RTI = random_spikes(rng, program, 5)
    monkeypatch.setattr(runner, "STEPS_PER_SEGMENT", 40)  # two recordings, two, and one
    result = against_lava(program, spikes_RTI)
    assert result.equal, result.first


def stock_layer(layer: DenseLayer, spikes_RTI: np.ndarray, offset: int) -> dict[str, np.ndarray]:
    """u, v and spikes of Lava's own `LIFReset` model, fed and read with Lava's own means only."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.dense.process import Dense
    from lava.proc.io.source import RingBuffer
    from lava.proc.lif.process import LIFReset
    from lava.proc.monitor.process import Monitor
    from lava.utils.weightutils import SignMode

    recordings, steps, inputs = spikes_RTI.shape
    source = RingBuffer(data=spikes_RTI.reshape(-1, inputs).T.astype(np.int32))
    dense = Dense(weights=layer.weight, weight_exp=layer.weight_exp, sign_mode=SignMode.MIXED)
    neurons = LIFReset(
        shape=(layer.num_neurons,), du=layer.du, dv=layer.dv, vth=int(layer.vth[0]), bias_mant=layer.bias_mant,
        bias_exp=layer.bias_exp, reset_interval=steps, reset_offset=offset,
    )  # fmt: skip
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(neurons.a_in)
    monitors = {"u": Monitor(), "v": Monitor(), "s_out": Monitor()}
    for name, monitor in monitors.items():
        monitor.probe(getattr(neurons, name), recordings * steps)
    neurons.run(RunSteps(recordings * steps), Loihi2SimCfg(select_tag="fixed_pt"))
    read = {name: monitor.get_data()[neurons.name][name] for name, monitor in monitors.items()}
    neurons.stop()
    return {name: values.reshape(recordings, steps, -1) for name, values in read.items()}


@pytest.mark.parametrize("seed", range(2))
def test_the_taped_model_equals_the_stock_model(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng, "cuba", sizes=(12, 8), steps=15, weight_kind="mixed")
    spikes_RTI = random_spikes(rng, program, 4)
    taped = runner.run_lava(program, spikes_RTI, record=True).layers[0]
    stock = stock_layer(program.layers[0], spikes_RTI, offset=2)
    np.testing.assert_array_equal(taped.spikes[:, 1:], stock["s_out"][:, 1:])
    np.testing.assert_array_equal(taped.registers["u"][:, 1:], stock["u"][:, 1:])
    np.testing.assert_array_equal(taped.registers["v"][:, 1:], stock["v"][:, 1:])


def test_wrong_input_is_refused_before_lava_starts() -> None:
    program = random_program(np.random.default_rng(8), "cuba")
    with pytest.raises(ValueError, match="spikes, got"):
        runner.run_lava(program, np.zeros((1, 25, 59), np.uint8))
