"""A trained float network on recordings: accuracy, firing rates, and what is taken for what."""

# R recordings, C classes, L layers

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from decolle_hw import data
from decolle_hw.data import BinnedRecordings
from decolle_hw.spec import with_folder
from decolle_hw.training.checkpoints import read_origin
from decolle_hw.training.learner import Learner
from decolle_hw.training.run_files import WEIGHTS, Weights
from decolle_hw.training.runs import Run

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Evaluated:
    """Result of `evaluate_run`."""

    run: Run
    weights: Weights
    epoch: int  # finished epochs of these weights
    labels: np.ndarray  # (R,)
    predictions: np.ndarray  # (R,) of the last layer
    names: tuple[str, ...]
    accuracy: list[float]  # per layer
    firing_rate: list[float]  # per layer, spikes per neuron and step

    @property
    def hits(self) -> int:
        return int((self.labels == self.predictions).sum())

    def confusion(self) -> np.ndarray:
        """(C, C) recordings of class i that were taken for class j."""
        classes = len(self.run.classes)
        return np.bincount(self.labels * classes + self.predictions, minlength=classes**2).reshape(classes, classes)

    def to_json(self, interval: tuple[float, float]) -> dict[str, Any]:
        """Everything, recording by recording; `interval`: 95 % of the last layer's accuracy."""
        classes = self.run.classes
        return {
            "network": self.run.spec.name,
            "run": str(self.run.folder),
            "checkpoint": self.weights,
            "epoch": self.epoch,
            "recordings": len(self.labels),
            "accuracy": self.hits / len(self.labels),
            "accuracy_interval_95": list(interval),
            "accuracy_per_layer": self.accuracy,
            "firing_rates": self.firing_rate,
            "classes": list(classes),
            "confusion": self.confusion().tolist(),
            "predictions": [
                {"recording": name, "label": classes[label], "prediction": classes[prediction]}
                for name, label, prediction in zip(self.names, self.labels, self.predictions, strict=True)
            ],
        }


def recordings_of(
    run: Run, folder: str | None, split: Split | None, progress: Callable[[int, int], None] | None = None
) -> BinnedRecordings:
    """The test recordings of a run, or another split, or those of a folder (all of it, unless a split is asked for)."""
    if folder is None:
        return data.load_split(run.spec.dataset, split or "test", progress, run.classes)
    if split is None:
        return data.load_folder(folder, run.spec.dataset, run.classes, progress)
    return data.load_split(with_folder(run.spec, folder).dataset, split, progress, run.classes)


def evaluate_run(run: Run, recordings: BinnedRecordings, weights: Weights, device: torch.device) -> Evaluated:
    """Present recordings to the float network; raises `UsageError` where its weights cannot be used."""
    network = run.network(weights)
    result = Learner(network, run.spec.training, device).evaluate(recordings)
    return Evaluated(
        run, weights, read_origin(run.folder / WEIGHTS[weights]).epoch, recordings.labels, result.predictions,
        recordings.names, result.accuracy, result.firing_rate,
    )  # fmt: skip
