"""Imported networks, step by step, against lava-dl's own `Network` in Lava, and in our own Lava run."""

# R recordings, S steps of a slot, N neurons

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from netx_files import NEURON, make_layers, shipped, write_layers

from decolle_hw import data
from decolle_hw.compiler.program import Program
from decolle_hw.interchange.netx_import import import_netx
from decolle_hw.sim.compare import INPUT_BLOCK, compare
from decolle_hw.sim.reference import run_reference

importlib.import_module("decolle_hw.lava_backend")  # lets Lava be imported after other tests have started processes

try:
    from lava.lib.dl.netx.hdf5 import Network
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.dataloader import StateDataloader
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.monitor.process import Monitor

    runner = importlib.import_module("decolle_hw.lava_backend.runner")
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava-dl cannot be imported: {error}", allow_module_level=True)

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"


def run_network(path: Path, program: Program, mantissa_RI: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """(R, S, N) spikes of input block and layers, channels first, and (R, N) final voltages, in lava-dl's Network.

    One run with a reset every S steps; Lava's own loader sets the bias of the input neurons at the end of each sample.
    """
    logging.getLogger("lava").setLevel(logging.ERROR)
    count, slot = len(mantissa_RI), program.steps
    network = Network(net_config=str(path), reset_interval=slot)
    sinks = []
    for block in network.layers:
        sinks.append(Sink(shape=block.out.shape, buffer=count * slot))
        block.out.connect(sinks[-1].a_in)
    bias_mant = network.in_layer.neuron.bias_mant
    biases = [mantissas.reshape(bias_mant.shape[::-1]).T.astype(np.int32) for mantissas in mantissa_RI]
    bias_mant.init = biases[0]  # netx counts x, y, channel
    loader = StateDataloader(dataset=[(bias, 0) for bias in biases[1:] + biases[:1]], interval=slot, offset=slot - 1)
    loader.connect_var(bias_mant)
    monitor = Monitor()
    monitor.probe(network.out_layer.neuron.v, count * slot)
    network.run(RunSteps(count * slot), Loihi2SimCfg(select_tag="fixed_pt"))
    spikes = [sink.data.get().T.reshape(count, slot, -1) for sink in sinks]
    voltages = next(iter(next(iter(monitor.get_data().values())).values()))[slot - 1 :: slot]
    network.stop()
    return spikes, voltages


def assert_network_equal(path: Path, program: Program, mantissa_RI: np.ndarray) -> None:
    reference = run_reference(program, mantissa_RI, record=True)
    spikes, voltages = run_network(path, program, mantissa_RI)
    assert reference.input is not None
    np.testing.assert_array_equal(spikes[0], reference.input.spikes)
    assert spikes[0].any() and not spikes[0].all()
    for index, layer in enumerate(reference.layers):
        start = program.reset_steps[index]
        np.testing.assert_array_equal(spikes[1 + index][:, start:], layer.spikes[:, start:], err_msg=f"layer {index}")
    np.testing.assert_array_equal(voltages, reference.layers[-1].registers["v"][:, -1])


@pytest.mark.skipif(not MNIST.exists(), reason=f"{MNIST} does not exist")
def test_twenty_mnist_images() -> None:
    """Spikes of all layers and the voltages that decide, in lava-dl's Network and in our own Lava run."""
    path = shipped("mnist.net")
    program = import_netx(path).program
    images = data.stream_images(MNIST, program.input_shape, program.classes, program.steps, 20)
    assert program.input_block is not None
    mantissa_RI = program.input_block.mantissas(next(images.batches(20)))
    assert_network_equal(path, program, mantissa_RI)
    reference = run_reference(program, mantissa_RI, record=True)
    lava = runner.run_lava(program, mantissa_RI, record=True)
    result = compare(program, reference, lava)
    assert result.equal, result.first
    assert result.input.keys() == {"u", "v", "spikes"} and result.compared > 1_600_000
    wrong = compare(program, run_reference(program, mantissa_RI + 1, record=True), lava)
    assert not wrong.equal and wrong.first is not None and wrong.first.layer == INPUT_BLOCK
    assert str(wrong.first).startswith("recording 0, step 0, input block, neuron 0: v is")


def test_a_network_with_everything(tmp_path: Path) -> None:
    """Rectangular geometry, delays, both neuron types; one sample: netx has no means to empty a synapse of delays."""
    layers = make_layers()[:4]
    layers[1]["neuron"] = {**NEURON, "type": "LOIHI", "vThMant": 60}
    layers[3]["bias"] = np.float32([40, -3, 12, 0, 9, 30])
    path = write_layers(tmp_path / "small.net", layers, 30)
    program = import_netx(path).program
    mantissa_RI = np.random.default_rng(1).integers(-10, 50, (1, 60))
    assert_network_equal(path, program, mantissa_RI)
    together = compare(
        program, run_reference(program, mantissa_RI, record=True), runner.run_lava(program, mantissa_RI, record=True)
    )
    assert together.equal, together.first


def test_no_images_at_all(tmp_path: Path) -> None:
    program = import_netx(write_layers(tmp_path / "small.net", make_layers())).program
    nothing = np.zeros((0, 60), int)
    assert compare(program, run_reference(program, nothing), runner.run_lava(program, nothing)).equal
