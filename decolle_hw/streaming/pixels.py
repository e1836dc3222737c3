"""Which input of the network each pixel of the sensor is, as a table: what `data.sensor` does to a whole recording.

The table is made by showing every pixel to `to_inputs` once, so a stream cannot see the sensor in another way than
training did, and a block of events that all lie outside of the centre is nothing unusual.
"""

# E events, P polarities of the network, H W pixels of the sensor

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats import EVENTS
from decolle_hw.data.sensor import to_inputs
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec

UNSEEN = -1


class PixelTable:
    """Flat input index ``(p H' + y') W' + x'`` of each pixel, or that it is not seen."""

    def __init__(self, spec: DatasetSpec) -> None:
        self.height, self.width = spec.sensor
        self.inputs = int(np.prod(spec.input_shape))
        self._input_PHW = _table(spec)

    def inputs_of(self, events_E: np.ndarray, place: str) -> NDArray[np.int64]:
        """(E,) input of each event, `UNSEEN` where it lies outside of the part that is used.

        Raises `DataError` for an event outside of the sensor.
        """
        x_E, y_E = events_E["x"].astype(np.int64), events_E["y"].astype(np.int64)
        outside_E = (x_E < 0) | (y_E < 0) | (x_E >= self.width) | (y_E >= self.height)
        if outside_E.any():
            at = int(np.argmax(outside_E))
            raise DataError(
                f"{place}: an event at x={x_E[at]}, y={y_E[at]}, t={events_E['t'][at]} us is outside of the sensor of "
                f"{self.height}x{self.width} (height x width) pixels that the network was made for; give a stream of "
                f"that sensor, or train with another dataset.sensor_size"
            )
        return self._input_PHW[events_E["p"].astype(np.int64), y_E, x_E]


def _table(spec: DatasetSpec) -> NDArray[np.int64]:
    (height, width), (polarities, rows, columns) = spec.sensor, spec.input_shape
    place_P, place_Y, place_X = np.unravel_index(np.arange(2 * height * width), (2, height, width))
    every = np.zeros(len(place_P), EVENTS)
    every["p"], every["y"], every["x"], every["t"] = place_P, place_Y, place_X, np.arange(len(place_P))
    seen = to_inputs(every.copy(), spec, "the sensor")
    polarity = seen["p"].astype(np.int64) if polarities == 2 else 0
    table = np.full(len(every), UNSEEN, np.int64)
    table[seen["t"]] = (polarity * rows + seen["y"]) * columns + seen["x"]
    return table.reshape(2, height, width)
