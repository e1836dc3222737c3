"""Reading a lava-dl network file (``/layer/<i>``, HDF5) without trusting it.

The file is walked before anything is read: plain groups and datasets, no links that lead elsewhere, no array that
claims to be larger than what is stored of it. SLAYER writes every scalar either as a scalar or as an array of one, and
texts in two ways; here they are Python numbers and texts.

Source of the layout: ``lava.lib.dl.slayer.block.base`` (export_hdf5), ``lava.lib.dl.netx.utils.NetDict``.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from decolle_hw.errors import ArtifactError
from decolle_hw.interchange.hdf5_text import heap_text

LARGEST_ARRAY_BYTES = 1 << 31
LARGEST_RATIO = 1100  # deflate reaches 1032
LONGEST_TEXT = 1 << 10
MOST_ENTRIES = 100_000
# What h5py raises for a damaged file, depending on where the damage is.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError)

Value = str | NDArray[Any]


@dataclass(frozen=True)
class Entry:
    """One layer of the file: its datasets by name; those of its neuron apart, None where it has none.

    `where` is what messages call it, for example ``layer 3 'dense'``.
    """

    where: str
    values: dict[str, Value]
    neuron: dict[str, Value] | None
    groups: frozenset[str] = field(default_factory=frozenset)  # names of groups other than the neuron's

    @property
    def type(self) -> str:
        kind = self.values.get("type", "")
        return kind if isinstance(kind, str) else ""


@dataclass(frozen=True)
class NetxFile:
    """All layers in order, the steps of a sample (None: the file does not say), and the SHA-256 of its bytes."""

    layers: tuple[Entry, ...]
    sample_steps: int | None
    sha256: str


def read_netx(path: Path) -> NetxFile:
    """Read a file that SLAYER or `decolle-hw` wrote; what it says is not looked at yet, but for `/decolle_hw`: ignored.

    Raises `ArtifactError` for a file that is missing, damaged, or no network.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: does not exist; give a .net file that lava-dl's export_hdf5 wrote")
    if not path.is_file():
        raise ArtifactError(f"{path}: is not a file; give a .net file that lava-dl's export_hdf5 wrote")
    try:
        content = path.read_bytes()
        with h5py.File(path, "r") as file:
            return _read(file, path, content)
    except PermissionError:
        raise ArtifactError(f"{path}: cannot be read: permission denied; change its permissions") from None
    except _DAMAGE as error:
        if not h5py.is_hdf5(path):
            raise ArtifactError(f"{path}: is not a network: it is not an HDF5 file; give a .net file") from None
        reason = "the file is truncated" if "truncated" in str(error) else "its HDF5 structure is damaged"
        raise ArtifactError(f"{path}: cannot be read: {reason}; export it again") from None


def _read(file: h5py.File, path: Path, content: bytes) -> NetxFile:
    layers = _child(file, "layer")
    if not isinstance(layers, h5py.Group):
        raise ArtifactError(f"{path}: is not a network: HDF5 group 'layer' is missing; give a .net file of lava-dl")
    names = list(layers)
    count = len(names)
    if count == 0:
        raise ArtifactError(f"{path}: group 'layer' is empty; export the network again")
    if count > MOST_ENTRIES:
        raise ArtifactError(f"{path}: has {count} layers, at most {MOST_ENTRIES} are read; export the network again")
    strange = sorted(set(names) ^ {str(index) for index in range(count)}, key=lambda name: (len(name), name))
    if strange:
        what = "is not a layer's number" if strange[0] in names else "is missing"
        raise ArtifactError(
            f"{path}: layer/{strange[0]} {what}: {count} layers are numbered 0 to {count - 1}; export the network again"
        )
    entries = tuple(_entry(layers, index, path, content) for index in range(count))
    return NetxFile(entries, _sample_steps(file, path, content), hashlib.sha256(content).hexdigest())


def _entry(layers: h5py.Group, index: int, path: Path, content: bytes) -> Entry:
    group = _child(layers, str(index))
    if not isinstance(group, h5py.Group):
        raise ArtifactError(f"{path}: layer/{index} is not a group; export the network again")
    values, groups = _values(group, path, content)
    neuron = None
    if "neuron" in groups:
        neuron, _ = _values(group["neuron"], path, content)
    kind = values.get("type")
    where = f"layer {index} {kind!r}" if isinstance(kind, str) else f"layer {index}"
    return Entry(where, values, neuron, groups - {"neuron"})


def _values(group: h5py.Group, path: Path, content: bytes) -> tuple[dict[str, Value], frozenset[str]]:
    """Datasets of a group by name, and the names of its groups."""
    if len(group) > MOST_ENTRIES:
        raise ArtifactError(f"{path}: {group.name} has {len(group)} entries; export the network again")
    values, groups = {}, []
    for name in group:
        child = _child(group, name)
        if isinstance(child, h5py.Group):
            groups.append(name)
        elif isinstance(child, h5py.Dataset):
            values[name] = _value(child, path, content)
        else:
            raise ArtifactError(f"{path}: {group.name}/{name} is a link, not data; export the network again")
    return values, frozenset(groups)


def _child(group: h5py.Group, name: str) -> Any:
    """What lies there itself, not what a link leads to; None for nothing or a link."""
    link = group.get(name, getlink=True)
    return group[name] if isinstance(link, h5py.HardLink) else None


def _value(dataset: h5py.Dataset, path: Path, content: bytes) -> Value:
    where = f"{path}: {str(dataset.name).lstrip('/')}"
    try:
        if dataset.shape is None or dataset.is_virtual or dataset.external is not None:
            raise ArtifactError(f"{where} holds no data of its own; export the network again")
        text = h5py.check_string_dtype(dataset.dtype)
        if text is not None:
            return _text(dataset, where, content, text.length is None)
        if dataset.dtype.kind not in "iufb":
            raise ArtifactError(f"{where} is of type {dataset.dtype}, not numbers; export the network again")
        size = math.prod(dataset.shape) * dataset.dtype.itemsize
        # A dataset without chunks may be kept in its own header, of which HDF5 counts nothing as storage.
        stored = max(dataset.id.get_storage_size() * LARGEST_RATIO, 1 << 16)
        if size > min(LARGEST_ARRAY_BYTES, stored):
            raise ArtifactError(f"{where} of shape {dataset.shape} is larger than what the file holds of it")
        if dataset.chunks is not None and math.prod(dataset.chunks) * dataset.dtype.itemsize > max(size, 1 << 20):
            raise ArtifactError(
                f"{where} is stored in chunks of {dataset.chunks}, of which one is larger than all of it"
            )
        values: NDArray[Any] = np.asarray(dataset[()])
    except _DAMAGE:
        raise ArtifactError(f"{where} cannot be read; export the network again") from None
    return values


def _text(dataset: h5py.Dataset, where: str, content: bytes, varies: bool) -> str:
    if math.prod(dataset.shape) != 1 or dataset.dtype.itemsize > LONGEST_TEXT:
        raise ArtifactError(f"{where} is not one short text; export the network again")
    offset = dataset.id.get_offset()
    if varies and (offset is None or dataset.file.userblock_size):
        raise ArtifactError(f"{where} is a text stored in an unusual way; export the network again")
    found = heap_text(content, offset) if varies else bytes(np.asarray(dataset[()]).reshape(())[()])
    if len(found) > LONGEST_TEXT:
        raise ArtifactError(f"{where} is not one short text; export the network again")
    return " ".join(found.rstrip(b"\0").decode("utf-8").split())


def _sample_steps(file: h5py.File, path: Path, content: bytes) -> int | None:
    """``tSample / Ts`` of group ``simulation``, where it is a whole number of steps."""
    group = _child(file, "simulation")
    if not isinstance(group, h5py.Group):
        return None
    values, _ = _values(group, path, content)
    found = [values.get(name) for name in ("tSample", "Ts")]
    sample, step = (float(np.ravel(v)[0]) if isinstance(v, np.ndarray) and v.size == 1 else math.nan for v in found)
    steps = sample / step if step > 0 else math.nan
    return int(steps) if steps >= 1 and steps == math.floor(steps) else None
