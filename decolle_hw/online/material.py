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
from decolle_hw.data.choosing import in_their_order
from decolle_hw.errors import DataError, UsageError
from decolle_hw.fidelity.summary import to_batch_first
from decolle_hw.progress import working
from decolle_hw.quantization.compile import calibration_set, compile_run
from decolle_hw.sim.frozen import frozen_frames
from decolle_hw.sim.output_layer import with_output_layer
from decolle_hw.spec import ModelSpec
from decolle_hw.training.runs import Run, is_finished, load_run
from decolle_hw.training.write_run import ON_CHIP
from decolle_hw.workflow import train_model

FEATURES = "features"  # folder within that of runs: a network of half the classes is not what `compile` looks for


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
        return frozen_frames(self.learning.program, self.recorded.spikes, self.learning.first)

    @cached_property
    def feature_counts(self) -> NDArray[np.float64]:
        """(R, N) spikes of the trained hidden layer below the centring layer, in the steps that count."""
        program = self.learning.program
        frames = frozen_frames(program, self.recorded.spikes, self.learning.first - 1)
        counted: NDArray[np.float64] = frames[:, program.burnin_steps :].sum(1, np.float64)
        return counted


def read_recordings(spec: ModelSpec, console: Console, tests: int | None = None, few: int | None = None) -> Recorded:
    """Training and test recordings of a data set, all classes.

    Args: tests: at most so many of the latter; None: all. few: so many where that is None, and one of each class.

    Raises: `UsageError` where there are fewer tests than classes, or splits of different lengths; `DataError` for a
    class without a recording in either split.
    """
    dataset = spec.dataset.model_copy(update={"classes": None})
    with working(console, "reading recordings"):
        train, test = (data.load_split(dataset, split) for split in ("train", "test"))
        if train.window != test.window:
            raise UsageError(
                f"chunk_size_train {train.window}, chunk_size_test {test.window}: an experiment shows recordings of "
                "one length; make them equal with --set dataset.chunk_size_train=..."
            )
        for split, recordings in (("training", train), ("test", test)):
            _require_every_class(spec, split, recordings)
        if tests is None and few is not None:
            tests = max(few, len(test.classes))
        if tests is not None:
            if tests < len(test.classes):
                raise UsageError(
                    f"--samples {tests}: {spec.name} has {len(test.classes)} classes, and each is tested; give at "
                    f"least {len(test.classes)}"
                )
            test = test.take(in_turn(test.labels, tests))
        return Recorded(
            np.concatenate([dense(train), dense(test)]), np.concatenate([train.labels, test.labels]).astype(np.int64),
            tuple(train.classes), len(train),
        )  # fmt: skip


def _require_every_class(spec: ModelSpec, split: str, recordings: BinnedRecordings) -> None:
    missing = [name for label, name in enumerate(recordings.classes) if label not in recordings.labels]
    if missing:
        raise DataError(
            f"{spec.name}: no {split} recording of class {', '.join(missing)}; an experiment teaches and tests every "
            "class: add some, or take the class out of the data"
        )


def in_turn(labels_R: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(K,) the first of each class, then the second of each, ... up to `count`; in the order of the recordings."""
    number_R = np.zeros(len(labels_R), np.int64)  # of a recording among those of its class
    for label in np.unique(labels_R):
        number_R[labels_R == label] = np.arange(np.count_nonzero(labels_R == label))
    chosen: NDArray[np.int64] = np.sort(np.lexsort((labels_R, number_R))[:count])
    return chosen


def known_classes(wanted: Sequence[str] | None, classes: Sequence[str]) -> tuple[str, ...]:
    """Those that the features are trained on, in the order of the data set; None: the first half.

    Raises `UsageError` for a class that there is not, that is named twice, or for fewer than two.
    """
    if wanted is None:
        if len(classes) < 3:
            raise UsageError(f"the data set has {len(classes)} classes; two known and one new are the least")
        return tuple(classes[: (len(classes) + 1) // 2])
    found = in_their_order(wanted, classes, "--known")
    if len(found) < len(wanted):
        raise UsageError(f"--known {','.join(wanted)}: give each class once")
    if len(found) < 2:
        raise UsageError(f"--known {','.join(wanted)}: a single class cannot be told from anything; give two or more")
    return found


def dense(recordings: BinnedRecordings) -> NDArray[np.uint8]:
    """(R, T, I)"""
    return to_batch_first(recordings.dense(np.arange(len(recordings))))


def prepare(spec: ModelSpec, recorded: Recorded, known: Sequence[str] | None, runs: Path, console: Console) -> Material:
    """Train features on the known classes, or take the run that did, compile them, put an output layer on them.

    Args:
        recorded: of all classes, from `read_recordings`.
        known: names of classes, from `known_classes`; None: all.
    """
    trained_on = None if known is None else list(known)
    wanted = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"classes": trained_on})})
    own = runs / FEATURES
    run = finished_run(wanted, runs) or finished_run(wanted, own) or train_model(wanted, own, "auto", console)
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
        if run.spec == spec and is_finished(folder) and run.metrics["device"] != ON_CHIP:
            return run
    return None
