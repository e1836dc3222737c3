"""Still images of one .npz file, for example MNIST, shown to the simulated camera (`camera`).

Arrays: ``x_train`` (R, height, width) and ``y_train`` (R,), ``x_test`` and ``y_test``. Brightness is 0..255 where it
is counted in integers and 0..1 where it is a float. The classes are the different values of y_train, in order.
"""

# R recordings, h w image

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data import stills
from decolle_hw.data.source import cannot_be_read, identity_of_files
from decolle_hw.data.splitting import stratified_split
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

NEEDED = (
    "needed are x_train (R, height, width), y_train (R,), x_test and y_test; without the last two, "
    "dataset.test_fraction of each class is held out"
)


@dataclass(frozen=True)
class Images:
    """Some images of a file; a `source.Source`. The file is read once in each process, when the first is wanted."""

    file: Path
    key: str  # x_train or x_test
    indices: NDArray[np.int64]  # (R,)
    first_identity: int  # of image 0: no test image shares its jitter with a training image
    count: int  # images that the file should have under `key`: one for each label
    labels: NDArray[np.int64]  # (R,)
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each recording, for example ``x_train/123``."""
        return tuple(f"{self.key}/{index}" for index in self.indices)

    @property
    def places(self) -> tuple[str, ...]:
        """What messages call a recording, for example ``mnist.npz: x_train[123]``."""
        return tuple(f"{self.file}: {self.key}[{index}]" for index in self.indices)

    def take(self, which: NDArray[np.int64]) -> Images:
        """Only the chosen images."""
        return replace(self, indices=self.indices[which], labels=self.labels[which])

    def read(self, spec: DatasetSpec) -> Iterator[np.ndarray]:
        """Event arrays of the images, one by one."""
        images_Rhw, white = _read_images(self.file, self.key, identity_of_files([self.file])[0][2])
        if len(images_Rhw) != self.count:
            raise DataError(
                f"{self.file}: {self.key} has {len(images_Rhw)} images, y{self.key[1:]} has {self.count} labels; write "
                f"the file again with one label for each image"
            )
        identities_R = self.first_identity + self.indices
        for first in range(0, len(self.indices), stills.IMAGES_AT_ONCE):
            chunk = slice(first, first + stills.IMAGES_AT_ONCE)
            yield from stills.show(images_Rhw[self.indices[chunk]], white, identities_R[chunk].tolist(), spec)

    def identity(self, spec: DatasetSpec) -> list[Any]:
        """The file, which of its images, and the camera."""
        which = [self.key, self.first_identity, self.indices.tolist()]
        return [identity_of_files([self.file]), which, stills.identity(spec)]


def split_of(spec: DatasetSpec) -> tuple[Images, Images]:
    """Training and test images of a description. Raises `DataError`, or `SpecError` where it names no file."""
    if spec.path is None:
        raise SpecError("dataset.path: is missing, and dataset.name is 'array'; set it to FILE.npz")
    file = Path(spec.path).expanduser()
    keys = array_names(file)
    missing = [key for key in ("x_train", "y_train") if key not in keys]
    if ("x_test" in keys) != ("y_test" in keys):
        missing.append("x_test" if "y_test" in keys else "y_test")
    if missing:
        raise DataError(f"{file}: has no array {missing[0]!r} (found: {', '.join(keys) or 'none'}); {NEEDED}")
    raw = read_labels(file, "y_train")
    values = np.unique(raw)
    classes = tuple(str(value) for value in values)
    labels = np.searchsorted(values, raw)
    everything = Images(file, "x_train", np.arange(len(raw)), 0, len(raw), labels, classes)
    if "x_test" not in keys:
        train, test = stratified_split(labels, spec.test_fraction)
        if not test.size:
            raise DataError(f"{file}: no class has more than one image, so none can be held out; add x_test, y_test")
        return everything.take(train), everything.take(test)
    raw_test = read_labels(file, "y_test")
    unknown = np.setdiff1d(raw_test, values)
    if unknown.size:
        raise DataError(
            f"{file}: y_test has class {unknown[0]}, which y_train has not (known: {', '.join(classes)}); remove its "
            f"images"
        )
    test_labels = np.searchsorted(values, raw_test)
    count = len(raw_test)
    return everything, Images(file, "x_test", np.arange(count), len(raw), count, test_labels, classes)


def array_names(file: Path) -> list[str]:
    """Names of the arrays of a file, of which none is read."""
    with _open(file) as arrays:
        return list(arrays.files)


def read_labels(file: Path, key: str) -> NDArray[Any]:
    """(R,) integers or texts."""
    labels = read_array(file, key)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iubU":
        raise DataError(
            f"{file}: {key} has shape {labels.shape} and type {labels.dtype}; it must be (R,), one integer or text for "
            f"each image; {NEEDED}"
        )
    return labels


@lru_cache(maxsize=2)
def _read_images(file: Path, key: str, changed_ns: int) -> tuple[np.ndarray, float]:
    """(R, h, w) images and what is white in them; `changed_ns` makes a changed file another one."""
    images = read_array(file, key)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim != 3 or 0 in images.shape or images.dtype.kind not in "iubf":
        raise DataError(
            f"{file}: {key} has shape {images.shape} and type {images.dtype}; it must be (R, height, width), "
            f"grey values 0..255 (integers) or 0..1 (floats)"
        )
    white = 255.0 if images.dtype.kind in "iu" else 1.0
    if images.dtype != np.uint8 and images.dtype.kind != "b":
        good_R = ((images >= 0) & (images <= white)).all(axis=(1, 2))  # False for what is not a number
        if not good_R.all():
            wrong = int(np.argmin(good_R))
            raise DataError(
                f"{file}: {key}[{wrong}] has values from {images[wrong].min():g} to {images[wrong].max():g}; grey "
                f"values must be 0..255 (integers) or 0..1 (floats)"
            )
    return images, white


def read_array(file: Path, key: str) -> np.ndarray:
    """One array of a file. Raises `DataError` for one that is damaged."""
    with _open(file) as arrays:
        try:
            return arrays[key]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(file, key, error) from None


def _damaged(file: Path, key: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{file}: array {key} cannot be read: {reason}; write the file again with numpy.savez")


def _open(file: Path) -> Any:
    """The arrays of a file, none of which is read yet."""
    try:
        arrays = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{file}: does not exist; give an existing .npz (run from {Path.cwd()})") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise DataError(f"{file}: is not an .npz file of NumPy; {NEEDED}") from None
    except OSError as error:
        raise cannot_be_read(file, error) from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise DataError(f"{file}: is a single array, not an .npz file; {NEEDED}")
    return arrays
