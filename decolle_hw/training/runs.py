"""Run folders as they are read.

    runs/MODEL/<time>/
        spec.yaml                what is trained
        checkpoint.safetensors   weights of the best epoch, by test accuracy of the last layer: this is compiled
        last.safetensors         weights after the last finished step
        resume.safetensors       all that `train --resume` needs to go on as if nothing had happened
        metrics.json             accuracy, losses, rates, seconds of each epoch; `finished`
        events.out.tfevents...   the same for TensorBoard

Each file but the last is complete or not there. A run that was interrupted, or is being trained, has `finished: false`
and is not taken by `compile` unless it is named.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decolle_hw.errors import UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, parse_model_spec, with_folder
from decolle_hw.training.checkpoints import read_origin, read_tensors, require_tensors_of
from decolle_hw.yamlfile import read_yaml

SPEC, CHECKPOINT, METRICS = "spec.yaml", "checkpoint.safetensors", "metrics.json"
LAST, RESUME = "last.safetensors", "resume.safetensors"
WEIGHTS = {"best": CHECKPOINT, "last": LAST}
Weights = Literal["best", "last"]

# How long a run goes on, not what it does: these may change while a run is resumed.
LENGTH_KEYS = frozenset({"training.num_epochs", "training.early_stop"})
# Nothing in it matters before a network is compiled.
AFTER_TRAINING = "on_chip."

Count = Annotated[int, Field(ge=1)]
Figure = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Epoch(BaseModel):
    """One entry of the history in metrics.json."""

    model_config = ConfigDict(strict=True)

    epoch: Count
    loss: list[Figure]
    test_accuracy: list[Share]
    test_firing_rate: list[Figure]
    seconds: Figure


class _Metrics(BaseModel):
    """What metrics.json must hold; more is allowed."""

    model_config = ConfigDict(strict=True)

    classes: list[str] = Field(min_length=1)
    device: str
    train_recordings: Count
    test_recordings: Count
    finished: bool
    best_epoch: Count
    test_accuracy: list[Share]
    seconds: Figure
    history: list[_Epoch] = Field(min_length=1)


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


def read_metrics(path: Path, layers: int) -> dict[str, Any]:
    """metrics.json with everything in it that is used elsewhere."""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        checked = _Metrics.model_validate(metrics)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: is damaged: {where + ': ' if where else ''}{first['msg']}; train again") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}; mend its permissions") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: is damaged: it is not JSON; train again") from None
    if checked.best_epoch not in [entry.epoch for entry in checked.history]:
        raise UsageError(f"{path}: is damaged: best_epoch {checked.best_epoch} is not in the history; train again")
    last = checked.history[-1]
    for key, values in (
        ("test_accuracy", checked.test_accuracy),
        ("history: loss", last.loss),
        ("history: test_accuracy", last.test_accuracy),
        ("history: test_firing_rate", last.test_firing_rate),
    ):
        if len(values) != layers:
            raise UsageError(f"{path}: is damaged: {key} has {len(values)} values for {layers} layers; train again")
    return metrics


def differences(now: ModelSpec, then: ModelSpec) -> list[tuple[str, Any, Any]]:
    """(key, value now, value then) wherever two descriptions differ in what is trained, whatever for how long."""
    found = _leaf_differences(now.model_dump(), then.model_dump())
    return [
        difference for difference in found
        if difference[0] not in LENGTH_KEYS and not difference[0].startswith(AFTER_TRAINING)
    ]  # fmt: skip


def _require_same_spec(now: ModelSpec, trained: ModelSpec, path: Path) -> None:
    for key, value, before in differences(now, trained):
        raise UsageError(
            f"{path}: {key} is {value!r}, but the network was trained with {before!r}: the file was changed after "
            f"training; undo that, or train again with the changed description"
        )


def _leaf_differences(now: dict[str, Any], then: dict[str, Any], section: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in now:
        if isinstance(now[key], dict) and isinstance(then.get(key), dict):
            yield from _leaf_differences(now[key], then[key], f"{section}{key}.")
        elif now[key] != then.get(key):
            yield f"{section}{key}", now[key], then.get(key)
    for key in then.keys() - now.keys():  # of free-form sections, such as optimizer_args
        yield f"{section}{key}", None, then[key]


def resume_command(folder: Path) -> str:
    """What to type to go on with a run."""
    return f"decolle-hw train --resume {shlex.quote(str(folder))}"


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
    finished = [folder for folder in runs if _state(folder).get("finished") is not False]
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
    states = {folder: _state(folder) for folder in folders}
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


def is_finished(folder: Path) -> bool:
    """Whether metrics.json says that there was nothing left to learn."""
    return _state(folder).get("finished") is True


def _visible(root: Path, name: str) -> list[Path]:
    return [path for path in sorted(root.glob(f"*/*/{name}")) if not path.parent.name.startswith(".")]


def _state(folder: Path) -> dict[str, Any]:
    """metrics.json as far as it can be read: of what is damaged, whoever loads the run will say more."""
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return metrics if isinstance(metrics, dict) else {}
