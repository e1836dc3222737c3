"""Noise that comes alone: events without another one beside them a short time before are dropped.

    event e stays  <=>  m[n] > t_e  for one of the four neighbours n of its pixel,   m[pixel] = filter_time + t
    of the latest event there, or filter_time where there was none yet

Equal to ``tonic.transforms.Denoise`` event for event (a test compares both), which is a loop in Python: 1 s for 300,000
events. As there, neighbours count up to the largest coordinate that the recording has, and events before
``filter_time`` have a neighbour wherever there is a pixel.
"""

# E events, W H pixels

from __future__ import annotations

import numpy as np
from numba import njit


def denoised(events_E: np.ndarray, filter_time: float) -> np.ndarray:
    """The events (x, y, t, p), sorted by t, that have another one beside them; `filter_time` in units of t."""
    if not len(events_E):
        return events_E
    kept_E = np.empty(len(events_E), np.bool_)
    x_E, y_E, t_E = (np.ascontiguousarray(events_E[field], np.int64) for field in ("x", "y", "t"))
    _find_connected(x_E, y_E, t_E, float(filter_time), kept_E)
    return events_E[kept_E]


@njit(nogil=True, cache=True)
def _find_connected(x_E, y_E, t_E, filter_time, kept_E):
    width, height = x_E.max() + 1, y_E.max() + 1
    until_WH = np.full((width, height), filter_time)
    for e in range(len(t_E)):
        x, y, t = x_E[e], y_E[e], t_E[e]
        until_WH[x, y] = t + filter_time
        kept_E[e] = (
            (x > 0 and until_WH[x - 1, y] > t)
            or (x < width - 1 and until_WH[x + 1, y] > t)
            or (y > 0 and until_WH[x, y - 1] > t)
            or (y < height - 1 and until_WH[x, y + 1] > t)
        )
