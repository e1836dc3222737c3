"""The embedded digits: a split that never changes, and recordings of it."""

import hashlib

import numpy as np
import pytest

from decolle_hw.data import dataset_classes, digits, load_split, recording_events
from decolle_hw.data.splitting import split_by_name, stratified_split
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import CameraSpec, DatasetSpec

SPEC = DatasetSpec(deltat=5000, chunk_size_train=60, chunk_size_test=50)


def test_split_is_fixed_disjoint_and_stratified():
    train, test = digits.split_indices(SPEC, "train"), digits.split_indices(SPEC, "test")
    assert (len(train), len(test)) == (1438, 359)
    assert (
        hashlib.sha256(test.astype("<i8").tobytes()).hexdigest()
        == "ba6de69def38fe4295d840469144544e47cd5c6013530e18a2aad0ea7a9395f2"
    )
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))
    labels = digits.images()[1]
    per_class = np.bincount(labels)
    np.testing.assert_array_equal(np.bincount(labels[test]), np.rint(per_class * 0.2))


def test_split_does_not_depend_on_the_camera():
    other = DatasetSpec(camera=CameraSpec(seed=7, contrast_threshold=0.3), input_shape=[2, 34, 34])
    np.testing.assert_array_equal(digits.split_indices(SPEC, "test"), digits.split_indices(other, "test"))


def test_load_split_gives_frames_labels_and_names():
    seen = []
    data = load_split(SPEC, "test", lambda done, total: seen.append((done, total)))
    assert (len(data), data.steps, data.num_inputs) == (359, 50, 512)
    assert seen[0] == (1, 359) and seen[-1] == (359, 359)
    assert data.classes == dataset_classes(SPEC) == tuple("0123456789")
    chosen = digits.split_indices(SPEC, "test")
    assert data.names == tuple(f"digits/{k}" for k in chosen)
    np.testing.assert_array_equal(data.labels, digits.images()[1][chosen])
    assert 0.02 < data.density < 0.1
    assert len(data.take(np.arange(359)).active) == len(data.active)
    assert np.all(np.diff(data.indptr) > 100), "every digit must be seen"


def test_recording_events_are_those_that_were_binned():
    data = load_split(SPEC, "test")
    for index in (0, 100, 358):
        events = recording_events(SPEC, "test", index)
        frames = np.zeros((60, 2, 16, 16), np.uint8)
        frames[events["t"] // 5000, events["p"].astype(int), events["y"], events["x"]] = 1
        np.testing.assert_array_equal(data.dense([index])[:, 0], frames[:50].reshape(50, 512))


@pytest.mark.parametrize("shape", [[2, 10, 10], [2, 10, 23], [2, 34, 12]])
def test_any_sensor_from_ten_pixels_on(shape):
    spec = DatasetSpec(input_shape=shape)
    (events,) = digits.record(spec, np.array([3]))
    assert events["y"].min() >= 0 and events["y"].max() < shape[1]
    assert events["x"].min() >= 0 and events["x"].max() < shape[2]


@pytest.mark.parametrize("shape", [[2, 9, 16], [2, 16, 9]])
def test_too_small_a_sensor_is_refused(shape):
    with pytest.raises(SpecError, match=r"dataset.input_shape .*at least 10x10 pixels; set it to \[2, 16, 16\]"):
        load_split(DatasetSpec(input_shape=shape), "test")


def test_stratified_split_leaves_one_on_each_side():
    labels = np.repeat([0, 1, 2, 3], [1, 2, 3, 10])
    for fraction, expected in ((0.01, [0, 1, 1, 1]), (0.5, [0, 1, 2, 5]), (0.99, [0, 1, 2, 9])):
        for train, test in (
            stratified_split(labels, fraction),
            split_by_name(labels, [f"{label}/{index}" for index, label in enumerate(labels)], fraction),
        ):
            assert sorted([*train, *test]) == list(range(16))
            assert np.bincount(labels[test], minlength=4).tolist() == expected


def test_digits_have_the_classes_of_digits():
    assert len(load_split(SPEC, "test", classes=digits.CLASSES)) == 359
    with pytest.raises(DataError, match=r"the embedded digits: .*missing: clap; new: 0, 1, 2, 3, 4 and 5 more"):
        load_split(SPEC, "test", classes=("clap",))


def test_images_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        digits.images()[0][0, 0, 0] = 1.0
