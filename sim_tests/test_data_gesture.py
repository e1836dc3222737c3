"""DVS Gesture in the layout that tonic saves: as tonic itself reads it. No recording of it is on this machine."""

import numpy as np
import pytest
from tonic.datasets import DVSGesture

from decolle_hw.data import dataset_classes, load_folder, load_split, recording_events
from decolle_hw.data.gesture import CLASSES
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec
from decolle_hw.spec_dataset import DVS_GESTURE_SENSOR


def gesture_spec(path, **values):
    return DatasetSpec(**{"name": "dvs_gesture", "path": str(path), "input_shape": [2, 32, 32], **values})


def columns(rng, count=400, first_ms=0, duration_ms=1800):
    """(E, 4) columns x, y, p, t (ms) as in tonic's files, sorted by t."""
    t = np.sort(rng.integers(0, duration_ms, count)) + first_ms
    return np.stack([rng.integers(0, 128, count), rng.integers(0, 128, count), rng.integers(0, 2, count), t], axis=1)


def make_folder(root, dtype=np.int64, classes=11):
    """Two users with two kinds of light for training, one user for testing."""
    rng = np.random.default_rng(0)
    for folder, users in (
        ("ibmGestureTrain", ("user02_fluorescent", "user01_led", "user01_fluorescent")),
        ("ibmGestureTest", ("user24_lab",)),
    ):
        for user in users:
            (root / "DVSGesture" / folder / user).mkdir(parents=True)
            for label in range(classes):
                np.save(root / "DVSGesture" / folder / user / f"{label}.npy", columns(rng).astype(dtype))
    return root


def test_the_official_split_with_named_classes(tmp_path):
    spec = gesture_spec(make_folder(tmp_path))
    train, test = load_split(spec, "train"), load_split(spec, "test")
    assert (len(train), len(test), train.num_inputs) == (33, 11, 2048)
    assert train.classes == dataset_classes(spec) == tuple(DVSGesture.classes)
    assert len(CLASSES) == 11 and CLASSES[0] == "Hand clapping"
    # 10 after 9, not after 1.
    assert train.labels.tolist() == list(range(11)) * 3 and test.labels.tolist() == list(range(11))
    assert train.names[10:12] == ("user01_fluorescent/10.npy", "user01_led/0.npy")
    assert test.names[0] == "user24_lab/0.npy"


@pytest.mark.parametrize("split", ["train", "test"])
def test_events_equal_those_of_tonic(tmp_path, monkeypatch, split):
    spec = gesture_spec(make_folder(tmp_path, classes=3))
    data = load_split(spec, split)
    # As in a folder that a user has extracted: without the archives tonic would download them again.
    monkeypatch.setattr(DVSGesture, "_check_exists", lambda self: True)
    theirs = DVSGesture(str(tmp_path), train=split == "train")
    assert theirs.sensor_size == (*DVS_GESTURE_SENSOR[::-1], 2)
    assert sorted(data.names) == sorted("/".join(file.split("/")[-2:]) for file in theirs.data)
    for index, file in enumerate(theirs.data):
        ours = data.names.index("/".join(file.split("/")[-2:]))
        events, label = theirs[index]
        assert data.labels[ours] == label
        found = recording_events(spec, split, ours)
        np.testing.assert_array_equal(found["t"], events["t"] - events["t"][0])
        for field, blocks in (("x", 4), ("y", 4), ("p", 1)):
            np.testing.assert_array_equal(found[field], events[field] // blocks if blocks > 1 else events[field])
        frames = np.zeros((300, 2, 32, 32), np.uint8)
        used = found[found["t"] < 300_000]
        frames[used["t"] // 1000, used["p"].astype(int), used["y"], used["x"]] = 1
        np.testing.assert_array_equal(data.dense([ours])[:, 0], frames.reshape(300, -1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint16, np.int32])
def test_the_type_of_the_columns_does_not_matter(tmp_path, dtype):
    ours, theirs = (
        load_split(gesture_spec(make_folder(tmp_path / name, kind, classes=2)), "test")
        for name, kind in (("a", dtype), ("b", np.int64))
    )
    np.testing.assert_array_equal(ours.active, theirs.active)


def test_random_windows_of_whole_gestures(tmp_path):
    spec = gesture_spec(make_folder(tmp_path), crop="random", chunk_size_train=500, chunk_size_test=1800)
    train, test = load_split(spec, "train"), load_split(spec, "test")
    assert (train.window, test.window) == (500, 1800)
    assert 1700 < train.lengths.min() <= train.lengths.max() == train.steps <= 1800
    starts = train.draw_starts(np.random.default_rng(0))
    assert starts.min() >= 0 and starts.max() > 500 and np.all(starts + 500 <= train.lengths)
    assert not test.draw_starts(np.random.default_rng(0)).any()
    late = train.dense([3], [900])[:, 0]
    np.testing.assert_array_equal(late[:100], train.dense([3], [500])[400:, 0])


def test_time_counts_from_the_first_event(tmp_path):
    make_folder(tmp_path, classes=1)
    file = tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_lab" / "0.npy"
    rows = np.load(file)
    before = load_split(gesture_spec(tmp_path), "test")
    np.save(file, rows + np.array([0, 0, 0, 98_765]))
    after = load_split(gesture_spec(tmp_path), "test")
    np.testing.assert_array_equal(before.active, after.active)


def test_the_folder_dvsgesture_itself_may_be_given(tmp_path):
    make_folder(tmp_path, classes=2)
    ours, theirs = (load_split(gesture_spec(path), "test") for path in (tmp_path, tmp_path / "DVSGesture"))
    np.testing.assert_array_equal(ours.active, theirs.active)


def test_a_network_for_gestures_reads_folders_of_bin_recordings(tmp_path):
    file = tmp_path / "Arm roll" / "0.bin"
    file.parent.mkdir()
    file.write_bytes(bytes([127, 64, 128, 4, 0]))
    data = load_folder(tmp_path, gesture_spec(tmp_path), CLASSES)
    assert data.labels.tolist() == [7] and data.active.tolist() == [1 * 2048 + 1024 + 16 * 32 + 31]


def without_training(root):
    (root / "DVSGesture" / "ibmGestureTrain").rename(root / "away")
    return root, "has no DVSGesture/ibmGestureTrain", "to download it, run", f"DVSGesture({str(root)!r}, True)"


def another_name(root):
    file = root / "DVSGesture" / "ibmGestureTrain" / "user01_led" / "wave.npy"
    np.save(file, np.zeros((1, 4)))
    return file, "is not named after a class 0..10"


def without_recordings(root):
    for file in (root / "DVSGesture" / "ibmGestureTest").rglob("*.npy"):
        file.unlink()
    return root / "DVSGesture" / "ibmGestureTest", "holds no recordings", "extract tonic's archive again"


@pytest.mark.parametrize("damage", [without_training, another_name, without_recordings])
def test_other_layouts_are_named_with_a_remedy(tmp_path, damage):
    path, *words = damage(make_folder(tmp_path, classes=2))
    with pytest.raises(DataError) as error:
        load_split(gesture_spec(tmp_path), "train")
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an array of NumPy"),
        (b"\x93NUMPY\x01\x00", "is not an array of NumPy"),
        (np.zeros(4), "has shape (4,), not (events, 4)"),
        (np.zeros((3, 5)), "has shape (3, 5), not (events, 4)"),
        (np.zeros((0, 4)), "holds no events"),
        (np.full((2, 4), np.nan), "not all numbers"),
        (np.array([["a"] * 4]), "not all numbers"),
        (np.array([[None] * 4]), "is not an array of NumPy"),
        (np.array([[1, 2, 3, 4]]), "its columns are not x, y, p (0 or 1), t"),
        (np.array([[99_999, 2, 1, 4]]), "its columns are not x, y, p (0 or 1), t"),
        (np.array([[128, 2, 1, 4]]), "event 0 at x=128, y=2 is outside of the sensor of 128x128"),
        (np.array([[-1, 2, 1, 4]]), "event 0 at x=-1, y=2 is outside"),
    ],
)
def test_unusable_files_are_named(tmp_path, content, words):
    make_folder(tmp_path, classes=2)
    file = tmp_path / "DVSGesture" / "ibmGestureTrain" / "user01_led" / "1.npy"
    file.write_bytes(content) if isinstance(content, bytes) else np.save(file, content)
    with pytest.raises(DataError) as error:
        load_split(gesture_spec(tmp_path), "train")
    assert str(error.value).startswith(f"{file}: ") and "\n" not in str(error.value)
    assert words in str(error.value)


def test_missing_path():
    with pytest.raises(SpecError, match=r"dataset\.path: is missing.*tonic's folder"):
        load_split(DatasetSpec(name="dvs_gesture", input_shape=[2, 32, 32]), "train")
