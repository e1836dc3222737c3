"""What an artifact says of itself, without reading its numbers: for lists, which must not take a second per network.

The SHA-256 over the content is not checked here; whoever runs a network calls `decolle_hw.compiler.artifact`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import h5py

from decolle_hw.compiler.entries import DAMAGE, GROUP, damaged, read_integer, read_text
from decolle_hw.errors import ArtifactError


class ArtifactHead(NamedTuple):
    """The first lines of a `.net` file."""

    name: str
    target: str
    classes: int
    layers: int
    learns: bool  # some layers learn on chip
    checkpoint_sha256: str  # of what it was made from


def read_head(path: Path) -> ArtifactHead:
    """Raises `ArtifactError` that says why a file is no artifact of ours."""
    try:
        with h5py.File(path, "r") as file:
            if GROUP not in file:
                raise ArtifactError(f"{path}: is not a decolle-hw artifact: HDF5 group {GROUP!r} is missing")
            group = file[GROUP]
            header = json.loads(read_text(group, "program", path))
            return ArtifactHead(
                str(header["name"]), str(header["target"]), len(header["classes"]), read_integer(group, "layers", path),
                bool(read_integer(group, "learns", path)) if "learns" in group.attrs else False,
                str(header["checkpoint_sha256"]),
            )  # fmt: skip
    except PermissionError:
        raise ArtifactError(f"{path}: cannot be read: permission denied") from None
    except DAMAGE:
        if path.is_file() and not h5py.is_hdf5(path):
            raise ArtifactError(f"{path}: is not a decolle-hw artifact: it is not an HDF5 file") from None
        raise damaged(path, GROUP, "cannot be read") from None
