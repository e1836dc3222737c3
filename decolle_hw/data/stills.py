"""Still images in front of the simulated camera: what the embedded digits and the images of an .npz share."""

# R images, h w image

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from decolle_hw.data import camera
from decolle_hw.errors import SpecError
from decolle_hw.spec import DatasetSpec

MIN_SENSOR = 10  # pixels along an edge: below, an image no longer fits beside the saccades
SACCADE_SHARE = 7 / 34  # of the sensor's edge: 7 of 34 pixels in N-MNIST
IMAGES_AT_ONCE = 256  # as floats; all of MNIST would be 376 MB


def camera_of(spec: DatasetSpec) -> camera.Camera:
    """The camera of a description; raises `SpecError` where its sensor is too small."""
    _, height, width = spec.input_shape
    if min(height, width) < MIN_SENSOR:
        raise SpecError(
            f"dataset.input_shape {spec.input_shape}: still images need a sensor of at least {MIN_SENSOR}x"
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


def show(images_Rhw: np.ndarray, white: float, identities_R: Sequence[int], spec: DatasetSpec) -> Iterator[np.ndarray]:
    """Event recordings of still images, one by one; each image is enlarged or reduced to the sensor.

    Args:
        images_Rhw: brightness 0 (black) .. `white`.
        identities_R: what jitter and noise of a recording depend on, beside the camera's seed.
        spec: gives input_shape and camera.
    """
    seen_by = camera_of(spec)
    for first in range(0, len(images_Rhw), IMAGES_AT_ONCE):
        chunk = slice(first, first + IMAGES_AT_ONCE)
        yield from camera.record(images_Rhw[chunk] / white, identities_R[chunk], seen_by)


def identity(spec: DatasetSpec) -> list[Any]:
    """All of a description that decides about the recordings of given images."""
    return [list(spec.input_shape), spec.camera.contrast_threshold, spec.camera.noise_hz, spec.camera.seed]
