"""How far the registers of a layer can go for any input at all: interval analysis of the integer recurrences.

Every input spikes or does not, so the sum of a neuron lies between that of its negative and that of its positive
weights. Shift, decay and saturation never turn an order round; so the largest register follows from the largest sum and
the largest register of the step before, and both bounds go through the very functions that the neurons go through::

    u_high[t] = decay(u_high[t-1], du+1) + (shift(sum of w > 0, weight_exp) << 6)
    v_high[t] = decay(v_high[t-1], dv) + u_high[t] + bias
    r_low[t]  = decay(r_low[t-1], dr) - rho

and likewise for the other ends, in 64 bits, so that nothing turns over on the way. v of a stock LIF is at most vth
after a step, as it fires and is reset above.
"""

# K kinds of neurons: all that differ in anything that matters here; N neurons

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    CURRENT_DECAY_OFFSET,
    STATE_LIMIT,
    SUM_LIMIT,
    VOLTAGE_DECAY_OFFSET,
    decay,
)

Ints = NDArray[np.int64]
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
# What each register holds without turning over or clipping; +2**23 is a legal u (see `fixedpoint.wrap_current`).
LEGAL = {
    "u": (1 - STATE_LIMIT, STATE_LIMIT),
    "v": (1 - STATE_LIMIT, STATE_LIMIT - 1),
    "r": (1 - STATE_LIMIT, STATE_LIMIT - 1),
}


@dataclass(frozen=True)
class RegisterRange:
    """What one register of a layer is asked to hold, before it turns over or clips.

    Attributes:
        name: u, v or r.
        proven_low, proven_high: for any input.
        measured_low, measured_high: on calibration recordings; both 0 where nothing was measured.
        limit: largest magnitude that it holds.
    """

    name: str
    proven_low: int
    proven_high: int
    measured_low: int = 0
    measured_high: int = 0
    limit: int = STATE_LIMIT - 1

    @property
    def proven(self) -> bool:
        """No input whatever makes it turn over or clip."""
        low, high = LEGAL[self.name]
        return low <= self.proven_low and self.proven_high <= high

    @property
    def margin(self) -> float:
        """limit / largest magnitude measured; infinite for a register that was never used."""
        peak = max(-self.measured_low, self.measured_high)
        return self.limit / peak if peak else float("inf")

    def describe(self) -> str:
        """`proven`, or the margin that was measured."""
        return "proven" if self.proven else f"x{self.margin:.2g} measured"

    def to_json(self) -> dict[str, Any]:
        return {
            "register": self.name,
            "proven": self.proven,
            "proven_low": self.proven_low,
            "proven_high": self.proven_high,
            "measured_low": self.measured_low,
            "measured_high": self.measured_high,
            "limit": self.limit,
        }


def proven_ranges(layer: Layer, *, first: int, steps: int) -> tuple[RegisterRange, ...]:
    """Ranges of u, v (and r) of a layer over a recording, for any input.

    Args:
        first: step at which the layer leaves its reset state.
        steps: of a recording.

    v counts before the reset. Where a stock LIF clips it at the top, it fires and is reset whatever the rest was, so
    that counts as no more than the limit.
    """
    stock = layer.neuron == "cuba"
    arrivals, bias_K, vth_K = _kinds(layer)
    zeros_K = np.zeros_like(bias_K)
    u, v, r_low = (zeros_K, zeros_K), (zeros_K, zeros_K), zeros_K
    sums = (zeros_K, zeros_K)
    latency = 0 if layer.is_pooling else 1
    seen = {name: [0, 0] for name in "uvr"}
    last_arrival = latency + max(arrivals)
    for t in range(first, steps):
        for delay in [d for d in arrivals if latency + d <= t]:
            low_K, high_K = arrivals.pop(delay)
            sums = sums[0] + low_K, sums[1] + high_K
        before = u, v, r_low
        u_asked = _decayed(u, layer.du + CURRENT_DECAY_OFFSET, _aligned(_port(layer, sums)))
        u = _wrapped(u_asked)
        v_asked = _decayed(v, layer.dv + VOLTAGE_DECAY_OFFSET, (u[0] + bias_K, u[1] + bias_K))
        if stock:
            v_asked = v_asked[0], np.minimum(v_asked[1], STATE_LIMIT - 1)
        v = _saturated(v_asked)
        if stock:
            # Above vth it is 0 after the step.
            v = np.minimum(v[0], 0), np.minimum(v[1], vth_K << ALIGN_SHIFT)
        r_asked = decay(r_low, layer.dr) - layer.rho if t > first else zeros_K
        r_low = np.maximum(r_asked, 1 - STATE_LIMIT)
        for name, low_K, high_K in (("u", *u_asked), ("v", *v_asked), ("r", r_asked, zeros_K)):
            seen[name] = [min(seen[name][0], int(low_K.min())), max(seen[name][1], int(high_K.max()))]
        if t > last_arrival and t > first and _same(before, (u, v, r_low)):
            break  # nothing changes any more
    return tuple(RegisterRange(name, *seen[name]) for name in ("uv" if stock else "uvr"))


def _kinds(layer: Layer) -> tuple[dict[int, tuple[Ints, Ints]], Ints, Ints]:
    """Shifted sums of negative and of positive weights by delay, bias and vth, of each kind of neuron there is."""
    if isinstance(layer, ConvLayer):
        flat = layer.plain_weight.reshape(len(layer.weight), -1)
        per_channel = layer.num_neurons // len(flat)
        groups = {0: tuple(sums.repeat(per_channel) for sums in _signed_sums(flat, 0))}
    else:
        assert isinstance(layer, DenseLayer)
        delays = np.unique(layer.delay) if layer.delay.size else np.zeros(1, np.int32)
        groups = {
            int(d): _signed_sums(layer.weight if not layer.delay.size else layer.weight * (layer.delay == d),
                                 layer.weight_exp)
            for d in delays
        }  # fmt: skip
    rows = [row for pair in groups.values() for row in pair] + [layer.bias, layer.vth]
    kinds = np.unique(np.stack(rows).astype(np.int64), axis=1)
    arrivals = {d: (kinds[2 * i], kinds[2 * i + 1]) for i, d in enumerate(groups)}
    return arrivals, kinds[-2], kinds[-1]


def _signed_sums(weight_NI: NDArray[np.int32], weight_exp: int) -> tuple[Ints, Ints]:
    """(N,) smallest and largest sum of a row, shifted: left where the exponent is positive, else right (floor)."""
    sums = (np.minimum(weight_NI, 0).sum(1, dtype=np.int64), np.maximum(weight_NI, 0).sum(1, dtype=np.int64))
    low, high = (s << weight_exp if weight_exp > 0 else s >> -weight_exp for s in sums)
    return low, high


def _port(layer: Layer, sums: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """What may arrive: anything, for a neuron whose sum may turn over on its way."""
    low, high = (-SUM_LIMIT, SUM_LIMIT - 1) if isinstance(layer, ConvLayer) else (INT32_MIN, INT32_MAX)
    over = (sums[0] < low) | (sums[1] > high)
    return np.where(over, low, sums[0]), np.where(over, high, sums[1])


def _aligned(sums: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    low_K, high_K = sums[0] << ALIGN_SHIFT, sums[1] << ALIGN_SHIFT
    over = (low_K < INT32_MIN) | (high_K > INT32_MAX)
    return np.where(over, INT32_MIN, low_K), np.where(over, INT32_MAX, high_K)


def _decayed(state: tuple[Ints, Ints], parts: int, added: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    return decay(state[0], parts) + added[0], decay(state[1], parts) + added[1]


def _wrapped(asked: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """What u may be after it turned over: see `fixedpoint.wrap_current`, once, after 32 bits."""
    outside = (asked[0] < INT32_MIN) | (asked[1] > INT32_MAX)
    low, high = np.where(outside, INT32_MIN, asked[0]), np.where(outside, INT32_MAX, asked[1])
    over, under = high > STATE_LIMIT, low <= -STATE_LIMIT
    turned_low = np.where(under, np.minimum(low + 2 * STATE_LIMIT, 1 - STATE_LIMIT), low)
    turned_high = np.where(over, np.maximum(high - 2 * STATE_LIMIT, STATE_LIMIT), high)
    # One that turns over at one end comes out at the other.
    return (
        np.where(over, np.minimum(turned_low, 1 - STATE_LIMIT), turned_low),
        np.where(under, np.maximum(turned_high, STATE_LIMIT), turned_high),
    )


def _saturated(asked: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    low, high = LEGAL["v"]
    return np.clip(asked[0], low, high), np.clip(asked[1], low, high)


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    left, right = (np.stack([*state[0], *state[1], state[2]]) for state in (before, now))
    return bool(np.array_equal(left, right))
