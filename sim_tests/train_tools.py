"""What the tests of training runs share: a tiny model, few recordings, and a watcher that acts at a chosen moment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from decolle_hw import data
from decolle_hw.spec import DatasetSpec, ModelSpec, parse_model_spec
from decolle_hw.training import train as training
from decolle_hw.training.runs import Run

CPU = torch.device("cpu")
RECORDINGS = 60  # of each split: batches of 25 leave a last one of 10


def small_spec(**changes: Any) -> ModelSpec:
    """A model that learns an epoch in milliseconds; changes as `training={...}` or `network={...}`."""
    values: dict[str, dict] = {
        "dataset": {"input_shape": [2, 12, 12], "deltat": 15000, "chunk_size_train": 20, "chunk_size_test": 20},
        "network": {"Mhid": [16, 12], "alpha": 0.8, "beta": 0.7, "dropout": 0.25},
        "training": {"num_epochs": 4, "burnin_steps": 4, "learning_rate": 0.02, "batch_size": 25, "update_every": 4},
    }
    return parse_model_spec({"name": "small"} | {key: values[key] | changes.get(key, {}) for key in values}, "small")


@functools.cache
def _recordings(dataset: str, split: str) -> data.BinnedRecordings:
    recordings = data.load_split(DatasetSpec.model_validate_json(dataset), split)
    return recordings.take(np.linspace(0, len(recordings) - 1, RECORDINGS).astype(int))


@pytest.fixture(scope="module")
def few_recordings() -> Iterator[None]:
    """Training sees 60 recordings of each split, read once for all tests."""
    load = data.load_split

    def few(spec, split, progress=None, classes=None):
        with pytest.MonkeyPatch.context() as undone:
            undone.setattr(data, "load_split", load)
            return _recordings(spec.model_dump_json(), split)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load_split", few)
        yield


class Watcher:
    """Records what it is told; `act` is called with (epoch, recordings done) after each batch."""

    def __init__(self, act: Callable[[int, int], None] = lambda epoch, done: None) -> None:
        self.act = act
        self.epochs: list = []
        self.notes: list[str] = []

    def reading(self, done: int, total: int) -> None: ...

    def batch(self, epoch: int, done: int, total: int) -> None:
        assert total == RECORDINGS
        self.act(epoch, done)

    def epoch(self, record: object) -> None:
        self.epochs.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(spec: ModelSpec, runs: Path, watcher: Watcher | None = None) -> Run:
    return training.train(spec, runs, CPU, watcher or Watcher())


def resume(folder: Path, spec: ModelSpec, watcher: Watcher | None = None) -> Run:
    return training.resume(folder, spec, CPU, watcher or Watcher())


def require_same_tensors(one: Path, other: Path) -> None:
    """All tensors of two files, equal to the bit."""
    left, right = load_file(one), load_file(other)
    assert left.keys() == right.keys() and left
    for name, value in left.items():
        np.testing.assert_array_equal(value.numpy(), right[name].numpy(), err_msg=name)


def figures(run: Run) -> list[dict]:
    """The history without the times, which differ from run to run."""
    times = ("seconds", "recordings_per_second")
    return [{key: value for key, value in entry.items() if key not in times} for entry in run.metrics["history"]]
