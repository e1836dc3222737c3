"""Equality of two integer runs: how many values were compared, how many differ, and where they part first."""

# R recordings, T steps, N neurons

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.sim.trace import LayerTrace, Trace

IntArray = NDArray[Any]  # uint8 spikes or int32 registers
Counts = dict[str, tuple[int, int]]  # quantity ('u', 'v', 'r', 'spikes') -> (compared, mismatches)
INPUT_BLOCK = -1  # comes before layer 0


@dataclass(frozen=True)
class Divergence:
    """The first value that differs: by recording, then step, then layer, u before v before r before spikes."""

    recording: int
    step: int  # in the float network's time
    layer: int  # INPUT_BLOCK for that
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
            f"recording {self.recording}, step {self.step}{on_chip}, "
            f"{'input block' if self.layer == INPUT_BLOCK else f'layer {self.layer}'}, neuron {self.neuron}{place}: "
            f"{self.quantity} is {self.left} in {left} and {self.right} in {right}"
        )


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`."""

    per_layer: tuple[Counts, ...]
    first: Divergence | None
    input: Counts = field(default_factory=dict)  # of the input block; empty: there is none

    @property
    def per_quantity(self) -> Counts:
        """Counts of all layers together, and of the input block."""
        total: Counts = {}
        for counts in (self.input, *self.per_layer):
            for quantity, (compared, mismatches) in counts.items():
                before = total.get(quantity, (0, 0))
                total[quantity] = (before[0] + compared, before[1] + mismatches)
        return total

    @property
    def compared(self) -> int:
        return sum(compared for compared, _ in self.per_quantity.values())

    @property
    def mismatches(self) -> int:
        return sum(mismatches for _, mismatches in self.per_quantity.values())

    @property
    def equal(self) -> bool:
        return self.mismatches == 0

    def followed_by(self, later: Comparison, recordings: int) -> Comparison:
        """Together with that of later recordings of the same network; `recordings`: how many this one is of."""
        counts = tuple(_added(mine, theirs) for mine, theirs in zip(self.per_layer, later.per_layer, strict=True))
        first = self.first
        if first is None and later.first is not None:
            first = replace(later.first, recording=later.first.recording + recordings)
        return Comparison(counts, first, _added(self.input, later.input))


def _added(mine: Counts, theirs: Counts) -> Counts:
    return {name: (mine[name][0] + theirs[name][0], mine[name][1] + theirs[name][1]) for name in mine}


def compare(program: Program, left: Trace, right: Trace) -> Comparison:
    """Compare spikes and registers of the input block and every layer at every step, value by value.

    Steps before a layer's `Program.first_step`, where it holds its reset state by definition, are not counted.
    Registers must be recorded in both traces or in neither.

    Raises ValueError where they are not, or where traces differ in shape.
    """
    per_layer: list[Counts] = []
    first: Divergence | None = None
    pairs = [(index, left.layers[index], right.layers[index]) for index in range(len(program.layers))]
    if (left.input is None) != (right.input is None):
        raise ValueError("only one of the traces is of an input block")
    if left.input is not None and right.input is not None:
        pairs.insert(0, (INPUT_BLOCK, left.input, right.input))
    for index, mine, theirs in pairs:
        counts, found = _compare_layer(program, index, mine, theirs)
        if found is not None and (first is None or (found.recording, found.step) < (first.recording, first.step)):
            first = found
        per_layer.append(counts)
    of_input = per_layer.pop(0) if left.input is not None else {}
    return Comparison(tuple(per_layer), first, of_input)


def _compare_layer(
    program: Program, index: int, mine: LayerTrace, theirs: LayerTrace
) -> tuple[Counts, Divergence | None]:
    """Counts, and the first value that differs: the earliest, of those of one step the first quantity."""
    start = 0 if index == INPUT_BLOCK else program.first_step(index)
    if mine.registers.keys() != theirs.registers.keys():
        raise ValueError(f"layer {index}: registers {[*mine.registers]} and {[*theirs.registers]}")
    pairs: dict[str, tuple[IntArray, IntArray]] = {
        name: (mine.registers[name], theirs.registers[name]) for name in mine.registers
    }
    pairs["spikes"] = (mine.spikes, theirs.spikes)
    counts: Counts = {}
    first: Divergence | None = None
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
    return counts, first


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
    values = (recording, step, layer, quantity, neuron, int(a[at]), int(b[at]))
    if layer == INPUT_BLOCK:
        return Divergence(*values, step)
    return Divergence(*values, step + program.delays[layer], place_in_map(program.layers[layer], neuron))
