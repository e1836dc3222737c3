"""Run folders: ``runs/MODEL/<time>/{spec.yaml, checkpoint.safetensors, metrics.json}``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from decolle_hw.errors import UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, model_spec_to_yaml, parse_model_spec, with_folder
from decolle_hw.yamlfile import read_yaml

SPEC, CHECKPOINT, METRICS = "spec.yaml", "checkpoint.safetensors", "metrics.json"


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
        """The trained network on the CPU."""
        network = DecolleNetwork(self.spec, len(self.classes), torch.Generator())
        path = self.folder / CHECKPOINT
        try:
            network.load_state_dict(load_file(path))
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{path}: is not a checkpoint of {self.spec.name!r}: {reason}; train again") from None
        return network

    def with_data(self, path: str) -> Run:
        """The same run with its recordings taken from another folder."""
        return replace(self, spec=with_folder(self.spec, path))

    def checkpoint_sha256(self) -> str:
        return hashlib.sha256((self.folder / CHECKPOINT).read_bytes()).hexdigest()


def save_run(folder: Path, spec: ModelSpec, network: DecolleNetwork, metrics: dict[str, Any]) -> None:
    """Write the three files of a run into an existing folder."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / CHECKPOINT)
    (folder / SPEC).write_text(model_spec_to_yaml(spec), encoding="utf-8")
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def load_run(folder: Path) -> Run:
    """Read a run folder; raises `UsageError` that names what is missing or wrong."""
    for name in (SPEC, CHECKPOINT, METRICS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder}: is not a training run: {name} is missing; `decolle-hw train` writes one")
    spec = parse_model_spec(read_yaml(folder / SPEC), str(folder / SPEC))
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        metrics["classes"]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{folder / METRICS}: is damaged; train again") from None
    return Run(folder, spec, metrics)


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
        raise UsageError(f"{root}: holds no training run; run `decolle-hw train` first or give --run FOLDER")
    return max(checkpoints, key=lambda path: path.stat().st_mtime_ns).parent
