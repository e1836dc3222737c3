"""The files of a run folder: their names, what metrics.json holds, in what two descriptions differ; without torch.

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

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decolle_hw.errors import UsageError
from decolle_hw.spec import ModelSpec

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
    found = leaf_differences(now.model_dump(), then.model_dump())
    return [
        difference for difference in found
        if difference[0] not in LENGTH_KEYS and not difference[0].startswith(AFTER_TRAINING)
    ]  # fmt: skip


def leaf_differences(now: dict[str, Any], then: dict[str, Any], section: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, value now, value then) of all that differs, keys as in `--set`."""
    for key in now:
        if isinstance(now[key], dict) and isinstance(then.get(key), dict):
            yield from leaf_differences(now[key], then[key], f"{section}{key}.")
        elif now[key] != then.get(key):
            yield f"{section}{key}", now[key], then.get(key)
    for key in then.keys() - now.keys():  # of free-form sections, such as optimizer_args
        yield f"{section}{key}", None, then[key]


def resume_command(folder: Path) -> str:
    """What to type to go on with a run."""
    return f"decolle-hw train --resume {shlex.quote(str(folder))}"


def is_finished(folder: Path) -> bool:
    """Whether metrics.json says that there was nothing left to learn."""
    return metrics_so_far(folder).get("finished") is True


def metrics_so_far(folder: Path) -> dict[str, Any]:
    """metrics.json as far as it can be read: of what is damaged, whoever loads the run will say more."""
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return metrics if isinstance(metrics, dict) else {}
