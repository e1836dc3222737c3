"""The embedded data set: 1,797 handwritten digits of 8x8 pixels, seen by the simulated event camera.

The images ship with scikit-learn (UCI "Optical Recognition of Handwritten Digits", test part), so that
nothing has to be downloaded.
"""

# R recordings, h w image, S recordings of one split

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data import stills
from decolle_hw.data.splitting import stratified_split
from decolle_hw.spec import DatasetSpec

CLASSES = tuple(str(digit) for digit in range(10))
IMAGE_LEVELS = 16  # load_digits counts dark dots in 4x4 blocks


@dataclass(frozen=True)
class Digits:
    """Some of the embedded images; a `source.Source`."""

    indices: NDArray[np.int64]  # (R,)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(R,) the digit that is shown."""
        return images()[1][self.indices]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the digits."""
        return CLASSES

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each recording, for example ``digits/123``."""
        return tuple(f"digits/{index}" for index in self.indices)

    @property
    def places(self) -> tuple[str, ...]:
        """What messages call a recording: its name."""
        return self.names

    def take(self, which: NDArray[np.int64]) -> Digits:
        """Only the chosen images."""
        return replace(self, indices=self.indices[which])

    def read(self, spec: DatasetSpec) -> Iterator[np.ndarray]:
        """Event arrays of the images, one by one."""
        return record(spec, self.indices)

    def identity(self, spec: DatasetSpec) -> list[Any]:
        """The images are always the same, so their indices and the camera say all."""
        return [stills.identity(spec), self.indices.tolist()]


@lru_cache(maxsize=1)
def images() -> tuple[np.ndarray, np.ndarray]:
    """All images: (R, 8, 8) brightness 0..1 and (R,) labels, read-only."""
    # Here and not on top: a second of import that folders of recordings need not pay.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images_Rhw, labels_R = bunch.images / IMAGE_LEVELS, bunch.target.astype(np.int64)
    images_Rhw.flags.writeable = labels_R.flags.writeable = False
    return images_Rhw, labels_R


def split_of(spec: DatasetSpec) -> tuple[Digits, Digits]:
    """Training and test recordings."""
    return Digits(split_indices(spec, "train")), Digits(split_indices(spec, "test"))


def split_indices(spec: DatasetSpec, split: Literal["train", "test"]) -> np.ndarray:
    """(S,) ascending indices of the images of one split; the same for every camera."""
    train, test = stratified_split(images()[1], spec.test_fraction)
    return train if split == "train" else test


def record(spec: DatasetSpec, indices_S: np.ndarray) -> Iterator[np.ndarray]:
    """Event arrays of the images with these indices, one by one."""
    return stills.show(images()[0][indices_S], 1.0, list(indices_S), spec)
