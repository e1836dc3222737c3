"""`init` writes a folder that can be trained as it is, complete or not at all, and never over anything."""

import csv
import os
import re

import numpy as np
import pytest
from click.testing import CliRunner
from docs_library import write_images
from recording_tools import drawn_events, one_line, write_npy

from decolle_hw.cli import cli
from decolle_hw.console import Output
from decolle_hw.data import source_of
from decolle_hw.described import read_model
from decolle_hw.errors import DataError, UsageError
from decolle_hw.inspecting.suggestions import suggestions
from decolle_hw.project import init as module
from decolle_hw.project.files import scalar
from decolle_hw.project.init import init_project
from decolle_hw.project.plan import own_classes
from decolle_hw.yamlfile import parse_yaml

SENSOR = (128, 128)


def write_flat(root, count=3, last_us=1_400_000):
    for index in range(count):
        write_npy(root / f"wave {index}.npy", drawn_events(index, 3000, last_us, SENSOR))
    return root


def write_sorted(root, each=5, last_us=300_000, names=("left", "right")):
    for number, name in enumerate(names):
        for index in range(each):
            write_npy(root / name / f"{index}.npy", drawn_events(10 * number + index, 900, last_us, SENSOR))
    return root


def made(folder, data=None, network="dense", neuron="decolle", force=False):
    return init_project(folder, None if data is None else str(data), network, neuron, force, Output(quiet=True))


def test_recordings_of_no_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_flat(tmp_path / "recordings")
    result = CliRunner().invoke(cli, ["init", "waves", "--data", "recordings"])
    assert result.exit_code == 0, result.exception
    assert {file.name for file in (tmp_path / "waves").iterdir()} == {
        "model.yaml", "README.md", ".gitignore", "labels.csv"
    }  # fmt: skip
    for place in ("labels.csv", "model.yaml", "README.md"):
        text = (tmp_path / "waves" / place).read_text(encoding="utf-8").lower()
        assert "until you edit" in text and "a class of its own" in text
    assert "each is a class of its own until you edit labels.csv" in result.output
    with (tmp_path / "waves" / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.reader(stream) if not row[0].startswith("#")]
    assert rows == [["recording", "class"], *([f"wave {index}.npy", f"wave {index}"] for index in range(3))]

    spec = read_model("waves/model.yaml")
    dataset = spec.dataset
    assert os.path.samefile(dataset.path, tmp_path / "recordings")
    assert "  path: ../recordings\n" in (tmp_path / "waves" / "model.yaml").read_text(encoding="utf-8")
    assert dataset.sensor_size == [128, 128] and dataset.input_shape == [2, 32, 32] and dataset.downsample == 4
    assert dataset.split_by == "time" and dataset.time_window == 70_000 and dataset.deltat == 1000
    assert dataset.chunk_size_train == 70 and spec.training.burnin_steps < 70
    # 1.4 s are 20 windows of 70 ms, of which a fifth is held out; one event more begins no further window.
    assert [len(source_of(dataset, split)[0].labels) for split in ("train", "test")] == [3 * 16, 3 * 4]


def test_labels_can_be_edited(tmp_path):
    made(tmp_path / "waves", write_flat(tmp_path / "recordings"))
    labels = tmp_path / "waves" / "labels.csv"
    text = labels.read_text(encoding="utf-8")
    labels.write_text(text.replace(",wave 0", ",up").replace(",wave 1", ",up"), encoding="utf-8")
    source, _ = source_of(read_model(str(tmp_path / "waves" / "model.yaml")).dataset, "train")
    assert source.classes == ("up", "wave 2")
    labels.write_text(text.replace("wave 1.npy", "wave 11.npy"), encoding="utf-8")
    with pytest.raises(DataError) as error:
        source_of(read_model(str(tmp_path / "waves" / "model.yaml")).dataset, "train")
    one_line(error, "labels.csv: line 5", "did you mean 'wave 1.npy'")


def test_class_folders(tmp_path):
    project = made(tmp_path / "gestures", write_sorted(tmp_path / "recordings"), network="conv", neuron="cuba")
    assert [path.name for path in project.written] == ["model.yaml", "README.md", ".gitignore"]
    spec = read_model(str(tmp_path / "gestures" / "model.yaml"))
    assert spec == project.spec.model_copy(update={"dataset": spec.dataset})
    assert spec.network.neuron == "cuba" and spec.network.Nhid and spec.network.Mhid == [64]
    assert spec.dataset.time_window is None and spec.dataset.split_by == "recording"
    assert spec.dataset.deltat == 5000 and spec.dataset.chunk_size_test == 61
    source, _ = source_of(spec.dataset, "test")
    assert source.classes == ("left", "right") and len(source.labels) == 2


def test_one_recording_of_each_class(tmp_path):
    made(tmp_path / "gestures", write_sorted(tmp_path / "recordings", each=1))
    dataset = read_model(str(tmp_path / "gestures" / "model.yaml")).dataset
    assert dataset.split_by == "time" and dataset.labels is None
    assert len(source_of(dataset, "test")[0].labels) >= 2


def test_train_and_test(tmp_path):
    write_sorted(tmp_path / "recordings" / "train")
    write_sorted(tmp_path / "recordings" / "test", each=2)
    made(tmp_path / "gestures", tmp_path / "recordings")
    text = (tmp_path / "gestures" / "model.yaml").read_text(encoding="utf-8")
    assert "test_fraction" not in text and "split_by" not in text
    assert len(source_of(read_model(str(tmp_path / "gestures" / "model.yaml")).dataset, "test")[0].labels) == 4


def test_still_images(tmp_path):
    write_images(tmp_path / "images.npz", np.random.default_rng(0))
    found = made(tmp_path / "pictures", tmp_path / "images.npz").inspection
    assert found.total == 80 and found.kind == "images" and found.sensor == (28, 28)
    assert {name: len(members) for name, members in found.classes.items()} == dict.fromkeys("0123456789", 8)
    assert "name: array" in "\n".join(entry.yaml for entry in suggestions(found))
    dataset = read_model(str(tmp_path / "pictures" / "model.yaml")).dataset
    assert dataset.name == "array" and dataset.input_shape == [2, 28, 28] and dataset.deltat == 5000


@pytest.mark.parametrize(("network", "neuron"), [("dense", "cuba"), ("conv", "decolle")])
def test_every_network_fits_on_one_chip(network, neuron, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "mine", network=network, neuron=neuron)
    placed = CliRunner().invoke(cli, ["compile", "mine/model.yaml", "--dry-run"])
    assert placed.exit_code == 0, placed.exception
    assert "loihi2" in placed.output and "1 chip" in placed.output


def test_each_key_is_explained(tmp_path):
    """A line of comment for every key that people change; whether keys are known, reading them says."""
    made(tmp_path / "waves", write_flat(tmp_path / "recordings"))
    text = (tmp_path / "waves" / "model.yaml").read_text(encoding="utf-8")
    keys = re.findall(r"^  (?:# )?(\w+): \S.*$", text, re.MULTILINE)
    explained = re.findall(r"^  (?:# )?(\w+): \S.*  # \S", text, re.MULTILINE)
    assert set(keys) - set(explained) == {"name", "path"}
    assert {"denoise", "time_window", "num_epochs", "learning_rate", "neuron", "Mhid", "vth"} - set(keys) == {"vth"}
    comments = {line.index("  # ") for line in text.splitlines() if re.match(r"  \w+: .{0,20}  # ", line)}
    assert len(comments) == 1, "comments stand below each other"


def test_what_is_there_is_kept(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.yaml").write_text("precious", encoding="utf-8")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError) as error:
        made(folder)
    one_line(error, "mine: has model.yaml already", "--force")
    assert (folder / "model.yaml").read_text(encoding="utf-8") == "precious"
    made(folder, force=True)
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert read_model(str(folder / "model.yaml")).name == "mine"
    assert sorted(file.name for file in folder.iterdir()) == [".gitignore", "README.md", "model.yaml", "notes.txt"]


def test_in_the_folder_itself(tmp_path, monkeypatch):
    write_sorted(tmp_path / "here" / "recordings")
    monkeypatch.chdir(tmp_path / "here")
    result = CliRunner().invoke(cli, ["init", ".", "--data", "recordings"])
    assert result.exit_code == 0, result.exception
    assert "path: recordings\n" in (tmp_path / "here" / "model.yaml").read_text(encoding="utf-8")
    assert read_model("model.yaml").name == "here" and "  cd " not in result.output


@pytest.mark.parametrize("failing", ["_checked", "project_files"])
def test_nothing_half_written(failing, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, failing, fail)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "rename", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    with pytest.raises(UsageError) as error:
        made(tmp_path / "mine")
    one_line(error, "mine: cannot be written: Read-only file system")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "better"), [("my net", "my-net"), ("-x", "x"), ("größe", "gr-e"), (".hidden", "hidden")]
)
def test_names(name, better, tmp_path):
    with pytest.raises(UsageError) as error:
        made(tmp_path / name)
    one_line(error, name, "letters, digits", f"for example {better}")


def no_class(root):
    return write_flat(root, count=1)


def one_class(root):
    return write_sorted(root, names=("left",))


def one_broken(root):
    (write_flat(root) / "bad.bin").write_bytes(b"\0" * 7)
    return root


def broken_class(root):
    write_sorted(root)
    (root / "up").mkdir()
    (root / "up" / "0.bin").write_bytes(b"\0" * 7)
    return root


def short_ones(root):
    return write_sorted(root, each=1, last_us=0)


def a_file(root):
    return write_npy(root / "0.npy", drawn_events(1))


def a_file_beside_folders(root):
    write_sorted(root)
    write_npy(root / "stray.npy", drawn_events(1))
    return root


def unsorted_halves(root):
    write_flat(root / "train")
    write_flat(root / "test")
    return root


def absent(root):
    return root / "absent"


def empty(root):
    root.mkdir()
    return root


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (no_class, ("one recording, and so one class",)),
        (one_class, ("holds one class, 'left'",)),
        (one_broken, ("bad.bin cannot be read; move it away",)),
        (broken_class, ("no recording of class 'up' can be read",)),
        (short_ones, ("single recording", "lasts 0 us")),
        (a_file, ("is one file; give the folder",)),
        (a_file_beside_folders, ("stray.npy", "is a file where a class folder should be")),
        (unsorted_halves, ("not sorted into classes",)),
        (absent, ("does not exist",)),
        (empty, ("is empty",)),
    ],
)
def test_recordings_that_cannot_be_learned(make, parts, tmp_path):
    with pytest.raises((DataError, UsageError)) as error:
        made(tmp_path / "mine", make(tmp_path / "recordings"))
    one_line(error, "recordings", *parts)
    assert not (tmp_path / "mine").exists() and not list(tmp_path.glob(".*"))


def test_convolutions_need_two_dimensions(tmp_path):
    for index in range(4):
        write_npy(tmp_path / "data" / "ab"[index % 2] / f"{index}.npy", drawn_events(index, size=(1, 60)))
    with pytest.raises(UsageError) as error:
        made(tmp_path / "mine", tmp_path / "data", network="conv")
    one_line(error, "--network conv", "1x60")
    made(tmp_path / "mine", tmp_path / "data")


def test_own_classes():
    assert own_classes(["a.bin", "b.raw"]) == ["a", "b"]
    assert own_classes(["a.bin", "a.raw", "c.bin"]) == ["a.bin", "a.raw", "c"]
    assert own_classes(["A.bin", "a.bin"]) == ["A.bin", "a.bin 2"]


@pytest.mark.parametrize("text", ["plain", "12", "true", "a: b", "a #b", " a", "a\tb", "'", "- x", "~", "", "é", "[x"])
def test_texts_in_yaml(text):
    assert parse_yaml(f"key: {scalar(text)}  # a comment") == {"key": text}


def test_a_path_that_yaml_cannot_hold(tmp_path):
    data = tmp_path / os.fsdecode(b"caf\xe9")
    write_sorted(data)
    with pytest.raises(DataError) as error:
        made(tmp_path / "mine", data)
    one_line(error, "not UTF-8")


def test_names_that_are_not_utf8_are_printed_logged_and_learned(tmp_path, monkeypatch, decolle_hw):
    monkeypatch.chdir(tmp_path)
    write_sorted(tmp_path / "data", names=("left", "r\udce9sts"))
    (tmp_path / "data" / "left" / "bad\udcff.npy").write_bytes(b"x")
    outcome = decolle_hw("init", "mine", "--data", "data", "--log-file", "log.txt")
    assert outcome.code == 0, outcome.err
    assert "  # classes:" not in (tmp_path / "mine" / "model.yaml").read_text(encoding="utf-8")
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "bad\\udcff.npy" in log and "nothing more is logged" not in outcome.err
    assert "1 of 11 recordings cannot be read and are left out" in outcome.out
    (tmp_path / "data").rename(tmp_path / "d\udce9ta")
    outcome = decolle_hw("data", "inspect", "d\udce9ta", "--no-plot")
    assert outcome.code == 0 and "reading d\\udce9ta" in outcome.out, outcome.err


def test_no_project_among_recordings(decolle_hw, tmp_path, monkeypatch):
    """Its files would be taken for recordings of a class."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waves" / "left").mkdir(parents=True)
    for arguments, word in ((["waves"], "not empty"), (["waves", "--data", "waves"], "lies in the recordings"),
                            (["waves/mine", "--data", "waves"], "lies in the recordings")):  # fmt: skip
        outcome = decolle_hw("init", *arguments)
        assert outcome.code == 2 and word in outcome.err and outcome.err.count("\n") == 1, outcome.err
    assert [path.name for path in (tmp_path / "waves").rglob("*")] == ["left"]
