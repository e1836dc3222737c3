"""What an experiment works with: recordings of all classes, and a network whose features know some or all of them."""

# R recordings, T steps, I inputs, N neurons, S steps of a slot

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw import data
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import UsageError
from decolle_hw.fidelity.summary import to_batch_first
from decolle_hw.progress import working
from decolle_hw.quantization.compile import calibration_set, compile_run
from decolle_hw.sim.frozen import frozen_frames
from decolle_hw.sim.output_layer import with_output_layer
from decolle_hw.spec import ModelSpec
from decolle_hw.training.runs import Run, load_run
from decolle_hw.workflow import spread, train_model

CHECKED_FRAMES = 64  # recordings at a time through the frozen layers


@dataclass(frozen=True)
class Recorded:
    """Recordings of all classes, training and test one after the other."""

    spikes: NDArray[np.uint8]  # (R, T, I)
    labels: NDArray[np.int64]  # (R,)
    classes: tuple[str, ...]
    trained: int  # how many of them are for training

    def of_class(self, label: int) -> NDArray[np.int64]:
        """Training recordings of a class."""
        found: NDArray[np.int64] = np.flatnonzero(self.labels[: self.trained] == label)
        return found

    def tests(self, labels: Sequence[int] | None = None) -> NDArray[np.int64]:
        """Test recordings of some classes; None: all."""
        wanted = np.arange(self.trained, len(self.labels))
        return wanted if labels is None else wanted[np.isin(self.labels[wanted], labels)]

    def followed_by(self, spikes: NDArray[np.uint8], labels: NDArray[np.int64]) -> Recorded:
        """With further recordings at the end, which count as tests."""
        return Recorded(
            np.concatenate([self.spikes, spikes]), np.concatenate([self.labels, labels]), self.classes, self.trained
        )


@dataclass(frozen=True)
class Material:
    """A network with a plastic output layer on features of its own, and recordings."""

    recorded: Recorded
    learning: LearningProgram
    run: Run  # that the features come from
    known: tuple[int, ...]  # classes that the features were trained on

    @property
    def new(self) -> tuple[int, ...]:
        """Classes that the features have never seen."""
        return tuple(label for label in range(len(self.recorded.classes)) if label not in self.known)

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        """(R, S, N) of what the plastic layer is given."""
        return frames_of(self.learning, self.recorded.spikes)

    @cached_property
    def feature_counts(self) -> NDArray[np.float64]:
        """(R, N) spikes of the trained hidden layer below the centring layer, in the steps that count."""
        program = self.learning.program
        features = self.learning.first - 1
        frames = np.concatenate(
            [
                frozen_frames(program, self.recorded.spikes[start : start + CHECKED_FRAMES], features)
                for start in range(0, len(self.recorded.spikes), CHECKED_FRAMES)
            ]
        )
        counted: NDArray[np.float64] = frames[:, program.burnin_steps :].sum(1, np.float64)
        return counted


def frames_of(learning: LearningProgram, spikes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(R, S, N) of what the lowest plastic layer is given for recordings (R, T, I)."""
    pieces = [
        frozen_frames(learning.program, spikes[start : start + CHECKED_FRAMES], learning.first)
        for start in range(0, len(spikes), CHECKED_FRAMES)
    ]
    return np.concatenate(pieces)


def read_recordings(spec: ModelSpec, console: Console, tests: int | None = None) -> Recorded:
    """Training and test recordings of a data set, all classes; `tests`: at most so many of the latter."""
    dataset = spec.dataset.model_copy(update={"classes": None})
    with working(console, "reading recordings"):
        train, test = (data.load_split(dataset, split) for split in ("train", "test"))
        if train.window != test.window:
            raise UsageError(
                f"chunk_size_train {train.window}, chunk_size_test {test.window}: an experiment shows recordings of "
                "one length; make them equal with --set dataset.chunk_size_train=..."
            )
        test = test if tests is None else spread(test, tests)
        return Recorded(
            np.concatenate([dense(train), dense(test)]), np.concatenate([train.labels, test.labels]).astype(np.int64),
            tuple(train.classes), len(train),
        )  # fmt: skip


def dense(recordings: BinnedRecordings) -> NDArray[np.uint8]:
    """(R, T, I)"""
    return to_batch_first(recordings.dense(np.arange(len(recordings))))


def prepare(
    spec: ModelSpec, known: Sequence[str] | None, runs: Path, console: Console, tests: int | None = None
) -> Material:
    """Train features on the known classes, or take the run that did, compile them, put an output layer on them.

    Args:
        known: names of classes; None: all.

    Raises: UsageError for a class that there is not, fewer than two known classes, or none that is new.
    """
    recorded = read_recordings(spec, console, tests)
    names = recorded.classes if known is None else tuple(known)
    trained_on = None if known is None else list(names)
    wanted = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"classes": trained_on})})
    run = finished_run(wanted, runs) or train_model(wanted, runs, "auto", console)
    console.print(f"features: {run.folder}, trained on {', '.join(run.classes)}", soft_wrap=True, markup=False)
    with working(console, "compiling the features"):
        calibration = calibration_set(run)
        program = compile_run(run, "loihi2", calibration).program
        learning = with_output_layer(program, recorded.classes, dense(calibration))
    return Material(recorded, learning, run, tuple(recorded.classes.index(name) for name in run.classes))


def finished_run(spec: ModelSpec, runs: Path) -> Run | None:
    """The newest run below `runs` that was trained to the end from this very description; None: there is none."""
    for folder in sorted((runs / spec.name).glob("*"), reverse=True):
        try:
            run = load_run(folder)
        except UsageError:
            continue
        if run.spec == spec and run.metrics["history"][-1]["epoch"] >= spec.training.num_epochs:
            return run
    return None
