"""Group ``/decolle_hw/plasticity`` of an artifact: how the network learns on chip.

It is read off the dataclasses of `decolle_hw.compiler.learning_program`, field by field, so that none is forgotten:

=====================================  =====================================================
field                                  stored as
=====================================  =====================================================
a number, a text, a row of numbers     attribute
an array                               dataset
another dataclass                      group of its name
several dataclasses                    group with their number as attribute ``count``,
                                       and in it the groups 0, 1, ...
=====================================  =====================================================
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import h5py
import numpy as np

from decolle_hw.compiler.entries import (
    GROUP,
    damaged,
    read_array,
    read_integer,
    read_integers,
    read_number,
    read_subgroup,
    read_text,
)
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.plasticity import MOST_PRODUCTS
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError

PLASTICITY = "plasticity"
COUNT = "count"
MOST_ENTRIES = 4096  # of several dataclasses: more layers, products or factors than any network has
assert MOST_ENTRIES > MOST_PRODUCTS


def stored_learning(learning: LearningProgram) -> dict[str, Any]:
    """Every entry by its path below the group, in the order of the fields."""
    return dict(_stored("", learning))


def write_learning(group: h5py.Group, learning: LearningProgram) -> None:
    """Make the group within ``/decolle_hw``."""
    for path, value in stored_learning(learning).items():
        where, _, name = f"{PLASTICITY}/{path}".rpartition("/")
        entry = group.require_group(where)
        if isinstance(value, np.ndarray):
            entry.create_dataset(name, data=value, compression="gzip" if value.size else None)
        else:
            entry.attrs[name] = np.bytes_(value) if isinstance(value, str) else value


def read_learning(group: h5py.Group, program: Program, path: Path) -> LearningProgram:
    """Read and check it. Raises `ArtifactError` that names the entry."""
    entry = read_subgroup(group, PLASTICITY, path)
    try:
        learning: LearningProgram = _read(entry, LearningProgram, path, {"program": program})
    except (CompileError, ValueError, TypeError, IndexError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise damaged(path, f"{GROUP}/{PLASTICITY}", f"is not what it should be: {reason}") from None
    return learning


def _stored(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Program):
        return []  # is stored beside it
    if dataclasses.is_dataclass(value):
        prefix = f"{path}/" if path else ""
        return [
            entry
            for field in dataclasses.fields(value)
            for entry in _stored(f"{prefix}{field.name}", getattr(value, field.name))
        ]
    if isinstance(value, np.ndarray):
        return [(path, np.ascontiguousarray(value, np.int32))]
    if isinstance(value, str):
        return [(path, str(value))]
    if isinstance(value, tuple) and not (value and isinstance(value[0], (int, np.integer))):
        parts = [entry for index, part in enumerate(value) for entry in _stored(f"{path}/{index}", part)]
        return [(f"{path}/{COUNT}", len(value)), *parts]
    if isinstance(value, tuple):
        return [(path, tuple(int(number) for number in value))]
    return [(path, float(value) if isinstance(value, (float, np.floating)) else int(value))]


def _read(group: h5py.Group, kind: Any, path: Path, given: dict[str, Any]) -> Any:
    """A dataclass from its group; `given` fields stand elsewhere."""
    values = dict(given)
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name not in given:
            values[field.name] = _read_value(group, field.name, types[field.name], path)
    return kind(**values)


def _read_value(group: h5py.Group, name: str, kind: Any, path: Path) -> Any:
    if dataclasses.is_dataclass(kind):
        return _read(read_subgroup(group, name, path), kind, path, {})
    if get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0]):
        entry = read_subgroup(group, name, path)
        count = read_integer(entry, COUNT, path)
        if not 0 <= count <= MOST_ENTRIES:
            raise damaged(path, f"{entry.name.lstrip('/')}/{COUNT}", f"is {count}, expected 0..{MOST_ENTRIES}")
        part = get_args(kind)[0]
        return tuple(_read(read_subgroup(entry, str(index), path), part, path, {}) for index in range(count))
    if get_origin(kind) is tuple:
        return read_integers(group, name, path)
    if get_origin(kind) is np.ndarray:
        return read_array(group, name, path)
    if kind is float:
        return read_number(group, name, path)
    return read_integer(group, name, path) if kind is int else read_text(group, name, path)
