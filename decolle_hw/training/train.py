"""One training run from description to run folder."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from decolle_hw import data
from decolle_hw.atomic import new_folder
from decolle_hw.errors import UsageError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec
from decolle_hw.training.learner import Learner
from decolle_hw.training.runs import Run, load_run, new_run_folder, save_run


@dataclass(frozen=True)
class EpochRecord:
    """One line of the training history."""

    epoch: int
    loss: list[float]  # per layer, mean over the epoch
    test_accuracy: list[float]  # per layer
    test_firing_rate: list[float]  # per layer, spikes per neuron and step
    seconds: float


class Watcher(Protocol):
    """Whoever shows the progress of a run."""

    def reading(self, done: int, total: int) -> None: ...

    def batch(self, epoch: int, done: int, total: int) -> None: ...

    def epoch(self, record: EpochRecord) -> None: ...


def choose_device(name: str) -> torch.device:
    """`cpu`, `cuda`, or `auto`: cuda where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device on this machine; use --device cpu")
    return torch.device(name)


def train(spec: ModelSpec, runs: Path, device: torch.device, watcher: Watcher) -> Run:
    """Train a model and write its run folder.

    Everything random (initial weights, readouts, order of recordings) follows from `training.seed`; on one device
    and machine a run repeats itself. Raises `UsageError` where weights grow without bound.
    """
    train_set = data.load_split(spec.dataset, "train", watcher.reading)
    test_set = data.load_split(spec.dataset, "test", watcher.reading)
    folder = new_run_folder(runs, spec.name)
    with new_folder(folder) as partial:
        generator = torch.Generator().manual_seed(spec.training.seed)
        network = DecolleNetwork(spec, len(train_set.classes), generator)
        learner = Learner(network, spec.training, device)
        rng = np.random.default_rng(spec.training.seed)
        history = []
        began = time.perf_counter()
        for epoch in range(spec.training.num_epochs):
            epoch_began = time.perf_counter()
            losses = []
            for done, batch_losses in learner.learn_epoch(train_set, epoch, rng):
                losses.append(batch_losses.mean(0))
                watcher.batch(epoch, done, len(train_set))
            seconds = time.perf_counter() - epoch_began
            loss_L = torch.stack(losses).mean(0)
            _require_finite(network, loss_L, spec, epoch)
            result = learner.evaluate(test_set)
            record = EpochRecord(epoch + 1, loss_L.tolist(), result.accuracy, result.firing_rate, seconds)
            history.append(record)
            watcher.epoch(record)
        metrics = {
            "classes": list(train_set.classes),
            "device": str(device),
            "train_recordings": len(train_set),
            "test_recordings": len(test_set),
            "test_accuracy": history[-1].test_accuracy,
            "seconds": time.perf_counter() - began,
            "history": [asdict(record) for record in history],
        }
        save_run(partial, spec, network, metrics)
    return load_run(folder)


def _require_finite(network: DecolleNetwork, loss_L: torch.Tensor, spec: ModelSpec, epoch: int) -> None:
    # Not later: a network of such weights still evaluates, and its accuracy would look like a result.
    broken = [name for name, value in network.named_parameters() if not bool(value.isfinite().all())]
    if broken or not bool(loss_L.isfinite().all()):
        raise UsageError(
            f"training.learning_rate {spec.training.learning_rate}: after epoch {epoch + 1} "
            f"{broken[0] if broken else 'the loss'} is no longer finite; lower it"
        )
