"""The grid of an n-bit synapse: which integers it holds, and the step that puts float weights on them best.

    q = clip(rint(W / step), low, high),    W_q = step q

===========  =================  =============================
sign mode    low                high
===========  =================  =============================
mixed        -2**(n-1)          2**(n-1) - 1
excitatory   0                  2**n - 1
inhibitory   -(2**n - 1)        0
===========  =================  =============================

Training (`training.quantize`) and the compiler use the same functions, and a step is always a float32 number, as is all
arithmetic with it: so a network lands on chip on exactly the integers that it was trained with.

A mixed weight of n bits is stored as 2**(9-n) q, see `decolle_hw.fixedpoint.weight_limits`.
"""

# K bins that hold weights, S steps that are tried

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from decolle_hw.fixedpoint import WEIGHT_BITS, weight_limits
from decolle_hw.widths import BITS_MAX as BITS_MAX
from decolle_hw.widths import BITS_MIN as BITS_MIN

SignMode = Literal["mixed", "excitatory", "inhibitory"]
SIGN_MODES: tuple[SignMode, ...] = get_args(SignMode)

# Numba carries no annotations.
_compile: Callable[..., Any] = njit(nogil=True, cache=True, error_model="numpy")

UNITY = 1 << 23  # the largest weight as an integer: 24 bits with its sign, as many as float32 resolves
BIN_SHIFT = 11  # 4096 bins on each side of zero: 32 per step of the finest grid
BINS = (2 * UNITY >> BIN_SHIFT) + 1
# Octaves of steps tried, counted from the step at which all weights just fit. At 1/64 of it only strange outliers would
# be worth the clipping; above it lie grids of weights with few values.
WIDE, NARROW = (1.0, -6.0), (0.125, -0.125)
FEWEST_STEPS, MOST_STEPS = 57, 2048
TRIALS = 1 << 18  # bins times steps: the error of few weights jumps from step to step, but costs little
POLISHING_ROUNDS = 8


def grid_limits(bits: int, sign_mode: SignMode = "mixed") -> tuple[int, int]:
    """(low, high): the smallest and the largest integer of a synapse; `ValueError` names what there is not."""
    if not BITS_MIN <= bits <= BITS_MAX:
        raise ValueError(f"weight_bits {bits}: a synapse has {BITS_MIN} to {BITS_MAX} bits")
    if sign_mode not in SIGN_MODES:
        raise ValueError(f"sign_mode {sign_mode!r}: known are {', '.join(SIGN_MODES)}")
    low, high, stored_step = weight_limits(bits, sign_mode)
    return low // stored_step, high // stored_step


def to_grid(weight: ArrayLike, step: float, bits: int, sign_mode: SignMode = "mixed") -> NDArray[np.int32]:
    """``clip(rint(W / step), low, high)``: the nearest integers (halves to even) of weights of any shape.

    Raises `ValueError` where a weight is not finite or the step is not positive.
    """
    low, high = grid_limits(bits, sign_mode)
    if not (step > 0.0 and math.isfinite(step)):
        raise ValueError(f"step {step}: must be positive and finite")
    single = np.asarray(weight, np.float32)
    _require_finite(single)
    with np.errstate(over="ignore"):  # what lies beyond float32 lies beyond the grid, too
        nearest = np.rint(single / np.float32(step))
    q: NDArray[np.int32] = np.clip(nearest, low, high).astype(np.int32)
    return q


@_compile
def snap(weight: Any, step: Any, low: Any, high: Any, out: Any) -> None:
    """``out = step to_grid(W)`` in one pass. What is not finite becomes NaN: it shall not hide behind the clipping.

    Args: weight, out: (n,) float32, may be the same. step, low, high: float32.
    """
    for k in range(len(weight)):
        w = weight[k]
        q = np.rint(w / step)
        q = low if q < low else q
        q = high if q > high else q
        out[k] = step * q + (w - w)


def stored_weights(
    q: NDArray[np.int32], unit: float, bits: int, sign_mode: SignMode
) -> tuple[NDArray[np.int32], int, int]:
    """(stored weights, weight_exp, bits): in as few bits as hold these q, at the top of the synapse.

    Args: unit: a power of two; q stands for an effective weight of ``unit q``. bits: at most so many.
    """
    mixed = sign_mode == "mixed"
    exponent = round(math.log2(unit))
    fewest = max(2, mixed - exponent)  # with fewer, weight_exp would be below -8
    needed = bits
    for few in range(fewest, bits):
        low, high = grid_limits(few, sign_mode)
        if low <= q.min() and q.max() <= high:
            needed = few
            break
    shift = top_shift(needed, sign_mode)
    return q << shift, exponent - shift, needed


def top_shift(bits: int, sign_mode: SignMode) -> int:
    """Places by which weights of so many bits are shifted to fill the synapse."""
    return WEIGHT_BITS - bits + (sign_mode == "mixed")


def best_step(weight: ArrayLike, bits: int, sign_mode: SignMode = "mixed") -> float:
    """The step that minimises ``sum (W - step q)**2``, to a fraction of a thousandth of that sum; 1.0 for zeros only.

    Weights are sorted into bins once, by integers, so that the result depends neither on their order nor on their
    layout in memory. On the bins steps of all sizes are tried, more of them around the best one, and then

        q = to_grid(W, step);   step = sum W q / sum q**2

    a few times in turn, each of which can only improve the sum.

    Args: weight of any shape. Returns: a float32 number. Raises `ValueError` where a weight is not finite.
    """
    low, high = grid_limits(bits, sign_mode)
    values = np.asarray(weight)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    flat = values.ravel(order="K")
    if flat.size == 0:
        return 1.0
    smallest, largest = float(flat.min()), float(flat.max())  # NaN if any is
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        _require_finite(flat)
    fits = max(largest / high if high else 0.0, smallest / low if low else 0.0)
    if fits <= 0.0:
        return 1.0  # all weights are zero, or clipped to it
    unit = max(largest, -smallest) / UNITY
    count_K, mean_K = _binned(flat, unit)
    step = fits / unit
    tries = min(max(TRIALS // len(count_K), FEWEST_STEPS), MOST_STEPS)
    for octaves in (WIDE, NARROW):
        steps_S = step * np.exp2(np.linspace(*octaves, tries))
        error_S = np.zeros(tries)
        _errors(count_K, mean_K, steps_S, float(low), float(high), error_S)
        step = float(steps_S[np.argmin(error_S)])
    for _ in range(POLISHING_ROUNDS):
        q_K = np.clip(np.rint(mean_K / step), low, high)
        power = float(count_K @ q_K**2)
        step, before = float(count_K @ (q_K * mean_K)) / power, step
        if step == before:
            break
    return float(max(np.float32(step * unit), np.finfo(np.float32).tiny))


def _binned(flat: NDArray[Any], unit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(weights, their mean in units) of each bin that holds any."""
    count, total = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    _tabulate(flat, unit, count, total)
    used = np.flatnonzero(count)
    return count[used].astype(np.float64), total[used] / count[used]


@_compile
def _tabulate(flat: Any, unit: Any, count: Any, total: Any) -> None:
    per_unit = 1.0 / unit
    for k in range(len(flat)):
        whole = np.int64(np.rint(flat[k] * per_unit))
        place = (whole + UNITY) >> BIN_SHIFT
        count[place] += 1
        total[place] += whole


@_compile
def _errors(count_K: Any, mean_K: Any, steps_S: Any, low: Any, high: Any, error_S: Any) -> None:
    """Squared error of each step, without what the weights of a bin differ among each other: the same for all steps."""
    for k in range(len(count_K)):
        for s in range(len(steps_S)):  # the inner loop: its sums do not wait for each other
            q = np.rint(mean_K[k] / steps_S[s])
            q = low if q < low else q
            q = high if q > high else q
            error_S[s] += count_K[k] * (mean_K[k] - steps_S[s] * q) ** 2


def _require_finite(weight: NDArray[Any]) -> None:
    wrong = int(np.count_nonzero(~np.isfinite(weight)))
    if wrong:
        raise ValueError(f"weights: {wrong} of {weight.size} are not finite; train again with a lower learning rate")
