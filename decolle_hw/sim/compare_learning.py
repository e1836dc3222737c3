"""Equality of two runs of learning: every spike, register, trace and weight, and where the two part first."""

# K recordings shown, S steps of a slot, E epochs

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.sim.learning import LayerRecord, Learned

PER_EPOCH = ("weight", "x", "y")
NAMES = {"weight": "weights", "x": "traces", "y": "traces"}  # what is counted together


@dataclass(frozen=True)
class Parting:
    """The first value that differs: the earliest in time, then in the lowest layer."""

    step: int  # on chip, from the first step of the run on
    slot: int  # steps of a recording
    layer: int
    quantity: str
    place: tuple[int, ...]  # neuron, or (neuron, input) of a weight, (number, neuron) of a trace
    left: int
    right: int

    def between(self, left: str, right: str) -> str:
        """Where it is, and the value of either side by its name."""
        shown, step = divmod(self.step, self.slot)
        return (
            f"recording number {shown + 1} that was shown, step {step} on chip, layer {self.layer}: {self.quantity} "
            f"{list(self.place)} is {self.left} in {left} and {self.right} in {right}"
        )


@dataclass(frozen=True)
class LearningComparison:
    """Result of `compare_learning`."""

    per_quantity: dict[str, tuple[int, int]]  # name -> (compared, mismatches)
    first: Parting | None

    @property
    def compared(self) -> int:
        return sum(compared for compared, _ in self.per_quantity.values())

    @property
    def mismatches(self) -> int:
        return sum(wrong for _, wrong in self.per_quantity.values())

    @property
    def equal(self) -> bool:
        return self.mismatches == 0


def compare_learning(learning: LearningProgram, left: Learned, right: Learned) -> LearningComparison:
    """Compare two recorded runs of the same network.

    Weights and traces are compared after every epoch, all else at every step.
    """
    counts: dict[str, tuple[int, int]] = {}
    partings: list[Parting] = []
    for index, (mine, theirs) in enumerate(zip(left.records, right.records, strict=True), learning.first):
        plastic = learning.plasticity(index)
        for name, (one, other) in _pairs(mine, theirs).items():
            assert one.shape == other.shape, f"layer {index}, {name}: {one.shape} and {other.shape}"
            differs = one != other
            before = counts.get(NAMES.get(name, name), (0, 0))
            wrong = int(np.count_nonzero(differs))
            counts[NAMES.get(name, name)] = before[0] + one.size, before[1] + wrong
            if wrong:
                place = tuple(int(i) for i in np.unravel_index(int(np.argmax(differs)), differs.shape))
                epoch = plastic.epoch if plastic is not None and name in PER_EPOCH else 1
                step = (place[1] + 1) * epoch - 1
                partings.append(
                    Parting(step, learning.slot, index, name, place[2:], int(one[place]), int(other[place]))
                )
    return LearningComparison(counts, min(partings, key=lambda one: (one.step, one.layer), default=None))


def _pairs(mine: LayerRecord, theirs: LayerRecord) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Everything that both sides recorded of a layer."""
    pairs: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {"spikes": (mine.spikes, theirs.spikes)}
    assert mine.registers.keys() == theirs.registers.keys(), "both sides record the same registers"
    pairs |= {name: (values, theirs.registers[name]) for name, values in mine.registers.items()}
    for name in PER_EPOCH:
        one, other = getattr(mine, name), getattr(theirs, name)
        assert (one is None) == (other is None), f"{name} is recorded on one side only"
        if one is not None:
            pairs[name] = one, other
    return pairs
