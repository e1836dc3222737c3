"""Weights of a layer before and after quantization, as two histograms over the same bins."""

# B bins

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from decolle_hw.page import svg
from decolle_hw.page.colours import FLOAT_COLOUR, INTEGER_COLOUR
from decolle_hw.page.content import Weights, finite
from decolle_hw.page.svg import AXIS_MARGIN, WIDTH, Picture, Swatch
from decolle_hw.page.words import number, percent

MOST_BINS = 64
DOMINANT = 30.0  # a bin this many times the typical one makes the axis logarithmic
LEFT, TALL = 6.0, 110.0


def weight_picture(weights: Weights, index: int) -> Picture | None:
    """One layer; None without weights."""
    after = finite(weights.after)
    before = np.empty(0) if weights.before is None else finite(weights.before)
    if not after.size:
        return None
    edges = bin_edges(np.concatenate([before, after]), weights.step)
    after_B, before_B = np.histogram(after, edges)[0], np.histogram(before, edges)[0]
    every_B = np.maximum(after_B, before_B)
    logarithmic = bool(every_B.max() > DOMINANT * max(float(np.median(every_B[every_B > 0])), 1.0))
    scale = np.log10(1.0 + every_B.max()) if logarithmic else float(every_B.max())
    right = WIDTH - AXIS_MARGIN - 4
    across = (right - LEFT) / (len(edges) - 1)

    def heights(counts_B: NDArray[np.int64]) -> NDArray[np.float64]:
        tall: NDArray[np.float64] = TALL / scale * (np.log10(1.0 + counts_B) if logarithmic else counts_B)
        return tall

    parts = []
    if before.size:
        parts.append(svg.path(_outline(heights(before_B), across), FLOAT_COLOUR, "area"))
    parts.append(svg.path(_outline(heights(after_B), across), "none", "outline", INTEGER_COLOUR))
    low, high = float(edges[0]), float(edges[-1])
    ticks = [((value - low) / (high - low), f"{value:.4g}") for value in svg.round_ticks(low, high)]
    parts.append(svg.axis(LEFT, right, 8 + TALL, ticks))
    caption = [f"{after.size:,} weights"]
    if weights.bits is not None:
        caption.append(f"{weights.bits} bits")
    caption.append(f"step {number(weights.step)}")
    caption.append(f"{percent(float((after == 0).mean()))} are zero")
    if weights.error_rms is not None:
        caption.append(f"rms error {percent(weights.error_rms)} of the rms weight")
    caption.append("count on a logarithmic scale" if logarithmic else "count on a linear scale")
    name = f"weights-{index}"
    legend = (Swatch("float", FLOAT_COLOUR),) if before.size else ()
    drawn = svg.drawing(name, WIDTH, TALL + 26, f"histogram of the weights of {weights.layer}", parts)
    return Picture(name, weights.layer, drawn, "; ".join(caption), (*legend, Swatch("quantized", INTEGER_COLOUR)))


def bin_edges(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Edges of at most `MOST_BINS` bins, half-way between points of the grid, so that no bin holds more points than
    another and both histograms are comparable."""
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    # Where the numbers have no digits left for such a step, bins need not follow the grid.
    if not (math.isfinite(step) and step > 1e-9 * largest):
        step = max((high - low) / MOST_BINS, 1e-6 * largest) or 1.0
    first, last = round(low / step), round(high / step)
    per_bin = -(-(last - first + 1) // MOST_BINS)
    bins = -(-(last - first + 1) // per_bin)
    return (first - 0.5 + per_bin * np.arange(bins + 1)) * step


def _outline(heights: NDArray[np.float64], across: float) -> str:
    """A histogram as one closed path."""
    bottom = 8 + TALL
    steps = "".join(f"V{bottom - height:.1f}h{across:.2f}" for height in heights)
    return f"M{LEFT} {bottom}{steps}V{bottom}z"
