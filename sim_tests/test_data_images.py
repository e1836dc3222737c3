"""Images of an .npz: the split, the scale, brightness, and every file that cannot be used."""

import io
from pathlib import Path

import numpy as np
import pytest

from decolle_hw.data import dataset_classes, load_split, recording_events
from decolle_hw.data.camera import record
from decolle_hw.data.stills import camera_of
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz"


def array_spec(path, **values):
    return DatasetSpec(**{"name": "array", "path": str(path), "deltat": 5000, "chunk_size_train": 60, **values})


def arrays_of(train=12, test=6, size=9, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (train, size, size), np.uint8),
        "y_train": np.arange(train) % 3 + 5,
        "x_test": rng.integers(0, 256, (test, size, size), np.uint8),
        "y_test": np.arange(test) % 2 + 5,
    }


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "images.npz", **arrays_of())
    return tmp_path / "images.npz"


def test_images_become_recordings_of_the_simulated_camera(file):
    spec = array_spec(file)
    train, test = load_split(spec, "train"), load_split(spec, "test")
    assert (len(train), len(test), train.steps, train.num_inputs) == (12, 6, 60, 512)
    assert train.classes == test.classes == dataset_classes(spec) == ("5", "6", "7")
    assert train.labels.tolist() == [0, 1, 2] * 4 and test.labels.tolist() == [0, 1] * 3
    assert train.names[:2] == ("x_train/0", "x_train/1") and test.names[5] == "x_test/5"
    images = arrays_of()
    # Identities of test images follow those of training images, so that no two share a jitter.
    for split, key, index, identity in (("train", "x_train", 3, 3), ("test", "x_test", 2, 14)):
        (expected,) = record(images[key][[index]] / 255, [identity], camera_of(spec))
        np.testing.assert_array_equal(recording_events(spec, split, index), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_brightness_of_integers_and_of_floats(tmp_path, dtype):
    arrays = arrays_of()
    arrays["x_train"] = np.where(arrays["x_train"] > 127, 255, 0).astype(np.uint8)
    np.savez(tmp_path / "bytes.npz", **arrays)
    white = 255 if dtype is np.int64 else 1
    arrays["x_train"] = (arrays["x_train"] // 255 * np.uint8(white)).astype(dtype)
    np.savez(tmp_path / "other.npz", **arrays)
    ours, theirs = (load_split(array_spec(tmp_path / name), "train") for name in ("bytes.npz", "other.npz"))
    np.testing.assert_array_equal(ours.active, theirs.active)


def test_limits_are_evenly_spread(file):
    spec = array_spec(file, train_limit=4, test_limit=100)
    train = load_split(spec, "train")
    assert train.names == ("x_train/0", "x_train/4", "x_train/7", "x_train/11")
    assert train.labels.tolist() == [0, 1, 1, 2] and train.classes == ("5", "6", "7")
    everything = load_split(array_spec(file), "train")
    np.testing.assert_array_equal(train.dense(range(4)), everything.dense([0, 4, 7, 11]))
    assert len(load_split(spec, "test")) == 6
    with pytest.raises(IndexError):
        recording_events(spec, "train", 4)


def test_without_test_images_some_are_held_out(tmp_path):
    arrays = {key: value for key, value in arrays_of(train=30).items() if key.endswith("train")}
    np.savez(tmp_path / "a.npz", **arrays)
    spec = array_spec(tmp_path / "a.npz", test_fraction=0.3)
    train, test = load_split(spec, "train"), load_split(spec, "test")
    assert np.bincount(test.labels).tolist() == [3, 3, 3] and len(train) == 21
    assert set(train.names).isdisjoint(test.names)


def test_labels_may_be_texts_or_stand_in_a_column(tmp_path):
    arrays = arrays_of()
    for labels in (np.array(["no", "yes"]), np.array([0, 1])[:, None]):
        arrays["y_train"], arrays["y_test"] = labels[np.arange(12) % 2], labels[np.ones(6, int)]
        np.savez(tmp_path / "a.npz", **arrays)
        test = load_split(array_spec(tmp_path / "a.npz"), "test")
        assert test.labels.tolist() == [1] * 6 and test.classes == tuple(str(label) for label in np.ravel(labels))


def test_images_with_a_channel_axis(tmp_path, file):
    arrays = {key: value[..., None] if key[0] == "x" else value for key, value in arrays_of().items()}
    np.savez(tmp_path / "channel.npz", **arrays)
    ours, theirs = (load_split(array_spec(path), "train") for path in (file, tmp_path / "channel.npz"))
    np.testing.assert_array_equal(ours.active, theirs.active)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_train": None}, ["has no array 'x_train'", "needed are x_train (R, height, width), y_train (R,), x_test"]),
        ({"y_train": None}, ["has no array 'y_train' (found: x_train, x_test, y_test)"]),
        ({"y_test": None}, ["has no array 'y_test'"]),
        ({"x_test": None}, ["has no array 'x_test'"]),
        ({"y_train": np.zeros(12)}, ["y_train has shape (12,) and type float64", "one integer or text"]),
        ({"y_train": np.zeros((12, 2), int)}, ["y_train has shape (12, 2)"]),
        ({"y_train": np.arange(5) + 5}, ["x_train has 12 images, y_train has 5 labels"]),
        ({"y_test": np.full(6, 9)}, ["y_test has class 9, which y_train has not (known: 5, 6, 7)"]),
        ({"x_train": np.zeros((12, 81), np.uint8)}, ["x_train has shape (12, 81)", "(R, height, width)"]),
        ({"x_train": np.zeros((12, 9, 9, 3), np.uint8)}, ["x_train has shape (12, 9, 9, 3)", "grey values"]),
        ({"x_train": np.full((12, 9, 9), 256)}, ["x_train[0] has values from 256 to 256"]),
        ({"x_train": np.full((12, 9, 9), 255.0)}, ["x_train[0] has values", "0..1 (floats)"]),
        ({"x_train": np.full((12, 9, 9), np.nan)}, ["x_train[0] has values from nan"]),
        ({"x_train": np.zeros((12, 9, 9), np.uint8)}, ["x_train[0]: holds no events", "contrast_threshold"]),
        ({"x_train": np.array([None] * 12)}, ["array x_train cannot be read", "write the file again"]),
        ({"y_train": np.array([None] * 12)}, ["array y_train cannot be read"]),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, change, words):
    arrays = {key: value for key, value in {**arrays_of(), **change}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError) as error:
        load_split(array_spec(tmp_path / "a.npz"), "train")
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'a.npz'}: ") and "\n" not in message
    for word in words:
        assert word in message


def test_files_that_are_no_npz(tmp_path, file):
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    whole = file.read_bytes()
    for content, words in (
        (None, "does not exist; give an existing .npz"),
        (b"", "is not an .npz file"),
        (b"hello", "is not an .npz file"),
        (whole[: len(whole) // 2], "is not an .npz file"),
        (single.getvalue(), "is a single array, not an .npz file"),
    ):
        path = tmp_path / "b.npz"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError) as error:
            load_split(array_spec(path), "train")
        assert words in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        load_split(array_spec(tmp_path), "train")
    with pytest.raises(SpecError, match=r"dataset\.path: is missing.*set it to FILE\.npz"):
        load_split(DatasetSpec(name="array"), "train")


def test_a_flipped_bit_in_an_image_is_found(file):
    whole = bytearray(file.read_bytes())
    whole[400] ^= 4
    file.write_bytes(whole)
    with pytest.raises(DataError, match=r"array x_train cannot be read: Bad CRC-32.*write the file again"):
        load_split(array_spec(file), "train")


def test_too_small_a_sensor_for_an_image(file):
    with pytest.raises(SpecError, match="still images need a sensor of at least 10x10"):
        load_split(array_spec(file, input_shape=[2, 8, 16]), "train")


@pytest.mark.skipif(not MNIST.is_file(), reason=f"{MNIST} is absent")
def test_mnist_at_a_chosen_scale():
    spec = array_spec(MNIST, input_shape=[2, 34, 34], train_limit=60, test_limit=20)
    train, test = load_split(spec, "train"), load_split(spec, "test")
    assert (len(train), len(test)) == (60, 20)
    assert train.classes == test.classes == tuple("0123456789")
    assert len(np.unique(train.labels)) > 7
    assert np.diff(train.indptr).min() > 1000, "every image is seen"
