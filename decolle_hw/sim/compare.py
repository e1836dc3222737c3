"""Equality of two integer runs: how many values were compared, how many differ, and where they part first."""

# R recordings, T steps, N neurons

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.sim.trace import Trace

IntArray = NDArray[Any]  # uint8 spikes or int32 registers
Counts = dict[str, tuple[int, int]]  # quantity ('u', 'v', 'r', 'spikes') -> (compared, mismatches)


@dataclass(frozen=True)
class Divergence:
    """The first value that differs: by recording, then step, then layer, u before v before r before spikes."""

    recording: int
    step: int  # in the float network's time
    layer: int
    quantity: str  # 'u', 'v', 'r' or 'spikes'
    neuron: int
    left: int
    right: int
    chip_step: int  # of the recording's slot on chip: later than `step` by the pooling stages up to this layer
    place: tuple[int, int, int] | None = None  # (channel, y, x) of the neuron in the map of a convolution

    def __str__(self) -> str:
        return self.between("one", "the other")

    def between(self, left: str, right: str) -> str:
        """Where it is, and the value of either side by its name."""
        on_chip = "" if self.chip_step == self.step else f" ({self.chip_step} on chip)"
        place = ""
        if self.place is not None:
            channel, y, x = self.place
            place = f" (channel {channel}, y {y}, x {x})"
        return (
            f"recording {self.recording}, step {self.step}{on_chip}, layer {self.layer}, neuron {self.neuron}{place}: "
            f"{self.quantity} is {self.left} in {left} and {self.right} in {right}"
        )


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`."""

    per_layer: tuple[Counts, ...]
    first: Divergence | None

    @property
    def per_quantity(self) -> Counts:
        """Counts of all layers together."""
        total: Counts = {}
        for counts in self.per_layer:
            for quantity, (compared, mismatches) in counts.items():
                before = total.get(quantity, (0, 0))
                total[quantity] = (before[0] + compared, before[1] + mismatches)
        return total

    @property
    def compared(self) -> int:
        return sum(compared for counts in self.per_layer for compared, _ in counts.values())

    @property
    def mismatches(self) -> int:
        return sum(mismatches for counts in self.per_layer for _, mismatches in counts.values())

    @property
    def equal(self) -> bool:
        return self.mismatches == 0

    def followed_by(self, later: Comparison, recordings: int) -> Comparison:
        """Together with that of later recordings of the same network; `recordings`: how many this one is of."""
        counts = tuple(
            {name: (mine[name][0] + theirs[name][0], mine[name][1] + theirs[name][1]) for name in mine}
            for mine, theirs in zip(self.per_layer, later.per_layer, strict=True)
        )
        first = self.first
        if first is None and later.first is not None:
            first = replace(later.first, recording=later.first.recording + recordings)
        return Comparison(counts, first)


def compare(program: Program, left: Trace, right: Trace) -> Comparison:
    """Compare spikes and registers of every layer at every step, value by value.

    Steps before a layer's `Program.first_step`, where it holds its reset state by definition, are not counted.
    Registers must be recorded in both traces or in neither.

    Raises ValueError where they are not, or where traces differ in shape.
    """
    per_layer: list[Counts] = []
    first: Divergence | None = None
    for index in range(len(program.layers)):
        start = program.first_step(index)
        mine, theirs = left.layers[index], right.layers[index]
        if mine.registers.keys() != theirs.registers.keys():
            raise ValueError(f"layer {index}: registers {[*mine.registers]} and {[*theirs.registers]}")
        pairs: dict[str, tuple[IntArray, IntArray]] = {
            name: (mine.registers[name], theirs.registers[name]) for name in mine.registers
        }
        pairs["spikes"] = (mine.spikes, theirs.spikes)
        counts: Counts = {}
        for quantity, (a, b) in pairs.items():
            if a.shape != b.shape:
                raise ValueError(f"layer {index} {quantity}: shapes {a.shape} and {b.shape}")
            unequal = a[:, start:] != b[:, start:]
            wrong = int(np.count_nonzero(unequal))
            counts[quantity] = (unequal.size, wrong)
            if wrong:
                found = _earliest(program, unequal, a, b, start, index, quantity)
                if first is None or (found.recording, found.step) < (first.recording, first.step):
                    first = found
        per_layer.append(counts)
    return Comparison(tuple(per_layer), first)


def place_in_map(layer: Layer, neuron: int) -> tuple[int, int, int] | None:
    """(channel, y, x) of a neuron of a convolution or a pooling stage; None for a dense layer."""
    if not isinstance(layer, ConvLayer):
        return None
    _, height, width = layer.map_shape
    channel, place = divmod(neuron, height * width)
    return channel, *divmod(place, width)


def _earliest(
    program: Program, unequal: NDArray[np.bool_], a: IntArray, b: IntArray, start: int, layer: int, quantity: str
) -> Divergence:
    recording, step, neuron = (int(i) for i in np.unravel_index(int(unequal.argmax()), unequal.shape))
    step += start
    at = (recording, step, neuron)
    return Divergence(
        recording, step, layer, quantity, neuron, int(a[at]), int(b[at]), step + program.delays[layer],
        place_in_map(program.layers[layer], neuron),
    )  # fmt: skip
