"""Importing netx files: what comes in equals what was written, and what cannot come in is refused by name."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_artifacts as fuzz
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netx_files import NEURON, STEPS, make_layers, write_layers

from decolle_hw.compiler.artifact import load_artifact, save_artifact
from decolle_hw.compiler.layers import ConvLayer, DenseLayer
from decolle_hw.compiler.netx import netx_entries
from decolle_hw.compiler.program import Program, input_kind
from decolle_hw.errors import ArtifactError, CompileError, UsageError
from decolle_hw.interchange.hdf5_text import heap_text
from decolle_hw.interchange.netx_import import MOST_CLASSES, import_netx
from decolle_hw.sim.random_program import random_conv_program, random_program, random_spikes
from decolle_hw.sim.reference import run_reference

Layers = list[dict[str, Any]]


@pytest.fixture
def layers() -> Layers:
    return copy.deepcopy(make_layers())


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(CompileError) as raised:
        import_netx(path, **options)
    text = str(raised.value)
    assert text.startswith(f"{path}: cannot be imported:")
    return text


def test_everything_of_a_file_arrives(layers: Layers, tmp_path: Path) -> None:
    imported = import_netx(write_layers(tmp_path / "a.net", layers))
    program = imported.program
    assert not imported.notes and not imported.warnings
    assert (program.name, program.steps, program.input_shape, input_kind(program)) == ("a", STEPS, (2, 6, 5), "image")
    assert program.classes == ("0", "1", "2") and program.prediction == "sum" and len(program.checkpoint_sha256) == 64
    block = program.input_block
    assert block is not None and (block.weight, block.bias, block.du, block.dv, block.vth) == (30, 20, 1023, 123, 80)
    conv, dense = program.layers
    assert isinstance(conv, ConvLayer) and isinstance(dense, DenseLayer)
    np.testing.assert_array_equal(conv.plain_weight, layers[1]["weight"][..., 0])
    assert (conv.strides, conv.paddings, conv.dilations, conv.map_shape) == ((1, 2), (0, 1), (1, 1), (3, 4, 3))
    assert conv.bias.reshape(3, -1).tolist() == [[64] * 12, [-128] * 12, [192] * 12]
    np.testing.assert_array_equal(dense.plain_weight, layers[3]["weight"])
    np.testing.assert_array_equal(dense.delay, np.arange(6)[:, None].repeat(36, 1))
    assert dense.readout_weight.tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    assert not conv.has_readout


def test_as_an_artifact_and_back(layers: Layers, tmp_path: Path) -> None:
    """The input block travels too, and lava-dl finds it where it was."""
    program = import_netx(write_layers(tmp_path / "a.net", layers)).program
    save_artifact(program, tmp_path / "b.net")
    back = load_artifact(tmp_path / "b.net")
    assert back.input_block == program.input_block and back.prediction == program.prediction
    again = import_netx(tmp_path / "b.net", steps=STEPS).program
    mantissa_RI = np.random.default_rng(0).integers(-50, 90, (5, 60))
    traces = [run_reference(one, mantissa_RI) for one in (program, back, again)]
    assert 0.02 < traces[0].layers[1].spikes.mean() < 0.9
    for other in traces[1:]:
        for mine, theirs in zip(traces[0].layers, other.layers, strict=True):
            np.testing.assert_array_equal(mine.spikes, theirs.spikes)
    with h5py.File(tmp_path / "b.net", "r+") as file:
        header = bytes(file["decolle_hw"].attrs["program"]).decode().replace('"vth": 80', '"vth": -8')
        file["decolle_hw"].attrs["program"] = np.bytes_(header.encode())
    with pytest.raises(ArtifactError, match="input block: vth: expected an unsigned value"):
        load_artifact(tmp_path / "b.net")


@pytest.mark.parametrize("kind", ["dense", "delayed", "conv"])
def test_our_own_artifacts_without_what_is_ours(kind: str, tmp_path: Path) -> None:
    """From `/layer` alone: a pooling stage is a convolution like any other there, and takes its step."""
    rng = np.random.default_rng(3)
    rates, pooled = [0.0], kind != "conv"
    while min(rates) < 0.01 or not pooled:
        if kind == "conv":
            program = random_conv_program(rng, "cuba", like_quantizer=True)
        else:
            program = random_program(rng, "cuba", like_quantizer=True, max_delay=4 if kind == "delayed" else 0)
        spikes_RTI = random_spikes(rng, program)
        own = run_reference(program, spikes_RTI)
        rates = own.firing_rates()
        pooled = kind != "conv" or any(layer.is_pooling for layer in program.layers)
    save_artifact(program, tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "r+") as file:
        del file["decolle_hw"]
    slot = program.slot_steps()
    imported = import_netx(tmp_path / "a.net", steps=slot).program
    filled = np.pad(spikes_RTI, ((0, 0), (0, slot - program.steps), (0, 0)))
    trace = run_reference(imported, filled)
    for index, layer in enumerate(own.layers):
        start, delay = program.first_step(index), program.delays[index]
        theirs = trace.layers[index].spikes[:, start + delay : program.steps + delay]
        np.testing.assert_array_equal(theirs, layer.spikes[:, start:], err_msg=f"layer {index}")


def test_layers_without_neurons_add_up(layers: Layers, tmp_path: Path) -> None:
    """netx lets them sum in u with v = u, never to spike; here v sums. Their voltage decides."""
    del layers[3]["neuron"], layers[3]["delay"], layers[4]
    program = import_netx(write_layers(tmp_path / "a.net", layers)).program
    last = program.layers[-1]
    assert (last.du, last.dv, int(last.vth[0]), program.prediction) == (4095, 0, 131071, "voltage")
    layers[3]["neuron"] = {**NEURON, "iDecay": 0, "vDecay": 4096, "vThMant": 1 << 17}
    explicit = import_netx(write_layers(tmp_path / "b.net", layers)).program
    assert (explicit.layers[-1].du, explicit.layers[-1].dv) == (4095, 0) and explicit.prediction == "voltage"
    trace = run_reference(program, np.random.default_rng(0).integers(-50, 90, (3, 60)))
    arrived = trace.layers[0].spikes[:, 1:-1].sum(1, dtype=np.int64) @ layers[3]["weight"].T.astype(int)
    np.testing.assert_array_equal(trace.layers[-1].registers["v"][:, -1], 64 * arrived)
    assert arrived.any()


def test_a_voltage_that_might_reach_the_threshold(layers: Layers, tmp_path: Path) -> None:
    del layers[3]["neuron"], layers[3]["delay"], layers[4]
    path = write_layers(tmp_path / "a.net", layers)
    assert "layer 3 'dense': in 9000 steps its voltage may reach" in refusal(path, steps=9000)
    imported = import_netx(path, steps=9000, approximate=True)
    assert len(imported.notes) == 1 and imported.program.prediction == "voltage"
    layers[3]["bias"] = np.float32([1] * 6)
    text = refusal(write_layers(path, layers), approximate=True)
    assert "has a bias, and neurons whose voltage is their current" in text


def change(index: int, **fields: Any) -> Callable[[Layers], None]:
    def make(layers: Layers) -> None:
        for name, value in fields.items():
            if name.startswith("neuron_"):
                layers[index]["neuron"][name.removeprefix("neuron_")] = value
            elif value is None:
                del layers[index][name]
            else:
                layers[index][name] = value

    return make


def another(kind: str) -> Callable[[Layers], None]:
    return lambda layers: layers.insert(4, {**layers[3], "type": kind})


REFUSED: list[tuple[str, Callable[[Layers], None], str]] = [
    ("recurrent", another("dense_rec"), "layer 4 'dense_rec': recurrent layers are not supported"),
    ("complex", another("dense_comp"), "layer 4 'dense_comp': complex layers are not supported"),
    ("pool", another("pool"), "layer 4 'pool': pooling layers of netx are"),
    ("unknown", another("densee"), "layer 4 'densee': this type is not known (known: input, dense, affine, conv"),
    ("no type", change(3, type=""), "layer 3 '': type is missing"),
    ("sdnn", change(3, neuron_type="SDNN"), "layer 3 'dense': neuron type 'SDNN', sigma-delta neurons with graded"),
    ("neuron", change(1, neuron_type="IZH"), "layer 1 'conv': neuron type 'IZH' is not supported; known: CUBA, LOIHI"),
    (
        "graded",
        change(1, neuron_gradedSpike=True),
        "layer 1 'conv': neuron/gradedSpike: graded spikes are not supported",
    ),
    ("messages", change(1, neuron_messageBits=8), "neuron/messageBits: graded spikes"),
    ("no threshold", lambda layers: layers[1]["neuron"].pop("vThMant"), "layer 1 'conv': neuron/vThMant is missing"),
    ("decay", change(1, neuron_iDecay=5000), "neuron/iDecay is 5000, which is not in 0..4096"),
    ("threshold", change(1, neuron_vThMant=-1), "neuron/vThMant is -1, which is not in"),
    ("per neuron", change(1, neuron_vDecay=np.arange(36)), "neuron/vDecay differs from neuron to neuron"),
    ("half", change(1, neuron_vDecay=1.5), "neuron/vDecay is 1.5, not a whole number"),
    ("no weight", change(3, weight=None), "layer 3 'dense': weight is missing"),
    ("nan", change(3, weight=np.full((6, 36), np.nan)), "weight holds values that are not finite"),
    ("inputs", change(3, weight=np.ones((6, 35))), "weight has 35 inputs, 36 arrive"),
    ("units", change(3, weight=np.ones((5, 36))), "weight of shape (5, 36) does not fit 6 neurons"),
    ("zeros", change(3, weight=np.zeros((6, 36))), "all weights are zero, which netx cannot load"),
    ("large", change(3, weight=np.full((6, 36), 300)), "weights are 300..300, of one sign and beyond -256..255"),
    (
        "minus one",
        change(3, weight=np.tile([-256, -2], 108)),
        "becomes -254 in netx, as no weight of the layer is positive",
    ),
    ("flatten", lambda layers: layers.pop(2), "a map of shape (3, 4, 3) arrives; a flatten must stand between"),
    ("conv shape", change(1, shape=[3, 4, 4]), "shape is (3, 4, 4), a map of (3, 4, 3) comes of its weights"),
    ("stride", change(1, stride=[0, 1]), "layer 1 'conv': stride: expected 1..127"),
    ("groups", change(1, groups=2), "layer 1 'conv': groups: expected a divisor"),
    ("conv neuron", change(1, neuron=None), "layer 1 'conv': neuron is missing"),
    ("bias", change(1, bias=np.ones(4)), "bias of shape (4,) does not fit neurons of shape (3, 4, 3)"),
    ("delays", change(3, delay=np.ones(7)), "delay of shape (7,) does not fit weight of shape (6, 36)"),
    ("negative delay", change(3, delay=np.full(6, -1)), "delay is -1 steps"),
    ("average", change(4, shape=[4, 1, 1]), "layer 4 'average': 6 neurons do not make 4 groups"),
    (
        "average first",
        lambda layers: layers.append(layers[3]),
        "layer 4 'average': is supported as the last layer only",
    ),
    ("input later", lambda layers: layers.insert(1, layers[0]), "layer 1 'input': an input stands at the beginning"),
    ("huge", change(0, shape=[3, 10**6, 10**6]), "expected 1 to 3 positive numbers, of at most 16777216 neurons"),
    ("pixels", change(0, weight=np.float32([5000])), "input block: weight, bias: expected biases of 13 bit"),
    ("no layer", lambda layers: layers.__delitem__(slice(1, None)), "there is no dense layer and no convolution"),
]


@pytest.mark.parametrize(("damage", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused(damage: Callable[[Layers], None], message: str, layers: Layers, tmp_path: Path) -> None:
    for layer in layers:
        if "neuron" in layer:
            layer["neuron"] = dict(layer["neuron"])
    damage(layers)
    path = write_layers(tmp_path / "a.net", layers)
    assert message in refusal(path)
    assert message in refusal(path, approximate=True)


def test_all_reasons_at_once(layers: Layers, tmp_path: Path) -> None:
    layers[1]["neuron"] = {**NEURON, "gradedSpike": True}
    layers[3]["type"] = "dense_rec"
    layers[4]["type"] = "concat"
    text = refusal(write_layers(tmp_path / "a.net", layers, None))
    for part in ("layer 1 'conv': neuron/gradedSpike", "recurrent layers", "branches", "simulation/tSample: does not"):
        assert part in text


INEXACT: list[tuple[str, Callable[[Layers], None], str]] = [
    ("fractions", change(3, weight=np.linspace(-60, 70, 216).reshape(6, 36)), "are not whole numbers"),
    (
        "clipped",
        change(3, weight=np.tile([-300, 300, 4], 72).reshape(6, 36)),
        "144 of 216 weights are beyond -256..254",
    ),
    ("odd", change(3, weight=np.tile([-3, 201, 4], 72).reshape(6, 36)), "144 of 216 weights are odd while others"),
    ("kernel", change(1, weight=np.tile([-999, 201, 3], 18).reshape(3, 2, 3, 3)), "weights -999..201 need more than"),
    ("refractory", change(1, neuron_refDelay=3), "neuron/refDelay is 3"),
    ("exponent", change(1, neuron_wgtExp=2), "neuron/wgtExp is 2"),
    ("no decay", change(1, neuron_iDecay=0), "neuron/iDecay is 0, and currents decay by 1/4096 at least"),
    ("all decay", change(1, neuron_vDecay=4096), "neuron/vDecay is 4096, and voltages keep 1/4096 at least"),
    ("bias", change(1, bias=np.float32([5000, 3, 4])), "biases 3..5000 are beyond the 13 bits"),
    ("late", change(3, delay=np.full(6, 63)), "delay is 63 steps, more than 62"),
    ("conv delay", change(1, delay=np.ones(3)), "a convolution has no delays"),
]


@pytest.mark.parametrize(("damage", "message"), [case[1:] for case in INEXACT], ids=[case[0] for case in INEXACT])
def test_what_can_be_approximated(
    damage: Callable[[Layers], None], message: str, layers: Layers, tmp_path: Path
) -> None:
    """Refused, or reported; and the artifact can be written."""
    layers[1]["neuron"] = dict(NEURON)
    damage(layers)
    path = write_layers(tmp_path / "a.net", layers)
    assert message in refusal(path) and "--approximate" in refusal(path)
    imported = import_netx(path, approximate=True)
    assert any(message in note for note in imported.notes)
    save_artifact(imported.program, tmp_path / "b.net")


@pytest.mark.parametrize(
    ("weight", "stored", "exponent", "bits"),
    [
        ([6, -8], [192, -256], -5, 3),
        ([127, -3], [254, -6], -1, 8),
        ([512, 4], [128, 1], 2, 8),
        ([0, 255], [0, 255], 0, 8),
    ],
)
def test_a_kernel_fills_its_synapse(
    weight: list[int], stored: list[int], exponent: int, bits: int, layers: Layers, tmp_path: Path
) -> None:
    """Exactly, whatever integers: Lava's Conv takes them as they are."""
    layers[1]["weight"] = np.tile(np.float32(weight), 27).reshape(3, 2, 3, 3)
    conv = import_netx(write_layers(tmp_path / "a.net", layers)).program.layers[0]
    assert conv.plain_weight.ravel()[:2].tolist() == weight
    assert conv.weight.ravel()[:2].tolist() == stored and (conv.weight_exp, conv.weight_bits) == (exponent, bits)


def test_delays_of_a_square_layer_are_those_of_its_neurons(tmp_path: Path) -> None:
    """netx asks for the neurons first; of another length they are those of its inputs, and one number is for all."""
    square = {"type": "dense", "shape": [4], "weight": np.eye(4) * 8 - 2, "neuron": NEURON, "delay": np.arange(4)}
    wide = {**square, "weight": np.ones((4, 5)) * 2, "delay": np.arange(5)}
    for layer, expected in ((square, np.arange(4)[:, None]), (wide, np.arange(5)), ({**square, "delay": 7}, 7)):
        dense = import_netx(write_layers(tmp_path / "a.net", [layer])).program.layers[0]
        assert isinstance(dense, DenseLayer)
        np.testing.assert_array_equal(dense.delay, np.broadcast_to(expected, dense.weight.shape))
        assert dense.num_inputs == layer["weight"].shape[1]


@pytest.mark.parametrize(("threshold", "delay", "spikes"), [(1000, 3, 0), (10, 3, 2), (10, 0, 0), (10, 1, 1)])
def test_spikes_that_outlive_a_reset_in_a_delay(threshold: int, delay: int, spikes: int, tmp_path: Path) -> None:
    """A bias fires layer 1 at steps 0 and 1, before its reset; layer 2, reset at step 3, hears what comes later."""
    neuron = {**NEURON, "vDecay": 4095, "vThMant": threshold}
    biased = {"type": "dense", "shape": [1], "weight": np.array([[2]]), "bias": np.array([20]), "neuron": neuron}
    layers = [biased, biased, {**biased, "delay": np.array([delay])}]
    warnings = import_netx(write_layers(tmp_path / "a.net", layers)).warnings
    expected = f"layer 2 'dense': its delays bring {spikes} spike{'s' * (spikes > 1)} that biases make before the reset"
    assert [warning.startswith(expected) for warning in warnings] == [True] * (spikes > 0)
    first = {**biased, "delay": np.array([delay])}
    assert not import_netx(write_layers(tmp_path / "b.net", [first, biased])).warnings  # nothing is before it


def test_other_biases(layers: Layers, tmp_path: Path) -> None:
    """Per neuron in netx's order (x, y, channel); with exponent 7 where only that makes them fit."""
    per_neuron = np.random.default_rng(0).integers(-60, 60, (3, 4, 3))
    layers[1]["bias"] = per_neuron
    layers[3]["bias"] = np.float32([8190, -8192, 0, 2, 4, 6])
    conv, dense = import_netx(write_layers(tmp_path / "a.net", layers)).program.layers
    np.testing.assert_array_equal(conv.bias.reshape(3, 4, 3), 64 * per_neuron.transpose(2, 1, 0))
    assert dense.bias_exp == 7 and dense.bias.tolist() == [64 * b for b in (8190, -8192, 0, 2, 4, 6)]


def test_many_outputs_and_few_steps(layers: Layers, tmp_path: Path) -> None:
    wide = {**layers[3], "shape": [MOST_CLASSES + 1], "weight": np.full((MOST_CLASSES + 1, 36), 2), "delay": 1}
    text = refusal(write_layers(tmp_path / "a.net", [*layers[:3], wide]))
    assert "its 1025 neurons are too many for classes" in text
    assert "network: 2 steps are too short for 2 layers" in refusal(write_layers(tmp_path / "b.net", layers), steps=2)


@pytest.mark.parametrize("kind", ["nothing", "folder", "text", "links", "other", "numbers"])
def test_what_is_no_network(kind: str, layers: Layers, tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    expected = {
        "nothing": "does not exist", "folder": "is not a file", "text": "it is not an HDF5 file",
        "links": "layer/1 is not a group", "other": "HDF5 group 'layer' is missing", "numbers": "layer/0 is missing",
    }[kind]  # fmt: skip
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("layer: 1\n")
    elif kind != "nothing":
        write_layers(path, layers)
        with h5py.File(path, "r+") as file:
            if kind == "links":
                del file["layer/1"]
                file["layer/1"] = h5py.ExternalLink("other.h5", "/")
            else:
                del file["layer" if kind == "other" else "layer/0"]
    with pytest.raises(ArtifactError, match=expected) as raised:
        import_netx(path)
    assert str(raised.value).startswith(f"{path}: ")


MUTATIONS = [mutate for mutate in fuzz.MUTATIONS if mutate is not fuzz.attribute]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.sampled_from(MUTATIONS), seed=st.integers(0, 2**16))
def test_damaged_files(which: fuzz.Mutate, seed: int, tmp_path: Path) -> None:
    """Whatever was done to a file, it is a network or it is refused."""
    path = write_layers(tmp_path / "a.net", make_layers())
    which(path, np.random.default_rng(seed))
    try:
        assert isinstance(import_netx(path).program, Program)
    except UsageError as error:
        assert str(error).startswith(f"{path}: ")


@given(content=st.binary(max_size=80), offset=st.integers(0, 90))
def test_texts_of_a_damaged_heap(content: bytes, offset: int) -> None:
    with pytest.raises(ValueError, match="heap"):
        heap_text(content, offset)


def test_exports_name_the_axes_as_slayer_does(layers: Layers, tmp_path: Path) -> None:
    program = import_netx(write_layers(tmp_path / "a.net", layers)).program
    entries = netx_entries(program)
    for name in ("shape", "stride", "padding", "dilation"):
        assert entries[f"layer/1/{name}"].tolist() == layers[1][name]
    assert entries["layer/1/kernelSize"].tolist() == [3, 3] and entries["layer/0/weight"].tolist() == [30]
    np.testing.assert_array_equal(entries["layer/1/weight"], layers[1]["weight"][..., 0])
    wrong = dataclasses.replace(program.input_block, bias_exp=5)  # type: ignore[type-var]
    with pytest.raises(CompileError, match="input block: bias_exp is 5"):
        netx_entries(dataclasses.replace(program, input_block=wrong))
