"""Counters of time that start again at zero when they are full.

A counter of n bits is continued by

    t_e = c_e + 2^n w_e,   w_e = w_(e-1) + 1 where c_e < c_(e-1) - 2^n / 2

Events that arrive late, from before the start, take the step back again. A sensor that is silent for more than half
of a period cannot be told from one that starts again: with 23 bits, 4.2 s.
"""

# E events, J jumps back

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of files whose counter has no stated width: N-MNIST, EVT3, AEDAT 3, 32-bit microseconds, EVT2.
USUAL_BITS = (23, 24, 31, 32, 34)
# Such a counter is believed to have started again if the jump is from its last to its first sixteenth.
EDGE_SHARE = 16


@dataclass(frozen=True)
class Clock:
    """A counter and how often it has started again."""

    bits: int | None  # None: not known yet
    wraps: int = 0
    last: int | None = None  # the counter at the latest event


def unwrap(counter_E: NDArray[np.int64], clock: Clock) -> tuple[NDArray[np.int64], Clock]:
    """Continuous times of the next events, and the clock after them.

    >>> unwrap(np.array([250, 254, 1, 255, 2]), Clock(bits=8))[0]
    array([250, 254, 257, 255, 258])
    """
    if not len(counter_E):
        return counter_E, clock
    start = int(counter_E[0]) if clock.last is None else clock.last
    bits = _guessed_bits(counter_E, start) if clock.bits is None else clock.bits
    last = int(counter_E[-1])
    if bits is None:
        return counter_E, Clock(None, 0, last)
    period = 1 << bits
    step_E = steps(counter_E, start)
    if not clock.wraps and step_E.min() >= -(period // 2) and step_E.max() <= period - period // EDGE_SHARE:
        return counter_E, Clock(clock.bits, 0, last)
    back_E = step_E > period - period // EDGE_SHARE
    change_E = (step_E < -(period // 2)).astype(np.int64) - back_E
    wraps_E = clock.wraps + np.cumsum(change_E)
    # A step back from before the first start is a real pause: where the sum would fall below zero, it stays there.
    wraps_E -= np.minimum(np.minimum.accumulate(wraps_E), 0)
    return counter_E + period * wraps_E, Clock(bits, int(wraps_E[-1]), last)


def steps(values_E: NDArray[np.int64], before: int) -> NDArray[np.int64]:
    """How much each value is larger than the one before it; before the first stands `before`."""
    step_E = np.empty_like(values_E)
    step_E[:1] = values_E[:1] - before
    np.subtract(values_E[1:], values_E[:-1], out=step_E[1:])
    return step_E


def _guessed_bits(counter_E: NDArray[np.int64], start: int) -> int | None:
    """Width of a counter that jumps from its end to its beginning; signed ones jump to their negative end."""
    step_E = steps(counter_E, start)
    back_E = step_E < -(1 << (USUAL_BITS[0] - 1))
    if not back_E.any():
        return None
    after_J = counter_E[back_E]
    before_J = after_J - step_E[back_E]
    for bits in USUAL_BITS:
        period = 1 << bits
        for first in (0, -period // 2):  # unsigned, signed
            end, edge = first + period, period // EDGE_SHARE
            ends_J = (before_J >= end - edge) & (before_J < end)
            if (ends_J & (after_J >= first) & (after_J < first + edge)).any():
                return bits
    return None
