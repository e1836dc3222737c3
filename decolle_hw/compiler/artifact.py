"""The artifact NAME.net: one HDF5 file that lava-dl's netx reads, with everything netx has no word for beside it.

``/layer/<i>`` follows lava-dl's netx convention: see `decolle_hw.compiler.netx`. ``/decolle_hw`` holds the exact
program: one attribute per scalar and one dataset per array of each layer, the description, and a SHA-256 over all of
it; what belongs to a layer is read off its dataclass. ``/decolle_hw/plasticity`` is there where layers learn on chip:
see `decolle_hw.compiler.stored_learning`. HDF5 checks its own structure with checksums (file format
1.10), so damage is found wherever it is. Text is of fixed length, as HDF5 keeps the other kind in a heap without
checksum, where one flipped bit makes it read for ever.
"""

# N neurons, I inputs, C classes

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, get_type_hints

import h5py
import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from decolle_hw.atomic import new_file
from decolle_hw.compiler.entries import (
    DAMAGE,
    GROUP,
    chunks_fit,
    damaged,
    read_array,
    read_integer,
    read_integers,
    read_subgroup,
    read_text,
    shown,
)
from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.netx import netx_entries
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.stored_learning import read_learning, stored_learning, write_learning
from decolle_hw.errors import ArtifactError, CompileError

__all__ = [
    "GROUP",
    "artifact_bytes",
    "load_artifact",
    "load_learning",
    "load_with_learning",
    "newest_artifact",
    "save_artifact",
]

FORMAT_VERSION = 4
WITHOUT_LEARNING = 3  # the format before: the same but for plasticity
# The oldest format with checksums over the structure: a flipped bit cannot turn into a huge or another array.
LIBVER = ("v110", "v110")
KINDS: dict[str, type[Layer]] = {"dense": DenseLayer, "conv": ConvLayer}
# Everything of Program but its layers, as one JSON text.
_HEADER = tuple(f.name for f in dataclasses.fields(Program) if f.name != "layers")
_HEADER_TYPES = {name: type_ for name, type_ in get_type_hints(Program).items() if name in _HEADER}


def save_artifact(program: Program, path: Path, learning: LearningProgram | None = None) -> None:
    """Write the artifact; it appears complete or not at all.

    Args: as `artifact_bytes`.
    Raises as `artifact_bytes`, and `UsageError` if `path` cannot be written.
    """
    content = artifact_bytes(program, learning)
    with new_file(path) as partial:
        partial.write_bytes(content)


def artifact_bytes(program: Program, learning: LearningProgram | None = None) -> bytes:
    """The file, made in memory: HDF5 crashes the process where a disk is full.

    Args: learning: how it learns on chip, where it does; `learning.program` is `program`.
    Raises `CompileError` if netx would not run a cuba network as it is.
    """
    assert learning is None or learning.program is program, "a network and how this very network learns"
    entries = netx_entries(program, _plastic_layers(learning))
    with h5py.File("artifact", "w", libver=LIBVER, driver="core", backing_store=False) as file:
        for name, value in entries.items():
            file.create_dataset(name, data=value, compression="gzip" if np.ndim(value) > 1 else None)
        group = file.create_group(GROUP)
        group.attrs["format_version"] = FORMAT_VERSION
        group.attrs["program"] = np.bytes_(_header(program).encode())
        group.attrs["layers"] = len(program.layers)
        group.attrs["learns"] = int(learning is not None)
        for index, layer in enumerate(program.layers):
            entry = group.create_group(f"layer/{index}")
            entry.attrs["kind"] = np.bytes_(_kind(layer))
            for name, value in _fields(layer).items():
                if isinstance(value, np.ndarray):
                    entry.create_dataset(name, data=value, compression="gzip" if value.size else None)
                else:
                    entry.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
        if learning is not None:
            write_learning(group, learning)
        group.attrs["sha256"] = np.bytes_(_digest(program, learning))
        file.flush()
        content: bytes = file.id.get_file_image()
        return content


def load_artifact(path: Path) -> Program:
    """Read and check an artifact. Raises `ArtifactError` that names the file, the field and the remedy."""
    return load_with_learning(path)[0]


def load_learning(path: Path) -> LearningProgram:
    """Read and check an artifact some of whose layers learn on chip.

    Raises `ArtifactError` as `load_artifact`, and where none does.
    """
    program, learning = load_with_learning(path)
    if learning is None:
        raise ArtifactError(
            f"{path}: no layer of {program.name} learns on chip; compile it with --plastic, for example "
            "`decolle-hw compile --plastic output`"
        )
    return learning


def load_with_learning(path: Path) -> tuple[Program, LearningProgram | None]:
    """Both of the above: None where no layer learns."""
    if not path.exists():
        raise ArtifactError(f"{path}: does not exist; `decolle-hw compile --target loihi2` writes one")
    if not path.is_file():
        raise ArtifactError(f"{path}: is not a file; give the .net file that `decolle-hw compile` wrote")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path)
    except PermissionError:
        raise ArtifactError(f"{path}: cannot be read: permission denied; change its permissions") from None
    except DAMAGE as error:
        if not h5py.is_hdf5(path):
            raise ArtifactError(
                f"{path}: is not a decolle-hw artifact: it is not an HDF5 file; "
                "give a .net file that `decolle-hw compile` wrote"
            ) from None
        reason = "the file is truncated" if "truncated" in str(error) else "its HDF5 structure is damaged"
        raise ArtifactError(f"{path}: cannot be read: {reason}; compile again") from None


def newest_artifact(folder: Path) -> Path:
    """The `.net` file in a folder that was written last."""
    found = [path for path in folder.glob("*.net") if path.is_file()]
    if not found:
        raise ArtifactError(
            f"{folder}: holds no compiled network (*.net); run `decolle-hw compile --target loihi2` first"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def _read(file: h5py.File, path: Path) -> tuple[Program, LearningProgram | None]:
    if GROUP not in file:
        raise ArtifactError(
            f"{path}: is not a decolle-hw artifact: HDF5 group {GROUP!r} is missing; "
            "give a .net file that `decolle-hw compile` wrote"
        )
    group = file[GROUP]
    version = read_integer(group, "format_version", path)
    if version not in (WITHOUT_LEARNING, FORMAT_VERSION):
        remedy = "update decolle-hw" if version > FORMAT_VERSION else "compile again"
        raise ArtifactError(
            f"{path}: {GROUP}/format_version is {version}, this version of decolle-hw reads {WITHOUT_LEARNING} and "
            f"{FORMAT_VERSION}; {remedy}"
        )
    layers = [_read_layer(group, f"layer/{i}", path) for i in range(read_integer(group, "layers", path))]
    program = _read_program(read_text(group, "program", path), tuple(layers), path)
    learns = 0 if version == WITHOUT_LEARNING else read_integer(group, "learns", path)
    if learns not in (0, 1):
        raise damaged(path, f"{GROUP}/learns", f"is {learns}, neither 0 nor 1")
    learning = read_learning(group, program, path) if learns else None
    if read_text(group, "sha256", path) != _digest(program, learning):
        raise damaged(path, f"{GROUP}/sha256", "does not match the content")
    _check_netx(file, program, learning, path)
    return program, learning


def _read_program(header: str, layers: tuple[Layer, ...], path: Path) -> Program:
    try:
        read: dict[str, Any] = json.loads(header)
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in read.items()
        }
        if values.get("input_block") is not None:
            values["input_block"] = _input_block(values["input_block"])
        for name in values.keys() & _HEADER_TYPES.keys() - {"input_block"}:
            TypeAdapter(_HEADER_TYPES[name], config=ConfigDict(strict=True)).validate_python(values[name])
        return Program(layers=layers, **values)
    except CompileError as error:
        raise damaged(path, GROUP, f"is not a network: {error}") from None
    except ValidationError as error:
        reason = f"is not what it should be: {name}: {error.errors()[0]['msg']}"
        raise damaged(path, f"{GROUP}/program", reason) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(path, f"{GROUP}/program", f"is not what it should be: {error}") from None


def _input_block(values: dict[str, Any]) -> InputBlock:
    wrong = sorted(name for name, value in values.items() if type(value) is not int)
    if wrong:
        raise ValueError(f"input_block: {wrong[0]} is {shown(values[wrong[0]])}, not an integer")
    return InputBlock(**values)


def _read_layer(group: h5py.Group, where: str, path: Path) -> Layer:
    entry = read_subgroup(group, where, path)
    kind = read_text(entry, "kind", path)
    if kind not in KINDS:
        raise damaged(path, f"{GROUP}/{where}/kind", f"is {shown(kind)}, not one of {', '.join(KINDS)}")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(KINDS[kind]):
        name, type_ = field.name, str(field.type)
        if type_.startswith("NDArray"):
            values[name] = read_array(entry, name, path)
        elif type_.startswith("tuple") or type_ == "PerAxis":
            values[name] = read_integers(entry, name, path)
        elif type_ in ("int", "bool"):
            number = read_integer(entry, name, path)
            if type_ == "bool" and number not in (0, 1):
                raise damaged(path, f"{GROUP}/{where}/{name}", f"is {number}, neither 0 nor 1")
            values[name] = bool(number) if type_ == "bool" else number
        else:
            values[name] = read_text(entry, name, path)
    try:
        return KINDS[kind](**values)
    except CompileError as error:
        raise damaged(path, f"{GROUP}/{where}/{error}", "") from None


def _check_netx(file: h5py.File, program: Program, learning: LearningProgram | None, path: Path) -> None:
    """What netx would run is what `/decolle_hw` says, no less and no more."""
    found: list[str] = []
    layers = read_subgroup(file, "layer", path)
    layers.visititems(lambda name, item: found.append(f"layer/{name}") if hasattr(item, "shape") else None)
    entries = netx_entries(program, _plastic_layers(learning))
    for name in sorted(entries.keys() - set(found)):
        raise damaged(path, name, "is missing")
    for name in sorted(set(found) - entries.keys()):
        raise damaged(path, name, "was added to the file")
    for name, value in entries.items():
        try:
            dataset, expected = file[name], np.asarray(value)
            # Looked at first: the content may be said to be huge.
            fits = dataset.shape == expected.shape and dataset.dtype == expected.dtype and chunks_fit(dataset)
            equal = fits and np.array_equal(dataset[()], expected)
        except DAMAGE:
            raise damaged(path, name, "cannot be read") from None
        if not equal:
            raise damaged(path, name, f"differs from {GROUP}")


def _header(program: Program) -> str:
    values = {name: getattr(program, name) for name in _HEADER}
    if program.input_block is not None:
        values["input_block"] = dataclasses.asdict(program.input_block)
    return json.dumps(values)


def _plastic_layers(learning: LearningProgram | None) -> tuple[int, ...]:
    return () if learning is None else tuple(plastic.layer for plastic in learning.plastic)


def _kind(layer: Layer) -> str:
    return next(name for name, type_ in KINDS.items() if type(layer) is type_)


def _fields(layer: Layer) -> dict[str, Any]:
    """Plain values of a layer by name, whatever integer types it was made with: arrays, texts, int, tuples of int."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        if isinstance(value, np.ndarray):
            values[field.name] = np.ascontiguousarray(value, np.int32)
        elif isinstance(value, tuple) or str(field.type) == "PerAxis":
            pair = value if isinstance(value, tuple) else (value, value)
            values[field.name] = tuple(int(number) for number in pair)
        else:
            values[field.name] = value if isinstance(value, str) else int(value)
    return values


def _digest(program: Program, learning: LearningProgram | None) -> str:
    """SHA-256 over header and all numbers, in the order of the dataclass fields."""
    digest = hashlib.sha256(_header(program).encode())
    for layer in program.layers:
        fields = _fields(layer)
        scalars = {name: value for name, value in fields.items() if not isinstance(value, np.ndarray)}
        digest.update(json.dumps({"kind": _kind(layer), **scalars}).encode())
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                digest.update(f"{name}{value.shape}".encode() + value.tobytes())
    for name, value in () if learning is None else stored_learning(learning).items():
        plain = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
        digest.update(f"{name}{np.shape(value)}".encode() + plain)
    return digest.hexdigest()
