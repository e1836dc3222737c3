"""Events counted by pixel and by time, block by block: memory does not grow with the length of a recording."""

# E events, H W pixels, h w cells of a picture, B bins of time

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PICTURE_EDGE = 128  # cells along the longer edge of a picture of a class
TIME_BINS = 100
MOMENT_US = 50_000  # of the picture of a single moment, in which polarities have not mixed yet

HOT_DEVIATIONS = 6.0
HOT_RATIO = 3.0  # times the events of its neighbours
HOT_TYPICAL = 2.0  # times the events of a typical pixel
HOT_EVENTS = 10  # fewer are no rate
FEW_EVENTS = 5  # added to every count before ratios are formed, which of small numbers mean little
BUSIEST = 6  # of the neighbours that a pixel is compared with: the sixth
REACH = 2  # neighbours are those of the 5x5 pixels around


@dataclass(frozen=True)
class Frame:
    """The sizes in which events are counted."""

    height: int
    width: int
    bin_us: int  # of the rate over time

    @property
    def cell(self) -> int:
        """Pixels along each edge of a cell of the picture."""
        return -(-max(self.height, self.width) // PICTURE_EDGE)

    @property
    def picture_shape(self) -> tuple[int, int]:
        """(h, w) cells."""
        return -(-self.height // self.cell), -(-self.width // self.cell)


@dataclass(frozen=True)
class Counts:
    """Events of one or several recordings."""

    pixels_HW: NDArray[np.int64]  # both polarities
    picture_2hw: NDArray[np.int64]  # OFF, ON
    over_time_B: NDArray[np.int64]
    running_B: NDArray[np.int64]  # recordings that last so long
    on: int

    @classmethod
    def none(cls, frame: Frame) -> Counts:
        """Of no recordings."""
        bins = np.zeros(TIME_BINS, np.int64)
        pixels_HW = np.zeros((frame.height, frame.width), np.int64)
        return cls(pixels_HW, np.zeros((2, *frame.picture_shape), np.int64), bins, bins.copy(), 0)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.pixels_HW + other.pixels_HW, self.picture_2hw + other.picture_2hw,
            self.over_time_B + other.over_time_B, self.running_B + other.running_B, self.on + other.on,
        )  # fmt: skip


def count_events(blocks: Iterable[np.ndarray], frame: Frame, start_us: int, duration_us: int) -> Counts:
    """Events of one recording, which comes in blocks; those outside of the frame are counted at its border.

    Args:
        blocks: (E,) structured arrays with x, y, t (us), p, in any order.
        start_us: time from which `duration_us` and the bins of the rate count.
    """
    pixels = np.zeros(frame.height * frame.width, np.int64)
    h, w = frame.picture_shape
    picture = np.zeros(2 * h * w, np.int64)
    over_time = np.zeros(TIME_BINS, np.int64)
    on = 0
    for events_E in blocks:
        y_E = np.clip(events_E["y"].astype(np.int64), 0, frame.height - 1)
        x_E = np.clip(events_E["x"].astype(np.int64), 0, frame.width - 1)
        p_E = events_E["p"].astype(bool)
        pixels += np.bincount(y_E * frame.width + x_E, minlength=pixels.size)
        cells_E = (p_E * h + y_E // frame.cell) * w + x_E // frame.cell
        picture += np.bincount(cells_E, minlength=picture.size)
        bins_E = np.clip((events_E["t"].astype(np.int64) - start_us) // frame.bin_us, 0, TIME_BINS - 1)
        over_time += np.bincount(bins_E, minlength=TIME_BINS)
        on += int(p_E.sum())
    running = (np.arange(TIME_BINS) * frame.bin_us <= duration_us).astype(np.int64)
    return Counts(pixels.reshape(frame.height, frame.width), picture.reshape(2, h, w), over_time, running, on)


def busiest_moment(over_time_B: NDArray[np.int64], bin_us: int, moment_us: int) -> int:
    """Start, in microseconds from that of the recording, of the time of this length with the most events."""
    bins = max(1, min(moment_us // bin_us, len(over_time_B)))
    sums = np.convolve(over_time_B, np.ones(bins, np.int64), "valid")
    return int(sums.argmax()) * bin_us


def picture_of_moment(blocks: Iterable[np.ndarray], frame: Frame, start_us: int, moment_us: int) -> NDArray[np.int64]:
    """(2, h, w) OFF and ON events of one recording between two times, as `Counts.picture_2hw`."""
    inside = (events_E[(events_E["t"] >= start_us) & (events_E["t"] < start_us + moment_us)] for events_E in blocks)
    return count_events(inside, frame, start_us, moment_us).picture_2hw


def hot_pixels(pixels_HW: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(y, x) of pixels that fire far more than those around them, the worst first.

    With n events of a pixel, m those of the sixth busiest of its neighbours (the 5x5 pixels around it) and c = max(5,
    median of n over the active pixels), the excess is ``e = log (n + c) - log (m + c)``. A pixel is hot where it has 10
    events or more, above twice those of a typical active pixel, and

        e > max(median(e) + 6 s, log 3),    s = 1.4826 * median |e - median(e)|    (the robust standard deviation)

    over the active pixels. What moves over the sensor raises whole neighbourhoods, a third of them at corners, and so
    is not hot; nor are more than six pixels side by side.
    """
    from scipy.ndimage import rank_filter

    active_HW = pixels_HW > 0
    if not active_HW.any():
        return []
    typical = float(np.median(pixels_HW[active_HW]))
    level_HW = np.log(pixels_HW + max(FEW_EVENTS, typical))
    rows, columns = (min(REACH, edge - 1) for edge in pixels_HW.shape)  # a row of channels has none above it
    around = np.ones((2 * rows + 1, 2 * columns + 1), bool)
    around[rows, columns] = False
    if not around.any():
        return []
    excess_HW = level_HW - rank_filter(level_HW, -min(BUSIEST, around.sum()), footprint=around)
    excess = excess_HW[active_HW]
    middle = float(np.median(excess))
    deviation = 1.4826 * float(np.median(np.abs(excess - middle)))
    hot_HW = (
        (excess_HW > max(middle + HOT_DEVIATIONS * deviation, np.log(HOT_RATIO)))
        & (pixels_HW >= HOT_EVENTS)
        & (pixels_HW > HOT_TYPICAL * typical)
    )
    places = np.argwhere(hot_HW)
    worst_first = np.argsort(-pixels_HW[hot_HW], kind="stable")
    return [(int(y), int(x)) for y, x in places[worst_first]]
