"""Equality of two integer runs: how many values were compared, how many differ, and where they part first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import Program, first_step
from decolle_hw.sim.trace import Trace

IntArray = NDArray[Any]  # uint8 spikes or int32 registers


@dataclass(frozen=True)
class Divergence:
    """The first value that differs: by recording, then step, then layer, u, v, r before spikes."""

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

    Steps before a layer's `first_step`, where it holds its reset state by definition, are not counted.
    Registers must be recorded in both traces or in neither.
    """
    per_quantity: dict[str, tuple[int, int]] = {}
    first: Divergence | None = None
    for index, layer in enumerate(program.layers):
        start = first_step(layer, index)
        mine, theirs = left.layers[index], right.layers[index]
        if mine.registers.keys() != theirs.registers.keys():
            raise ValueError(f"layer {index}: registers {[*mine.registers]} and {[*theirs.registers]}")
        pairs: dict[str, tuple[IntArray, IntArray]] = {
            name: (mine.registers[name], theirs.registers[name]) for name in mine.registers
        }
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
    unequal: NDArray[np.bool_], a: IntArray, b: IntArray, start: int, layer: int, quantity: str
) -> Divergence:
    recording, step, neuron = (int(i) for i in np.unravel_index(int(unequal.argmax()), unequal.shape))
    at = (recording, step + start, neuron)
    return Divergence(recording, step + start, layer, quantity, neuron, int(a[at]), int(b[at]))
