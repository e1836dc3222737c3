"""The grid and the scale on which a float layer of stock LIF neurons becomes integers.

A weight is ``step q`` in the float layer and ``unit q`` on chip, so everything is multiplied by ``k = unit / step``::

    vth mantissa = rint(k vth),   bias = rint(k bias) << 6,   u, v in units of 64 k

k is limited by the registers: 17 bits of vth, 13 of the bias, 24 of u. The unit is a power of two, 1 up to what fills
the synapse: netx and Lava's `Conv` have no exponents (`decolle_hw.compiler.netx`).

Weights that lie on a grid already (trained so, or exported from integers) are found out, and lose nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.netx import NETX_BIAS_EXP, as_netx_runs_it
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    BIAS_MANT_MAX,
    BIAS_MANT_MIN,
    STATE_LIMIT,
    VTH_MAX,
    WEIGHT_EXP_MAX,
)
from decolle_hw.interchange.float_network import ALIGN, FloatLayer
from decolle_hw.interchange.float_synapse import Floats, Matrix
from decolle_hw.weightgrid import SignMode, best_step, grid_limits, stored_weights, to_grid, top_shift

assert NETX_BIAS_EXP == ALIGN_SHIFT  # a bias of 1 in the float layer is one mantissa at a scale of 1

# How far from a whole number the weights of a grid may lie: float32 rounds 256 steps by 1.5e-5 of one.
ON_GRID = 1e-4
# The same for thresholds and biases, which reach 17 bits.
WHOLE = 2.0**-6
BAD_MISFIT = 0.05
MOST_LEVELS = 256
# To keep u from ever turning over, the scale may shrink by so much: two bits of the weights.
WORTH_A_PROOF = 4.0
# Steps tried where recordings tell which is best, around the one at which the largest weight just fits.
TRIED_OCTAVES = (0.0, -0.25, -0.5, -1.0)
# netx takes no matrix without positive weights whose lowest is a power of two: with a step a little wider it is none.
NUDGES = (1.0, 1.015, 1.06)


@dataclass(frozen=True)
class FloatGrid:
    """See the top of this file. bits: of a stored weight."""

    bits: int
    sign_mode: SignMode
    step: float
    unit: int  # a power of two

    @property
    def scale(self) -> float:
        """k"""
        return self.unit / self.step

    def integers(self, weight: Floats) -> NDArray[np.int32]:
        """q, of weights of any shape."""
        return to_grid(weight / self.step, 1.0, self.bits, self.sign_mode)

    def stored(self, q: NDArray[np.int32]) -> tuple[NDArray[np.int32], int, int]:
        """(stored weights, weight_exp, weight_bits): in as few bits as hold these q."""
        return stored_weights(q, self.unit, self.bits, self.sign_mode)

    def error(self, weight: Floats) -> float:
        """``rms(step q - W) / rms(W)``"""
        power = float((weight**2).mean())
        return math.sqrt(float(((self.step * self.integers(weight) - weight) ** 2).mean()) / power) if power else 0.0


def scale_limits(layer: FloatLayer) -> dict[str, float]:
    """The largest scale that each register has room for; 'u' is what no input whatever makes turn over."""
    weight = layer.synapse.weight
    rows = weight.reshape(len(weight), -1)
    largest_sum = max(float(np.maximum(rows, 0).sum(1).max()), float(np.maximum(-rows, 0).sum(1).max()))
    return {
        "vth": _room(VTH_MAX, layer.vth),
        "bias": min(_room(BIAS_MANT_MAX, float(layer.bias.max())), _room(-BIAS_MANT_MIN, -float(layer.bias.min()))),
        # Of the float weights; the integers, which are rounded, are looked at by `compiler.ranges`.
        "u": _room((STATE_LIMIT - 1) / ALIGN * (1 - layer.current_keep), largest_sum),
    }


def exact_grid(layer: FloatLayer, bits: int) -> FloatGrid | None:
    """The grid that the weights lie on already, at the scale that suits threshold and bias best; None: on none.

    A scale of 1 is taken where weights, threshold and bias are integers as they are. Else the rounding of threshold and
    bias decides, among scales at which u cannot turn over, and then the larger scale.
    """
    weight = layer.synapse.weight
    step = common_step(weight)
    if step is None:
        return None
    limits = scale_limits(layer)
    best: FloatGrid | None = None
    rank: tuple[float, ...] = ()
    for multiple in sorted({round(step), *range(1, MOST_LEVELS + 1)} - {0}):
        scale = multiple / step
        if scale > min(limits["vth"], limits["bias"]) * (1 + 1e-9):
            break
        grid = next(_holding(layer, step, multiple, bits), None)
        if grid is None:
            continue
        misfit = _misfit(layer, scale)
        as_it_is = abs(scale - 1) < 1e-6 and misfit == 0.0
        within_u = scale <= limits["u"]
        mine = (as_it_is, misfit < BAD_MISFIT, within_u, -misfit, scale if within_u else -scale)
        if best is None or mine > rank:
            best, rank = grid, mine
    return best


def _holding(layer: FloatLayer, step: float, multiple: int, bits: int) -> Iterator[FloatGrid]:
    """Grids on which weights, multiples of `step`, become as many times `multiple`; the largest unit first."""
    weight = layer.synapse.weight
    smallest, largest = float(weight.min()) / step, float(weight.max()) / step
    beyond = 0 if isinstance(layer.synapse, Matrix) else WEIGHT_EXP_MAX  # of a matrix netx takes no such exponents
    for mode in modes_of(weight):
        low, high = grid_limits(bits, mode)
        for shift in range(top_shift(bits, mode) + beyond, -1, -1):
            unit = 1 << shift
            times = multiple / unit
            if multiple % unit or smallest * times < low - ON_GRID or largest * times > high + ON_GRID:
                continue
            grid = FloatGrid(bits, mode, step / times, unit)
            if runs_in_netx(grid, layer):
                yield grid


def grids(layer: FloatLayer, bits: int, limit: float) -> list[FloatGrid]:
    """Grids of weights that lie on none, up to a scale of `limit`, those of the smallest error first."""
    weight = layer.synapse.weight
    found: list[FloatGrid] = []
    for mode in modes_of(weight):
        low, high = grid_limits(bits, mode)
        fits = max(float(weight.max()) / high if high else 0.0, float(weight.min()) / low if low else 0.0)
        for step in (best_step(weight, bits, mode), *(fits * 2.0**octave for octave in TRIED_OCTAVES)):
            unit = max([unit for unit in units(bits, mode) if unit <= limit * step], default=1)
            tried = (FloatGrid(bits, mode, nudge * max(step, unit / limit), unit) for nudge in NUDGES)
            runs = (grid for grid in tried if np.any(grid.integers(weight)) and runs_in_netx(grid, layer))
            found += list(itertools.islice(runs, 1))
    return sorted(found, key=lambda grid: grid.error(weight))


def common_step(weight: Floats) -> float | None:
    """The largest step of which all weights are multiples, 256 at most; None where there is none, 1 for zeros."""
    sizes = np.unique(np.abs(weight[weight != 0.0]))
    if not sizes.size:
        return 1.0
    if np.unique(np.rint(sizes / sizes[-1] * (1 << 20))).size > MOST_LEVELS:
        return None
    for divisor in range(1, MOST_LEVELS + 1):
        step = sizes[0] / divisor
        if sizes[-1] > step * (MOST_LEVELS + 0.5):
            return None
        q = np.rint(sizes / step)
        step = float(sizes @ q / (q @ q))  # all of them say how large it is
        if np.all(np.abs(sizes / step - q) < ON_GRID):
            return step
    return None


def runs_in_netx(grid: FloatGrid, layer: FloatLayer) -> bool:
    """Whether the artifact can be written: netx takes no weight that Lava would cut. Its convolutions take any."""
    if not isinstance(layer.synapse, Matrix):
        return True
    plain = grid.integers(layer.synapse.weight) * grid.unit
    if not np.any(plain):
        return False
    stored, exponent = as_netx_runs_it(plain)
    return exponent <= 0 and bool(np.array_equal(stored, plain << -exponent))


def modes_of(weight: Floats) -> tuple[SignMode, ...]:
    """One-signed weights need no bit for their sign; where netx cannot run that, they have one all the same."""
    if weight.min() >= 0 < weight.max():
        return ("excitatory", "mixed")
    return ("inhibitory", "mixed") if weight.min() < 0 >= weight.max() else ("mixed",)


def units(bits: int, mode: SignMode) -> tuple[int, ...]:
    """1, 2, 4 .. up to what fills the synapse."""
    return tuple(1 << shift for shift in range(top_shift(bits, mode) + 1))


def _misfit(layer: FloatLayer, scale: float) -> float:
    """How far rounding moves threshold and biases, in parts of the larger of them; 0 where they are whole."""
    values = np.append(layer.bias, layer.vth)
    moved = float(np.abs(scale * values - np.rint(scale * values)).max())
    return 0.0 if moved < WHOLE else moved / max(scale * float(np.abs(values).max()), 1e-30)


def _room(limit: float, needed: float) -> float:
    """How large the scale may be; zero needs nothing."""
    return limit / needed if needed > limit * 1e-30 else 1e30
