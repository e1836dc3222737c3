"""Files of labels, and recordings that a network learns from, without a network that runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plastic_artifacts import output_learning
from small_programs import make_program
from test_data_folder import make_folder, write_recording

from decolle_hw.errors import DataError, UsageError
from decolle_hw.learning.labels import read_labels, require_as_many
from decolle_hw.learning.session import schedule
from decolle_hw.learning.shown import recordings_to_learn

CLASSES = ("cat", "dog", "eel")


def write(tmp_path, text: str):
    (tmp_path / "labels.txt").write_text(text)
    return tmp_path / "labels.txt"


def test_one_class_per_line(tmp_path):
    assert read_labels(write(tmp_path, "dog\ncat \r\n eel\n\n \n"), CLASSES).tolist() == [1, 0, 2]


def test_every_wrong_line_is_named(tmp_path):
    file = write(tmp_path, "dog\ndgo\n\ncat\ncats\n")
    with pytest.raises(DataError) as caught:
        read_labels(file, CLASSES)
    first, *lines = str(caught.value).splitlines()
    assert first == f"--labels {file}:" and len(lines) == 3
    assert lines[0] == "  line 2: 'dgo' is no class of the network; did you mean 'dog'? known: cat, dog, eel"
    assert "line 3: is empty" in lines[1] and "line 5: 'cats'" in lines[2]


def test_very_many_wrong_lines_are_counted(tmp_path):
    with pytest.raises(DataError, match="and 195 more of 201 lines") as caught:
        read_labels(write(tmp_path, "x\n" * 200 + "cat\n"), CLASSES)
    assert str(caught.value).count("\n") == 6


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="does not exist; give a file with one class per line"):
        read_labels(tmp_path / "none", CLASSES)
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path, CLASSES)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_labels(tmp_path / "bytes", CLASSES)


@pytest.mark.parametrize(("labels", "word"), [(3, "fewer"), (5, "more"), (0, "fewer")])
def test_one_label_for_each_recording(labels, word, tmp_path):
    with pytest.raises(DataError, match=f"{labels} labels are {word} than the 4 recordings"):
        require_as_many(tmp_path / "labels.txt", np.zeros(labels, np.int64), 4)


def test_a_schedule_can_be_cut_anywhere():
    whole = schedule(7, 10, 0, 4)
    assert len(whole) == 40
    for number in range(4):
        assert sorted(whole[10 * number : 10 * number + 10]) == list(range(10))
    assert len({tuple(whole[i : i + 10]) for i in range(0, 40, 10)}) == 4
    for presented in (0, 10, 13, 27):
        np.testing.assert_array_equal(schedule(7, 10, presented, 1), whole[presented : presented + 10])
    assert not np.array_equal(schedule(8, 10, 0, 4), whole)


def program(steps: int = 18, classes: tuple[str, ...] = ("a", "b", "c")):
    """Without a description: recordings of 6 x 6 pixels come from outside."""
    return replace(output_learning(make_program("dense", "decolle"), classes).program, steps=steps)


def test_a_folder_with_train_and_test(tmp_path):
    make_folder(tmp_path / "train", {"a": 3, "b": 2, "c": 2})
    make_folder(tmp_path / "test", {"a": 1, "c": 1})
    found = recordings_to_learn(program(), str(tmp_path), None, None)
    assert found.shown.names[:3] == ("a/0.bin", "a/1.bin", "a/2.bin") and len(found.shown) == 7
    assert found.tested is not None and found.tested.names == ("a/0.bin", "c/0.bin") and found.note == ""
    assert found.tested.labels.tolist() == [0, 2] and found.shown.window == found.tested.window == 18


def test_a_folder_of_classes_without_test_recordings(tmp_path):
    make_folder(tmp_path, {"a": 3, "b": 2})
    found = recordings_to_learn(program(), str(tmp_path), None, 4)
    assert found.tested is None and "comes from elsewhere" in found.note and len(found.shown) == 4
    with pytest.raises(DataError, match="class 'z' is unknown"):
        make_folder(tmp_path, {"z": 1})
        recordings_to_learn(program(), str(tmp_path), None, None)


def test_recordings_that_are_not_sorted(tmp_path):
    """With labels the names of folders mean nothing, and there need not be any."""
    for number in range(3):
        write_recording(tmp_path / "flat" / f"{number}.bin")
    labels = write(tmp_path, "c\na\nb\n")
    found = recordings_to_learn(program(), str(tmp_path / "flat"), labels, None).shown
    assert found.names == tuple(f"flat/{number}.bin" for number in range(3))
    assert found.labels.tolist() == [2, 0, 1] and found.classes == ("a", "b", "c")
    make_folder(tmp_path / "days", {"monday": 2, "sunday": 1})
    found = recordings_to_learn(program(), str(tmp_path / "days"), labels, None).shown
    assert found.names == ("monday/0.bin", "monday/1.bin", "sunday/0.bin") and found.labels.tolist() == [2, 0, 1]
    with pytest.raises(DataError, match="3 labels are fewer than the 4 recordings"):
        write_recording(tmp_path / "flat" / "3.bin")
        recordings_to_learn(program(), str(tmp_path / "flat"), labels, None)


def test_spikes_of_an_array(tmp_path):
    spikes = (np.random.default_rng(0).random((4, 18, 72)) < 0.2).astype(np.uint8)
    np.savez(tmp_path / "spikes.npz", spikes=spikes)
    np.savez(tmp_path / "labelled.npz", spikes=spikes, labels=np.array(["a", "c", "b", "a"]))
    labels = write(tmp_path, "c\na\nb\nb\n")
    assert recordings_to_learn(program(), str(tmp_path / "labelled.npz"), None, None).shown.labels.tolist() == [
        0,
        2,
        1,
        0,
    ]
    for name in ("spikes.npz", "labelled.npz"):
        found = recordings_to_learn(program(), str(tmp_path / name), labels, None).shown
        assert found.labels.tolist() == [2, 0, 1, 1]
        np.testing.assert_array_equal(found.dense(range(4)).transpose(1, 0, 2), spikes)
    with pytest.raises(DataError, match="needed are spikes"):
        recordings_to_learn(program(), str(tmp_path / "spikes.npz"), None, None)


def test_a_network_from_elsewhere_needs_recordings():
    with pytest.raises(UsageError, match="give some with --data"):
        recordings_to_learn(program(), None, None, None)
