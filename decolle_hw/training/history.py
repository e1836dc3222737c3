"""What is known of each epoch, and what follows from it: which one was best, and whether going on is worth it."""

# L layers

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decolle_hw.spec import TrainingSpec


@dataclass(frozen=True)
class EpochRecord:
    """One line of the training history."""

    epoch: int  # from 1
    loss: list[float]  # per layer, mean over the epoch; 0 for a layer that does not learn
    test_accuracy: list[float]  # per layer
    test_firing_rate: list[float]  # per layer, spikes per neuron and step
    learning_rate: list[float]  # per parameter group of the optimizer
    recordings_per_second: float  # learned, not tested
    seconds: float  # of learning, without the test


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """The epoch with the highest test accuracy of the last layer; of equals the latest; 0 without history."""
    return max(((record.test_accuracy[-1], record.epoch) for record in history), default=(0.0, 0))[1]


def epochs_without_gain(history: Sequence[EpochRecord]) -> int:
    """Epochs since the last one that was better than all before it."""
    accuracies = [record.test_accuracy[-1] for record in history]
    return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0


def stops_early(history: Sequence[EpochRecord], spec: TrainingSpec) -> bool:
    """Whether `training.early_stop` ends the run here."""
    return spec.early_stop is not None and epochs_without_gain(history) >= spec.early_stop


def is_complete(history: Sequence[EpochRecord], spec: TrainingSpec) -> bool:
    """Whether there is no epoch left to learn."""
    return len(history) >= spec.num_epochs or stops_early(history, spec)
