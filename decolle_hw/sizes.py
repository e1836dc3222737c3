"""Sizes that follow from the recordings: the sensor, how it becomes inputs, how long a step and a sample are.

Pure rules; `described` applies them where a description says `auto`, `inspecting` where it suggests, and `project`
where it writes a description.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Protocol

AUTO = "auto"
# Keys of `dataset` that may be `auto` in the YAML of a folder of recordings; a `ModelSpec` holds their numbers.
AUTO_KEYS = ("sensor_size", "input_shape", "chunk_size_train", "chunk_size_test")

LARGEST_EDGE = 34  # inputs along the longer edge that `input_shape: auto` may have: N-MNIST stays whole
SPARE = 1.25  # how much larger than needed a downsample may be if fewer pixels are cut off at the border
SEEN_SHARE = 0.75  # of a known sensor's edges, from which on recordings are taken to come from it
MOST_STEPS = 1000  # of a sample with `chunk_size: auto`; more are cut into windows, not presented at once
COVERED = 0.9  # share of the recordings that fit whole into `chunk_size: auto`
USUAL_STEPS = 50  # of a sample, or more, that a suggested deltat aims at; 60 in the shipped models of N-MNIST
STEP_US = (1000, 20_000)  # shortest and longest deltat that is suggested
WINDOW_US = (20_000, 500_000)  # and time_window; half a second is the paper's for DVS Gesture
WINDOWS = 20  # of a recording, that a suggested time_window aims at
LONG_US = 1_000_000  # recordings from which on windows are suggested


@dataclass(frozen=True)
class Sensor:
    """An event camera, or a data set whose recordings were cut to a size of their own."""

    name: str
    height: int
    width: int


KNOWN_SENSORS = (
    Sensor("N-MNIST", 34, 34),  # Orchard et al. 2015, doi:10.3389/fnins.2015.00437
    Sensor("DVS128", 128, 128),  # Lichtsteiner et al. 2008, doi:10.1109/JSSC.2007.914337; DVS Gesture
    Sensor("DAVIS240", 180, 240),  # Brandli et al. 2014, doi:10.1109/JSSC.2014.2342715; N-Caltech101 fits in
    Sensor("ATIS", 240, 304),  # Posch et al. 2011, doi:10.1109/JSSC.2010.2085952; N-CARS comes from it
    Sensor("DVXplorer Lite", 240, 320),  # iniVation, specification of current event cameras
    Sensor("DAVIS346", 260, 346),  # iniVation, specification of current event cameras
    Sensor("Gen3", 480, 640),  # Prophesee Gen3.1 VGA; also DVXplorer and Samsung DVS-Gen3
    Sensor("Gen4", 720, 1280),  # Finateu et al. 2020, doi:10.1109/ISSCC19947.2020.9063149
)


def known_sensor(height: int, width: int) -> Sensor | None:
    """The smallest known sensor with these rows and columns, of which the larger part of each edge was seen."""
    for sensor in KNOWN_SENSORS:
        if height <= sensor.height and width <= sensor.width:
            seen = min(height / sensor.height, width / sensor.width)
            return sensor if seen >= SEEN_SHARE else None
    return None


def sensor_from(headers: Sequence[tuple[int, int]], height: int, width: int) -> tuple[tuple[int, int], str]:
    """(height, width) of the sensor that recordings come from, and in words how that is known.

    Args:
        headers: (height, width) as the files themselves say it, of those that do.
        height, width: rows and columns of the largest coordinates in any recording.

    What files say counts, unless events lie outside of it; else the smallest known sensor that fits; else what was
    seen.
    """
    if headers:
        largest = max(size[0] for size in headers), max(size[1] for size in headers)
        if height <= largest[0] and width <= largest[1]:
            differ = ", the largest of several sizes" if len(set(headers)) > 1 else ""
            return largest, f"as the files say{differ}"
        return (max(height, largest[0]), max(width, largest[1])), "the files say less, but events lie outside of it"
    seen = f"events reach {height}x{width}"
    sensor = known_sensor(height, width)
    if sensor is None:
        return (height, width), f"{seen}, which is near no known sensor"
    return (sensor.height, sensor.width), f"{seen}: a sensor as {sensor.name}"


class Seen(Protocol):
    """What `sensor_of` asks of a recording: a `data.survey.Surveyed`."""

    @property
    def height(self) -> int:
        """Largest y + 1."""

    @property
    def width(self) -> int:
        """Largest x + 1."""

    @property
    def sensor_size(self) -> tuple[int, int] | None:
        """(height, width) where the file says it."""


def sensor_of(recordings: Sequence[Seen]) -> tuple[tuple[int, int], str]:
    """(height, width) of the sensor of one recording or more, and how it is known; see `sensor_from`."""
    headers = [each.sensor_size for each in recordings if each.sensor_size is not None]
    return sensor_from(headers, max(each.height for each in recordings), max(each.width for each in recordings))


def downsample_for(height: int, width: int) -> int:
    """Pixels along each edge of the block that makes one input, so that neither edge has above `LARGEST_EDGE` inputs.

    The smallest that does, unless one up to a quarter larger cuts fewer pixels off at the border: 128x128 become
    32x32 by 4, 180x240 become 22x30 by 8, 720x1280 become 18x32 by 40. A row of channels (1-D) stays as it is.
    """
    smallest = ceil((max(height, width) + 1) / (LARGEST_EDGE + 1))
    if min(height, width) < smallest:
        return 1
    candidates = range(smallest, min(int(smallest * SPARE), height, width) + 1)
    return max(candidates, key=lambda size: (height // size * size) * (width // size * size) - size / 1e6)


def input_shape_for(polarities: int, height: int, width: int, downsample: int) -> list[int]:
    """(polarities, height, width) of the inputs that show as much of a sensor as whole blocks do."""
    return [polarities, max(1, height // downsample), max(1, width // downsample)]


def common_duration(durations_us: Sequence[int]) -> int:
    """The duration within which `COVERED` of the recordings end."""
    return sorted(durations_us)[ceil(COVERED * len(durations_us)) - 1]


def steps_for(duration_us: int, deltat: int) -> int:
    """Time steps that hold every event of a sample whose last event comes `duration_us` after its start."""
    return duration_us // deltat + 1


def steps_of_window(window_us: int, deltat: int) -> int:
    """Time steps of a window; the last may be a part of one."""
    return ceil(window_us / deltat)


def deltat_for(duration_us: int) -> int:
    """A step of 1, 2 or 5 times a power of ten microseconds that cuts a sample into `USUAL_STEPS` or more."""
    wanted = min(max(duration_us / USUAL_STEPS, STEP_US[0]), STEP_US[1])
    power = 10 ** floor(log10(wanted))
    return int(max(digit * power for digit in (1, 2, 5) if digit * power <= wanted))


def window_for(duration_us: int) -> int:
    """A window of which a recording has about `WINDOWS`, with one significant digit, in microseconds."""
    wanted = min(max(duration_us / WINDOWS, WINDOW_US[0]), WINDOW_US[1])
    power = 10 ** floor(log10(wanted))
    return int(wanted // power * power)
