"""`dataset.classes`: some classes of a data set, whatever its kind, with labels of their own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_data_folder import make_folder
from tonic.datasets import DVSGesture

from decolle_hw.data import cache, dataset_classes, load_folder, load_split, recording_events, stream_folder
from decolle_hw.data.choosing import of_classes
from decolle_hw.data.load import _chosen
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec, load_model_spec

COUNTS = {"a": 5, "b": 6, "c": 7, "10": 5, "2": 6}
CHOSEN = ["c", "10", "a"]
IN_ORDER = ("10", "a", "c")  # of a folder: numbers first


def folder_spec(root, **values) -> DatasetSpec:
    return DatasetSpec(name="folder", path=str(root), input_shape=[2, 12, 12], chunk_size_test=20, **values)


def array_spec(root, **values) -> DatasetSpec:
    rng = np.random.default_rng(0)
    labels = np.repeat(["cat", "dog", "eel", "fly"], 6)
    np.savez(root / "images.npz", x_train=rng.random((24, 12, 12)), y_train=labels)
    return DatasetSpec(name="array", path=str(root / "images.npz"), input_shape=[2, 12, 12], **values)


def gesture_spec(root, **values) -> DatasetSpec:
    rows = np.array([[1, 2, 0, 0.0], [100, 120, 1, 20.0], [3, 4, 1, 21.0]])
    for split in ("Train", "Test"):
        for user in ("user01_led", "user02_led"):
            folder = root / "DVSGesture" / f"ibmGesture{split}" / user
            folder.mkdir(parents=True)
            for label in range(11):
                np.save(folder / f"{label}.npy", rows + np.array([0, 0, 0, label]))
    return DatasetSpec(name="dvs_gesture", path=str(root), input_shape=[2, 32, 32], **values)


def digits_spec(root, **values) -> DatasetSpec:
    # As large as those of other tests, for which they were drawn already.
    return DatasetSpec(deltat=5000, chunk_size_train=20, chunk_size_test=20, **values)


GESTURES = [DVSGesture.classes[7], DVSGesture.classes[2]]


def made_folder_spec(root, **values) -> DatasetSpec:
    return folder_spec(make_folder(root, COUNTS), **values)


KINDS = [
    (digits_spec, ["7", "3", "5"], ("3", "5", "7")), (made_folder_spec, CHOSEN, IN_ORDER),
    (array_spec, ["fly", "cat"], ("cat", "fly")), (gesture_spec, GESTURES, (GESTURES[1], GESTURES[0])),
]  # fmt: skip


@pytest.mark.parametrize(("make", "chosen", "in_order"), KINDS)
def test_the_same_recordings_of_fewer_classes(make, chosen, in_order, tmp_path, digits_drawn_once):
    everything = make(tmp_path)
    spec = everything.model_copy(update={"classes": chosen})
    assert dataset_classes(spec) == in_order and len(dataset_classes(everything)) > len(in_order)
    for split in ("train", "test"):
        whole, part = load_split(everything, split), load_split(spec, split, classes=in_order)
        which = [i for i, label in enumerate(whole.labels) if whole.classes[label] in chosen]
        assert part.names == tuple(whole.names[i] for i in which) and 0 < len(which) < len(whole)
        assert part.classes == in_order
        assert [in_order[label] for label in part.labels] == [whole.classes[whole.labels[i]] for i in which]
        np.testing.assert_array_equal(part.dense(range(len(part))), whole.dense(which))
    np.testing.assert_array_equal(recording_events(spec, "test", 0), recording_events(everything, "test", which[0]))


def test_what_a_trained_network_knows_is_compared(tmp_path):
    make_folder(tmp_path, COUNTS)
    spec = folder_spec(tmp_path, classes=CHOSEN)
    with pytest.raises(DataError, match=r"classes are not those that the network was trained on \(new: 10\)"):
        load_split(spec, "train", classes=("a", "c"))
    with pytest.raises(DataError, match="missing: 2, b"):
        load_split(spec, "train", classes=("2", "10", "a", "b", "c"))


def test_a_limit_counts_recordings_of_the_chosen_classes(tmp_path):
    make_folder(tmp_path, COUNTS)
    train = load_split(folder_spec(tmp_path, classes=CHOSEN, train_limit=6), "train")
    assert len(train) == 6 and set(train.labels) == {0, 1, 2}


def test_a_folder_to_test_on_may_hold_other_classes(tmp_path):
    make_folder(tmp_path, COUNTS)
    spec = DatasetSpec(input_shape=[2, 12, 12], classes=["2", "7"], chunk_size_test=20)
    assert set(load_folder(tmp_path, spec, ("2", "7")).names) == {f"2/{k}.bin" for k in range(6)}
    assert stream_folder(tmp_path, spec, classes=("2", "7")).labels.tolist() == [0] * 6
    with pytest.raises(DataError, match="class 'a' is unknown"):
        load_folder(tmp_path, spec.model_copy(update={"classes": None}), ("2", "10", "7"))
    with pytest.raises(DataError, match=r"has no recording of dataset.classes 8, 9"):
        load_folder(tmp_path, spec, ("8", "9"))


def test_binned_recordings_of_other_classes_are_other_files(tmp_path):
    make_folder(tmp_path, COUNTS)
    keys = set()
    for classes in (None, ["a", "b"], ["a", "c"], ["a", "b", "c"]):
        spec = folder_spec(tmp_path, classes=classes)
        keys.add(cache.key_of(_chosen(spec, "train").source, spec, 20))
        first = load_split(spec, "train")
        again = load_split(spec, "train")
        np.testing.assert_array_equal(first.active, again.active)
        assert first.names == again.names and first.classes == again.classes == dataset_classes(spec)
    assert len(keys) == 4


def test_the_kind_of_a_source_is_part_of_its_identity(tmp_path):
    make_folder(tmp_path, COUNTS)
    spec = folder_spec(tmp_path)
    source = _chosen(spec, "train").source
    other = type("Other", (type(source),), {})(*(getattr(source, field.name) for field in dataclasses.fields(source)))
    assert of_classes(source, IN_ORDER).identity(spec) != of_classes(other, IN_ORDER).identity(spec)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[3]", ["1 of at least 2 classes"]),
        ("[]", ["0 of at least 2 classes"]),
        ("[3, 3]", ["'3' stands in it twice"]),
        ("[1.5, 2]", ["1.5", "quotes"]),
        ("[on, 2]", ["True", "quotes"]),
        ("[[1], 2]", ["dataset.classes"]),
        ("3", ["dataset.classes", "list"]),
    ],
)
def test_lists_that_are_none(value, words):
    with pytest.raises(SpecError) as caught:
        load_model_spec("digits", (f"dataset.classes={value}",))
    for word in ["dataset.classes", *words]:
        assert word in str(caught.value)


def test_a_class_that_the_data_set_has_not():
    spec = load_model_spec("digits", ("dataset.classes=[1, 2, 33, x]",)).dataset
    assert spec.classes == ["1", "2", "33", "x"]
    for call in (lambda: load_split(spec, "test"), lambda: dataset_classes(spec)):
        with pytest.raises(SpecError, match=r"no class '33', 'x'; did you mean '3'\? known: 0, 1, 2, 3"):
            call()


def test_a_test_folder_without_the_chosen_classes(tmp_path):
    make_folder(tmp_path / "train", COUNTS)
    make_folder(tmp_path / "test", {"a": 2, "b": 2})
    spec = folder_spec(tmp_path, classes=["c", "10"])
    with pytest.raises(DataError, match=r"no test recording of dataset.classes 10, c"):
        load_split(spec, "test")


def test_numbers_become_names_and_training_takes_them(decolle_hw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["dataset.deltat=15000", "dataset.chunk_size_train=20", "dataset.chunk_size_test=20"]
    small += ["dataset.train_limit=60", "dataset.test_limit=30", "network.Mhid=[16]", "training.burnin_steps=4"]
    sets = [word for change in [*small, "dataset.classes=[0,1,2,3,4]"] for word in ("--set", change)]
    outcome = decolle_hw("train", "digits", "--epochs", "1", *sets)
    assert outcome.code == 0, outcome.err
    outcome = decolle_hw("evaluate")
    assert outcome.code == 0 and "on 30 recordings" in outcome.out, outcome.err
    outcome = decolle_hw("train", "digits", "--set", "dataset.classes=[0, 10]")
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and "did you mean" in outcome.err
    outcome = decolle_hw("compile", "digits", "--dry-run", "--plastic", "1", "--set", "dataset.classes=[0,1,2]")
    assert outcome.code == 0 and "error1" in outcome.out, outcome.err
