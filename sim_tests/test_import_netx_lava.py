"""Imported networks, step by step, against lava-dl's own `Network` in Lava, and in our own Lava run."""

# R recordings, S steps of a slot, N neurons

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from netx_files import FIRED, NEURON, PILOTNET, make_layers, pilotnet_array, shipped, write_layers

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
    from lava.proc.lif.process import LIFReset

    from decolle_hw.lava_backend.processes import TapedLifReset
    from decolle_hw.lava_backend.tape import Tape

    runner = importlib.import_module("decolle_hw.lava_backend.runner")
except ImportError as error:
    if sys.version_info < (3, 11):
        raise  # there Lava is an ordinary dependency: what the project claims must not go untested in silence
    pytest.skip(f"lava-dl cannot be imported: {error}", allow_module_level=True)

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"


def run_network(path: Path, program: Program, mantissa_RI: np.ndarray, folder: Path) -> list[dict[str, np.ndarray]]:
    """(R, S, N) spikes, u and v of input block and layers, channels first, in lava-dl's Network.

    One run with a reset every S steps; Lava's own loader sets the bias of the input neurons at the end of each sample.
    Its LIFReset is the stock one that also writes a tape: reading Lava's sinks takes five times as long as the run.
    """
    logging.getLogger("lava").setLevel(logging.ERROR)
    count, slot = len(mantissa_RI), program.steps
    network = Network(net_config=str(path), reset_interval=slot)
    tapes = []
    for index, block in enumerate(network.layers):
        width = int(np.prod(block.shape))
        tapes.append(Tape.create(folder, f"block{index}", count * slot, width, ("u", "v")))
        block.neuron.proc_params["tape"] = tapes[-1]
    bias_mant = network.in_layer.neuron.bias_mant
    biases = [mantissas.reshape(bias_mant.shape[::-1]).T.astype(np.int32) for mantissas in mantissa_RI]
    bias_mant.init = biases[0]  # netx counts x, y, channel
    loader = StateDataloader(dataset=[(bias, 0) for bias in biases[1:] + biases[:1]], interval=slot, offset=slot - 1)
    loader.connect_var(bias_mant)
    config = Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map={LIFReset: TapedLifReset})
    network.run(RunSteps(count * slot), config)
    network.stop()
    found = []
    for block, tape in zip(network.layers, tapes, strict=True):
        by_place = {name: tape.open(name).reshape(count * slot, *block.shape) for name in ("spikes", "u", "v")}
        found.append({
            name: values.transpose(0, *range(1, values.ndim)[::-1]).reshape(count, slot, -1)
            for name, values in by_place.items()
        })  # fmt: skip
    return found


def assert_network_equal(path: Path, program: Program, mantissa_RI: np.ndarray, folder: Path) -> None:
    """But for u of a layer without neurons in the file: netx adds up there, and we do in v, which is the same v."""
    reference = run_reference(program, mantissa_RI, record=True)
    assert reference.input is not None
    lava = run_network(path, program, mantissa_RI, folder)
    for index, layer in enumerate((reference.input, *reference.layers)):
        start = 0 if index == 0 else program.reset_steps[index - 1]
        for name, values in {"spikes": layer.spikes, **layer.registers}.items():
            if name == "u" and index == len(lava) - 1 and program.prediction == "voltage":
                continue
            np.testing.assert_array_equal(lava[index][name][:, start:], values[:, start:], err_msg=f"{index} {name}")
        if index < len(lava) - 1:
            assert 0.02 < layer.spikes.mean() < 0.98, "nothing is tested"


@pytest.mark.skipif(not MNIST.exists(), reason=f"{MNIST} does not exist")
def test_twenty_mnist_images(tmp_path: Path) -> None:
    """Spikes of all layers and the voltages that decide, in lava-dl's Network and in our own Lava run."""
    path = shipped("mnist.net")
    program = import_netx(path).program
    images = data.stream_images(MNIST, program.input_shape, program.classes, program.steps, 20)
    assert program.input_block is not None
    mantissa_RI = program.input_block.mantissas(next(images.batches(20)))
    assert_network_equal(path, program, mantissa_RI, tmp_path)
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
    assert_network_equal(path, program, mantissa_RI, tmp_path)
    together = compare(
        program, run_reference(program, mantissa_RI, record=True), runner.run_lava(program, mantissa_RI, record=True)
    )
    assert together.equal, together.first


def test_no_images_at_all(tmp_path: Path) -> None:
    program = import_netx(write_layers(tmp_path / "small.net", make_layers())).program
    nothing = np.zeros((0, 60), int)
    assert compare(program, run_reference(program, nothing), runner.run_lava(program, nothing)).equal


def test_where_lava_differs_from_the_shipped_arrays(tmp_path: Path) -> None:
    """In v of a neuron that has just spiked, and nowhere else: 128 in the arrays, 0 in Lava. From the first step on.

    The first ten steps of pilotnet's first sample; before the first reset of a layer too.
    """
    path = shipped("gts/pilotnet_lif/network.net")
    program = import_netx(path, steps=10).program
    mantissa_RI = np.load(shipped("gts/pilotnet_lif/image.npy")).transpose(2, 1, 0).reshape(1, -1)
    blocks = run_network(path, program, mantissa_RI, tmp_path)
    np.testing.assert_array_equal(blocks[0]["spikes"][0], pilotnet_array("input")[:10])
    for block, name in zip(blocks[1:], PILOTNET, strict=False):
        u, v, spikes = (pilotnet_array(name + what)[:10] for what in ("-u", "-v", ""))
        np.testing.assert_array_equal(block["u"][0], u, err_msg=name)
        np.testing.assert_array_equal(block["spikes"][0], spikes, err_msg=name)
        np.testing.assert_array_equal(block["v"][0][~spikes], v[~spikes], err_msg=name)
        assert spikes.any() and not block["v"][0][spikes].any() and np.all(v[spikes] == FIRED)
