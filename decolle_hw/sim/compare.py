"""Equality of two integer runs: how many values were compared, how many differ, and where they part first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decolle_hw.compiler.program import Program, first_step
from decolle_hw.sim.trace import Trace


@dataclass(frozen=True)
class Divergence:
    """The first value that differs: earliest step first, then the lowest layer, then u, v, r before spikes."""

    recording: int
    step: int
    layer: int
    quantity: str  # 'u', 'v', 'r' or 'spikes'
    neuron: int
    left: int
    right: int

    def __str__(self) -> str:
        return (
            f"recording {self.recording}, step {self.step}, layer {self.layer}, neuron {self.neuron}: "
            f"{self.quantity} is {self.left} in one and {self.right} in the other"
        )


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`."""

    compared: int
    mismatches: int
    per_quantity: dict[str, tuple[int, int]]  # quantity -> (compared, mismatches)
    first: Divergence | None

    @property
    def equal(self) -> bool:
        return self.mismatches == 0


def compare(program: Program, left: Trace, right: Trace) -> Comparison:
    """Compare spikes and registers of every layer at every step, value by value.

    Steps before a layer's `first_step`, where it holds its reset state by definition, are not counted. Registers
    must be recorded in both traces or in neither.
    """
    per_quantity: dict[str, tuple[int, int]] = {}
    first: Divergence | None = None
    for index, layer in enumerate(program.layers):
        start = first_step(layer, index)
        mine, theirs = left.layers[index], right.layers[index]
        if mine.registers.keys() != theirs.registers.keys():
            raise ValueError(f"layer {index}: registers {sorted(mine.registers)} against {sorted(theirs.registers)}")
        pairs = {name: (mine.registers[name], theirs.registers[name]) for name in mine.registers}
        pairs["spikes"] = (mine.spikes, theirs.spikes)
        for quantity, (a, b) in pairs.items():
            if a.shape != b.shape:
                raise ValueError(f"layer {index} {quantity}: shapes {a.shape} and {b.shape}")
            unequal = a[:, start:] != b[:, start:]
            wrong = int(np.count_nonzero(unequal))
            compared, mismatches = per_quantity.get(quantity, (0, 0))
            per_quantity[quantity] = (compared + unequal.size, mismatches + wrong)
            if wrong:
                found = _earliest(unequal, a, b, start, index, quantity)
                if first is None or (found.recording, found.step) < (first.recording, first.step):
                    first = found
    compared = sum(count for count, _ in per_quantity.values())
    mismatches = sum(wrong for _, wrong in per_quantity.values())
    return Comparison(compared, mismatches, per_quantity, first)


def _earliest(
    unequal: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    a: np.ndarray[tuple[int, ...], np.dtype[np.integer]],
    b: np.ndarray[tuple[int, ...], np.dtype[np.integer]],
    start: int,
    layer: int,
    quantity: str,
) -> Divergence:
    recording, step, neuron = (int(i) for i in np.unravel_index(int(unequal.argmax()), unequal.shape))
    at = (recording, step + start, neuron)
    return Divergence(recording, step + start, layer, quantity, neuron, int(a[at]), int(b[at]))
