"""The runs below a folder: what each of them is, how far it came, and why some folders are none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from decolle_hw.errors import DecolleHwError, SpecError, UsageError
from decolle_hw.spec import ModelSpec, load_model_spec, parse_model_spec
from decolle_hw.training.lock import is_locked
from decolle_hw.training.run_files import (
    CHECKPOINT,
    METRICS,
    RESUME,
    SPEC,
    leaf_differences,
    metrics_so_far,
    read_metrics,
)
from decolle_hw.yamlfile import read_yaml

STAMP, STAMP_LENGTH = "%Y-%m-%d_%H-%M-%S", 19
# Not what is trained, or shown in a column of its own.
ELSEWHERE = frozenset({"description", "dataset.path", "dataset.test_path", "dataset.cache"})
Change = tuple[str, Any, Any]  # key, value in the run, value in the model


@dataclass(frozen=True)
class FoundRun:
    """A run folder, finished or not. Accuracies are those of the last layer, on the test recordings."""

    folder: Path
    spec: ModelSpec
    state: str  # finished, stopped early, running, interrupted, diverged
    metrics: dict[str, Any]  # metrics.json; empty before the first save was complete
    changed: tuple[Change, ...] | None  # against the model of that name as it is shipped; None: there is none

    @cached_property
    def checkpoint_sha256(self) -> str | None:
        """By which a compiled network knows it; None: no epoch was tested yet. Read when asked for: it may be large."""
        checkpoint = self.folder / CHECKPOINT
        return hashlib.sha256(checkpoint.read_bytes()).hexdigest() if checkpoint.is_file() else None

    @property
    def name(self) -> str:
        """``MODEL/<time>``."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def started(self) -> float:
        """Seconds since 1970, by the name of the folder where it is a time."""
        try:
            return datetime.strptime(self.folder.name[:STAMP_LENGTH], STAMP).timestamp()
        except ValueError:
            return (self.folder / SPEC).stat().st_mtime

    @property
    def history(self) -> list[dict[str, Any]]:
        return list(self.metrics.get("history", []))

    @property
    def planned(self) -> int:
        return self.spec.training.num_epochs

    @property
    def best_epoch(self) -> int:
        """0: no epoch was tested yet."""
        return int(self.metrics.get("best_epoch", 0))

    @property
    def best_accuracy(self) -> float | None:
        accuracies = self.metrics.get("test_accuracy") or [None]
        return accuracies[-1]

    @property
    def last_accuracy(self) -> float | None:
        return self.history[-1]["test_accuracy"][-1] if self.history else None

    @property
    def seconds(self) -> float:
        return float(self.metrics.get("seconds", 0.0))

    @property
    def data(self) -> str:
        """``digits``, or what kind of recordings and from where."""
        dataset = self.spec.dataset
        return dataset.name if dataset.path is None else f"{dataset.name} {dataset.path}"

    def to_json(self) -> dict[str, Any]:
        return {
            "run": str(self.folder),
            "model": self.spec.name,
            "started": datetime.fromtimestamp(self.started).isoformat(sep=" ", timespec="seconds"),
            "state": self.state,
            "epochs": len(self.history),
            "planned_epochs": self.planned,
            "best_epoch": self.best_epoch or None,
            "best_accuracy": self.best_accuracy,
            "last_accuracy": self.last_accuracy,
            "seconds": self.seconds,
            "data": self.data,
            "test_recordings": self.metrics.get("test_recordings"),
            "changed": None if self.changed is None else {
                key: {"run": now, "model": then} for key, now, then in self.changed
            },
            "checkpoint_sha256": self.checkpoint_sha256,
        }  # fmt: skip


@dataclass(frozen=True)
class Unusable:
    """A folder or file that is not what stands around it."""

    path: Path
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"path": str(self.path), "reason": self.reason}


def find_runs(root: Path) -> tuple[list[FoundRun], list[Unusable]]:
    """All runs below a folder, the newest first, and what else lies there.

    Runs are ``root/MODEL/<time>``; where `root` is the folder of one model, ``root/<time>``. Raises `UsageError` where
    there is no such folder or it cannot be read.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise UsageError(f"{root}: {what}; `decolle-hw train` writes runs below it, --runs names another one")
    runs, unusable = [], []
    try:
        candidates = list(_candidates(root))
    except OSError as error:
        raise UsageError(f"{error.filename or root}: cannot be read: {error.strerror}") from None
    for folder in candidates:
        try:
            runs.append(read_found(folder))
        except DecolleHwError as error:
            unusable.append(Unusable(folder, str(error).removeprefix(f"{folder}: ").removeprefix(f"{folder}/")))
        except OSError as error:
            unusable.append(Unusable(folder, f"cannot be read: {error.strerror}"))
    return sorted(runs, key=lambda run: (run.started, run.folder.name), reverse=True), unusable


def _candidates(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder in _folders(root):
        below = [] if (folder / SPEC).exists() else _folders(folder)
        found += below or [folder]
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_found(folder: Path) -> FoundRun:
    """One run, however far it came. Raises `UsageError` that says why a folder is none."""
    if not (folder / SPEC).is_file():
        raise UsageError(f"{folder}: is not a training run: {SPEC} is missing")
    if not (folder / METRICS).is_file() and not (folder / RESUME).is_file():
        raise UsageError(f"{folder}: is not a training run: neither {METRICS} nor {RESUME} is there")
    spec = parse_model_spec(read_yaml(folder / SPEC), str(folder / SPEC))
    metrics = metrics_so_far(folder)
    if metrics.get("history") or ((folder / METRICS).is_file() and not metrics):
        metrics = read_metrics(folder / METRICS, spec.network.layers)
    if metrics.get("history") and not (folder / CHECKPOINT).is_file():
        raise UsageError(f"{folder}: {CHECKPOINT} is missing; train again")
    return FoundRun(folder, spec, _state(folder, metrics), metrics, _changes(spec))


def _state(folder: Path, metrics: dict[str, Any]) -> str:
    if is_locked(folder):
        return "running"
    if metrics.get("diverged"):
        return "diverged"
    if metrics.get("finished") is True:
        return "stopped early" if metrics.get("stopped_early") else "finished"
    return "interrupted"


def _changes(spec: ModelSpec) -> tuple[Change, ...] | None:
    model = _shipped(spec.name)
    if model is None:
        return None
    found = leaf_differences(spec.model_dump(), model.model_dump())
    return tuple(change for change in found if change[0] not in ELSEWHERE)


@lru_cache(maxsize=64)
def _shipped(name: str) -> ModelSpec | None:
    """The model of the zoo, if there is one: a YAML of the user's own is known by its copy in the run only."""
    try:
        return load_model_spec(name)
    except SpecError:
        return None
