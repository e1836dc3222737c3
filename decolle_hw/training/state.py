"""All that a training run consists of between two steps, in one file: resume.safetensors.

One file, not several: it is replaced at once, so that weights, optimizer and random numbers always belong together,
whatever happens while it is written. It carries a digest of its content; a garbled file is refused.
"""

# b batches of the epoch so far, L layers

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import SpecError, UsageError
from decolle_hw.spec import ModelSpec, model_spec_from_yaml
from decolle_hw.training.checkpoints import FORMAT, Tensors, read_note, read_tensors, write_tensors
from decolle_hw.training.history import EpochRecord


@dataclass(frozen=True)
class TrainingState:
    """A run after some step. Epochs count finished ones; `recordings` are those learned of the epoch after them."""

    spec: ModelSpec
    description: str  # the spec as YAML, which takes longer to make than all the rest to write
    classes: list[str]
    data: dict[str, str]  # fingerprint of each split
    environment: dict[str, Any]  # device, threads, torch: where equal, going on is exact to the bit
    history: list[EpochRecord]
    recordings: int
    rng: dict[str, Any]  # of the order of recordings, as it was when the epoch began
    epoch_seconds: float
    seconds: float
    weights: Tensors
    learner: Tensors
    losses_bL: torch.Tensor

    @property
    def epoch(self) -> int:
        return len(self.history)


def write_state(path: Path, state: TrainingState) -> None:
    """Write resume.safetensors; raises `UsageError` where that fails, and leaves the file that was there."""
    tensors = {f"weights.{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"learner.{name}": tensor for name, tensor in state.learner.items()}
    tensors["losses"] = state.losses_bL
    rest = json.dumps(
        {
            "description": state.description,
            "classes": state.classes,
            "data": state.data,
            "environment": state.environment,
            "history": [asdict(record) for record in state.history],
            "recordings": state.recordings,
            "rng": state.rng,
            "epoch_seconds": state.epoch_seconds,
            "seconds": state.seconds,
        }
    )
    write_tensors(path, tensors, json.dumps({"format": FORMAT, "sha256": _digest(tensors, rest), "rest": rest}))


def read_state(path: Path) -> TrainingState:
    """Read resume.safetensors; raises `UsageError` that says what is missing or damaged."""
    note, tensors = read_note(path), read_tensors(path)
    rest = note.get("rest")
    if not isinstance(rest, str) or "losses" not in tensors:
        raise UsageError(f"{path}: is not the state of a training run; train again")
    if note.get("sha256") != _digest(tensors, rest):
        raise UsageError(f"{path}: is damaged: its content is not what was written; train again")
    # From here on the content is what write_state wrote.
    values = json.loads(rest)
    try:
        spec = model_spec_from_yaml(values["description"], f"{path}: the description inside")
    except (SpecError, yaml.YAMLError) as error:  # keys that this version no longer has
        raise UsageError(f"{error}; use the version that wrote it, or train again") from None
    history = [EpochRecord(**record) for record in values.pop("history")]
    return TrainingState(
        spec=spec, history=history, **values, weights=_under("weights.", tensors), learner=_under("learner.", tensors),
        losses_bL=tensors["losses"],
    )  # fmt: skip


def environment(device: torch.device) -> dict[str, Any]:
    """What sums of floating-point numbers depend on besides the numbers."""
    return {"device": str(device), "threads": torch.get_num_threads(), "torch": torch.__version__}


def fingerprint(recordings: BinnedRecordings) -> str:
    """Changes where recordings were added, removed, renamed, relabelled, or have another number of events."""
    # Names of files need not be UTF-8; Python then carries their bytes as surrogates.
    digest = hashlib.sha256("\n".join(recordings.names).encode("utf-8", "surrogateescape"))
    for values in (recordings.labels, recordings.indptr):
        digest.update(values.tobytes())
    return digest.hexdigest()


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _digest(tensors: Tensors, rest: str) -> str:
    digest = hashlib.sha256(rest.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
