"""Still images for networks that take pixels: every way to lay them out, and what does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decolle_hw import data
from decolle_hw.errors import DataError

CLASSES = ("0", "1", "2")
SHAPE = (2, 3, 4)  # c, h, w
LABELS = np.array([2, 0, 1, 1])


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture
def images_Rchw() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, *SHAPE)).astype(np.uint8)


@pytest.mark.parametrize("layout", ["channels first", "channels last", "flat", "float", "bool"])
def test_layouts(layout: str, images_Rchw: np.ndarray, tmp_path: Path) -> None:
    """The same pixels in the order of the network's inputs, -1 for black and 1 for white."""
    given = {
        "channels first": images_Rchw, "channels last": images_Rchw.transpose(0, 2, 3, 1),
        "flat": images_Rchw.reshape(4, -1), "float": images_Rchw / 255.0, "bool": images_Rchw > 100,
    }[layout]  # fmt: skip
    stream = data.stream_images(write(tmp_path / "a.npz", x_test=given, y_test=LABELS), SHAPE, CLASSES, 9)
    batches = [*stream.batches(3)]
    assert [len(batch) for batch in batches] == [3, 1] and len(stream) == 4 and stream.steps == 9
    expected = 2.0 * (images_Rchw > 100) - 1 if layout == "bool" else images_Rchw / 127.5 - 1
    np.testing.assert_allclose(np.concatenate(batches), expected.reshape(4, -1), atol=1e-6)  # float32 of 1 part in 1e7
    assert stream.labels.tolist() == [2, 0, 1, 1] and stream.names[3] == "x_test/3"


def test_one_channel_and_pixels_in_a_row(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = write(tmp_path / "a.npz", x=images, y=np.array(["1", "0"]))
    for shape in ((1, 3, 4), (1, 1, 12)):
        stream = data.stream_images(path, shape, CLASSES, 9)
        np.testing.assert_array_equal(stream.values_RI, images.reshape(2, 12))
        assert stream.labels.tolist() == [1, 0]


def test_fewer_evenly_spread(images_Rchw: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x_test=images_Rchw, y_test=LABELS)
    stream = data.stream_images(path, SHAPE, CLASSES, 9, 2)
    assert stream.names == ("x_test/0", "x_test/3") and stream.labels.tolist() == [2, 1]


IMAGES = np.zeros((4, *SHAPE), np.uint8)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"x_train": IMAGES, "y_train": LABELS}, "needed are x_test (R, height, width[, colours]) and y_test (R,)"),
    (
        {"x_test": IMAGES[:, :, :2], "y_test": LABELS},
        "images of shape (2, 2, 4), the network takes (c, h, w) = (2, 3, 4)",
    ),
    ({"x_test": IMAGES[:, 0], "y_test": LABELS}, "images of shape (3, 4), the network takes"),
    ({"x_test": IMAGES[:3], "y_test": LABELS}, "x_test has 3 images, y_test has 4 labels"),
    ({"x_test": IMAGES + 1.5, "y_test": LABELS}, "x_test has values from 1.5 to 1.5; brightness must be 0..255"),
    ({"x_test": IMAGES + np.nan, "y_test": LABELS}, "x_test has values from nan to nan"),
    ({"x_test": IMAGES.astype(int) - 1, "y_test": LABELS}, "x_test has values from -1 to -1"),
    (
        {"x_test": IMAGES, "y_test": LABELS + 1},
        "y_test has labels that are no class of the network: 3; its classes are",
    ),
    ({"x_test": IMAGES[:0], "y_test": LABELS}, "x_test has shape (0, 2, 3, 4)"),
]


@pytest.mark.parametrize(("arrays", "message"), WRONG)
def test_what_does_not_fit(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        data.stream_images(path, SHAPE, CLASSES, 9)
    assert str(raised.value).startswith(f"{path}: ")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; this network takes images"):
        data.stream_images(tmp_path, SHAPE, CLASSES, 9)
    with pytest.raises(DataError, match="does not exist"):
        data.stream_images(tmp_path / "none.npz", SHAPE, CLASSES, 9)
