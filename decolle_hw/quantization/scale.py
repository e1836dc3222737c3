"""Which scales a layer can have: what the registers allow, and the grids of weights that are worth trying.

With realised decays a = (4096 - dv)/4096 and b = (4096 - du - 1)/4096, one unit of the float potential U becomes
``s = 64 k / ((1 - a)(1 - b))`` units of the register v, where k is the weight scale (effective integer weight = k W):
the normalisation of the float traces, (1 - a)(1 - b), moves into the weights, and 64 is the alignment shift of synaptic
input. k may be as large as every limit allows:

* v:         s max|W P| <= (2**23 - 1) / margin, measured on calibration recordings; for cuba, which resets at vth,
             only negative v count
* u:         64 k / (1 - b) max|W Q| <= (2**23 - 1) / margin, measured likewise
* r:         s rho <= 2**23 - 1, as |R| <= rho always
* vth, bias: their mantissas fit in 17 and 13 bits

A weight of n bits is an integer q of the grid in `decolle_hw.weightgrid`; it stands for ``step q`` in the float network
and for ``unit q`` on chip, so k = unit / step. The unit is a power of two: 2**(8-n), with mixed signs twice that, is
the largest without a left shift of the sum (`weight_exp`), smaller ones come of right shifts. From 1 on they cut off
nothing; below, the sum is rounded down, which Lava's `Conv` and netx cannot do, and a microcode neuron behind a dense
matrix can. Where k leaves no room for n bits of plain integers, that buys finer weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.netx import NETX_BIAS_EXP
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    BIAS_MANT_MAX,
    CURRENT_DECAY_OFFSET,
    STATE_LIMIT,
    VOLTAGE_DECAY_OFFSET,
    VTH_MAX,
    nearest_decay,
    realised_factor,
)
from decolle_hw.nn.layer import Dynamics
from decolle_hw.quantization.calibration import FloatRanges
from decolle_hw.weightgrid import SignMode, best_step, grid_limits, stored_weights, to_grid, top_shift

RANGE_MARGIN = 2.0  # head room over the largest register value seen in calibration
ALIGN = 1 << ALIGN_SHIFT
LOSSY_SHIFTS = 3  # at most so many bits of a sum are cut off
STEPS_PER_OCTAVE = 8
# Steps tried, in octaves around the one at which the largest weight just fits, or the registers end.
FINEST, COARSEST = -3, 1
SAMPLED_WEIGHTS = 1 << 20  # of a larger matrix, every so-many-th one tells the error


@dataclass(frozen=True)
class Decays:
    """Registers nearest to the time constants of a layer, and the factors they realise."""

    du: int
    dv: int
    dr: int
    beta: float
    alpha: float
    gamma: float

    @property
    def per_weight_unit(self) -> float:
        """Register units of v per unit of float potential, at a weight scale of 1."""
        return ALIGN / ((1.0 - self.alpha) * (1.0 - self.beta))


def realise(dynamics: Dynamics, index: int) -> Decays:
    """The nearest decays; raises `CompileError` where one would forget nothing."""
    du = nearest_decay(dynamics.beta, CURRENT_DECAY_OFFSET)
    dv = nearest_decay(dynamics.alpha, VOLTAGE_DECAY_OFFSET)
    stock = dynamics.neuron == "cuba"
    dr = 0 if stock else nearest_decay(dynamics.alpharp, VOLTAGE_DECAY_OFFSET)
    for name, value, register, matters in (
        ("alpha", dynamics.alpha, dv, True),
        ("alpharp", dynamics.alpharp, dr, not stock and dynamics.wrp > 0),
    ):
        if register == 0 and matters:
            raise CompileError(
                f"layer {index}: {name} {value} is too close to 1 for a 12-bit decay, the largest is "
                f"{realised_factor(1, VOLTAGE_DECAY_OFFSET):.5f}; use a smaller {name}"
                + (", or longer steps (dataset.deltat)" if name == "alpha" else "")
            )
    alpha, gamma = (realised_factor(register, VOLTAGE_DECAY_OFFSET) for register in (dv, dr))
    return Decays(du, dv, dr, realised_factor(du, CURRENT_DECAY_OFFSET), alpha, dynamics.alpharp if stock else gamma)


def register_limits(dynamics: Dynamics, decays: Decays, ranges: FloatRanges, largest_bias: float) -> dict[str, float]:
    """The largest weight scale that each register allows."""
    per_weight_unit = decays.per_weight_unit
    room = (STATE_LIMIT - 1) / RANGE_MARGIN
    limits = {
        "v": room / _positive(per_weight_unit * ranges.voltage),
        "u": room / _positive(ALIGN / (1.0 - decays.beta) * ranges.current),
    }
    if dynamics.neuron == "decolle":
        limits["r"] = (STATE_LIMIT - 1) / _positive(per_weight_unit * dynamics.wrp)
        limits["vth"] = VTH_MAX * ALIGN / _positive(per_weight_unit * largest_bias)
    else:
        limits["vth"] = VTH_MAX * ALIGN / _positive(per_weight_unit * dynamics.vth)
        per_step = per_weight_unit * (1.0 - decays.alpha) * largest_bias
        limits["bias"] = (BIAS_MANT_MAX << NETX_BIAS_EXP) / _positive(per_step)
    return limits


def sign_mode_of(weight: NDArray[np.float32]) -> SignMode:
    """One-signed weights need no bit for their sign."""
    smallest, largest = weight.min(), weight.max()
    if smallest >= 0 < largest:
        return "excitatory"
    return "inhibitory" if smallest < 0 >= largest else "mixed"


@dataclass(frozen=True)
class Grid:
    """Weights on a grid: q stands for ``step q`` in the float network, for ``unit q`` on chip."""

    bits: int
    sign_mode: SignMode
    step: float
    unit: float  # a power of two
    # The floor of a shifted sum takes (1 - unit)/2 per step on average; this share is given back at the threshold.
    give_back: float = 0.0

    @property
    def scale(self) -> float:
        """k: effective weight = k W."""
        return self.unit / self.step

    @property
    def is_lossy(self) -> bool:
        return self.unit < 1.0

    def integers(self, weight: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        return to_grid(weight, self.step, self.bits, self.sign_mode)

    def stored(self, q: NDArray[np.int32]) -> tuple[NDArray[np.int32], int, int]:
        """(stored weights, weight_exp, bits): as few bits as hold these q, at the top of the synapse."""
        return stored_weights(q, self.unit, self.bits, self.sign_mode)


@dataclass(frozen=True)
class GridSpace:
    """All grids that a layer may have.

    Attributes:
        limit: the largest weight scale that its registers allow.
        may_cut: whether the sum may be shifted with loss.
    """

    bits: int
    sign_mode: SignMode
    limit: float
    may_cut: bool

    @property
    def largest_unit(self) -> float:
        return 2.0 ** top_shift(self.bits, self.sign_mode)

    @property
    def smallest_unit(self) -> float:
        if not self.may_cut:
            return 1.0
        # The exponent ends at -8, which must still reach the top of the synapse.
        return 2.0 ** -min(LOSSY_SHIFTS, self.bits - (self.sign_mode == "mixed"))

    def grid(self, step: float) -> Grid | None:
        """The grid of this step with the largest unit that the registers allow; None where there is none."""
        largest = min(self.limit * step * (1 + 1e-12), self.largest_unit)
        unit = 2.0 ** math.floor(math.log2(largest)) if largest > 0.0 else 0.0
        return Grid(self.bits, self.sign_mode, step, unit) if unit >= self.smallest_unit else None

    def analytic(self, weight: NDArray[np.float32]) -> Grid:
        """Without a search: plain integers on the largest scale at which no weight is clipped."""
        fits = _fitting_step(weight, self.bits, self.sign_mode)
        scale = min(self.limit, self.largest_unit / fits)
        unit = 2.0 ** max(0, math.ceil(math.log2(_positive(scale * fits)) - 1e-9))
        return Grid(self.bits, self.sign_mode, unit / scale, unit)

    def candidates(self, weight: NDArray[np.float32]) -> Iterator[Grid]:
        """Grids worth a look, the analytic one first: steps around the one that fits, and where registers end."""
        yield self.analytic(weight)
        fits = _fitting_step(weight, self.bits, self.sign_mode)
        ends = [unit / self.limit for unit in (1.0, self.smallest_unit)]
        octaves = np.arange(FINEST * STEPS_PER_OCTAVE, COARSEST * STEPS_PER_OCTAVE + 1) / STEPS_PER_OCTAVE
        steps = [*ends, best_step(weight, self.bits, self.sign_mode)]
        for centre in {max(fits, end) for end in ends}:
            steps += (centre * np.exp2(octaves)).tolist()
        for step in sorted(set(steps)):
            grid = self.grid(step)
            if grid is not None:
                yield grid


def weight_error(grid: Grid, weight: NDArray[np.float32]) -> float:
    """``rms(step q - W) / rms(W)``; of very many weights a part is looked at."""
    flat = weight.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLED_WEIGHTS)].astype(np.float64)
    difference = grid.step * grid.integers(sample) - sample
    return float(np.sqrt((difference**2).mean() / _positive((sample**2).mean())))


def _fitting_step(weight: NDArray[np.float32], bits: int, sign_mode: SignMode) -> float:
    """The step at which the largest weight just fits, on either side of zero."""
    low, high = grid_limits(bits, sign_mode)
    largest = float(np.abs(weight).max())
    return _positive(largest / (high or -low))


def _positive(value: float) -> float:
    """A divisor: zero (nothing seen, nothing to fit) becomes so small that its limit never binds."""
    return max(float(value), 1e-30)
