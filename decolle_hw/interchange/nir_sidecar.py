"""The sidecar of an exported graph: the exact integers beside the real numbers.

``NAME.nir.h5`` is the artifact of the program (`decolle_hw.compiler.artifact`), so nothing is lost, with one attribute
more: the SHA-256 of ``NAME.nir``. A graph that was changed since is another network, and its sidecar is left aside.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import h5py
import numpy as np

from decolle_hw.atomic import new_file
from decolle_hw.compiler.artifact import GROUP, LIBVER, load_artifact, save_artifact
from decolle_hw.compiler.program import Program
from decolle_hw.errors import ArtifactError

ATTRIBUTE = "nir_sha256"


def sidecar_path(path: Path) -> Path:
    return path.with_name(path.name + ".h5")


def write_sidecar(program: Program, path: Path, graph: bytes) -> Path:
    """Write the sidecar of the file at `path`, which holds `graph`. Returns its own path.

    Raises `CompileError` for a program that no artifact can hold, `UsageError` where it cannot be written.
    """
    place = sidecar_path(path)
    with new_file(place) as partial:
        save_artifact(program, partial)
        content = io.BytesIO(partial.read_bytes())
        with h5py.File(content, "r+", libver=LIBVER) as file:
            file[GROUP].attrs[ATTRIBUTE] = np.bytes_(_digest(graph))
        partial.write_bytes(content.getvalue())
    return place


def read_sidecar(path: Path) -> tuple[Program | None, tuple[str, ...]]:
    """(program, warnings) of the sidecar beside the graph at `path`; None where there is none that belongs to it.

    Raises `ArtifactError` for a sidecar that is damaged.
    """
    place = sidecar_path(path)
    if not path.is_file() or not place.is_file():
        return None, ()
    program = load_artifact(place)
    try:
        with h5py.File(place, "r") as file:
            said = file[GROUP].attrs.get(ATTRIBUTE, b"")
            belongs = bytes(said) == _digest(path.read_bytes()).encode()
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{place}: cannot be read: {error}; remove it, or export again") from None
    if belongs:
        return program, ()
    return None, (
        f"{place}: belongs to another graph: {path.name} was changed since it was exported; integers are made anew "
        "from its real numbers",
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
