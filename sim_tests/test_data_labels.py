"""Classes and test recordings that a file lists, and folders of mixed formats."""

import os
import warnings

import numpy as np
import pytest
from pydantic import ValidationError
from recording_tools import drawn_events, folder_spec, one_line, write_bin, write_npy

from decolle_hw.data import dataset_classes, load_folder, load_split
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import load_model_spec

ROWS = {"one.npy": "wave", "two.bin": "clap", "sub/three.npy": "wave", "four.npy": "clap", "five.npy": "wave"}


def write_flat(root, rows=ROWS):
    for k, name in enumerate(rows):
        (write_bin if name.endswith(".bin") else write_npy)(root / name, drawn_events(k))
    return root


def write_csv(file, rows, header="recording,class"):
    file.write_text("\n".join([header, *(",".join(row) for row in rows), ""]), encoding="utf-8")
    return str(file)


def test_a_flat_folder_with_labels_in_a_file(tmp_path):
    root = write_flat(tmp_path / "data")
    spec = folder_spec(root, labels=write_csv(root / "labels.csv", ROWS.items()), test_fraction=0.4)
    train, test = load_split(spec, "train"), load_split(spec, "test")
    assert train.classes == test.classes == dataset_classes(spec) == ("clap", "wave")
    found = {
        name: data.classes[label] for data in (train, test) for name, label in zip(data.names, data.labels, strict=True)
    }
    assert found == ROWS and len(test) == 2 and np.bincount(test.labels).tolist() == [1, 1]


def test_labels_may_carry_more_columns_spaces_and_a_byte_order_mark(tmp_path):
    root = write_flat(tmp_path / "data")
    file = tmp_path / "labels.csv"
    lines = ["\ufeffclass , who,recording", *(f"{label}, me , ./{name}" for name, label in ROWS.items()), " , , "]
    file.write_bytes("\r\n".join(lines).encode())
    assert load_split(folder_spec(root, labels=str(file)), "train").classes == ("clap", "wave")


def test_labels_of_a_folder_with_train_and_test(tmp_path):
    rows = {"train/1.npy": "a", "train/2.npy": "b", "test/3.npy": "a"}
    root = write_flat(tmp_path / "data", rows)
    spec = folder_spec(root, labels=write_csv(tmp_path / "l.csv", rows.items()))
    assert load_split(spec, "train").names == ("train/1.npy", "train/2.npy")
    test = load_split(spec, "test")
    assert test.names == ("test/3.npy",) and test.classes == ("a", "b")


def changed(name, *rows):
    return [row for row in ROWS.items() if row[0] != name] + list(rows)


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (
            changed("one.npy", ("on.npy", "wave")),
            None,
            "line 6: {root} has no recording 'on.npy'; did you mean 'one.npy'?",
        ),
        (changed("one.npy"), None, "has no row for one.npy of {root}"),
        (changed("", ("one.npy", "wave")), None, "line 7: recording 'one.npy' stands in line 2 already"),
        (changed("one.npy", ("one.npy", "")), None, "line 6: recording 'one.npy' has no class"),
        (changed("one.npy", ("one.npy", "Wave")), None, "classes 'Wave' and 'wave' differ only in case"),
        (changed("one.npy", ("one.npy", "wave", "x")), None, "line 6: has 3 columns instead of 2"),
        (list(ROWS.items()), "recording,clas", "line 1: has no column 'class' (found: recording, clas)"),
        (list(ROWS.items()), "file;class", "line 1: has no column 'recording' (found: file;class)"),
        ([], None, "names no recordings"),
    ],
)
def test_slips_in_labels_are_named_with_the_line(tmp_path, rows, header, words):
    root = write_flat(tmp_path / "data")
    file = write_csv(tmp_path / "labels.csv", rows, header or "recording,class")
    with pytest.raises(DataError) as error:
        load_split(folder_spec(root, labels=file), "train")
    one_line(error, file, words.format(root=root))


def test_a_missing_or_binary_labels_file(tmp_path):
    root = write_flat(tmp_path / "data")
    for name, words in (
        ("none.csv", "cannot be read: No such file"),
        ("data/two.bin", "is not CSV: line contains NUL"),
    ):
        with pytest.raises(DataError) as error:
            load_split(folder_spec(root, labels=str(tmp_path / name)), "train")
        one_line(error, tmp_path / name, words)


def test_chosen_classes_and_a_slip_in_them(tmp_path):
    root = write_flat(tmp_path / "data")
    labels = write_csv(tmp_path / "l.csv", ROWS.items())
    with pytest.raises(SpecError, match=r"dataset.classes: the data set has no class 'wav'; did you mean 'wave'"):
        load_split(folder_spec(root, labels=labels, classes=["clap", "wav"]), "train")


def test_what_a_list_names_is_held_out(tmp_path):
    for name in ("a/1.npy", "a/2.npy", "b/1.npy", "b/2.npy", "b/3.bin"):
        (write_bin if name.endswith(".bin") else write_npy)(tmp_path / "data" / name, drawn_events(1))
    listed = tmp_path / "test.txt"
    listed.write_text("# of Monday\n\nb/3.bin\r\n./a/1.npy\n")
    spec = folder_spec(tmp_path / "data", test_list=str(listed))
    assert load_split(spec, "test").names == ("a/1.npy", "b/3.bin")
    assert load_split(spec, "train").names == ("a/2.npy", "b/1.npy", "b/2.npy")
    for text, words in (
        ("b/3.bni\n", "line 1: no recording is called 'b/3.bni'; did you mean 'b/3.bin'?"),
        ("a/1.npy\na/1.npy\n", "line 2: 'a/1.npy' stands in line 1 already"),
        ("# nothing\n", "holds out none of the 5 recordings"),
        ("a/1.npy\na/2.npy\nb/1.npy\nb/2.npy\nb/3.bin\n", "holds out all 5 recordings"),
    ):
        listed.write_text(text)
        with pytest.raises(DataError) as error:
            load_split(spec, "train")
        one_line(error, listed, words)


def test_a_list_where_there_is_a_test_folder_is_refused(tmp_path):
    write_flat(tmp_path, {"train/a/1.npy": "a", "test/a/1.npy": "a"})
    with pytest.raises(
        SpecError, match=r"dataset.test_list t.txt: .* has a test folder of its own; leave test_list out"
    ):
        load_split(folder_spec(tmp_path, test_list="t.txt"), "train")


def test_one_class_only_is_refused_for_training_but_not_for_testing(tmp_path):
    write_flat(tmp_path, {"a/1.npy": "a", "a/2.npy": "a"})
    with pytest.raises(DataError) as error:
        load_split(folder_spec(tmp_path), "train")
    one_line(error, tmp_path, "all recordings are of one class, 'a'", "add another class folder")
    assert len(load_folder(tmp_path, folder_spec(tmp_path), ("a", "b"))) == 2


def test_a_sensor_that_only_other_formats_can_have(tmp_path):
    write_flat(tmp_path / "bin", {"a/1.bin": "", "a/2.bin": "", "b/1.bin": "", "b/2.bin": ""})
    large = {"input_shape": [2, 64, 64], "downsample": 8}
    with pytest.raises(
        SpecError, match=r"means a sensor of 512x512 pixels; recordings in .bin format have at most 240"
    ):
        load_split(folder_spec(tmp_path / "bin", **large), "train")
    write_flat(tmp_path / "bin", {"a/3.npy": "", "b/3.npy": ""})
    assert len(load_split(folder_spec(tmp_path / "bin", **large), "train")) == 4


def test_names_that_are_not_utf8_all_the_way(tmp_path):
    root = os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9ta")
    odd = os.fsdecode(b"geb\xe4rde.npy")
    for k in range(3):
        write_npy(tmp_path.__class__(root) / f"{k}{odd}", drawn_events(k))
    file = tmp_path / "labels.csv"
    file.write_bytes(
        b"recording,class\n" + b"".join(b"%dgeb\xe4rde.npy,%s\n" % (k, b"ab"[k % 2 : k % 2 + 1]) for k in range(3))
    )
    spec = folder_spec(root, labels=str(file), time_window=100_000, transforms=["RandomFlipLR"], split_by="time")
    train = load_split(spec, "train")
    assert train.names[0] == f"0{odd}@0" and load_split(spec, "train").names == train.names


def test_paths_in_a_description_count_from_its_folder(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "name: own\ndataset: {name: folder, path: data, labels: l.csv, test_list: ../t.txt}\nnetwork: {Mhid: [8]}\n"
    )
    dataset = load_model_spec(str(tmp_path / "own.yaml")).dataset
    assert dataset.labels == str(tmp_path / "l.csv") and dataset.test_list == str(tmp_path / ".." / "t.txt")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "dvs_gesture", "input_shape": [2, 32, 32], "labels": "x"}, "labels x: is for name: folder"),
        ({"test_path": "x", "test_list": "y"}, "give one of them"),
        ({"test_path": "x", "labels": "y"}, "labels y: lists all recordings of path"),
    ],
)
def test_keys_that_exclude_each_other(values, words):
    with pytest.raises(ValidationError) as error:
        folder_spec("x", **values)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("label", "slip"), [("wafe", "wave"), ("Wve", "wave"), ("clap", None), ("wave2", None), ("w", None)]
)
def test_a_class_that_may_be_misspelt_is_asked_about(tmp_path, label, slip):
    root = write_flat(tmp_path / "data")
    file = write_csv(
        tmp_path / "labels.csv", [*(row for row in ROWS.items() if row[0] != "two.bin"), ("two.bin", label)]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert label in dataset_classes(folder_spec(root, labels=file))
    found = [str(one.message) for one in caught]
    if slip is None:
        assert found == []
    else:
        asked = f"class {label!r} has a single recording, {slip!r} has 3; if it is a slip, write {slip!r}"
        assert found == [f"{file}: line 6: {asked}"]


def test_what_is_called_nearly_so_is_suggested(tmp_path):
    root = write_flat(tmp_path / "recordings")
    write_csv(tmp_path / "labels.csv", ROWS.items())
    with pytest.raises(DataError) as error:
        dataset_classes(folder_spec(root, labels=str(tmp_path / "label.csv")))
    one_line(error, tmp_path / "label.csv", "No such file", f"did you mean {str(tmp_path / 'labels.csv')!r}?")
    with pytest.raises(DataError) as error:
        load_folder(tmp_path / "recording", folder_spec(root))
    one_line(error, tmp_path / "recording", "does not exist", f"did you mean {str(root)!r}?")
    for name in ("wave", "clapp"):
        write_npy(tmp_path / "new" / name / "0.npy", drawn_events(1))
    with pytest.raises(DataError) as error:
        load_folder(tmp_path / "new", folder_spec(root), ("clap", "wave"))
    one_line(error, tmp_path / "new" / "clapp", "is unknown to the network", "did you mean 'clap'?")
