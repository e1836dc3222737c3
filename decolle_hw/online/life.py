"""What a network is shown in an experiment, from its first recording to its last, and what it decided on each.

Learning and testing are the same thing here: a recording with a target teaches, one without does not, because no error
is sent and without an error no weight changes (`Rule.error_triggered`), but for what was sent in the last step of a
lesson, which arrives in the first one of the next recording. So a whole experiment is one run of the network, and Lava,
which cannot start in the middle, can do it, too.
"""

# B lives, K recordings shown, R recordings, T steps, I inputs, S steps of a slot

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.errors import CheckError, CompileError
from decolle_hw.progress import counting
from decolle_hw.sim.float_learning import learn_float, start_float_state
from decolle_hw.sim.learning import NO_TARGET, learn
from decolle_hw.sim.learning_state import start_state

Backend = Literal["reference", "lava"]


@dataclass(frozen=True)
class Stage:
    """A part of a life: lessons or a test."""

    name: str
    order_BK: NDArray[np.int64]  # which recordings
    teaches: bool

    @classmethod
    def test(cls, name: str, recordings: NDArray[np.int64], lives: int) -> Stage:
        """The same recordings for each life."""
        return cls(name, np.tile(recordings, (lives, 1)), False)


@dataclass(frozen=True)
class Life:
    """Stages one after another, of B independent lives."""

    stages: tuple[Stage, ...]

    @property
    def order(self) -> NDArray[np.int64]:
        """(B, K)"""
        return np.concatenate([stage.order_BK for stage in self.stages], 1)

    def targets(self, labels_R: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B, K) class, or -1 in a test."""
        taught = [
            labels_R[stage.order_BK] if stage.teaches else np.full(stage.order_BK.shape, NO_TARGET)
            for stage in self.stages
        ]
        return np.concatenate(taught, 1)

    def split(self, values_BK: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """What belongs to each stage."""
        ends = np.cumsum([stage.order_BK.shape[1] for stage in self.stages])[:-1]
        return np.split(values_BK, ends, axis=1)


@dataclass(frozen=True)
class Lived:
    """What came of it."""

    life: Life
    decisions: tuple[NDArray[np.int64], ...]  # of each stage, (B, K)
    labels_R: NDArray[np.int64]
    compared: int = 0  # values that Lava and the reference were compared in; all equal

    def accuracy(self, name: str, classes: Sequence[int] | None = None) -> NDArray[np.float64]:
        """(B,) share of right decisions in the stage of this name, on recordings of some classes (default: all)."""
        for stage, decisions_BK in zip(self.life.stages, self.decisions, strict=True):
            if stage.name == name:
                labels_BK = self.labels_R[stage.order_BK]
                counted_BK = np.ones(labels_BK.shape, bool) if classes is None else np.isin(labels_BK, classes)
                right_B: NDArray[np.float64] = ((decisions_BK == labels_BK) & counted_BK).sum(1) / counted_BK.sum(1)
                return right_B
        raise KeyError(name)


def live(
    learning: LearningProgram,
    life: Life,
    recordings: NDArray[np.uint8],
    labels_R: NDArray[np.int64],
    seeds: Sequence[int],
    console: Console,
    *,
    backend: Backend = "reference",
    frames: NDArray[np.uint8] | None = None,
    what: str = "learning on chip",
) -> Lived:
    """Let B networks live through it, one per seed; in Lava one after another, each compared with the reference.

    Args:
        recordings: (R, T, I). labels_R: class of each.
        seeds: of the learning engine, one per life.
        frames: `frozen_frames` of the recordings, for the reference.

    Raises: CompileError for a rule that could change weights without a target; CheckError if Lava and the reference
    decide differently or end with different weights.
    """
    for plastic in learning.plastic:
        if not plastic.rule.error_triggered:
            raise CompileError(
                f"layer {plastic.layer}: rule {plastic.rule} changes weights without an error, so a test would teach; "
                "give each product y1 or y2"
            )
    order_BK, targets_BK = life.order, life.targets(labels_R)
    with counting(console, what) as progress:
        learned, state = learn(
            learning, start_state(learning, list(seeds)), recordings, order_BK, targets_BK, frames=frames,
            progress=progress,
        )  # fmt: skip
    compared = 0
    if backend == "lava":
        for number in range(len(seeds)):
            weights = {plastic.layer: state.weights(learning, plastic.layer)[number] for plastic in learning.plastic}
            with counting(console, f"the same in Lava, seed {seeds[number]}") as progress:
                compared += _same_in_lava(
                    learning, recordings, order_BK[number], targets_BK[number], int(seeds[number]),
                    learned.counts[number], weights, progress,
                )  # fmt: skip
    return Lived(life, tuple(life.split(learned.decisions)), labels_R, compared)


def live_in_float(
    learning: LearningProgram,
    life: Life,
    recordings: NDArray[np.uint8],
    labels_R: NDArray[np.int64],
    console: Console,
    *,
    frames: NDArray[np.uint8] | None = None,
) -> Lived:
    """The same lives in real numbers: see `decolle_hw.sim.float_learning`."""
    order_BK = life.order
    with counting(console, "the same rule in real numbers") as progress:
        learned, _ = learn_float(
            learning, start_float_state(learning, len(order_BK)), recordings, order_BK, life.targets(labels_R),
            frames=frames, progress=progress,
        )  # fmt: skip
    return Lived(life, tuple(life.split(learned.decisions)), labels_R)


def seeds_of(lives: int) -> list[int]:
    """Of so many lives, in every experiment: 1, 2, ..."""
    return list(range(1, lives + 1))


def lessons(rng: np.random.Generator, members: Sequence[NDArray[np.int64]], passes: int = 1) -> NDArray[np.int64]:
    """(K,) recordings of some classes, each `passes` times: in every round one of each class, in a random order.

    `members`: the recordings of each class; a class with fewer sits out once it has shown all of its own.
    """
    order: list[NDArray[np.int64]] = []
    for _ in range(passes):
        shuffled = [rng.permutation(of_class) for of_class in members]
        for turn in range(max((len(of_class) for of_class in shuffled), default=0)):
            order.append(rng.permutation([of_class[turn] for of_class in shuffled if turn < len(of_class)]))
    return np.concatenate(order).astype(np.int64) if order else np.zeros(0, np.int64)


def _same_in_lava(
    learning: LearningProgram, recordings: NDArray[np.uint8], order_K: NDArray[np.int64], targets_K: NDArray[np.int64],
    seed: int, counts_KN: NDArray[np.int32], weights: dict[int, NDArray[np.int32]], progress,
) -> int:  # fmt: skip
    """Values compared; raises CheckError where one differs."""
    from decolle_hw.lava_backend.learning_runner import learn_in_lava

    in_lava, last = learn_in_lava(learning, recordings, order_K, targets_K, seed=seed, progress=progress)
    wrong = int((in_lava.counts[0] != counts_KN).sum())
    wrong += sum(int((last[layer] != weight_NI).sum()) for layer, weight_NI in weights.items())
    if wrong:
        raise CheckError(f"seed {seed}: Lava and the integer reference differ in {wrong} spike counts or weights")
    return counts_KN.size + sum(weight_NI.size for weight_NI in weights.values())
