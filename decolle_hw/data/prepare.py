"""From what a sensor recorded to what a network sees, in this order:

1. time counts from the recording's origin (`dataset.time_origin`), or from the start of a window of it;
2. `dataset.denoise`, then `dataset.transforms`, both in pixels of the sensor;
3. the centre is cut out, and blocks of pixels become inputs (`sensor`).
"""

# E events

from __future__ import annotations

import numpy as np

from decolle_hw.data.denoising import denoised
from decolle_hw.data.sensor import NothingSeenError, require_inside, to_inputs
from decolle_hw.data.transforming import transformed
from decolle_hw.spec import DatasetSpec

ZERO_IS_ITS_START = ("nmnist",)  # formats whose time counts from the beginning of the recording


def origin_us(spec: DatasetSpec, format: str, first_us: int) -> int:
    """Where the time of a recording begins on its own clock.

    Args: format: one of `formats.TITLES`. first_us: time of its first event.
    """
    if spec.time_origin == "zero" or (spec.time_origin == "auto" and format in ZERO_IS_ITS_START):
        return 0
    return first_us


def prepare(events_E: np.ndarray, spec: DatasetSpec, place: object, name: str, origin: int = 0) -> np.ndarray:
    """Events (x, y, t, p) in coordinates of ``input_shape``, sorted by t, microseconds from `origin`.

    Args:
        events_E: of one recording or window, in pixels of the sensor; at `origin` or later.
        place: what messages call it. name: what random transforms depend on.

    Raises `DataError` for an event outside of the sensor; `NothingSeenError` where none is left.
    """
    times_E = np.ascontiguousarray(events_E["t"])
    if (times_E[1:] < times_E[:-1]).any():
        # In order of arrival on the bus; steps are cut by searching for times, which needs them sorted.
        events_E = events_E[np.argsort(events_E["t"], kind="stable")]
    if origin:
        events_E = events_E.copy()
        events_E["t"] -= origin
    if spec.denoise is not None or spec.transforms:
        require_inside(events_E, spec.sensor, spec, place)
        before = len(events_E)
        if spec.denoise is not None:
            events_E = denoised(events_E, spec.denoise)
        if spec.transforms:
            events_E = transformed(events_E, spec, name, place)
        if not len(events_E):
            raise NothingSeenError(
                f"{place}: dataset.denoise and dataset.transforms leave none of its {before} events; weaken them, or "
                f"remove the recording"
            )
    return to_inputs(events_E, spec, place)
