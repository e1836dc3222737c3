"""Artifacts of networks that learn on chip: every number comes back, and whatever is wrong in them is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from learning_tools import small_learning, teaching_case

from decolle_hw.compiler.artifact import GROUP, artifact_bytes, load_artifact, load_learning, save_artifact
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.netx import netx_entries
from decolle_hw.compiler.plasticity import Factor, Product, Rule
from decolle_hw.compiler.stored_learning import stored_learning
from decolle_hw.errors import ArtifactError, CompileError
from decolle_hw.sim.random_learning import random_learning_program

Path_ = f"{GROUP}/plasticity"


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Every field of every dataclass, with its type."""
    if dataclasses.is_dataclass(one):
        assert type(one) is type(other), where
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, tuple):
        assert len(one) == len(other), where
        for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, f"{where}[{index}]")
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, where)
        assert one.dtype == other.dtype, where
    else:
        assert one == other and type(one) is type(other), where


@pytest.mark.parametrize("seed", range(12))
def test_round_trip(seed: int, tmp_path: Path) -> None:
    """Whatever the engine can do; int and float time constants stay what they are, as the digest tells them apart."""
    rng = np.random.default_rng(seed)
    convolutional = seed % 4 == 3
    learning = random_learning_program(
        rng, "decolle", (0,) if convolutional else (0, 2), convolutional=convolutional,
        **({} if convolutional else {"sizes": (12, 9, 8, 7)}),
    )  # fmt: skip
    if seed == 0:  # a rule without a single factor, and numbers of NumPy
        rule = Rule((Product("x0", (), np.int64(3), -2), Product("u3", (Factor("y1", np.int8(-4)),))))
        learning = dataclasses.replace(learning, plastic=(dataclasses.replace(learning.plastic[0], rule=rule),))
    path = tmp_path / "a.net"
    save_artifact(learning.program, path, learning)
    back = load_learning(path)
    if seed:
        assert_same(learning, back)
    assert back.digest() == learning.digest() and back.teach == learning.teach
    assert_same(load_artifact(path), back.program)
    save_artifact(back.program, tmp_path / "again.net", back)
    assert (tmp_path / "again.net").read_bytes() == path.read_bytes()


def test_every_field_is_stored() -> None:
    """Each changes what is written: none is forgotten."""
    learning = small_learning(np.random.default_rng(0))
    before = stored_learning(learning)
    assert len({path.split("/")[2] for path in before if path.startswith("plastic/0/")}) == len(
        dataclasses.fields(learning.plastic[0])
    )
    assert set(before) == set(dict.fromkeys(before)) and "teach" in before and "program" not in before
    for name in ("epoch", "feedback_shift", "gate_width"):
        plastic = dataclasses.replace(learning.plastic[0], **{name: getattr(learning.plastic[0], name) + 1})
        after = stored_learning(dataclasses.replace(learning, plastic=(plastic,)))
        assert {path for path in before if not np.array_equal(before[path], after[path])} == {f"plastic/0/{name}"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    learning = small_learning(np.random.default_rng(0))
    save_artifact(learning.program, tmp_path / "a.net", learning)
    return tmp_path / "a.net"


def complaint(path: Path) -> str:
    with pytest.raises(ArtifactError) as raised:
        load_artifact(path)  # also for whoever does not ask for the learning
    assert "\n" not in str(raised.value)
    return str(raised.value)


def attribute(place: str, name: str, value: Any) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        file[f"{Path_}/{place}".rstrip("/")].attrs[name] = value

    return write


def no_group(file: h5py.File) -> None:
    del file[Path_]


def no_rule(file: h5py.File) -> None:
    del file[f"{Path_}/plastic/0/rule"]


def wide_readout(file: h5py.File) -> None:
    del file[f"{Path_}/plastic/0/readout_weight"]
    file[f"{Path_}/plastic/0/readout_weight"] = np.zeros((3, 8), np.int32)


def float_readout(file: h5py.File) -> None:
    del file[f"{Path_}/plastic/0/readout_bias"]
    file[f"{Path_}/plastic/0/readout_bias"] = np.zeros(3)


PRODUCT = "plastic/0/rule/products/1"
WRONG: list[tuple[Callable[[h5py.File], None], str]] = [
    (no_group, f"{Path_} is missing"),
    (no_rule, f"{Path_}/plastic/0/rule is missing"),
    (attribute("plastic", "count", 0), "no layer is plastic"),
    (attribute("plastic", "count", 2), f"{Path_}/plastic/1 is missing"),
    (attribute("plastic", "count", 10**6), "plastic/count is 1000000"),
    (attribute("plastic/0", "epoch", 64), "layer 1: epoch: 64 steps, expected 1..63"),
    (attribute("plastic/0", "epoch", 2), "sha256 does not match"),
    (attribute("plastic/0", "epoch", 2.0), "plastic/0/epoch is 2.0, not an integer"),
    (attribute("plastic/0", "layer", 9), "layer 9: "),
    (attribute("plastic/0", "layer", 0), "layer 0: readout"),
    (attribute("plastic/0/x1", "impulse", float("nan")), "x1.impulse: nan"),
    (attribute("plastic/0/x1", "impulse", 3.0001), "x1.impulse: 3.0001"),
    (attribute("plastic/0/x2", "tau", -1), "x2.tau: -1"),
    (attribute("plastic/0/error", "on", 1 << 23), "error.on: 8388608"),
    (attribute(PRODUCT, "exponent", 9), "exponent 9, expected -7..8"),
    (attribute(PRODUCT, "dependency", np.bytes_("z9")), "dependency 'z9'"),
    (attribute(f"{PRODUCT}/factors/0", "name", np.bytes_("y3")), "factor 'y3'"),
    (attribute(f"{PRODUCT}/factors/0", "name", 3), "factors/0/name is not a text"),
    (attribute("", "teach", np.array([5, 99])), "teach: (5, 99)"),
    (attribute("", "teach", np.array([5])), "is not what it should be"),
    (wide_readout, "readout: (3, 8) and (3,), expected"),
    (float_readout, "readout_bias is not an array of 32-bit integers"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_content_is_named(change: Callable[[h5py.File], None], message: str, saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        change(file)
    text = complaint(saved)
    assert message in text and text.endswith("; the file is damaged, compile again"), text


def test_learning_cannot_be_added_or_taken_away(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    with h5py.File(saved, "r+") as file:
        file[GROUP].attrs["learns"] = 0
    assert "sha256 does not match" in complaint(saved)
    saved.write_bytes(content)
    with h5py.File(saved, "r+") as file:
        file[GROUP].attrs["format_version"] = 3  # has no such attribute
    assert "sha256 does not match" in complaint(saved)
    plain = tmp_path / "plain.net"
    save_artifact(small_learning(np.random.default_rng(0)).program, plain)
    with h5py.File(plain, "r+") as file:
        file[GROUP].attrs["learns"] = 1
    assert "plasticity is missing" in complaint(plain)


def test_a_network_that_does_not_learn(tmp_path: Path) -> None:
    path = tmp_path / "plain.net"
    save_artifact(small_learning(np.random.default_rng(0)).program, path)
    with pytest.raises(ArtifactError, match=r"plain.net: no layer of .* learns on chip; compile it with --plastic"):
        load_learning(path)


def test_files_of_the_format_before_still_load(tmp_path: Path) -> None:
    """It had neither the attribute nor the group."""
    program = small_learning(np.random.default_rng(0)).program
    save_artifact(program, tmp_path / "old.net")
    with h5py.File(tmp_path / "old.net", "r+") as file:
        file[GROUP].attrs["format_version"] = 3
        del file[GROUP].attrs["learns"]
    assert_same(load_artifact(tmp_path / "old.net"), program)
    with pytest.raises(ArtifactError, match="--plastic"):
        load_learning(tmp_path / "old.net")


def entries_for_netx(content: bytes, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "b.net").write_bytes(content)
    with h5py.File(tmp_path / "b.net") as file:
        found: dict[str, Any] = {}
        file["layer"].visititems(lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None)
    return found


def test_netx_sees_no_difference(tmp_path: Path) -> None:
    learning = small_learning(np.random.default_rng(0))
    with_it = entries_for_netx(artifact_bytes(learning.program, learning), tmp_path)
    without = entries_for_netx(artifact_bytes(learning.program), tmp_path)
    assert with_it.keys() == without.keys()
    for name, value in without.items():
        np.testing.assert_array_equal(with_it[name], value, name)


def zero_weights(learning: LearningProgram) -> LearningProgram:
    layers = list(learning.program.layers)
    layers[1] = dataclasses.replace(layers[1], weight=np.zeros_like(layers[1].weight))
    return dataclasses.replace(learning, program=dataclasses.replace(learning.program, layers=tuple(layers)))


def test_a_new_layer_of_zeros_stops_netx_instead_of_running_as_another(tmp_path: Path) -> None:
    learning = zero_weights(small_learning(np.random.default_rng(0)))
    with pytest.raises(CompileError, match="all weights are zero"):
        netx_entries(learning.program)
    path = tmp_path / "a.net"
    save_artifact(learning.program, path, learning)
    assert_same(load_learning(path), learning)
    entries = entries_for_netx(path.read_bytes(), tmp_path)
    assert entries["1/neuron/type"] == b"CUBA" and entries["2/neuron/type"] == b"LEARNING"


def test_microcode_neurons(tmp_path: Path) -> None:
    learning = teaching_case(3, "decolle").learning
    save_artifact(learning.program, tmp_path / "a.net", learning)
    assert_same(load_learning(tmp_path / "a.net"), learning)
