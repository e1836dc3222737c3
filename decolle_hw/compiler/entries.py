"""Entries of an artifact as they are read: checked one by one, never trusted, and named where they are wrong.

An entry is what stands at a place in an HDF5 file: an attribute (a number, a few numbers, a text) or an array of 32-bit
integers. All functions raise `ArtifactError` that names file, entry and remedy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from decolle_hw.errors import ArtifactError

GROUP = "decolle_hw"
# No array of ours is larger, and none deflates better than this: what claims to be is not read.
LARGEST_ARRAY_BYTES = 1 << 31
LARGEST_RATIO = 1100  # deflate reaches 1032
# What h5py raises for a damaged file, depending on where the damage is.
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError)


def read_array(entry: h5py.Group, name: str, path: Path) -> NDArray[np.int32]:
    """An array, no larger than what the file holds of it."""
    field = f"{entry.name.lstrip('/')}/{name}"
    if name not in entry:
        raise damaged(path, field, "is missing")
    try:
        dataset = entry[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype != np.int32 or dataset.shape is None:
            raise damaged(path, field, "is not an array of 32-bit integers")
        stored = dataset.id.get_storage_size() * LARGEST_RATIO
        if dataset.nbytes > min(LARGEST_ARRAY_BYTES, stored):
            raise damaged(path, field, f"of shape {dataset.shape} is larger than what the file holds of it")
        if not chunks_fit(dataset):
            raise damaged(
                path, field, f"is stored in chunks of {dataset.chunks}, of which one is larger than all of it"
            )
        content: NDArray[np.int32] = np.asarray(dataset[()])
    except DAMAGE:
        raise damaged(path, field, "cannot be read") from None
    return content


def chunks_fit(dataset: h5py.Dataset) -> bool:
    """HDF5 unpacks whole chunks, however little of one is asked for."""
    return dataset.chunks is None or all(
        chunk <= size for chunk, size in zip(dataset.chunks, dataset.shape, strict=True)
    )


def read_subgroup(group: h5py.Group, name: str, path: Path) -> h5py.Group:
    """A group within a group."""
    where = f"{group.name.strip('/')}/{name}".lstrip("/")
    if name not in group:
        raise damaged(path, where, "is missing")
    if not isinstance(group[name], h5py.Group):
        raise damaged(path, where, "is not a group")
    return group[name]


def read_attribute(group: h5py.Group, name: str, path: Path) -> Any:
    """An attribute, whatever it is."""
    field = f"{group.name.lstrip('/')}/{name}"
    if name not in group.attrs:
        raise damaged(path, field, "is missing")
    try:
        return group.attrs[name]
    except DAMAGE:
        raise damaged(path, field, "cannot be read") from None


def read_integer(group: h5py.Group, name: str, path: Path) -> int:
    """An attribute that is a whole number."""
    value = read_attribute(group, name, path)
    if not isinstance(value, np.integer):
        raise damaged(path, f"{group.name.lstrip('/')}/{name}", f"is {shown(value)}, not an integer")
    return int(value)


def read_number(group: h5py.Group, name: str, path: Path) -> int | float:
    """An attribute that is a number of either kind, which it keeps."""
    value = read_attribute(group, name, path)
    if isinstance(value, np.floating):
        return float(value)
    return read_integer(group, name, path)


def read_integers(group: h5py.Group, name: str, path: Path) -> tuple[int, ...]:
    """An attribute that is a short row of whole numbers."""
    value = read_attribute(group, name, path)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.ndim != 1 or value.size > 16:
        raise damaged(path, f"{group.name.lstrip('/')}/{name}", "is not a short row of integers")
    return tuple(int(number) for number in value)


def read_text(group: h5py.Group, name: str, path: Path) -> str:
    """An attribute that is a text."""
    value = read_attribute(group, name, path)
    try:
        if isinstance(value, bytes):
            return value.decode()
    except ValueError:
        pass
    raise damaged(path, f"{group.name.lstrip('/')}/{name}", "is not a text")


def shown(value: Any) -> str:
    """On one line, and no longer than a line bears."""
    line = " ".join(repr(value).split())
    return line if len(line) <= 60 else line[:57] + "..."


def damaged(path: Path, field: str, what: str) -> ArtifactError:
    """The error for a file that is not what was written."""
    return ArtifactError(f"{path}: {' '.join((field, what)).strip()}; the file is damaged, compile again")
