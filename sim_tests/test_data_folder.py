"""Folders of recordings: N-MNIST is read as its bytes say, unusable folders are named with a remedy."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tonic.io import events_struct

from decolle_hw.data import dataset_classes, folder, load_folder, load_split, recording_events
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

NMNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "nmnist_small"
needs_nmnist = pytest.mark.skipif(not NMNIST.is_dir(), reason=f"{NMNIST} is absent")


def folder_spec(path, **values):
    return DatasetSpec(**{"name": "folder", "path": str(path), "input_shape": [2, 34, 34], **values})


def write_recording(path, events=((1, 2, 30, 1), (3, 4, 5000, 0))):
    """Write (x, y, t, p) rows in N-MNIST's five bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = [bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, t, p in events]
    path.write_bytes(b"".join(raw))


def make_folder(root, counts):
    for name, count in counts.items():
        for k in range(count):
            write_recording(root / name / f"{k}.bin")
    return root


def assert_one_line(error, *parts):
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


@needs_nmnist
def test_nmnist_has_its_recordings_and_classes():
    spec = folder_spec(NMNIST)
    train, test = load_split(spec, "train"), load_split(spec, "test")
    assert (len(train), len(test)) == (800, 100)
    assert train.classes == test.classes == dataset_classes(spec) == tuple("0123456789")
    assert train.names[0] == "0/00002.bin"
    assert np.bincount(test.labels).min() > 0
    assert 0.003 < train.density < 0.01
    assert all(name.split("/")[0] == str(label) for name, label in zip(train.names, train.labels, strict=True))


@needs_nmnist
def test_a_recording_equals_its_bytes():
    events = recording_events(folder_spec(NMNIST), "train", 0)
    raw = (NMNIST / "train" / "0" / "00002.bin").read_bytes()
    assert events.dtype == events_struct
    assert len(events) == len(raw) // 5
    for k, event in enumerate(events):
        x, y, third, fourth, fifth = raw[5 * k : 5 * k + 5]
        assert event.tolist() == (x, y, (third & 127) << 16 | fourth << 8 | fifth, bool(third >> 7))


def test_overflow_marks_are_taken_out_and_advance_time(tmp_path):
    file = tmp_path / "0" / "a.bin"
    write_recording(file, [(1, 1, 8000, 0), (0, 240, 0, 0), (2, 2, 10, 1)])
    events = folder.read_recording(file, folder_spec(tmp_path))
    assert [event.tolist() for event in events] == [(1, 1, 8000, False), (2, 2, 8192 + 10, True)]


def test_events_are_sorted_by_time(tmp_path):
    file = tmp_path / "0" / "a.bin"
    write_recording(file, [(1, 1, 500, 0), (2, 2, 100, 1), (3, 3, 500, 1)])
    assert folder.read_recording(file, folder_spec(tmp_path))["x"].tolist() == [2, 1, 3]


def test_classes_are_sorted_by_number_then_name(tmp_path):
    make_folder(tmp_path, {"10": 1, "9": 1, "wave": 1, "2": 1, "clap": 1})
    assert folder.list_folder(tmp_path).classes == ("2", "9", "10", "clap", "wave")


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "Test")])
def test_train_and_test_subfolders_are_used(tmp_path, names):
    make_folder(tmp_path / names[0], {"a": 3, "b": 2})
    make_folder(tmp_path / names[1], {"b": 4})
    train, test = folder.split_of(folder_spec(tmp_path))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 0, 1, 1], [1, 1, 1, 1])
    assert test.classes == ("a", "b")
    assert len(load_folder(tmp_path, folder_spec(tmp_path))) == 4


def test_test_path_may_stand_elsewhere(tmp_path):
    make_folder(tmp_path / "one", {"a": 3, "b": 2})
    make_folder(tmp_path / "two", {"a": 1})
    spec = folder_spec(tmp_path / "one", test_path=str(tmp_path / "two"))
    assert (len(load_split(spec, "train")), len(load_split(spec, "test"))) == (5, 1)


def test_without_a_test_folder_the_split_is_fixed_and_stratified(tmp_path):
    make_folder(tmp_path, {"a": 10, "b": 2, "c": 1})
    spec = folder_spec(tmp_path, test_fraction=0.3)
    train, test = folder.split_of(spec)
    assert set(train.names).isdisjoint(test.names) and len(train.names) + len(test.names) == 13
    assert np.bincount(test.labels, minlength=3).tolist() == [3, 1, 0]
    assert folder.split_of(spec)[1].names == test.names
    assert len(load_folder(tmp_path, spec)) == 13


def sides(spec):
    """Name of each recording -> is it held out?"""
    train, test = folder.split_of(spec)
    return {**dict.fromkeys(train.names, False), **dict.fromkeys(test.names, True)}


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
def test_one_recording_more_or_less_moves_at_most_one_other(tmp_path, fraction):
    make_folder(tmp_path, {"a": 2, "b": 7})
    spec = folder_spec(tmp_path, test_fraction=fraction)
    before = sides(spec)
    for k in range(25):
        write_recording(tmp_path / "a" / f"new{k * k}.bin")
        after = sides(spec)
        moved = [name for name in before if before[name] != after[name]]
        assert len(moved) <= 1 and all(name.startswith("a/") for name in moved)
        before = after
    shutil.rmtree(tmp_path / "b")  # no other class has a say, nor has a class's place in the list
    assert sides(spec) == {name: side for name, side in before.items() if name.startswith("a/")}


def test_the_split_of_a_folder_never_changes(tmp_path):
    make_folder(tmp_path, {"a": 10, "b": 5})
    names = folder.split_of(folder_spec(tmp_path))[1].names
    by_hash = sorted((f"a/{k}.bin" for k in range(10)), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert set(names[:2]) == set(by_hash[:2])
    assert names == ("a/3.bin", "a/4.bin", "b/4.bin")


@pytest.mark.parametrize("split", ["train", "test"])
def test_classes_must_be_those_of_the_trained_network(tmp_path, split):
    make_folder(tmp_path / "train", {"clap": 2, "wave": 2})
    make_folder(tmp_path / "test", {"wave": 1})
    spec = folder_spec(tmp_path)
    data = load_split(spec, split, classes=("clap", "wave"))
    assert data.classes == ("clap", "wave") and data.labels.tolist() == ([0, 0, 1, 1] if split == "train" else [1])
    for known, difference in (
        (("clap", "nod", "wave"), "missing: nod)"),
        (("wave",), "new: clap)"),
        (("nod", "wave"), "missing: nod; new: clap)"),
        (("wave", "clap"), "another order"),
    ):
        with pytest.raises(DataError) as error:
            load_split(spec, split, classes=known)
        assert_one_line(error, f"{tmp_path}: ", difference, "train again, or give the folder it was trained on")


def test_timestamps_that_do_not_start_at_zero_are_refused(tmp_path):
    make_folder(tmp_path, {"a": 2})
    write_recording(tmp_path / "a" / "1.bin", [(1, 2, 1_000_000, 1), (3, 4, 1_250_000, 0)])
    with pytest.raises(DataError) as error:
        load_folder(tmp_path, folder_spec(tmp_path))
    assert_one_line(
        error, tmp_path / "a" / "1.bin", "300000 us", "at 1000000 us", "at 1250000 us", "shift the recording"
    )


def test_steps_and_chunk_sizes_of_the_splits(tmp_path):
    make_folder(tmp_path, {"a": 4, "b": 4})
    spec = folder_spec(tmp_path, chunk_size_train=20, chunk_size_test=30)
    assert (load_split(spec, "train").steps, load_split(spec, "test").steps) == (20, 30)
    assert load_folder(tmp_path, spec).steps == 30


def test_labels_count_in_the_list_of_the_trained_network(tmp_path):
    make_folder(tmp_path, {"clap": 1, "wave": 2})
    data = load_folder(tmp_path, folder_spec(tmp_path), ("wave", "nod", "clap"))
    assert data.classes == ("wave", "nod", "clap")
    assert data.labels.tolist() == [2, 0, 0]


def test_hidden_files_are_ignored(tmp_path):
    make_folder(tmp_path, {"a": 2})
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "a" / ".gitkeep").write_text("")
    assert len(folder.list_folder(tmp_path).files) == 2


def test_unknown_class_of_the_network(tmp_path):
    make_folder(tmp_path, {"clap": 1, "wave": 2})
    with pytest.raises(DataError) as error:
        load_folder(tmp_path, folder_spec(tmp_path), ("wave", "nod"))
    assert_one_line(error, tmp_path / "clap", "'clap' is unknown to the network", "known: nod, wave", "rename")


def test_unknown_class_in_the_test_folder(tmp_path):
    make_folder(tmp_path / "train", {"a": 1})
    make_folder(tmp_path / "test", {"a": 1, "z": 1})
    with pytest.raises(DataError) as error:
        folder.split_of(folder_spec(tmp_path))
    assert_one_line(error, tmp_path / "test" / "z", "unknown to the training recordings", "known: a", "remove")


def test_missing_path_in_the_description():
    with pytest.raises(SpecError, match=r"dataset\.path: is missing.*give --data FOLDER"):
        load_split(DatasetSpec(name="folder"), "train")


def test_two_test_folders_are_ambiguous(tmp_path):
    make_folder(tmp_path / "train", {"a": 1})
    make_folder(tmp_path / "test", {"a": 1})
    with pytest.raises(SpecError) as error:
        folder.split_of(folder_spec(tmp_path, test_path="elsewhere"))
    assert_one_line(error, "dataset.test_path elsewhere", tmp_path, "leave test_path out")


def missing_folder(root):
    return root / "none", "does not exist; give an existing folder"


def path_is_a_file(root):
    write_recording(root / "x.bin")
    return (
        root / "x.bin",
        "is a file, not a folder of recordings; expected FOLDER/<class name>/<recording>",
    )


def empty_folder(root):
    (root / ".hidden").write_text("")
    return root, "is empty; expected FOLDER/<class name>/<recording>"


def recordings_without_class_folders(root):
    write_recording(root / "x.bin")
    return root / "x.bin", "is a file where a class folder should be; expected FOLDER/<class name>"


def class_without_recordings(root):
    make_folder(root, {"a": 2})
    (root / "b").mkdir()
    return root / "b", "holds no recordings; accepted are .bin, .aedat"


def another_file_format(root):
    make_folder(root, {"a": 2})
    (root / "b").mkdir()
    (root / "b" / "notes.txt").write_text("x")
    return root / "b", "holds no recordings (found: notes.txt); accepted are .bin, .aedat"


def folder_in_a_class(root):
    make_folder(root, {"a/deeper": 2})
    return root / "a" / "deeper", "is a folder inside of class 'a'; expected FOLDER/<class name>"


def one_recording_per_class(root):
    make_folder(root, {"a": 1, "b": 1})
    return root, "none can be held out for testing; add recordings, set dataset.test_path"


@pytest.mark.parametrize(
    "make",
    [
        missing_folder,
        path_is_a_file,
        empty_folder,
        recordings_without_class_folders,
        class_without_recordings,
        another_file_format,
        folder_in_a_class,
        one_recording_per_class,
    ],
)
def test_unusable_folders_are_named_with_a_remedy(tmp_path, make):
    path, remedy = make(tmp_path)
    asked = tmp_path if path.is_relative_to(tmp_path) and make not in (missing_folder, path_is_a_file) else path
    with pytest.raises(DataError) as error:
        load_split(folder_spec(asked), "train")
    assert_one_line(error, path, remedy)


def truncated(file):
    file.write_bytes(file.read_bytes()[:-2])
    return "ends with 3 of the 5 bytes of an event (N-MNIST .bin)", "copy it again or remove it"


def without_bytes(file):
    file.write_bytes(b"")
    return "holds no events (0 bytes)", "record it again or remove it"


def overflow_marks_only(file):
    write_recording(file, [(0, 240, 0, 0)])
    return "holds no events (5 bytes)", "record it again or remove it"


def from_a_wider_sensor(file):
    write_recording(file, [(1, 1, 0, 0), (34, 5, 10, 0), (5, 50, 20, 0)])
    return "event 1 at x=34, y=5", "34x34 (height x width)", "set dataset.input_shape to at least [2, 51, 35]"


def a_broken_link(file):
    file.unlink()
    file.symlink_to("nowhere.bin")
    return "cannot be read: No such file", "mend its permissions or remove it"


@pytest.mark.parametrize("damage", [truncated, without_bytes, overflow_marks_only, from_a_wider_sensor, a_broken_link])
def test_unusable_recordings_are_named_with_a_remedy(tmp_path, damage):
    make_folder(tmp_path, {"a": 2, "b": 2})
    file = tmp_path / "b" / "1.bin"
    parts = damage(file)
    with pytest.raises(DataError) as error:
        load_folder(tmp_path, folder_spec(tmp_path, strict=True))
    assert_one_line(error, file, *parts)


def test_unreadable_recording_and_folder(tmp_path, monkeypatch):
    # Root may read everything, so the refusal of the operating system is played here.
    make_folder(tmp_path, {"a": 2})

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(DataError) as error:
            load_folder(tmp_path, folder_spec(tmp_path, strict=True))
    assert_one_line(error, tmp_path / "a" / "0.bin", "cannot be read: Permission denied", "mend its permissions")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (tmp_path / "a", os.X_OK))
        with pytest.raises(DataError) as error:
            load_folder(tmp_path, folder_spec(tmp_path))
    assert_one_line(error, tmp_path / "a", "cannot be read: Permission denied", "mend its permissions")
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError) as error:
        load_folder(tmp_path, folder_spec(tmp_path))
    assert_one_line(error, tmp_path, "cannot be read: Permission denied", "mend its permissions")


@needs_nmnist
def test_too_small_a_sensor_for_nmnist(tmp_path):
    shutil.copytree(NMNIST / "test" / "0", tmp_path / "0")
    with pytest.raises(DataError, match=r"outside of the sensor of 16x16 .*set dataset.input_shape to at least"):
        load_folder(tmp_path, folder_spec(tmp_path, input_shape=[2, 16, 16]))
