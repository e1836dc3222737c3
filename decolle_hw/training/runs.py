"""Run folders as they are read; the files in them are those of `decolle_hw.training.run_files`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from decolle_hw.errors import UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, parse_model_spec, with_folder
from decolle_hw.training.checkpoints import read_origin, read_tensors, require_tensors_of
from decolle_hw.training.run_files import (
    CHECKPOINT,
    LAST,
    LENGTH_KEYS,
    METRICS,
    RESUME,
    SPEC,
    WEIGHTS,
    Weights,
    differences,
    is_finished,
    metrics_so_far,
    read_metrics,
    resume_command,
)
from decolle_hw.yamlfile import read_yaml

__all__ = [
    "CHECKPOINT",
    "LAST",
    "LENGTH_KEYS",
    "METRICS",
    "RESUME",
    "SPEC",
    "Run",
    "Weights",
    "differences",
    "is_finished",
    "load_run",
    "new_run_folder",
    "newest_run",
    "newest_unfinished_run",
    "resume_command",
]


@dataclass(frozen=True)
class Run:
    """A training run on disk that has at least one tested epoch."""

    folder: Path
    spec: ModelSpec
    metrics: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.metrics["classes"])

    @property
    def best(self) -> dict[str, Any]:
        """The entry of the history that belongs to `checkpoint.safetensors`."""
        return next(entry for entry in self.metrics["history"] if entry["epoch"] == self.metrics["best_epoch"])

    def network(self, weights: Weights = "best") -> DecolleNetwork:
        """The trained network on the CPU, its weights quantized as `training.quantize` says.

        Raises `UsageError` that names the first tensor that does not fit.
        """
        network = DecolleNetwork(self.spec, len(self.classes), torch.Generator())
        path = self.folder / WEIGHTS[weights]
        if not path.is_file():
            raise UsageError(f"{path}: is missing; `decolle-hw train` writes one")
        found = read_tensors(path)
        require_tensors_of(network, found, path, self.spec.name)
        if weights == "last":
            _require_same_spec(self.spec, read_origin(path).model_spec(path), self.folder / SPEC)
        network.load_state_dict(found)
        network.quantize()
        return network

    def with_data(self, path: str) -> Run:
        """The same run with its recordings taken from another folder."""
        return replace(self, spec=with_folder(self.spec, path))

    def to_json(self) -> dict[str, Any]:
        """Where it is, and metrics.json."""
        return {"run": str(self.folder), "model": self.spec.name} | self.metrics

    def checkpoint_sha256(self) -> str:
        return hashlib.sha256((self.folder / CHECKPOINT).read_bytes()).hexdigest()


def load_run(folder: Path) -> Run:
    """Read a run folder; raises `UsageError` that names what is missing, wrong or changed after training."""
    for name in (SPEC, CHECKPOINT, METRICS):
        if not (folder / name).is_file():
            if (folder / RESUME).is_file():
                raise UsageError(
                    f"{folder}: {name} is missing: the run was interrupted before its first epoch was tested; "
                    f"to go on: {resume_command(folder)}"
                )
            raise UsageError(f"{folder}: is not a training run: {name} is missing; `decolle-hw train` writes one")
    origin = read_origin(folder / CHECKPOINT)
    trained_spec = origin.model_spec(folder / CHECKPOINT)
    spec = parse_model_spec(read_yaml(folder / SPEC), str(folder / SPEC))
    _require_same_spec(spec, trained_spec, folder / SPEC)
    metrics = read_metrics(folder / METRICS, layers=spec.network.layers)
    if metrics["classes"] != origin.classes:
        raise UsageError(
            f"{folder / METRICS}: classes are not those that the network was trained on: the file was changed after "
            f"training; undo that, or train again"
        )
    if metrics["best_epoch"] != origin.epoch:
        raise UsageError(
            f"{folder}: {CHECKPOINT} is of epoch {origin.epoch}, {METRICS} says {metrics['best_epoch']}: the run is "
            f"being trained, or was interrupted while saving; wait for it, or go on: {resume_command(folder)}"
        )
    return Run(folder, spec, metrics)


def _require_same_spec(now: ModelSpec, trained: ModelSpec, path: Path) -> None:
    for key, value, before in differences(now, trained):
        raise UsageError(
            f"{path}: {key} is {value!r}, but the network was trained with {before!r}: the file was changed after "
            f"training; undo that, or train again with the changed description"
        )


def new_run_folder(root: Path, name: str) -> Path:
    """The path of a run that starts now."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = root / name / stamp
    attempt = 1
    while folder.exists():
        attempt += 1
        folder = root / name / f"{stamp}_{attempt}"
    return folder


def newest_run(root: Path) -> Path:
    """The run that finished last below `root`; one that did not finish is only used where it is named."""
    runs = [path.parent for path in _visible(root, METRICS) if (path.parent / CHECKPOINT).is_file()]
    finished = [folder for folder in runs if metrics_so_far(folder).get("finished") is not False]
    if finished:
        return max(finished, key=lambda folder: (folder / METRICS).stat().st_mtime_ns)
    if runs:
        folder = max(runs, key=lambda folder: (folder / METRICS).stat().st_mtime_ns)
        raise UsageError(
            f"{root}: holds no finished training run; go on with the last one: {resume_command(folder)}, or name it to "
            f"use it as it is: decolle-hw compile {folder}"
        )
    raise UsageError(
        f"{root}: holds no training run; run `decolle-hw train` first, or name a run folder: decolle-hw compile RUN"
    )


def newest_unfinished_run(root: Path, model: str | None, is_busy: Callable[[Path], bool]) -> Path:
    """The run below `root` (of one model, if given) that was interrupted last.

    Args:
        is_busy: whether a process is training in a folder just now; such a run is left alone.

    A run that diverged is left out: continued, it would diverge again.
    """
    what = f"unfinished run of {model!r}" if model else "unfinished run"
    folders = [path.parent for path in _visible(root, RESUME) if model in (None, path.parent.parent.name)]
    states = {folder: metrics_so_far(folder) for folder in folders}
    unfinished = [folder for folder in folders if states[folder].get("finished") is not True]
    unfinished = [folder for folder in unfinished if not states[folder].get("diverged")]
    idle = [folder for folder in unfinished if not is_busy(folder)]
    if idle:
        return max(idle, key=lambda folder: (folder / RESUME).stat().st_mtime_ns)
    if unfinished:
        raise UsageError(f"{root}: its only {what} is being trained by another process: {unfinished[0]}")
    raise UsageError(
        f"{root}: holds no {what}; start one with `decolle-hw train`, or train a finished one for longer: "
        f"decolle-hw train --resume RUN --epochs N"
    )


def _visible(root: Path, name: str) -> list[Path]:
    return [path for path in sorted(root.glob(f"*/*/{name}")) if not path.parent.name.startswith(".")]
