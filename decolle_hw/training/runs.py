"""Run folders: ``runs/MODEL/<time>/{spec.yaml, checkpoint.safetensors, metrics.json}``.

The checkpoint carries the description and the classes it was trained with as metadata. So a spec.yaml or a
metrics.json that was changed afterwards is found out and refused, not used with weights that do not belong to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from decolle_hw.errors import SpecError, UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, model_spec_from_yaml, model_spec_to_yaml, parse_model_spec, with_folder
from decolle_hw.yamlfile import read_yaml

SPEC, CHECKPOINT, METRICS = "spec.yaml", "checkpoint.safetensors", "metrics.json"
# Of the metadata of a checkpoint. A single one: safetensors writes several in random order, and a checkpoint of the
# same run must be the same file.
ORIGIN_KEY = "decolle_hw"

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
    test_accuracy: list[Share]
    seconds: Figure
    history: list[_Epoch] = Field(min_length=1)


@dataclass(frozen=True)
class Run:
    """A finished training run on disk."""

    folder: Path
    spec: ModelSpec
    metrics: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.metrics["classes"])

    def network(self) -> DecolleNetwork:
        """The trained network on the CPU; `UsageError` names the first tensor that does not fit."""
        network = DecolleNetwork(self.spec, len(self.classes), torch.Generator())
        path = self.folder / CHECKPOINT
        try:
            found = load_file(path)
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from None
        expected = network.state_dict()
        for name in sorted(expected.keys() | found.keys()):
            described, stored = (_describe(tensors.get(name)) for tensors in (expected, found))
            if described != stored:
                raise UsageError(
                    f"{path}: is not a checkpoint of {self.spec.name!r}: {name} is {stored}, and {described} in the "
                    f"network of {SPEC}; train again"
                )
            if not bool(found[name].isfinite().all()):
                raise UsageError(f"{path}: {name} holds values that are not finite; train again")
        network.load_state_dict(found)
        return network

    def with_data(self, path: str) -> Run:
        """The same run with its recordings taken from another folder."""
        return replace(self, spec=with_folder(self.spec, path))

    def checkpoint_sha256(self) -> str:
        return hashlib.sha256((self.folder / CHECKPOINT).read_bytes()).hexdigest()


def save_run(folder: Path, spec: ModelSpec, network: DecolleNetwork, metrics: dict[str, Any]) -> None:
    """Write the three files of a run into an existing folder."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    description = model_spec_to_yaml(spec)
    origin = {"spec": description, "classes": metrics["classes"]}
    save_file(state, folder / CHECKPOINT, {ORIGIN_KEY: json.dumps(origin)})
    (folder / SPEC).write_text(description, encoding="utf-8")
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def load_run(folder: Path) -> Run:
    """Read a run folder; raises `UsageError` that names what is missing, wrong or changed after training."""
    for name in (SPEC, CHECKPOINT, METRICS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder}: is not a training run: {name} is missing; `decolle-hw train` writes one")
    trained_spec, trained_classes = _read_metadata(folder / CHECKPOINT)
    spec = parse_model_spec(read_yaml(folder / SPEC), str(folder / SPEC))
    for key, now, then in _differences(spec.model_dump(), trained_spec.model_dump()):
        raise UsageError(
            f"{folder / SPEC}: {key} is {now!r}, but the network was trained with {then!r}: the file was changed after "
            f"training; undo that, or train again with the changed description"
        )
    metrics = _read_metrics(folder / METRICS, layers=len(spec.network.Mhid))
    if metrics["classes"] != trained_classes:
        raise UsageError(
            f"{folder / METRICS}: classes are not those that the network was trained on: the file was changed after "
            f"training; undo that, or train again"
        )
    return Run(folder, spec, metrics)


def _read_metadata(path: Path) -> tuple[ModelSpec, list[str]]:
    """Description and classes that a checkpoint was trained with."""
    try:
        with safe_open(path, "pt") as checkpoint:
            metadata = checkpoint.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None
    try:
        origin = json.loads(metadata[ORIGIN_KEY])
        description, classes = str(origin["spec"]), list(origin["classes"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise UsageError(
            f"{path}: does not say what it was trained with (an older version or another program wrote it); train again"
        ) from None
    try:
        return model_spec_from_yaml(description, f"{path}: the description inside"), classes
    except yaml.YAMLError:
        raise UsageError(f"{path}: the description inside is not YAML; train again") from None
    except SpecError as error:
        raise UsageError(f"{error}; train again") from None


def _read_metrics(path: Path, layers: int) -> dict[str, Any]:
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


def _differences(now: dict[str, Any], then: dict[str, Any], section: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, value now, value then) of each leaf in which two dumps of a description differ."""
    for key in now:
        if isinstance(now[key], dict) and isinstance(then[key], dict):
            yield from _differences(now[key], then[key], f"{section}{key}.")
        elif now[key] != then[key]:
            yield f"{section}{key}", now[key], then[key]


def _describe(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _damaged(path: Path, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())
    return UsageError(f"{path}: is not a checkpoint, or is damaged: {reason}; train again")


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
    """The run that finished last below `root`."""
    checkpoints = [path for path in root.glob(f"*/*/{CHECKPOINT}") if not path.parent.name.startswith(".")]
    if not checkpoints:
        raise UsageError(
            f"{root}: holds no training run; run `decolle-hw train` first, or name a run folder: decolle-hw compile RUN"
        )
    return max(checkpoints, key=lambda path: path.stat().st_mtime_ns).parent
