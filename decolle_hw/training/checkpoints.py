"""Files of weights: safetensors, with the description and the classes they were trained with as metadata.

So a spec.yaml or a metrics.json that was changed afterwards is found out and refused, not used with weights that do
not belong to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from decolle_hw.atomic import new_file
from decolle_hw.errors import SpecError, UsageError
from decolle_hw.spec import ModelSpec, model_spec_from_yaml

# Of the metadata. A single key: safetensors writes several in random order, and a checkpoint of the same run must be
# the same file.
ORIGIN_KEY = "decolle_hw"
FORMAT = 2  # 1 had no such entry, and a description of dense layers only

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Origin:
    """What the weights of a file were trained with, and for how long."""

    spec: str  # YAML
    classes: list[str]
    epoch: int  # finished epochs
    recordings: int = 0  # learned of the epoch after those

    def model_spec(self, path: Path) -> ModelSpec:
        """The description; `UsageError` names the file where it is not one."""
        try:
            return model_spec_from_yaml(self.spec, f"{path}: the description inside")
        except yaml.YAMLError:
            raise UsageError(f"{path}: the description inside is not YAML; train again") from None
        except SpecError as error:
            raise UsageError(f"{error}; train again") from None


def write_file(path: Path, content: bytes) -> None:
    """A file, complete or not at all; `UsageError` with the reason, such as a full disk, where that fails."""
    with new_file(path) as partial:
        try:
            partial.write_bytes(content)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], note: str) -> None:
    """Tensors with a note as their metadata."""
    # Copies: tensors that share memory, such as a readout that also is the feedback, are refused by safetensors.
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    # Not save_file: its errors hide the reason of the system.
    write_file(path, to_safetensors(own, {ORIGIN_KEY: note}))


def write_weights(path: Path, weights: Mapping[str, torch.Tensor], origin: Origin) -> None:
    """A checkpoint."""
    write_tensors(path, weights, json.dumps({"format": FORMAT} | asdict(origin)))


def read_note(path: Path) -> dict[str, Any]:
    """The note that `write_tensors` left, as JSON; raises `UsageError` where there is none of this format."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from None
    try:
        note = json.loads(metadata[ORIGIN_KEY])
        found = note["format"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise _unknown_origin(path) from None
    if found != FORMAT:
        raise UsageError(
            f"{path}: has format {found!r}, this version reads {FORMAT}; use the version that wrote it, or train again"
        )
    return note


def read_origin(path: Path) -> Origin:
    """What a checkpoint says of itself."""
    note = read_note(path)
    try:
        return Origin(str(note["spec"]), list(note["classes"]), int(note["epoch"]), int(note["recordings"]))
    except (KeyError, ValueError, TypeError):
        raise _unknown_origin(path) from None


def read_tensors(path: Path) -> Tensors:
    """All tensors of a file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from None


def require_tensors_of(network: torch.nn.Module, found: Tensors, path: Path, name: str) -> None:
    """Raise `UsageError` that names the first tensor that does not fit the network or is not finite."""
    expected = network.state_dict()
    for key in sorted(expected.keys() | found.keys()):
        described, stored = (_describe(tensors.get(key)) for tensors in (expected, found))
        if described != stored:
            raise UsageError(
                f"{path}: is not a checkpoint of {name!r}: {key} is {stored}, and {described} in the network of "
                f"spec.yaml; train again"
            )
        if not bool(found[key].isfinite().all()):
            raise UsageError(f"{path}: {key} holds values that are not finite; train again")


def damaged(path: Path, error: object) -> UsageError:
    """The error for a file that cannot be read."""
    reason = " ".join(str(error).split())
    return UsageError(f"{path}: is not a checkpoint, or is damaged: {reason}; train again")


def _unknown_origin(path: Path) -> UsageError:
    return UsageError(
        f"{path}: does not say what it was trained with (an older version or another program wrote it); train again"
    )


def _describe(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
