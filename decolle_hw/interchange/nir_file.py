"""Reading a NIR file (HDF5, written by the `nir` package) without trusting it.

The nodes are made by the `nir` package itself, one by one, so that each that is wrong is named. Before that the file is
walked: it may hold only what `nir` writes, no links that lead elsewhere or round in circles, and no array that claims
to be larger than what is stored of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from decolle_hw.errors import ArtifactError

# A matrix of a million inputs and a hundred neurons in double precision fits; what claims more is not read.
LARGEST_ARRAY_BYTES = 1 << 31
LARGEST_RATIO = 1100  # deflate reaches 1032
SMALL_BYTES = 1 << 16  # looked at whatever is stored of it: texts and numbers lie outside their dataset
MOST_ENTRIES = 100_000
DEEPEST = 8  # node / nodes / NAME / metadata / ...
# What h5py raises for a damaged file, depending on where the damage is.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError)
# What the nir package raises for a node that lacks a field, has one too many, or of another shape.
_NO_NODE = (*_DAMAGE, AssertionError, IndexError)


@dataclass(frozen=True)
class Graph:
    """Nodes of the `nir` package by name, and the edges between them.

    Attributes:
        nodes: without those that could not be made; see `problems`.
        types: of all nodes, as the file names them.
        problems: one line for every node that could not be made.
    """

    nodes: dict[str, Any]
    types: dict[str, str]
    edges: tuple[tuple[str, str], ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_graph(path: Path, known: frozenset[str]) -> Graph:
    """The graph in a file. Nodes of types that are not `known` are left as they are.

    Raises `ArtifactError`, in one line, for a file that is missing, damaged, or not a NIR graph.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: does not exist; give a file that nir.write wrote")
    if not path.is_file():
        raise ArtifactError(f"{path}: is not a file; give a file that nir.write wrote")
    try:
        with h5py.File(path, "r") as file:
            content = _walk(file, path)
    except PermissionError:
        raise ArtifactError(f"{path}: cannot be read: permission denied; change its permissions") from None
    except _DAMAGE as error:
        if not h5py.is_hdf5(path):
            raise ArtifactError(
                f"{path}: is not a NIR graph: it is not an HDF5 file; write it with nir.write"
            ) from None
        raise ArtifactError(f"{path}: cannot be read: {_line(error)}; its HDF5 structure is damaged") from None
    return _graph(content, path, known)


def _walk(file: h5py.File, path: Path) -> dict[str, Any]:
    """Everything below group 'node', as nested dictionaries."""
    if not isinstance(file.get("node", getlink=True), h5py.HardLink) or not isinstance(file["node"], h5py.Group):
        raise ArtifactError(f"{path}: is not a NIR graph: HDF5 group 'node' is missing; write it with nir.write")
    content: dict[str, Any] = {}
    waiting: list[tuple[h5py.Group, dict[str, Any], int]] = [(file["node"], content, 0)]
    entries, total = 0, 0
    while waiting:
        group, values, depth = waiting.pop()
        if depth > DEEPEST:
            raise ArtifactError(f"{path}: {group.name}: is nested more than {DEEPEST} deep, which no NIR graph is")
        for name in group:
            where = f"{group.name}/{name}".lstrip("/")
            entries += 1
            if entries > MOST_ENTRIES:
                raise ArtifactError(f"{path}: holds more than {MOST_ENTRIES} entries, which no network here does")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ArtifactError(f"{path}: {where}: is a link to another place, which no NIR graph has")
            item = group[name]
            if isinstance(item, h5py.Group):
                values[name] = {}
                waiting.append((item, values[name], depth + 1))
            else:
                values[name] = _value(item, where, path)
                total += getattr(values[name], "nbytes", 0)
                if total > LARGEST_ARRAY_BYTES:
                    raise ArtifactError(f"{path}: holds more than {LARGEST_ARRAY_BYTES >> 20} MiB of numbers")
    return content


def _value(item: Any, where: str, path: Path) -> Any:
    """A number, an array, a text, or an array of texts."""
    if not isinstance(item, h5py.Dataset) or item.shape is None or item.dtype.kind not in "iufbSO":
        raise ArtifactError(f"{path}: {where}: is neither a number, nor a text, nor an array of them")
    if item.is_virtual or item.external:
        raise ArtifactError(f"{path}: {where}: keeps its values in another file, which no NIR graph does")
    stored = max(item.id.get_storage_size() * LARGEST_RATIO, SMALL_BYTES)
    whole_chunks = 1 if item.chunks is None else math.prod(item.chunks)
    if max(item.nbytes, whole_chunks * item.dtype.itemsize) > min(stored, LARGEST_ARRAY_BYTES):
        raise ArtifactError(f"{path}: {where}: of shape {item.shape} is larger than what the file holds of it")
    if item.dtype.kind == "O" and h5py.check_string_dtype(item.dtype) is None:
        raise ArtifactError(f"{path}: {where}: is neither a number, nor a text, nor an array of them")
    value = item[()]
    return value.decode() if isinstance(value, bytes) else value


def _graph(content: dict[str, Any], path: Path, known: frozenset[str]) -> Graph:
    nodes, edges = content.get("nodes"), content.get("edges")
    if content.get("type") != "NIRGraph" or not isinstance(nodes, dict):
        raise ArtifactError(f"{path}: is not a NIR graph: its outermost node is {content.get('type')!r}")
    if not isinstance(edges, np.ndarray) or (edges.size and (edges.ndim != 2 or edges.shape[1] != 2)):
        raise ArtifactError(f"{path}: node/edges: is not a list of pairs of names")
    types = {
        name: str(node["type"]) if isinstance(node, dict) and "type" in node else "none" for name, node in nodes.items()
    }
    made, problems = {}, []
    for name, node in nodes.items():
        if types[name] in known:
            try:
                made[name] = _node(node)
            except _NO_NODE as error:
                problems.append(f"node {name!r} ({types[name]}): the nir package cannot make it: {_line(error)}")
    pairs = tuple((_text(before), _text(after)) for before, after in edges.reshape(-1, 2))
    metadata = content.get("metadata")
    return Graph(made, types, pairs, metadata if isinstance(metadata, dict) else {}, tuple(problems))


def _node(values: dict[str, Any]) -> Any:
    """A node as the `nir` package has it."""
    import nir  # only here: other commands shall not wait for it

    return nir.dict2NIRNode(dict(values))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _line(error: Exception) -> str:
    """On one line, with the kind of an error that says nothing else."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError) or not text:
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= 160 else text[:157] + "..."
