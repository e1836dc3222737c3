"""How sure one can be of an accuracy."""

from __future__ import annotations

import math


def wilson_interval(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a share ``hits/count``.

    ``(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)``. Source: Wilson 1927.
    """
    p = hits / count
    centre = p + z * z / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - half) / scale, (centre + half) / scale
