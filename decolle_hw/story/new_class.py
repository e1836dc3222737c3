"""The last act: a network meets a class that it was never trained on, and learns it on chip from some examples.

1. The output layer, empty, is taught the known classes, in the integer reference.
2. With its weights as a synapse at rest holds them, it starts again in Lava: an example of the new class, one of a
   known class, and so on. Every spike, register, trace and weight is compared with the reference.
3. Lava learns some recordings in a second, so the reference goes on from where both stand: several passes over the
   examples of the new class and as many of each known one.

Between the lessons it is tested, on recordings of all classes, and nothing is learned from them.
"""

# R recordings, K recordings shown, S steps of a slot, N inputs of the plastic layer

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import CheckError, DataError
from decolle_hw.fidelity.summary import to_batch_first
from decolle_hw.learning.frames import KEPT_BYTES, Frames
from decolle_hw.learning.result import Accuracy
from decolle_hw.learning.session import accuracy_on, recordings_for_lava
from decolle_hw.learning.shown import Recordings, recordings_to_learn
from decolle_hw.learning.write import save_learned
from decolle_hw.online.life import lessons
from decolle_hw.online.material import in_turn
from decolle_hw.progress import counting, working
from decolle_hw.sim.compare_learning import LearningComparison, compare_learning
from decolle_hw.sim.learned import learned_program
from decolle_hw.sim.learning import learn
from decolle_hw.sim.learning_state import LearningState, start_state
from decolle_hw.workflow import recordings_for_lava as recordings_that_lava_runs

SEED = 1  # of the order of the recordings, and of the learning engine's rounding


@dataclass(frozen=True)
class Lessons:
    """How much is shown: enough to learn a class, little enough to be watched."""

    shots: int = 20  # examples of the new class, and of each known one between them
    passes: int = 5
    known_shots: int = 50  # examples of each known class, before the new one comes
    known_passes: int = 5
    most_tests: int = 400


@dataclass(frozen=True)
class Exam:
    """A test in between."""

    when: str
    shown: int  # recordings since the new class came
    accuracy: Accuracy


@dataclass(frozen=True)
class OnChip:
    """What came of it."""

    learning: LearningProgram  # as it was when the new class came
    new: int  # label of the new class
    exams: tuple[Exam, ...]  # the first before the new class came, the last at the end
    examples: int  # of the new class
    in_lava: int  # recordings that Lava learned from
    comparison: LearningComparison
    seconds_in_lava: float
    seconds_in_reference: float
    learned: Path

    @property
    def known_classes(self) -> int:
        return len(self.learning.program.classes) - 1

    def of_new(self, exam: Exam) -> tuple[int, int]:
        """(hits, recordings) of the new class."""
        return exam.accuracy.of_class(self.new)

    def of_known(self, exam: Exam) -> tuple[int, int]:
        """(hits, recordings) of all others together."""
        hits, count = self.of_new(exam)
        return exam.accuracy.hits - hits, exam.accuracy.recordings - count


@dataclass(frozen=True)
class _Examples:
    """Recordings to learn from, ready for the plastic layer, and those to test on."""

    shown: BinnedRecordings
    frames_RSN: NDArray[np.uint8]
    of_new: NDArray[np.int64]
    of_known: tuple[NDArray[np.int64], ...]  # of each known class
    tested: BinnedRecordings


def learn_new_class(
    empty: LearningProgram, new: int, path: Path, console: Console, plan: Lessons | None = None
) -> OnChip:
    """Teach an empty output layer the known classes, then the new one; write what it has learned to `path`.

    Raises: `DataError` where a class has no recording to learn from, or the new one none to be tested on; `CheckError`
    if Lava and the integer reference differ in anything.
    """
    chosen = plan or Lessons()
    given = _examples(empty, new, chosen, console)
    rng = np.random.default_rng([SEED, 0])
    state = start_state(empty, [SEED])
    shown = lessons(rng, [of_class[: chosen.known_shots] for of_class in given.of_known], chosen.known_passes)
    state = _teach(empty, state, given, shown, "the known classes", console)
    # Lava starts from weights at rest, so both sides do.
    learning = replace(empty, program=learned_program(empty, state))
    exams = [_exam("before", 0, learning, start_state(learning, [SEED]), given, console)]
    first = _first_lessons(learning, given, new)
    began = time.perf_counter()
    state, comparison = _teach_in_lava(learning, given, first, console)
    in_lava = time.perf_counter() - began
    exams.append(_exam(f"after {len(first)} in Lava", len(first), learning, state, given, console))
    began, done = time.perf_counter(), len(first)
    members = [given.of_new, *(of_class[: chosen.shots] for of_class in given.of_known)]
    for number in range(1, chosen.passes + 1):
        order_K = lessons(rng, members)
        state = _teach(learning, state, given, order_K, f"pass {number} of {chosen.passes}", console)
        done += len(order_K)
        exams.append(_exam(f"after pass {number}", done, learning, state, given, console))
    save_learned(learning, state, path)
    return OnChip(
        learning,
        new,
        tuple(exams),
        len(given.of_new),
        len(first),
        comparison,
        in_lava,
        time.perf_counter() - began,
        path,
    )


def _examples(learning: LearningProgram, new: int, plan: Lessons, console: Console) -> _Examples:
    with counting(console, "reading recordings of all classes") as progress:
        recordings = recordings_to_learn(learning.program, None, None, None, progress)
    tested = _tests(recordings, learning.program.classes[new], new, plan)
    labels_R = recordings.shown.labels
    members = [
        np.random.default_rng([SEED, label]).permutation(np.flatnonzero(labels_R == label))
        for label in range(len(learning.program.classes))
    ]
    for label, of_class in enumerate(members):
        if not len(of_class):
            raise DataError(f"class {learning.program.classes[label]} has no training recording to learn from")
    frame = learning.slot * learning.program.layers[learning.first].num_inputs
    each = max(1, min(plan.known_shots, KEPT_BYTES // (frame * len(members))))
    kept = [of_class[: plan.shots if label == new else each] for label, of_class in enumerate(members)]
    ends = np.cumsum([len(of_class) for of_class in kept])
    places = np.split(np.arange(ends[-1]), ends[:-1])
    shown = recordings.shown.take(np.concatenate(kept))
    with working(console, f"features of {len(shown)} recordings, which stay as they are"):
        frames_RSN = Frames(learning, shown).of(np.arange(len(shown)))
    return _Examples(shown, frames_RSN, places[new], tuple(places[:new] + places[new + 1 :]), tested)


def _tests(recordings: Recordings, name: str, new: int, plan: Lessons) -> BinnedRecordings:
    tested = recordings.tested
    if tested is None or not np.any(tested.labels == new):
        raise DataError(f"class {name} has no test recording{'' if tested is not None else ': ' + recordings.note}")
    return tested.take(in_turn(tested.labels, plan.most_tests))


def _first_lessons(learning: LearningProgram, given: _Examples, new: int) -> NDArray[np.int64]:
    """(K,) new, known, new, another known class, ...: as many as Lava does in some seconds, the new class first."""
    affordable = min(recordings_for_lava(learning, 1), recordings_that_lava_runs(learning.program))
    order = []
    for turn in range(-(-affordable // 2)):
        known = given.of_known[turn % len(given.of_known)]
        order += [given.of_new[turn % len(given.of_new)], known[turn // len(given.of_known) % len(known)]]
    first: NDArray[np.int64] = np.array(order[:affordable], np.int64)
    return first


def _teach(
    learning: LearningProgram, state: LearningState, given: _Examples, order_K: NDArray[np.int64], what: str,
    console: Console,
) -> LearningState:  # fmt: skip
    with counting(console, f"learning in the integer reference: {what}, {len(order_K)} recordings") as progress:
        _, state = learn(
            learning, state, given.frames_RSN, order_K[None], given.shown.labels[order_K][None],
            frames=given.frames_RSN, progress=progress,
        )  # fmt: skip
    return state


def _teach_in_lava(
    learning: LearningProgram, given: _Examples, order_K: NDArray[np.int64], console: Console
) -> tuple[LearningState, LearningComparison]:
    """Where the reference, and so Lava, stands after these recordings. Raises `CheckError` where they differ."""
    from decolle_hw.lava_backend.learning_runner import learn_in_lava

    used, places_K = np.unique(order_K, return_inverse=True)
    spikes_RTI, targets_K = to_batch_first(given.shown.dense(used)), given.shown.labels[order_K]
    with counting(console, f"learning in Lava: {len(order_K)} recordings") as progress:
        lava, _ = learn_in_lava(learning, spikes_RTI, places_K, targets_K, seed=SEED, record=True, progress=progress)
    learned, state = learn(
        learning, start_state(learning, [SEED]), spikes_RTI, places_K[None], targets_K[None], record=True
    )
    comparison = compare_learning(learning, learned, lava)
    if comparison.first is not None:
        where = comparison.first.between("the integer reference", "Lava")
        raise CheckError(f"Lava and the integer reference learn differently: {where}")
    return state, comparison


def _exam(
    when: str, shown: int, learning: LearningProgram, state: LearningState, given: _Examples, console: Console
) -> Exam:
    with working(console, f"testing on {len(given.tested)} recordings: {when}"):
        return Exam(when, shown, accuracy_on(learning, state, given.tested))


def exams_of(on_chip: OnChip) -> Iterator[tuple[Exam, tuple[int, int], tuple[int, int]]]:
    """Each with (hits, recordings) of the new class and of the known ones."""
    return ((exam, on_chip.of_new(exam), on_chip.of_known(exam)) for exam in on_chip.exams)
