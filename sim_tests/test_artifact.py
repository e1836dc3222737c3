"""The artifact: what is saved comes back, nothing half-written, and every damage is found and named."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from learning_tools import small_learning

from decolle_hw.compiler.artifact import GROUP, artifact_bytes, load_artifact, newest_artifact, save_artifact
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.program import Program
from decolle_hw.errors import ArtifactError, UsageError
from decolle_hw.sim.random_program import random_conv_program, random_program

# Dense; dense with delays; a pooled convolution and a dense layer; dense, with a layer that learns.
KINDS = ("cuba", "decolle", "conv", "learning")


def made(kind: str) -> Program:
    return made_with_learning(kind)[0]


def save(kind: str, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content(kind))


@functools.cache
def content(kind: str) -> bytes:
    return artifact_bytes(*made_with_learning(kind))


@functools.cache
def made_with_learning(kind: str) -> tuple[Program, LearningProgram | None]:
    rng = np.random.default_rng(0)
    learning = None
    if kind == "learning":
        learning = small_learning(rng)
        program = learning.program
    elif kind == "cuba":
        program = random_program(rng, "cuba", sizes=(12, 9, 7), like_quantizer=True)
    elif kind == "decolle":
        program = random_program(rng, "decolle", sizes=(12, 9, 7), max_delay=5)
    else:
        program = random_conv_program(rng, "decolle", convolutions=1, input_shape=(2, 6, 6), units=5)
        while not any(layer.is_pooling for layer in program.layers):
            program = random_conv_program(rng, "decolle", convolutions=1, input_shape=(2, 6, 6), units=5)
    program = dataclasses.replace(
        program,
        name="näme",
        spec_yaml="a: 'x'\nb: [1, 2]\n",
        checkpoint_sha256="ab" * 32,
        quantization=({"limit_v": 0.1, "alpha_error": -1e-300}, {"limit_v": float("inf")}),
    )
    return program, None if learning is None else dataclasses.replace(learning, program=program)


FULL_DISK = """
import resource, sys
from pathlib import Path
from decolle_hw.compiler.artifact import load_artifact, save_artifact
from decolle_hw.errors import UsageError
program = load_artifact(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))  # no file may be larger: as a full disk
try:
    save_artifact(program, Path(sys.argv[2]))
except UsageError as error:
    print(error)
"""


@pytest.fixture(params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"{request.param}.net"
    save(request.param, path)
    return path


@pytest.fixture
def cuba(tmp_path: Path) -> Path:
    path = tmp_path / "cuba.net"
    save_artifact(made("cuba"), path)
    return path


def complaint(path: Path) -> str:
    """The one line that a user reads; it names the file."""
    with pytest.raises(ArtifactError) as raised:
        load_artifact(path)
    text = str(raised.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: str, tmp_path: Path) -> None:
    program = made(kind)
    save(kind, tmp_path / "new" / "a.net")
    back = load_artifact(tmp_path / "new" / "a.net")
    for field in dataclasses.fields(Program):
        if field.name != "layers":
            mine, theirs = getattr(program, field.name), getattr(back, field.name)
            assert theirs == mine and type(theirs) is type(mine), field.name
    assert len(back.layers) == len(program.layers)
    for one, other in zip(program.layers, back.layers, strict=True):
        for field in dataclasses.fields(one):
            mine, theirs = getattr(one, field.name), getattr(other, field.name)
            assert type(theirs) is type(mine), field.name
            np.testing.assert_array_equal(theirs, mine, err_msg=field.name)
            if isinstance(mine, np.ndarray):
                assert theirs.dtype == mine.dtype == np.int32, field.name


def test_the_same_program_gives_the_same_bytes(cuba: Path, tmp_path: Path) -> None:
    save_artifact(load_artifact(cuba), tmp_path / "again.net")
    assert (tmp_path / "again.net").read_bytes() == cuba.read_bytes()


def test_a_failed_write_leaves_what_was_there(cuba: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cuba.read_bytes()
    monkeypatch.setattr("decolle_hw.compiler.artifact._digest", lambda program, learning: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_artifact(made("cuba"), cuba)
    assert cuba.read_bytes() == before
    assert [*cuba.parent.iterdir()] == [cuba]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        save_artifact(made("cuba"), tmp_path / "file" / "a.net")


def test_newest(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no compiled network.*decolle-hw compile"):
        newest_artifact(tmp_path)
    for age, name in enumerate(("new.net", "old.net", "older.net")):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, ns=(0, 10**12 - age))
    (tmp_path / "folder.net").mkdir()
    assert newest_artifact(tmp_path) == tmp_path / "new.net"


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "does not exist; `decolle-hw compile --target loihi2` writes one" in complaint(tmp_path / "none.net")
    assert "is not a file; give the .net file" in complaint(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(cuba: Path) -> None:
    cuba.chmod(0)
    assert "permission denied" in complaint(cuba)


@pytest.mark.parametrize("content", [b"", b"name: digits\n", bytes(3000)])
def test_what_is_not_hdf5(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_bytes(content)
    assert "is not a decolle-hw artifact: it is not an HDF5 file; give a .net file" in complaint(tmp_path / "a.net")


def test_hdf5_of_someone_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "slayer.net", "w") as file:
        file["layer/0/type"] = np.bytes_("input")
    assert "HDF5 group 'decolle_hw' is missing; give a .net file" in complaint(tmp_path / "slayer.net")
    with h5py.File(tmp_path / "data.net", "w") as file:
        file[GROUP] = 3  # a dataset of that name
    assert "damaged" in complaint(tmp_path / "data.net")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated(share: float, saved: Path) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    text = complaint(saved)
    assert "truncated" in text or "not an HDF5 file" in text


@pytest.mark.parametrize(("version", "remedy"), [(5, "update decolle-hw"), (2, "compile again"), (1, "compile again")])
def test_other_versions(version: int, remedy: str, cuba: Path) -> None:
    with h5py.File(cuba, "r+") as file:
        file[GROUP].attrs["format_version"] = version
    assert f"decolle_hw/format_version is {version}, this version of decolle-hw reads 3 and 4; {remedy}" in complaint(
        cuba
    )


def test_a_version_that_is_no_number(cuba: Path) -> None:
    with h5py.File(cuba, "r+") as file:
        file[GROUP].attrs["format_version"] = np.bytes_("one")
    assert "decolle_hw/format_version is b'one', not an integer" in complaint(cuba)


def everything(kind: str) -> list[str]:
    """Every dataset, and every attribute as PATH@NAME, of a saved artifact."""
    names: list[str] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        names.extend([name] if isinstance(item, h5py.Dataset) else [])
        names.extend(f"{name}@{key}" for key in item.attrs)

    with tempfile.TemporaryDirectory() as folder:
        save(kind, Path(folder) / "a.net")
        with h5py.File(Path(folder) / "a.net") as file:
            visit(GROUP, file[GROUP])
            file[GROUP].visititems(lambda name, item: visit(f"{GROUP}/{name}", item))
            file["layer"].visititems(lambda name, item: visit(f"layer/{name}", item))
    return names


CONTENT = [(kind, name) for kind in KINDS for name in everything(kind)]


@pytest.mark.parametrize(("kind", "name"), CONTENT)
def test_whatever_is_missing_is_named(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    save(kind, path)
    place, _, attribute = name.partition("@")
    with h5py.File(path, "r+") as file:
        if attribute:
            del file[place].attrs[attribute]
        else:
            del file[place]
    assert f": {name.replace('@', '/')} is missing; the file is damaged, compile again" in complaint(path)


@pytest.mark.parametrize(("kind", "name"), CONTENT)
def test_whatever_is_changed_is_found(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    save(kind, path)
    place, _, attribute = name.partition("@")
    with h5py.File(path, "r+") as file:
        if attribute:
            value = file[place].attrs[attribute]
            file[place].attrs[attribute] = value + b"x" if isinstance(value, bytes) else np.asarray(value) + 1
        elif file[place].dtype.kind == "S":
            del file[place]
            file[place] = np.bytes_("other")
        else:
            value = np.array(file[place])
            if value.size:
                value.flat[0] ^= 2 if value.dtype.kind == "i" else True
                file[place][...] = value
            else:  # no delays, no readout
                del file[place]
                file[place] = np.zeros((1, 1), np.int32)
    complaint(path)


@pytest.mark.parametrize("name", [name for name in everything("cuba") if "@" not in name])
@pytest.mark.parametrize("change", ["shape", "type", "group"])
def test_arrays_of_another_shape_or_type(name: str, change: str, cuba: Path) -> None:
    with h5py.File(cuba, "r+") as file:
        del file[name]
        if change == "group":
            file.create_group(name)
        else:
            file[name] = np.zeros((2, 2, 2), np.int32) if change == "shape" else np.bytes_("text")
    assert name.split("/")[-1] in complaint(cuba)


def odd_weight(file: h5py.File) -> None:
    file[f"{GROUP}/layer/1/weight"][0, 0] = 3


def large_weight(file: h5py.File) -> None:
    file[f"{GROUP}/layer/0/weight"][0, 0] = 256


def other_neuron(file: h5py.File) -> None:
    file[f"{GROUP}/layer/0"].attrs["neuron"] = np.bytes_("izhikevich")


def one_layer_less(file: h5py.File) -> None:
    file[GROUP].attrs["layers"] = 1


def no_layers(file: h5py.File) -> None:
    file[GROUP].attrs["layers"] = 0


def header(**changes: Any) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        values = json.loads(file[GROUP].attrs["program"]) | changes
        file[GROUP].attrs["program"] = np.bytes_(json.dumps(values))

    return write


def no_json(file: h5py.File) -> None:
    file[GROUP].attrs["program"] = np.bytes_("{")


def delays(file: h5py.File) -> None:
    file["layer/1/delay"] = np.ones(9, int)  # netx would obey


def huge_text(file: h5py.File) -> None:
    """Two gigabytes in a file of a few kB, as nothing of them was ever written."""
    del file["layer/1/type"]
    file.create_dataset("layer/1/type", shape=(), dtype="S2000000000")


def one_huge_chunk(file: h5py.File) -> None:
    """Nine numbers in a chunk of 256 MB, which deflates to a quarter of one."""
    name = f"{GROUP}/layer/0/vth"
    values = file[name][()]
    del file[name]
    file.create_dataset(name, data=values, maxshape=(None,), chunks=(1 << 26,), compression="gzip")


WRONG: list[tuple[Callable[[h5py.File], None], str]] = [
    (odd_weight, "decolle_hw/layer/1/weight: expected multiples of 2"),
    (large_weight, "decolle_hw/layer/0/weight: expected multiples of 2 in -256..254"),
    (other_neuron, "decolle_hw/layer/0/neuron: expected decolle or cuba"),
    (one_layer_less, "decolle_hw/sha256 does not match"),
    (no_layers, "needs at least one layer"),
    (header(steps=20), "decolle_hw/sha256 does not match"),
    (header(steps=1), "decolle_hw is not a network: 1 steps are too short for 2 layers"),
    (header(steps="many"), "decolle_hw/program is not what it should be"),
    (
        header(burnin_steps=1.5),
        "decolle_hw/program is not what it should be: burnin_steps: Input should be a valid int",
    ),
    (header(classes=[1, 2, 3]), "decolle_hw/program is not what it should be: classes"),
    (header(quantization="ab"), "decolle_hw/program is not what it should be: quantization"),
    (header(input_shape=[-1, -1, 12]), "input_shape (-1, -1, 12): expected three positive numbers"),
    (header(classes=["one"]), "readout has 3 rows, there are 1 classes"),
    (header(input_shape=[2, 2, 2]), "layer 0: weight has 12 inputs, 8 arrive"),
    (header(surprise=1), "decolle_hw/program is not what it should be"),
    (no_json, "decolle_hw/program is not what it should be"),
    (delays, "layer/1/delay was added to the file"),
    (
        one_huge_chunk,
        "decolle_hw/layer/0/vth is stored in chunks of (67108864,), of which one is larger than all of it",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_content_is_named(change: Callable[[h5py.File], None], message: str, cuba: Path) -> None:
    with h5py.File(cuba, "r+") as file:
        change(file)
    text = complaint(cuba)
    assert message in text and text.endswith("; the file is damaged, compile again")


def test_text_of_two_gigabytes_is_not_read(cuba: Path) -> None:
    with h5py.File(cuba, "r+") as file:
        huge_text(file)
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, resource.RLIM_INFINITY))\n"
    load = "import pathlib, decolle_hw.compiler.artifact as a\na.load_artifact(pathlib.Path(sys.argv[1]))"
    code = [sys.executable, "-c", limited + load, str(cuba)]
    result = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert "layer/1/type differs from decolle_hw" in result.stderr, result.stderr


def test_a_long_description_fits(tmp_path: Path) -> None:
    """Attributes are limited to 64 KB in older HDF5 formats."""
    program = dataclasses.replace(made("cuba"), spec_yaml="x" * 300_000)
    save_artifact(program, tmp_path / "a.net")
    assert load_artifact(tmp_path / "a.net").spec_yaml == program.spec_yaml


def test_mutants() -> None:
    """Bytes and structure damaged in a dozen ways: the same network or our own error, in bounded time and memory."""
    script = Path(__file__).with_name("fuzz_artifacts.py")
    command = [sys.executable, str(script), "--count", "400", "--seed", "1"]  # in which nothing is always loaded
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "400 mutants, 0 failures" in result.stdout
    refused = re.findall(r"^(\w+) +refused +(\d+), loaded as it was +(\d+)$", result.stdout, re.MULTILINE)
    assert len(refused) == 12 and all(int(count) > 0 for _, count, _ in refused), result.stdout


def test_a_full_disk_is_one_clear_error(cuba: Path, tmp_path: Path) -> None:
    """In a process of its own, as HDF5 takes the process down where it cannot write at its end."""
    new = tmp_path / "new.net"
    code = [sys.executable, "-c", FULL_DISK, str(cuba), str(new)]
    result = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert result.stdout.startswith(f"{new}: cannot be written: File too large"), result.stdout
    assert [*tmp_path.iterdir()] == [cuba]
