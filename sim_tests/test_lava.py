"""The reference equals Lava's CPU simulator, value by value, and the comparison can fail."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest

from decolle_hw.compiler.program import DenseLayer, NeuronKind, Program, first_step
from decolle_hw.sim.compare import Comparison, compare
from decolle_hw.sim.random_program import random_program, random_spikes
from decolle_hw.sim.reference import run_reference

try:
    runner = importlib.import_module("decolle_hw.lava_backend.runner")
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava cannot be imported: {error}", allow_module_level=True)

NEURONS: tuple[NeuronKind, ...] = ("cuba", "decolle")
VALUES_PER_NEURON = 1_000_000  # compared in `test_random_networks`, at least


def against_lava(program: Program, spikes_RTI: np.ndarray) -> Comparison:
    reference = run_reference(program, spikes_RTI, record=True)
    return compare(program, reference, runner.run_lava(program, spikes_RTI, record=True))


@pytest.mark.parametrize("neuron", NEURONS)
def test_random_networks(neuron: NeuronKind, capsys: pytest.CaptureFixture[str]) -> None:
    """Every spike, u, v and r at every step of several recordings, the ends of all registers included."""
    compared, networks = 0, 0
    while compared < VALUES_PER_NEURON:
        rng = np.random.default_rng([networks, 3])
        program = random_program(rng, neuron, sizes=(70, 90, 60, 50), steps=25)
        result = against_lava(program, random_spikes(rng, program))
        assert result.equal, f"network {networks}: {result.first}"
        compared += result.compared
        networks += 1
    with capsys.disabled():
        print(f"\n{neuron}: {compared} values of {networks} random networks equal in Lava", end=" ")


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
    monkeypatch.setattr(runner, "first_step", lambda layer, index: first_step(layer, index) + wrong_by)
    result = against_lava(program, random_spikes(rng, program))
    assert not result.equal


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
