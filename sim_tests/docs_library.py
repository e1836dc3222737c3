"""What readers of the documents find on their disk: recordings in place of FOLDER, and images in place of FILE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from docs_rules import ROOT
from docs_runner import Library

SHARED = ROOT.parent / "shared" / "data"
SIDE = 34  # pixels of N-MNIST


def make_library(folder: Path) -> Library:
    """Real N-MNIST where it is at hand, else recordings of its size and format."""
    recordings = SHARED / "nmnist_small"
    if not recordings.is_dir():
        recordings = folder / "nmnist"
        write_recordings(recordings, np.random.default_rng(0))
    images = SHARED / "mnist.npz"
    if not images.is_file():
        images = folder / "mnist.npz"
        write_images(images, np.random.default_rng(0))
    return Library(folder / "done", {"FOLDER": str(recordings), "mnist.npz": str(images)})


def write_recordings(folder: Path, rng: np.random.Generator, each: int = 6) -> None:
    """FOLDER/{train,test}/<digit>/*.bin: events around a point that depends on the digit."""
    for split in ("train", "test"):
        for digit in range(10):
            (folder / split / str(digit)).mkdir(parents=True)
            for index in range(each):
                middle = (3 + 3 * digit, 30 - 3 * digit)
                xy_2E = np.clip(rng.normal(middle, 3.0, (800, 2)).round().astype(int), 0, SIDE - 1).T
                t_E = np.sort(rng.integers(0, 300_000, 800))
                p_E = rng.integers(0, 2, 800)
                rows = [xy_2E[0], xy_2E[1], p_E << 7 | t_E >> 16, t_E >> 8 & 255, t_E & 255]
                file = folder / split / str(digit) / f"{index:05d}.bin"
                np.stack(rows, 1).astype(np.uint8).tofile(file)


def write_images(file: Path, rng: np.random.Generator) -> None:
    """x_train, y_train, x_test, y_test as in mnist.npz: a bright block whose place depends on the class."""
    arrays = {}
    for split, count in (("train", 60), ("test", 20)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 40, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 8, 4:20] += 200
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels.astype(np.uint8)}
    np.savez(file, **arrays)
