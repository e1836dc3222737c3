"""Networks that nobody here trained, with the arrays that Intel shipped beside them, value by value.

All of them come with the lava-dl wheel. What its hardware test asserts on a Loihi 2 are values of the arrays of
`pilotnet_lif`. Recorded at different times, they do not all agree with each other about when a sample begins; each test
says what it found, and every value shipped is compared.
"""

# T steps, I inputs, N neurons

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from netx_files import FIRED, PILOTNET, pilotnet_array, shipped

from decolle_hw import data
from decolle_hw.compiler.program import Program
from decolle_hw.execution import execute
from decolle_hw.interchange.netx_import import import_netx
from decolle_hw.sim.reference import run_layer, run_reference
from decolle_hw.sim.trace import LayerTrace

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"
STEPS = 24  # of the arrays of pilotnet
SAMPLE = 17  # steps from one reset to the next in the arrays of its layers
INPUT_SAMPLE = 16  # in input-s.npy, and in those of the last layer


def run_spikes(program: Program, spikes_TI: np.ndarray) -> list[LayerTrace]:
    """One recording, filled up with silence to `STEPS` + 1."""
    filled = np.zeros((1, STEPS + 1, spikes_TI.shape[1]), np.uint8)
    filled[0, : len(spikes_TI)] = spikes_TI
    return list(run_reference(program, filled, record=True).layers)


def run_before_reset(program: Program, spikes_TI: np.ndarray) -> list[LayerTrace]:
    """What all layers do from the first step on, if none of them waits for its reset."""
    traces = []
    given = spikes_TI[None].astype(np.uint8)
    for layer in program.layers:
        traces.append(run_layer(layer, given, first=0, record=True))
        given = traces[-1].spikes
    return traces


@pytest.fixture(scope="module")
def pilotnet() -> Program:
    return import_netx(shipped("gts/pilotnet_lif/network.net"), steps=STEPS).program


def pieces(program: Program, spikes_TI: np.ndarray, sample: int, early: int) -> list[dict[str, np.ndarray]]:
    """u, v and spikes of each layer over a whole run, in which it is reset every `sample` steps.

    Layer i leaves its first reset at step i + 1 - early. Put together from what it does before that, and from one
    recording for each sample: with `early`, a recording begins a step before its sample, with what was sent then.
    """
    silence = np.zeros((early, spikes_TI.shape[1]), np.uint8)
    parts = [run_before_reset(program, np.concatenate([spikes_TI, silence]))]
    parts.append(run_spikes(program, np.concatenate([silence, spikes_TI])))
    parts.append(run_spikes(program, spikes_TI[sample - early :]))
    whole = []
    for index in range(len(program.layers)):
        start = index + 1
        resets = [0, start - early, start - early + sample, len(spikes_TI) + early]
        found = {}
        for name in ("u", "v", "spikes"):
            before, first, second = (
                part[index].spikes[0] if name == "spikes" else part[index].registers[name][0] for part in parts
            )
            kept = (before[: resets[1]], first[start : start + sample], second[start:])
            found[name] = np.concatenate(kept)[: resets[3]]
        whole.append(found)
    return whole


def test_pilotnet_layer_by_layer(pilotnet: Program) -> None:
    """u and spikes equal in all 24 steps, v wherever a neuron did not spike.

    Three things about the arrays. Their second sample begins at step 17, not 16: layer i was reset at steps i + 1 and
    i + 18. v of a neuron that spikes is always 128, where Lava's and ours is 0 after the step; one step later they are
    equal again. And input-s.npy begins its second sample at step 16, so it is moved here by the one step that it is
    early; input.npy is what the layers were really given.
    """
    given = pilotnet_array("input-s").astype(np.uint8)
    moved = np.concatenate([pilotnet_array("input").astype(np.uint8)[:SAMPLE], given[INPUT_SAMPLE : STEPS - 1]])
    np.testing.assert_array_equal(moved, pilotnet_array("input"))
    np.testing.assert_array_equal(moved[:SAMPLE], given[:SAMPLE])
    compared = 0
    for found, name in zip(pieces(replace(pilotnet, input_block=None), moved, SAMPLE, 0), PILOTNET, strict=False):
        u, v, spikes = pilotnet_array(f"{name}-u"), pilotnet_array(f"{name}-v"), pilotnet_array(name)
        assert u.shape == found["u"].shape == (STEPS, u.shape[1])
        np.testing.assert_array_equal(found["u"], u, err_msg=name)
        np.testing.assert_array_equal(found["spikes"], spikes, err_msg=name)
        np.testing.assert_array_equal(np.where(spikes, FIRED, found["v"]), v, err_msg=name)
        assert not found["v"][spikes].any() and spikes.any()
        compared += u.size + v.size + spikes.size
    print(f"{compared:,} values of pilotnet's layers compared, all equal")


def test_the_first_sample_from_input_s_is_that_of_the_hardware_test(pilotnet: Program) -> None:
    """What `test_hdf5_nx.py` looks at, a reset every 16 steps: u of a layer at step 14 or 15 of the first sample."""
    layers = run_spikes(replace(pilotnet, input_block=None), pilotnet_array("input-s")[:INPUT_SAMPLE])
    for index, name in enumerate(PILOTNET):
        u, v, spikes = pilotnet_array(f"{name}-u"), pilotnet_array(f"{name}-v"), pilotnet_array(name)
        those = slice(index + 1, INPUT_SAMPLE)
        np.testing.assert_array_equal(layers[index].registers["u"][0, those], u[those], err_msg=name)
        np.testing.assert_array_equal(layers[index].spikes[0, those], spikes[those], err_msg=name)
        shown = np.where(spikes[those], FIRED, layers[index].registers["v"][0, those])
        np.testing.assert_array_equal(shown, v[those], err_msg=name)


def test_pilotnet_last_layer(pilotnet: Program) -> None:
    """Its arrays are of another run, with every reset one step earlier: layer i at steps i and i + 16.

    That is lava-dl's own Network fed with spikes, ``skip_layers=1`` and ``reset_offset=0``, where what the layer before
    sent in the last step of the sample before arrives after the reset.
    """
    found = pieces(replace(pilotnet, input_block=None), pilotnet_array("input-s").astype(np.uint8), INPUT_SAMPLE, 1)[-1]
    for name, file in (("u", "fc-3-u"), ("v", "fc-3-v"), ("spikes", "fc-3-s")):
        values = pilotnet_array(file)
        assert values.shape == (STEPS + 1, 1)
        np.testing.assert_array_equal(found[name], values, err_msg=file)
    assert pilotnet.prediction == "voltage" and found["v"].any()


def test_pilotnet_from_its_image(pilotnet: Program) -> None:
    """image.npy holds bias mantissas; the spikes of the input neurons are those of input.npy, sample by sample."""
    mantissa_RI = np.load(shipped("gts/pilotnet_lif/image.npy")).transpose(2, 1, 0).reshape(1, -1)
    trace = run_reference(pilotnet, mantissa_RI)
    assert trace.input is not None
    spikes_TI = trace.input.spikes[0]
    for name, sample in (("input", SAMPLE), ("input-s", INPUT_SAMPLE)):
        whole = np.concatenate([spikes_TI[:sample], spikes_TI[: STEPS - sample]])
        np.testing.assert_array_equal(whole, pilotnet_array(name), err_msg=name)
    for index, name in enumerate(PILOTNET):
        those = slice(index + 1, min(STEPS, index + 1 + SAMPLE))
        np.testing.assert_array_equal(trace.layers[index].spikes[0, those], pilotnet_array(name)[those], err_msg=name)


def test_tinynet_from_its_image() -> None:
    """SLAYER's own arrays. Its input is one step later, its output one step earlier than those of the chip."""
    program = import_netx(shipped("tiny.net"), steps=18).program
    assert import_netx(shipped("tiny.net")).program.steps == 64

    def values(name: str) -> np.ndarray:
        return np.load(shipped(f"gts/tinynet/{name}.npy"))[0].reshape(-1, 16).T

    mantissa_RI = np.load(shipped("gts/tinynet/input_bias.npy")).transpose(2, 1, 0).reshape(1, -1).astype(int)
    trace = run_reference(program, mantissa_RI, record=True)
    assert trace.input is not None
    np.testing.assert_array_equal(trace.input.spikes[0, :15], values("input")[1:])
    np.testing.assert_array_equal(trace.layers[0].registers["u"][0, :16], 64 * values("current"))
    np.testing.assert_array_equal(trace.layers[0].spikes[0, :16], values("layer1"))
    np.testing.assert_array_equal(trace.layers[1].spikes[0, 1:17], values("output"))
    assert values("output").any()


def test_ntidigits() -> None:
    """All 3000 steps; the shipped output is one step later. lava-dl's own test compares one step with one other."""
    program = import_netx(shipped("gts/ntidigits/ntidigits.net")).program
    spikes_RTI = np.load(shipped("gts/ntidigits/input.npy")).T[None].astype(np.uint8)
    output = np.load(shipped("gts/ntidigits/output.npy")).T
    trace = run_reference(program, spikes_RTI)
    assert not output[0].any()
    np.testing.assert_array_equal(trace.layers[-1].spikes[0, :-1], output[1:])
    assert output.sum() > 20_000 and program.classes == tuple(map(str, range(11)))


@pytest.mark.skipif(not MNIST.exists(), reason=f"{MNIST} does not exist")
def test_mnist() -> None:
    """All 10,000 test images, by the largest voltage after the 16 steps that the file names; a tenth for 40 steps."""
    for steps, images, expected in ((None, 10_000, 9916), (40, 1000, 986)):
        program = import_netx(shipped("mnist.net"), steps=steps).program
        assert program.prediction == "voltage"
        stream = data.stream_images(MNIST, program.input_shape, program.classes, program.steps, images)
        assert len(stream) == images
        hits = execute(program, stream, "reference").hits
        assert hits == expected and hits >= 0.985 * images, f"{hits} of {images} at {program.steps} steps"


def test_a_sigma_delta_network_is_refused_layer_by_layer() -> None:
    with pytest.raises(Exception, match="cannot be imported") as raised:
        import_netx(shipped("gts/pilotnet_sdnn/network.net"))
    message: Any = str(raised.value)
    assert message.count("'SDNN', sigma-delta neurons with graded spikes, is not supported") == 9
