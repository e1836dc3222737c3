"""The grid of a layer by what it does: of those with small weight errors, the one that spikes like the float layer.

Layers are quantized in order. The input of each is what the integer layers before it make of the calibration
recordings, so it is chosen under their errors.
"""

# R recordings, T steps, I inputs, M neurons after pooling

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import Layer
from decolle_hw.quantization.integers import LayerPlan, build, runs_in_netx
from decolle_hw.quantization.scale import Grid, weight_error
from decolle_hw.sim.reference import run_layer

PIECE_BYTES = 1 << 27  # spikes of one layer that are held at a time
TRIED_EXACT, TRIED_LOSSY = 4, 2  # candidates with the smallest weight errors: of plain integers, of each lossy unit
WORSE = 1.5  # times the smallest weight error, or as large as the analytic one: more is not looked at
GIVE_BACK = (0.0, 1.0)  # shares of what the floor of a lossy sum cuts off, given back at the threshold


@dataclass(frozen=True)
class Found:
    """The layer that was chosen."""

    grid: Grid
    layers: tuple[Layer, ...]  # with its pooling stage
    spikes_RTM: NDArray[np.uint8]  # what it made of the recordings
    figures: dict[str, Any]


def choose(
    plan: LayerPlan,
    grids: Sequence[Grid],
    inputs_RTI: NDArray[np.uint8],
    float_RTM: NDArray[np.uint8],
    starts: tuple[int, ...],
) -> Found:
    """Run the layer on each grid and keep the best; of equals, the one with the smaller weight error, then the first.

    Args:
        grids: the first is what a choice without data would be.
        inputs_RTI: integer spikes of the layer before.
        float_RTM: what the float layer made of its own input.
        starts: `Program.first_step` of the layer and of its pooling stage.
    """
    best: Found | None = None
    rank: tuple[float, float] = (-1.0, 0.0)
    agreements: list[float] = []
    for grid in grids:
        layers = build(plan, grid)
        spikes_RTM = run_layers(layers, inputs_RTI, starts)
        agreement = 1.0 - np.count_nonzero(spikes_RTM != float_RTM) / max(1, float_RTM.size)
        agreements.append(agreement)
        mine = (agreement, -weight_error(grid, plan.weight))
        if best is None or mine > rank:
            best, rank = Found(grid, layers, spikes_RTM, {}), mine
    assert best is not None
    figures = {"spike_agreement": rank[0], "spike_agreement_analytic": agreements[0], "candidates": len(grids)}
    return replace(best, figures=figures)


def shortlist(plan: LayerPlan) -> list[Grid]:
    """The analytic grid, then those worth a run: the smallest weight errors, also of each unit that cuts off something.

    Agreement alone would favour grids that clip weights away: a layer that spikes less has fewer spikes to get wrong.
    """
    allowed = [grid for grid in plan.space.candidates(plan.weight) if runs_in_netx(plan, grid)]
    if not allowed:
        return []
    analytic, others = allowed[0], allowed[1:]
    errors = {grid: weight_error(grid, plan.weight) for grid in allowed}
    worst = max(errors[analytic], WORSE * min(errors.values()))
    by_error = sorted((grid for grid in others if errors[grid] <= worst), key=lambda grid: errors[grid])
    chosen = [analytic, *[grid for grid in by_error if not grid.is_lossy][:TRIED_EXACT]]
    for unit in sorted({grid.unit for grid in by_error if grid.is_lossy}, reverse=True):
        for grid in [grid for grid in by_error if grid.unit == unit][:TRIED_LOSSY]:
            chosen += [replace(grid, give_back=share) for share in GIVE_BACK]
    return list(dict.fromkeys(chosen))


def run_layers(layers: Sequence[Layer], spikes_RTI: NDArray[np.uint8], starts: Sequence[int]) -> NDArray[np.uint8]:
    """Output spikes of consecutive layers, some recordings at a time."""
    parts = []
    for start, stop in pieces(layers, len(spikes_RTI), spikes_RTI.shape[1], 1):
        part = spikes_RTI[start:stop]
        for layer, first in zip(layers, starts, strict=True):
            part = run_layer(layer, part, first=first, record=False).spikes
        parts.append(part)
    return np.concatenate(parts)


def pieces(layers: Sequence[Layer], recordings: int, steps: int, bytes_per_entry: int) -> Iterator[tuple[int, int]]:
    """Ranges of recordings for which no layer leaves more than `PIECE_BYTES`."""
    each = steps * bytes_per_entry * max(layer.num_neurons for layer in layers)
    size = max(1, PIECE_BYTES // each)
    for start in range(0, recordings, size):
        yield start, min(start + size, recordings)
