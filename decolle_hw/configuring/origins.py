"""Every value of a description, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from decolle_hw.configuring.keys import Key, all_keys
from decolle_hw.described import AUTO, AUTO_KEYS, OF_THE_RECORDINGS, read_model
from decolle_hw.errors import SpecError
from decolle_hw.library import find_yaml, shipped_names
from decolle_hw.spec import ModelSpec
from decolle_hw.yamlfile import key_lines, read_yaml

RUN_SPEC = "spec.yaml"  # of a run folder: training.runs.SPEC, which imports torch
DATA_KEYS = ("name", "path", *OF_THE_RECORDINGS)  # of `dataset`, that --data sets
FOUND = "found in the recordings"
# Keys that are left out get these values from others, not from a default of their own.
FOLLOWS = {
    "network.alpharp": "network.neuron",
    "network.wrp": "network.neuron",
    "network.vth": "network.neuron",
    "dataset.downsample": "dataset.name and input_shape",
    "dataset.sensor_size": "dataset.name",
}
DEFAULT = "default"


@dataclass(frozen=True)
class Explained:
    """One value."""

    key: str
    value: Any
    origin: str  # where it was written, or what it follows from
    description: str

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "origin": self.origin, "description": self.description}


@dataclass(frozen=True)
class Explanation:
    """Result of `explain`."""

    spec: ModelSpec
    file: Path
    values: tuple[Explained, ...]

    def of_section(self, section: str) -> list[Explained]:
        """`section` "" stands for the keys outside of any section."""
        return [value for value in self.values if (value.key.partition(".")[0] if "." in value.key else "") == section]

    def to_json(self, only: str | None = None) -> dict[str, Any]:
        values = self.values if only is None else self.of_section(only)
        return {
            "model": self.spec.name,
            "file": str(self.file),
            "values": {value.key: value.to_json() for value in values},
        }


def explain(name: str, overrides: tuple[str, ...], dataset: str | None, console: Console) -> Explanation:
    """Read a model, or the description in the folder of a training run, as `train` would.

    Args: as those of `train`: a shipped name or a path, `--set`, `--data`.
    Raises `SpecError` as reading the description does.
    """
    file = file_of(name)
    spec = read_model(str(file), overrides, dataset, console)
    values = spec.model_dump()
    origins = _Origins(file, overrides, dataset)
    explained = tuple(
        Explained(key.name, value, origins.of(key, value), key.description) for key, value in _present(values)
    )
    return Explanation(spec, file, explained)


def file_of(name: str) -> Path:
    """The YAML of a model or of a run folder. Raises `SpecError` where there is none."""
    folder = Path(name)
    if name not in shipped_names("models") and folder.is_dir():
        if not (folder / RUN_SPEC).is_file():
            raise SpecError(f"{name}: is a folder without {RUN_SPEC}; give a run, as runs/MODEL/TIME, or a model")
        return folder / RUN_SPEC
    return find_yaml(name, "models", "model")


def _present(values: dict[str, Any]) -> Iterator[tuple[Key, Any]]:
    """Keys and their values; of a section that was left out only its own key, of one that is there only those in it."""
    for key in all_keys():
        held: Any = values
        for part in key.path:
            if not isinstance(held, dict) or part not in held:
                break
            held = held[part]
        else:
            if not (isinstance(held, dict) and _is_section(key)):
                yield key, held


def _is_section(key: Key) -> bool:
    return any(other.path[:-1] == key.path for other in all_keys())


class _Origins:
    """What was written where."""

    def __init__(self, file: Path, overrides: tuple[str, ...], dataset: str | None) -> None:
        self.file = file
        self.raw = read_yaml(file)
        self.lines = key_lines(file.read_text(encoding="utf-8"))
        self.overrides = [(tuple(override.partition("=")[0].split(".")), override) for override in overrides]
        self.dataset = dataset

    def of(self, key: Key, value: Any) -> str:
        path = key.path
        by_data = self.dataset is not None and path in {("dataset", name) for name in DATA_KEYS}
        if by_data and (path[1] == "path" or value != self._written(path)):
            return "--data"
        override = self._override(path)
        source = self._place(path) if override is None else f"--set {override}"
        if source is None:
            return self._unwritten(key, value)
        if path in {("dataset", name) for name in AUTO_KEYS} and self._said(path) == AUTO:
            return f"{FOUND} ({source}: {AUTO})" if override is None else f"{FOUND} ({source})"
        if override is None and self._written(path) is None and value is not None:  # written as null
            return self._unwritten(key, value)
        return source

    def _override(self, path: tuple[str, ...]) -> str | None:
        """The last `--set` of this key, or of a section that it is in."""
        found = [text for at, text in self.overrides if path[: len(at)] == at]
        return found[-1] if found else None

    def _said(self, path: tuple[str, ...]) -> Any:
        """What was asked for, before anything was filled in."""
        override = self._override(path)
        return self._written(path) if override is None else override.partition("=")[2].strip()

    def _unwritten(self, key: Key, value: Any) -> str:
        if value == key.default:
            return DEFAULT
        if key.name in ("dataset.downsample", "dataset.sensor_size") and any(
            self._said(("dataset", name)) == AUTO for name in AUTO_KEYS
        ):
            return FOUND
        return f"follows from {FOLLOWS.get(key.name, 'other keys')}"

    def _place(self, path: tuple[str, ...]) -> str | None:
        """FILE:LINE of a key in the YAML; of a value below an alias, that of the nearest key above it."""
        if self._written(path, missing := object()) is missing:
            return None
        at = path
        while at and at not in self.lines:
            at = at[:-1]
        return f"{self.file}:{self.lines[at]}" if at else str(self.file)

    def _written(self, path: tuple[str, ...], missing: Any = None) -> Any:
        held: Any = self.raw
        for part in path:
            if not isinstance(held, dict) or part not in held:
                return missing
            held = held[part]
        return held
