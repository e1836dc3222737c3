"""Still images as they are, for networks whose input neurons take pixels: one .npz file, for example MNIST.

Arrays: ``x_test`` (R, height, width), with colours (R, height, width, c) or (R, c, height, width), or flat (R, I); and
``y_test`` (R,). Without the two, ``x`` and ``y``. Brightness is 0..255 where it is counted in integers and 0..1 where
it is a float; pixels are given out as -1..1, black to white.
"""

# R images, B batch, I pixels; c, h, w channels, height, width

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.images import array_names, read_array, read_labels
from decolle_hw.data.source import evenly_spread
from decolle_hw.errors import DataError

KEYS = (("x_test", "y_test"), ("x", "y"))
NEEDED = "needed are x_test (R, height, width[, colours]) and y_test (R,), or x and y"
NAMED_LABELS = 5  # in a message


@dataclass(frozen=True)
class StillImages:
    """Labelled images; has what `decolle_hw.execution.execute` asks of a stream of recordings."""

    values_RI: NDArray[Any]  # brightness as the file has it, in the order of the network's inputs
    white: float
    labels: NDArray[np.int64]  # (R,) index into classes
    names: tuple[str, ...]  # for reports, for example ``x_test/123``
    classes: tuple[str, ...]
    steps: int  # for which each is shown

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """(B, I) pixels in -1..1, all images in order, `size` at a time; the last batch may be smaller."""
        for first in range(0, len(self), size):
            yield (self.values_RI[first : first + size] * (2.0 / self.white) - 1.0).astype(np.float32)


def stream_images(
    path: str | Path, input_shape: tuple[int, int, int], classes: Sequence[str], steps: int, samples: int | None = None
) -> StillImages:
    """Images of a file for a network with inputs of this shape.

    Args:
        input_shape: (c, h, w), or (1, 1, I) for a network that takes pixels in a row.
        classes: names of the network's classes; a label is one of them.
        steps: of a recording.
        samples: at most so many, evenly spread over the file.

    Raises `DataError` for a file that is missing, damaged, or whose images do not fit the network.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise DataError(f"{file}: is a folder; this network takes images, so give an .npz file: {NEEDED}")
    found = array_names(file)
    keys = next((keys for keys in KEYS if set(keys) <= set(found)), None)
    if keys is None:
        raise DataError(f"{file}: {NEEDED} (found: {', '.join(found) or 'none'})")
    values_RI, white = _read(file, keys[0], input_shape)
    labels = read_classes(file, keys[1], classes)
    if len(labels) != len(values_RI):
        raise DataError(f"{file}: {keys[0]} has {len(values_RI)} images, {keys[1]} has {len(labels)} labels")
    which = evenly_spread(len(labels), samples)
    chosen = np.arange(len(labels)) if which is None else which
    names = tuple(f"{keys[0]}/{index}" for index in chosen)
    return StillImages(values_RI[chosen], white, labels[chosen], names, tuple(classes), steps)


def _read(file: Path, key: str, input_shape: tuple[int, int, int]) -> tuple[NDArray[Any], float]:
    """(R, I) values as the file has them, and what is white."""
    images = read_array(file, key)
    channels, height, width = input_shape
    inputs = math.prod(input_shape)
    shape = images.shape[1:]
    if images.ndim == 4 and shape != input_shape and shape == (height, width, channels):
        images = images.transpose(0, 3, 1, 2)
    elif not (shape in (input_shape, (inputs,)) or (channels == 1 and shape == (height, width)) or (
        input_shape == (1, 1, inputs) and math.prod(shape) == inputs
    )):  # fmt: skip
        raise DataError(
            f"{file}: {key} has images of shape {shape}, the network takes (c, h, w) = {input_shape}; give images of "
            f"that size"
        )
    if images.dtype.kind not in "iubf" or not len(images):
        raise DataError(f"{file}: {key} has shape {images.shape} and type {images.dtype}; {NEEDED}")
    white = 255.0 if images.dtype.kind in "iu" else 1.0
    if images.dtype != np.uint8 and images.dtype.kind != "b" and not (images.min() >= 0 and images.max() <= white):
        raise DataError(
            f"{file}: {key} has values from {images.min():g} to {images.max():g}; brightness must be 0..255 (integers) "
            f"or 0..1 (floats)"
        )
    return images.reshape(len(images), inputs), white


def read_classes(file: Path, key: str, classes: Sequence[str]) -> NDArray[np.int64]:
    """(R,) index into classes of each label. Raises `DataError` for a label that is no class of the network."""
    labels = read_labels(file, key)
    places = {name: index for index, name in enumerate(classes)}
    values, inverse = np.unique(labels, return_inverse=True)
    unknown = [str(value) for value in values if str(value) not in places]
    if unknown:
        shown = ", ".join(unknown[:NAMED_LABELS])
        known = ", ".join(classes[:NAMED_LABELS]) + (" ..." if len(classes) > NAMED_LABELS else "")
        raise DataError(f"{file}: {key} has labels that are no class of the network: {shown}; its classes are {known}")
    index_V = np.array([places[str(value)] for value in values], np.int64)
    labelled: NDArray[np.int64] = index_V[inverse.reshape(-1)]
    return labelled
