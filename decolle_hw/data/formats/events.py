"""What every reader of a format makes: events block by block, and what was noticed on the way."""

# E events

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.clock import steps
from decolle_hw.errors import DataError

# Equal to tonic.io.events_struct, which cannot be had without importing torch.
EVENTS = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
LARGEST_COORDINATE = np.iinfo(np.int16).max
# Read of a file at a time: memory stays within a few times this, however long the recording is.
BLOCK_BYTES = 1 << 20


class Recorded(NamedTuple):
    """One recording, read whole."""

    events: np.ndarray  # (E,) of `EVENTS`, sorted by t in microseconds of the sensor's own clock
    sensor_size: tuple[int, int] | None  # height, width, where the file says so
    format: str  # a key of `formats.TITLES`
    notes: tuple[str, ...]  # what had to be mended


class Block(NamedTuple):
    """Events in the order of arrival, their times already continuous."""

    events: np.ndarray  # (E,) of `EVENTS`
    wraps: int = 0  # how often the counter of the file has started again until here
    left_out: int = 0  # events that the format calls invalid, or that came before the first time, until here


@dataclass(frozen=True)
class Opened:
    """A recording whose header was read; its events come as they are asked for."""

    format: str
    blocks: Iterator[Block]
    sensor_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tally:
    """What is known of a recording after some of its blocks."""

    events: int = 0
    first_us: int = 0
    last_us: int = 0
    height: int = 0  # largest y + 1
    width: int = 0
    on: bool = False
    off: bool = False
    late: int = 0  # events before their predecessor in the file
    largest_step_back_us: int = 0
    wraps: int = 0
    left_out: int = 0
    previous_us: int = 0
    non_negative: bool = False  # one was seen

    def add(self, block: Block, opened: Opened, place: str) -> Tally:
        """With one more block. Raises `DataError` for a negative time among others, and for a place off the sensor."""
        events_E = block.events
        if not len(events_E):
            return replace(self, wraps=block.wraps, left_out=block.left_out)
        # A column of records is a slow thing to look through again and again.
        t_E = np.ascontiguousarray(events_E["t"])
        least, most = int(t_E.min()), int(t_E.max())
        if least < 0:
            self._require_order_of_signs(t_E, place)
        if opened.sensor_size is not None:
            self._require_inside(events_E, opened.sensor_size, place)
        steps_E = steps(t_E, self.previous_us if self.events else int(t_E[0]))
        largest_step_back_us = -int(steps_E.min())
        on = int(np.count_nonzero(events_E["p"]))
        return replace(
            self,
            events=self.events + len(events_E),
            first_us=min(least, self.first_us) if self.events else least,
            last_us=max(most, self.last_us) if self.events else most,
            height=max(self.height, int(events_E["y"].max()) + 1),
            width=max(self.width, int(events_E["x"].max()) + 1),
            on=self.on or on > 0,
            off=self.off or on < len(events_E),
            late=self.late + (int(np.count_nonzero(steps_E < 0)) if largest_step_back_us > 0 else 0),
            largest_step_back_us=max(self.largest_step_back_us, largest_step_back_us),
            wraps=block.wraps,
            left_out=block.left_out,
            previous_us=int(t_E[-1]),
            non_negative=self.non_negative or most >= 0,
        )

    def require_events(self, file: Path) -> None:
        """Raise `DataError` for a recording without any."""
        if not self.events:
            raise DataError(f"{file}: holds no events ({file.stat().st_size} bytes); record it again or remove it")

    @property
    def shift_us(self) -> int:
        """To be added to all times: a clock that starts below zero is moved to zero, any other is left alone."""
        return max(0, -self.first_us)

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be mended, for people."""
        notes = []
        if self.wraps:
            notes.append(f"the time counter started again {times(self.wraps)}; later times were moved up")
        if self.shift_us:
            notes.append(f"time starts at {self.first_us} us; it was moved to 0")
        if self.left_out:
            notes.append(f"{self.left_out} events that are marked as invalid or have no time were left out")
        if self.late:
            notes.append(
                f"{self.late} of {self.events} events were out of order, by up to {self.largest_step_back_us} us; "
                f"they were sorted"
            )
        return tuple(notes)

    def _require_inside(self, events_E: np.ndarray, sensor_size: tuple[int, int], place: str) -> None:
        height, width = sensor_size
        outside_E = (events_E["x"] >= width) | (events_E["y"] >= height) | (events_E["x"] < 0) | (events_E["y"] < 0)
        if outside_E.any():
            at = int(np.argmax(outside_E))
            raise DataError(
                f"{place}: event {self.events + at} at x={events_E['x'][at]}, y={events_E['y'][at]} is outside of the "
                f"{height}x{width} (height x width) pixels that the file itself states; mend or remove the recording"
            )

    def _require_order_of_signs(self, t_E: NDArray[np.int64], place: str) -> None:
        """A clock may start below zero; single times below zero among others are damage."""
        negative_E = t_E < 0
        wrong_E = negative_E & (np.logical_or.accumulate(~negative_E) | self.non_negative)
        if wrong_E.any():
            at = int(np.argmax(wrong_E))
            raise DataError(
                f"{place}: event {self.events + at} has the negative time {t_E[at]} us after others at 0 us or later; "
                f"record or export it again, or take such events out"
            )


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def cut_short(place: str, rest: int, record_bytes: int, title: str) -> DataError:
    """For a file that ends within an event."""
    return DataError(
        f"{place}: ends with {rest} of the {record_bytes} bytes of an event ({title}), so the file is truncated or has "
        f"another format; copy it again or remove it"
    )
