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
    x_E, y_E, t_E = (np.ascontiguousarray(events_E[field], np.int64) for field in ("x", "y", "t"))
    return events_E[Denoiser(filter_time, int(x_E.max()) + 1, int(y_E.max()) + 1).connected(x_E, y_E, t_E)]


class Denoiser:
    """The same for events that come a few at a time; it holds a number per pixel.

    Of a whole sensor more pixels may have been silent than a recording has coordinates. That changes nothing, unless
    all events of a recording come from the pixel 0, 0, which then has neighbours.
    """

    def __init__(self, filter_time: float, width: int, height: int) -> None:
        self._filter_time = float(filter_time)
        self._until_WH = np.empty((width, height))
        self.reset()

    def reset(self) -> None:
        """Before the first event."""
        self._until_WH.fill(self._filter_time)

    def connected(self, x_E: np.ndarray, y_E: np.ndarray, t_E: np.ndarray) -> np.ndarray:
        """(E,) which of the next events stay; int64, contiguous, sorted by time, not before those that came so far."""
        kept_E = np.empty(len(t_E), np.bool_)
        _find_connected(x_E, y_E, t_E, self._filter_time, self._until_WH, kept_E)
        return kept_E


@njit(nogil=True, cache=True)
def _find_connected(x_E, y_E, t_E, filter_time, until_WH, kept_E):
    width, height = until_WH.shape
    for e in range(len(t_E)):
        x, y, t = x_E[e], y_E[e], t_E[e]
        until_WH[x, y] = t + filter_time
        kept_E[e] = (
            (x > 0 and until_WH[x - 1, y] > t)
            or (x < width - 1 and until_WH[x + 1, y] > t)
            or (y > 0 and until_WH[x, y - 1] > t)
            or (y < height - 1 and until_WH[x, y + 1] > t)
        )
