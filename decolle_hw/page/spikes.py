"""Rasters: the spikes of one recording, layer by layer, and how many neurons are active at each step.

A raster has at most `MOST_COLUMNS` columns (steps that share one are joined) and at most `MOST_ROWS` rows (evenly
chosen neurons; as few as it takes to keep the drawing small). The curve above it counts all neurons.
"""

# T steps, N neurons, R rows, C columns

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from decolle_hw.page import svg
from decolle_hw.page.content import Raster
from decolle_hw.page.svg import AXIS_MARGIN, SMALL, WIDTH, Picture
from decolle_hw.page.words import percent

MOST_COLUMNS, MOST_ROWS, MOST_RUNS = 360, 128, 6000
LEFT, CURVE, TALL = 6.0, 26.0, 128.0


def raster_picture(raster: Raster, index: int) -> Picture | None:
    """One layer; None without steps or neurons."""
    steps, neurons = raster.spikes_TN.shape
    if not steps or not neurons:
        return None
    spikes_TN = raster.spikes_TN != 0
    joined = -(-steps // MOST_COLUMNS)
    shown_RC, every = _thinned(_join_steps(spikes_TN, joined).T)
    right = WIDTH - AXIS_MARGIN - 4
    top = CURVE + 8
    across, down = (right - LEFT) / shown_RC.shape[1], TALL / shown_RC.shape[0]
    active_T = spikes_TN.mean(1)
    peak = float(active_T.max())
    parts = [
        svg.path(_curve(active_T, right), css="curve"),
        svg.line(LEFT, CURVE + 2, right, CURVE + 2),
        svg.path(_marks(shown_RC, across, down, top), css="spike"),
        svg.axis(LEFT, right, top + TALL + 2, [(step / steps, f"{step:,.4g}") for step in svg.round_ticks(0, steps)]),
        svg.text((LEFT + right) / 2, top + TALL + 29, "time step", "muted", SMALL, "middle"),
    ]
    caption = [f"{neurons:,} neurons" + (f", one of {every} shown" if every > 1 else "")]
    caption.append(f"{percent(float(spikes_TN.mean()))} active on average, {percent(peak)} at the peak (curve above)")
    if joined > 1:
        caption.append(f"{joined} steps side by side share a column")
    if not spikes_TN.any():
        caption.append("silent")
    name = f"raster-{index}"
    described = f"spikes of {raster.layer} in one recording"
    drawn = svg.drawing(name, WIDTH, top + TALL + 34, described, parts)
    return Picture(name, raster.layer, drawn, "; ".join(caption))


def _join_steps(spikes_TN: NDArray[np.bool_], joined: int) -> NDArray[np.bool_]:
    """(C, N) True where a neuron spikes in any of the steps of a column."""
    steps, neurons = spikes_TN.shape
    padded = np.zeros((-(-steps // joined) * joined, neurons), bool)
    padded[:steps] = spikes_TN
    joined_CN: NDArray[np.bool_] = padded.reshape(-1, joined, neurons).any(1)
    return joined_CN


def _thinned(spikes_NC: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """(R, C) every k-th neuron, and k: few enough rows, and few enough runs of spikes."""
    every = -(-len(spikes_NC) // MOST_ROWS)
    while True:
        shown_RC = spikes_NC[::every]
        if len(shown_RC) == 1 or _run_starts(shown_RC).sum() <= MOST_RUNS:
            return shown_RC, every
        every += max(1, every // 4)


def _run_starts(spikes_RC: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a run of spikes in consecutive columns begins."""
    before = np.zeros_like(spikes_RC)
    before[:, 1:] = spikes_RC[:, :-1]
    starts: NDArray[np.bool_] = spikes_RC & ~before
    return starts


def _marks(spikes_RC: NDArray[np.bool_], across: float, down: float, top: float) -> str:
    """Horizontal strokes, one per run of spikes; each at least a point long."""
    commands = []
    for row, spikes_C in enumerate(spikes_RC):
        edges = np.flatnonzero(np.diff(spikes_C.astype(np.int8), prepend=0, append=0))
        y = top + TALL - (row + 0.5) * down
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            commands.append(f"M{LEFT + start * across:.1f} {y:.1f}h{max((stop - start) * across, 1.2):.1f}")
    return "".join(commands)


def _curve(active_T: NDArray[np.float64], right: float) -> str:
    """Share of active neurons over time as an area, scaled to its peak; of many steps the mean of each column."""
    columns = np.array_split(active_T, min(len(active_T), MOST_COLUMNS))
    heights = np.array([column.mean() for column in columns])
    heights = heights / (heights.max() or 1.0) * (CURVE - 2)
    across = (right - LEFT) / len(heights)
    steps = "".join(f"V{CURVE - height:.1f}h{across:.2f}" for height in heights)
    return f"M{LEFT} {CURVE}{steps}V{CURVE}z"
