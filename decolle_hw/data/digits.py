"""The embedded data set: 1,797 handwritten digits of 8x8 pixels, seen by the simulated event camera.

The images ship with scikit-learn (UCI "Optical Recognition of Handwritten Digits", test part), so that
nothing has to be downloaded.
"""

# R recordings, h w image, S recordings of one split

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import numpy as np

from decolle_hw.data import camera
from decolle_hw.data.splitting import stratified_split
from decolle_hw.errors import SpecError
from decolle_hw.spec import DatasetSpec

CLASSES = tuple(str(digit) for digit in range(10))
IMAGE_LEVELS = 16  # load_digits counts dark dots in 4x4 blocks
MIN_SENSOR = 10  # pixels along an edge: below, the 8x8 images no longer fit beside the saccades
SACCADE_SHARE = 7 / 34  # of the sensor's edge: 7 of 34 pixels in N-MNIST


@lru_cache(maxsize=1)
def images() -> tuple[np.ndarray, np.ndarray]:
    """All images: (R, 8, 8) brightness 0..1 and (R,) labels, read-only."""
    # Here and not on top: a second of import that folders of recordings need not pay.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images_Rhw, labels_R = bunch.images / IMAGE_LEVELS, bunch.target.astype(np.int64)
    images_Rhw.flags.writeable = labels_R.flags.writeable = False
    return images_Rhw, labels_R


def camera_of(spec: DatasetSpec) -> camera.Camera:
    """The camera of a description; raises `SpecError` where its sensor is too small."""
    _, height, width = spec.input_shape
    if min(height, width) < MIN_SENSOR:
        raise SpecError(
            f"dataset.input_shape {spec.input_shape}: digits need a sensor of at least {MIN_SENSOR}x"
            f"{MIN_SENSOR} pixels; set it to [2, 16, 16]"
        )
    return camera.Camera(
        height=height,
        width=width,
        contrast_threshold=spec.camera.contrast_threshold,
        noise_hz=spec.camera.noise_hz,
        seed=spec.camera.seed,
        amplitude=SACCADE_SHARE * min(height, width),
    )


def split_indices(spec: DatasetSpec, split: Literal["train", "test"]) -> np.ndarray:
    """(S,) ascending indices of the images of one split; the same for every camera."""
    train, test = stratified_split(images()[1], spec.test_fraction)
    return train if split == "train" else test


def record(spec: DatasetSpec, indices_S: np.ndarray) -> Iterator[np.ndarray]:
    """Event arrays of the images with these indices, one by one."""
    return camera.record(images()[0][indices_S], list(indices_S), camera_of(spec))


def names(indices_S: np.ndarray) -> tuple[str, ...]:
    """Name of each recording, for example ``digits/123``."""
    return tuple(f"digits/{index}" for index in indices_S)
