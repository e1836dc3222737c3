"""From the pixels of a sensor to the inputs of a network: the centre is cut out, blocks of pixels become one.

    x' = (x - left) // downsample,   left = (sensor width - downsample W) // 2,   the same for y

Events outside of the centre are dropped. An input is active where any pixel of its block is.
"""

# E events, H W inputs along the two edges

from __future__ import annotations

import numpy as np

from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec


class NothingSeenError(DataError):
    """A recording of which no event is left to be shown."""


def to_inputs(events_E: np.ndarray, spec: DatasetSpec, place: object) -> np.ndarray:
    """Events (x, y, t, p) in coordinates of ``input_shape``, in the order given.

    Args:
        events_E: in sensor coordinates, after `dataset.transforms`.
        spec: gives sensor, downsample and input_shape.
        place: what messages call the recording.

    Raises `DataError` for an event outside of the sensor, and `NothingSeenError` where no event lies in the centre.
    """
    sensor = spec.sensors[-1]
    require_inside(events_E, sensor, spec, place)
    (height, width), (seen_height, seen_width) = sensor, spec.field_of_view
    if spec.downsample == 1 and sensor == spec.field_of_view:
        return events_E
    top, left = (height - seen_height) // 2, (width - seen_width) // 2
    y, x = events_E["y"] - top, events_E["x"] - left
    seen = (y >= 0) & (y < seen_height) & (x >= 0) & (x < seen_width)
    if not seen.any():
        raise NothingSeenError(
            f"{place}: none of its {len(events_E)} events lies in the centre of {seen_height}x{seen_width} (height x "
            f"width) of the sensor's {height}x{width} pixels; raise dataset.input_shape or dataset.downsample, or "
            f"remove the recording"
        )
    placed = events_E[seen]
    rows, columns = spec.block
    placed["y"], placed["x"] = y[seen] // rows, x[seen] // columns
    return placed


def require_inside(events_E: np.ndarray, sensor: tuple[int, int], spec: DatasetSpec, place: object) -> None:
    """Raises `DataError` for the first event outside of a sensor of (height, width) pixels, with a remedy."""
    height, width = sensor
    x, y = (np.ascontiguousarray(events_E[field]) for field in "xy")
    outside = (x >= width) | (y >= height) | (x < 0) | (y < 0)
    if not outside.any():
        return
    first = int(np.argmax(outside))
    rows, columns = max(height, int(y.max()) + 1), max(width, int(x.max()) + 1)
    if (rows, columns) == (height, width):
        remedy = "coordinates count from 0; mend or remove the recording"
    elif spec.name == "dvs_gesture":
        remedy = "this is no recording of DVS Gesture; remove it"
    elif spec.tonic is not None:
        remedy = f"this is no recording of {spec.name}; remove it"
    elif sensor != spec.sensor:
        remedy = "the transforms before moved it; change dataset.transforms"
    elif spec.sensor_size is not None:
        remedy = f"set dataset.sensor_size to at least {[rows, columns]}"
    else:
        blocks = [-(-rows // spec.block[0]), -(-columns // spec.block[1])]
        remedy = f"set dataset.input_shape to at least {[spec.input_shape[0], *blocks]}"
    raise DataError(
        f"{place}: event {first} at x={x[first]}, y={y[first]} is outside of the "
        f"sensor of {height}x{width} (height x width) pixels; {remedy}"
    )
