"""The artifact NAME.net: one HDF5 file that lava-dl's netx reads, with everything netx has no word for beside it.

``/layer/<i>`` follows lava-dl's netx convention, so that ``lava.lib.dl.netx.hdf5.Network(NAME.net)`` loads a cuba
network as it is (layer 0 is the input). ``/decolle_hw`` holds the exact program: one attribute per scalar and one
dataset per array of `DenseLayer`, the description, and a SHA-256 over all of it, so that damage is found.
"""

# N neurons, I inputs, C classes

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from decolle_hw.atomic import new_file
from decolle_hw.compiler.program import DenseLayer, Program
from decolle_hw.errors import ArtifactError, CompileError

FORMAT_VERSION = 1
GROUP = "decolle_hw"
_ARRAYS = ("weight", "vth", "bias_mant", "readout_weight", "readout_bias")
_SCALARS = tuple(f.name for f in dataclasses.fields(DenseLayer) if f.name not in _ARRAYS)
# Everything of Program but its layers, as one JSON text.
_HEADER = tuple(f.name for f in dataclasses.fields(Program) if f.name != "layers")


def save_artifact(program: Program, path: Path) -> None:
    """Write the artifact; it appears complete or not at all."""
    with new_file(path) as partial, h5py.File(partial, "w") as file:
        _write_netx(program, file)
        group = file.create_group(GROUP)
        group.attrs["format_version"] = FORMAT_VERSION
        group.attrs["program"] = json.dumps({name: getattr(program, name) for name in _HEADER})
        group.attrs["layers"] = len(program.layers)
        for index, layer in enumerate(program.layers):
            entry = group.create_group(f"layer/{index}")
            for name in _SCALARS:
                entry.attrs[name] = getattr(layer, name)
            for name in _ARRAYS:
                entry.create_dataset(name, data=getattr(layer, name).astype(np.int32), compression="gzip")
        group.attrs["sha256"] = _digest(program)


def load_artifact(path: Path) -> Program:
    """Read and check an artifact. Raises `ArtifactError` that names the file, the field and the remedy."""
    if not path.exists():
        raise ArtifactError(f"{path}: does not exist; `decolle-hw compile --target loihi2` writes one")
    if not path.is_file():
        raise ArtifactError(f"{path}: is not a file; give the .net file that `decolle-hw compile` wrote")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise ArtifactError(f"{path}: cannot be read: permission denied") from None
        reason = "the file is truncated" if "truncated" in str(error) else "it is not a readable HDF5 file"
        raise ArtifactError(f"{path}: is not a decolle-hw artifact: {reason}; compile again") from None


def newest_artifact(folder: Path) -> Path:
    """The `.net` file in a folder that was written last."""
    found = [path for path in folder.glob("*.net") if path.is_file()]
    if not found:
        raise ArtifactError(
            f"{folder}: holds no compiled network (*.net); run `decolle-hw compile --target loihi2` first"
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def effective_weight(layer: DenseLayer) -> np.ndarray[Any, np.dtype[np.int32]]:
    """(N, I) weights with `weight_exp` applied: what netx stores, and exact as the quantizer shifts losslessly."""
    if layer.weight_exp > 0:
        return layer.weight << layer.weight_exp
    return layer.weight >> -layer.weight_exp


def _write_netx(program: Program, file: h5py.File) -> None:
    source = file.create_group("layer/0")
    source["type"] = np.bytes_("input")
    source["shape"] = np.array([program.num_inputs])
    for index, layer in enumerate(program.layers):
        entry = file.create_group(f"layer/{index + 1}")
        entry["type"] = np.bytes_("dense")
        entry["shape"] = np.array([layer.num_neurons])
        entry.create_dataset("weight", data=effective_weight(layer), compression="gzip")
        neuron = entry.create_group("neuron")
        neuron["iDecay"] = layer.du + 1  # netx subtracts Loihi's ds_offset of 1 again
        neuron["vDecay"] = layer.dv
        neuron["refDelay"] = 1
        neuron["gradedSpike"] = False
        if layer.neuron == "cuba":
            neuron["type"] = np.bytes_("CUBA")
            neuron["vThMant"] = int(layer.vth[0])
            # netx applies bias_exp = 6, which is the exponent that the quantizer uses for cuba.
            entry["bias"] = layer.bias_mant
        else:
            # No stock neuron can stand in for it: netx must refuse the type, not run something else.
            neuron["type"] = np.bytes_("DECOLLE")
            neuron["vThMant"] = layer.vth


def _read(file: h5py.File, path: Path) -> Program:
    if GROUP not in file:
        raise ArtifactError(
            f"{path}: is not a decolle-hw artifact: HDF5 group {GROUP!r} is missing; "
            "give a .net file that `decolle-hw compile` wrote"
        )
    group = file[GROUP]
    version = _attribute(group, "format_version", path)
    if version != FORMAT_VERSION:
        remedy = "update decolle-hw" if version > FORMAT_VERSION else "compile again"
        raise ArtifactError(
            f"{path}: {GROUP}/format_version is {version}, this version of decolle-hw reads {FORMAT_VERSION}; {remedy}"
        )
    try:
        header = json.loads(_attribute(group, "program", path))
        header |= {name: tuple(header[name]) for name in ("classes", "input_shape", "quantization")}
        layers = tuple(
            _read_layer(group, f"layer/{index}", path) for index in range(int(_attribute(group, "layers", path)))
        )
        program = Program(layers=layers, **header)
    except (CompileError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{path}: {GROUP} is damaged: {error}; compile again") from None
    if _attribute(group, "sha256", path) != _digest(program):
        raise ArtifactError(f"{path}: {GROUP}/sha256 does not match the content: the file is damaged; compile again")
    for index, layer in enumerate(layers):
        field = f"layer/{index + 1}/weight"
        if field not in file or not np.array_equal(file[field][()], effective_weight(layer)):
            raise ArtifactError(f"{path}: {field} differs from {GROUP}/layer/{index}/weight; compile again")
    return program


def _read_layer(group: h5py.Group, name: str, path: Path) -> DenseLayer:
    if name not in group:
        raise ArtifactError(f"{path}: {GROUP}/{name} is missing; compile again")
    entry = group[name]
    values: dict[str, Any] = {}
    for scalar in _SCALARS:
        value = _attribute(entry, scalar, path)
        values[scalar] = value if scalar == "neuron" else int(value)
    for array in _ARRAYS:
        if array not in entry:
            raise ArtifactError(f"{path}: {GROUP}/{name}/{array} is missing; compile again")
        values[array] = np.asarray(entry[array][()], np.int32)
    try:
        return DenseLayer(**values)
    except CompileError as error:
        raise ArtifactError(f"{path}: {GROUP}/{name}/{error}; compile again") from None


def _attribute(group: h5py.Group, name: str, path: Path) -> Any:
    if name not in group.attrs:
        raise ArtifactError(f"{path}: {group.name.lstrip('/')}/{name} is missing; compile again")
    return group.attrs[name]


def _digest(program: Program) -> str:
    """SHA-256 over header and all integers, in the order of the dataclass fields."""
    digest = hashlib.sha256(json.dumps({name: getattr(program, name) for name in _HEADER}).encode())
    for layer in program.layers:
        digest.update(json.dumps({name: getattr(layer, name) for name in _SCALARS}).encode())
        for name in _ARRAYS:
            array = np.ascontiguousarray(getattr(layer, name), np.int32)
            digest.update(str(array.shape).encode() + array.tobytes())
    return digest.hexdigest()
