"""The numbers of a learning loop, one after another: each is the one that loses least of the float rule's direction.

What the chip would do is modelled on the float network's own trajectories (`Observed`), with the widths of the engine
but without its stochastic rounding, and compared with the float update by the cosine of the two. The error about step t
comes back at step t + 2, where it meets the traces and the gate of that step.
"""

# T steps, B recordings, I inputs, N neurons, C classes

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.learning_program import SHIFT_MAX
from decolle_hw.compiler.plasticity import (
    EXPONENT_MAX,
    EXPONENT_MIN,
    TRACE_MAX,
    TraceFilter,
    three_factor_rule,
)
from decolle_hw.quantization.lower_rule_observed import FloatArray, Observed, accumulated, cosine

LOOP_STEPS = 2  # from spikes to the error about them
# Half widths of the gate that are tried: shares of neurons and steps for which it is open.
GATE_SHARES = np.geomspace(0.02, 0.7, 14)
TAU_FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)  # of a single exponential, times the mean delay of P
# Of traces that are not zero: so many may be cut at 127.
CUT_SHARE = 1e-3
# Cosine that is given up for finer steps of the weights, or for a learning rate nearer to the one that was asked for.
GIVEN_UP = 0.01
# Of a product of two traces the engine cuts off three bits, always downwards. Two of them are zeros with this mantissa;
# with a smaller or an odd one all weights drift to the negative end, faster than they learn.
MANTISSA = 4
SUBSAMPLED_INPUTS = 256


@dataclass(frozen=True)
class Response:
    """What a rule of gain 1 makes of the recordings, in units of the stored weight."""

    feedback_shift: int
    slope: float  # change of the weights, per float update of a learning rate of 1
    change: float  # of a weight in a recording, on average: up and down added
    cosine: float  # of the modelled and the float update


@dataclass(frozen=True)
class Gain:
    """Numbers that decide how fast a layer learns."""

    response: Response
    exponent: int
    epoch: int
    factor: float  # of the response

    @property
    def slope(self) -> float:
        return self.factor * self.response.slope

    @property
    def change(self) -> float:
        return self.factor * self.response.change


def subsampled(observed: Observed) -> Observed:
    """Some of the inputs that spike at all, evenly spread: enough to compare directions."""
    active = np.flatnonzero(observed.spikes_TBI.any((0, 1)))
    if len(active) == 0:
        return observed
    chosen = active[np.linspace(0, len(active) - 1, min(len(active), SUBSAMPLED_INPUTS)).round().astype(np.int64)]
    return observed.inputs(chosen)


def met(post_TBN: NDArray[np.floating[Any]], pre_TBI: NDArray[np.floating[Any]]) -> FloatArray:
    """(N, I) accumulated, where what is about step t meets the trace of `LOOP_STEPS` later."""
    return accumulated(post_TBN[:-LOOP_STEPS], pre_TBI[LOOP_STEPS:])


def opened(observed: Observed, gate: float) -> NDArray[np.bool_]:
    """(T, B, N) whether the gate is open for what is about step t: by U as the error arrives, `LOOP_STEPS` later.

    Args: gate: half width on the float U.
    """
    open_TBN = np.zeros(observed.potential_TBN.shape, bool)
    open_TBN[:-LOOP_STEPS] = np.abs(observed.potential_TBN[LOOP_STEPS:]) < gate
    return open_TBN


def choose_gate(observed: Observed, widths: NDArray[np.floating[Any]] | None = None) -> tuple[float, float]:
    """(half width on the float U, cosine) of the boxcar that comes nearest to the surrogate."""
    reference = observed.update()
    third_TBN = observed.third_TBN
    if widths is None:
        widths = np.unique(np.quantile(np.abs(observed.potential_TBN[observed.burnin :: 3]), GATE_SHARES))
    tried = [
        (cosine(met(third_TBN * opened(observed, width), observed.trace_TBI), reference), float(width))
        for width in widths
        if width > 0
    ]
    best, width = max(tried, default=(0.0, 1.0))
    return width, best


def exponential_trace(spikes_TBI: NDArray[np.uint8], tau: float) -> FloatArray:
    """``x[t] = exp(-1/tau) x[t-1] + S[t]``, from rest."""
    kept = np.float32(math.exp(-1 / tau)) if tau > 0 else np.float32(0)
    trace_TBI = spikes_TBI.astype(np.float32)
    for t in range(1, len(trace_TBI)):
        trace_TBI[t] += kept * trace_TBI[t - 1]
    return trace_TBI


def impulse_of(trace_TBI: FloatArray) -> float:
    """The largest whole impulse that leaves nearly all of a trace of unit impulses below 127."""
    alive = trace_TBI[trace_TBI > 0.05]
    largest = float(np.quantile(alive, 1 - CUT_SHARE)) if alive.size else 1.0
    return float(min(max(math.floor(TRACE_MAX / largest), 1), TRACE_MAX))


def time_constant(factor: float) -> float:
    """tau of ``state *= factor`` per step."""
    return -1 / math.log(factor) if factor > 0.0 else 0.0


def double_trace(alpha: float, beta: float, observed: Observed) -> tuple[TraceFilter, TraceFilter]:
    """x1 and x2 whose difference is P, but for a factor: ``alpha**k - beta**k`` with the longer one first."""
    slow, fast = max(alpha, beta), min(alpha, beta)
    slow_tau, fast_tau = (round(time_constant(factor), 4) for factor in (slow, fast))
    impulse = impulse_of(exponential_trace(observed.spikes_TBI, slow_tau))
    return TraceFilter(impulse, slow_tau), TraceFilter(impulse, fast_tau)


def single_trace(alpha: float, beta: float, observed: Observed) -> TraceFilter:
    """x1 of the time constant with which the update is nearest to that of P."""
    reference = observed.update()
    post_TBN = observed.third_TBN * observed.surrogate_TBN
    # The mean delay of a spike in P.
    mean = max(time_constant(alpha) + time_constant(beta), 1.0)
    taus = [round(mean * factor, 4) for factor in TAU_FACTORS]
    traces = {tau: exponential_trace(observed.spikes_TBI, tau) for tau in taus}
    near = {tau: cosine(met(post_TBN, trace_TBI), reference) for tau, trace_TBI in traces.items()}
    # What is left of a trace from the recording before counts against a long one.
    best = next(tau for tau in taus if near[tau] >= max(near.values()) - GIVEN_UP)
    return TraceFilter(impulse_of(traces[best]), best)


def trace_values(observed: Observed, x1: TraceFilter, x2: TraceFilter) -> FloatArray:
    """(T, B, I) x1 - x2 within 7 bits, on average over the rounding."""
    values_TBI = _cut(exponential_trace(observed.spikes_TBI, x1.tau) * np.float32(x1.impulse))
    if x2.impulse:
        values_TBI -= _cut(exponential_trace(observed.spikes_TBI, x2.tau) * np.float32(x2.impulse))
    return values_TBI


def error_values(observed: Observed, scale: float, shift: int, dead_zone: int = 0) -> FloatArray:
    """(T, B, C) what the error neurons send: whole numbers of 7 bits and a sign.

    Args: scale: of the integer readout, units per float unit.
    """
    error_TBC = np.rint((observed.target_BC[None] - observed.readout_TBC) * scale)
    size_TBC = np.minimum(np.floor(np.abs(error_TBC) / (1 << shift)), TRACE_MAX)
    sent_TBC: FloatArray = np.where(np.abs(error_TBC) > dead_zone, np.sign(error_TBC) * size_TBC, 0).astype(np.float32)
    sent_TBC[: observed.burnin] = 0.0
    return sent_TBC


def choose_shift(observed: Observed, scale: float) -> int:
    """Of the error: seven bits that hold it, clipped as the loss clips it, at the finest steps."""
    wanted_TBC = observed.error_TBC[observed.burnin :]
    largest = min(SHIFT_MAX, max(0, math.ceil(math.log2(max(scale * 2, 1.0)))))
    return max(
        range(largest, -1, -1),
        key=lambda shift: cosine(error_values(observed, scale, shift)[observed.burnin :], wanted_TBC),
    )


def post_values(
    error_TBC: FloatArray, readout: NDArray[np.int32], open_TBN: NDArray[np.bool_], shift: int
) -> FloatArray:
    """(T, B, N) y1 - y2: the fed back error in seven bits, through the gate."""
    third_TBN = error_TBC @ readout.astype(np.float32)
    size_TBN = np.minimum(np.floor(np.abs(third_TBN) / (1 << shift)), TRACE_MAX)
    values_TBN: FloatArray = (np.sign(third_TBN) * size_TBN * open_TBN).astype(np.float32)
    return values_TBN


def responses(
    observed: Observed, error_TBC: FloatArray, readout: NDArray[np.int32], open_TBN: NDArray[np.bool_],
    trace_TBI: FloatArray, shifts: Iterable[int] = range(SHIFT_MAX + 1),
) -> list[Response]:  # fmt: skip
    """Of each shift of the feedback, as long as anything is left of the error."""
    reference = observed.update().astype(np.float64)
    power = max(float((reference**2).sum()), 1e-300)
    found: list[Response] = []
    for shift in shifts:
        post_TBN = post_values(error_TBC, readout, open_TBN, shift)
        if not post_TBN.any():
            break
        model = met(post_TBN, trace_TBI)
        moved = float(met(np.abs(post_TBN), np.abs(trace_TBI)).mean()) / observed.spikes_TBI.shape[1]
        found.append(Response(shift, float((model * reference).sum()) / power, moved, cosine(model, reference)))
    return found


def gain(response: Response, exponent: int, epoch: int) -> Gain:
    """Of three-factor products with `MANTISSA` and this exponent, which act once in so many steps."""
    return Gain(response, exponent, epoch, three_factor_rule(exponent, mantissa=MANTISSA).products[0].gain / epoch)


def near_best(found: list[Response]) -> list[Response]:
    """Those whose direction is nearly as close to the float update's as it can be, from the largest y down."""
    best = max(response.cosine for response in found)
    return [response for response in found if response.cosine >= best - GIVEN_UP]


def smallest_gain(found: list[Response], slope: float, epoch: int) -> Gain:
    """The one with the largest y of those within an octave above a slope, else the nearest."""
    exponents = range(EXPONENT_MIN, EXPONENT_MAX + 1)
    all_of = [gain(response, exponent, epoch) for response in near_best(found) for exponent in exponents]
    reaching = [one for one in all_of if one.slope >= slope]
    if not reaching:
        return max(all_of, key=lambda one: one.slope)
    within = [one for one in reaching if one.slope < 2 * slope]
    if not within:
        return min(reaching, key=lambda one: one.slope)
    return min(within, key=lambda one: (one.response.feedback_shift, one.slope))


def _cut(values: FloatArray) -> FloatArray:
    return np.minimum(values, np.float32(TRACE_MAX))
