"""Events become time steps while they arrive: the frames of `data.binning`, handed out as soon as a step is over.

A step is over when an event comes that is later than its end by the tolerance. Until then events of it may arrive in
any order; an event of a step that is over is late, counted, and not used. What is late depends on the order of the
events alone, never on the blocks in which they are read.

Only what belongs to steps that are not over is held: at most (tolerance / deltat + 2) frames, or, where noise is
dropped, the events of so many steps.
"""

# E events, K steps, I inputs

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decolle_hw.streaming.holding import Inputs, Waiting
from decolle_hw.streaming.pixels import UNSEEN, PixelTable

AT_ONCE = 64  # steps handed out together, at most
FRAME_BYTES = 8_000_000  # and of no more than so many bytes


class Steps(NamedTuple):
    """Consecutive steps that are over."""

    first: int  # number of the first, from the start of the stream
    begin_us: int  # when it began, by the clock of the sensor
    frames_KI: NDArray[np.uint8]  # of 0 and 1


@dataclass
class Counts:
    """What has happened to the events of a stream so far."""

    begin_us: int = 0  # when step 0 began, by the clock of the sensor
    events: int = 0  # that came
    unseen: int = 0  # of pixels that the network does not see
    noise: int = 0  # without another one beside them shortly before
    late: int = 0  # of steps that were over
    largest_delay_us: int = 0  # of the late ones
    held: int = 0  # entries of steps that are not over, at most
    waiting: int = 0  # steps that were over and waited for their turn, at most
    shortened: list[int] = field(default_factory=list)  # microseconds by which time jumped forwards; not more of ...
    restarts: list[int] = field(default_factory=list)  # ... and backwards than `JUMPS_KEPT`
    jumps: int = 0


JUMPS_KEPT = 100


class Binning:
    """Turns blocks of events into steps; every event is given once.

    Args:
        table: of the sensor's pixels.
        deltat: microseconds of a step.
        origin: time at which step 0 begins; None: that of the first event.
        tolerance: microseconds by which an event may come after a later one.
        max_gap: a jump of the clock by more microseconds is shortened to this, one backwards taken as a restart.
        most: steps handed out together.
        place: what messages call the stream.
        waiting: what events are held in until their step is over; None: all of them count.
    """

    def __init__(
        self, table: PixelTable, deltat: int, *, origin: int | None, tolerance: int, max_gap: int, place: str,
        most: int = AT_ONCE, waiting: Waiting | None = None,
    ) -> None:  # fmt: skip
        assert tolerance < max_gap, "or what is tolerated would be a jump"
        self.counts = Counts()
        self._table, self._deltat, self._place = table, deltat, place
        self._tolerance, self._max_gap = tolerance, max_gap
        self._most = max(1, min(most, FRAME_BYTES // table.inputs))
        self._origin, self._wants_origin = origin or 0, origin is None
        self._previous = self._origin  # time of the event before
        self._latest = self._origin  # of all events since the clock started
        self._over = 0  # steps that were handed out
        self._held: Waiting = Inputs(deltat, table.inputs) if waiting is None else waiting

    @property
    def latest_us(self) -> int:
        """The clock of the sensor: of its latest event, or what `pass_time` said since."""
        return self._latest

    def add(self, events_E: np.ndarray) -> Iterator[Steps]:
        """The steps that are over now. Raises `DataError` for an event outside of the sensor."""
        if not len(events_E):
            return
        t_E = events_E["t"].astype(np.int64)
        first = int(t_E[0])
        if not self.counts.events and (self._wants_origin or abs(first - self._origin) > self._max_gap):
            self._origin = self._previous = self._latest = first
        self.counts.begin_us = self._origin if not self.counts.events else self.counts.begin_us
        input_E = self._table.inputs_of(events_E, self._place)
        self.counts.events += len(events_E)
        jumps = np.flatnonzero(np.abs(np.diff(t_E, prepend=self._previous)) > self._max_gap)
        for number, (start, stop) in enumerate(itertools.pairwise([0, *jumps, len(t_E)])):
            if number:
                yield from self._jump(int(t_E[start]))
            yield from self._continue(events_E[start:stop], input_E[start:stop])
        self._previous = int(t_E[-1])

    def pass_time(self, until_us: int) -> Iterator[Steps]:
        """The steps that are over as if an event had come at that time, by the clock of the sensor."""
        if self.counts.events and until_us > self._latest:
            self._previous = self._latest = until_us
            yield from self._hand_out((until_us - self._origin - self._tolerance) // self._deltat)

    def finish(self) -> Iterator[Steps]:
        """What is left at the end of the stream, up to the step of its latest event."""
        if self.counts.events:
            yield from self._hand_out((self._latest - self._origin) // self._deltat + 1)

    def pad(self, steps: int) -> Iterator[Steps]:
        """So many empty steps more."""
        yield from self._hand_out(self._over + steps)

    def _continue(self, events_E: np.ndarray, input_E: NDArray[np.int64]) -> Iterator[Steps]:
        if not len(events_E):
            return
        since_E = events_E["t"].astype(np.int64) - self._origin
        step_E = since_E // self._deltat
        latest_E = np.maximum.accumulate(np.concatenate([[self._latest - self._origin], since_E]))
        over_E = np.maximum(
            (latest_E - self._tolerance) // self._deltat, self._over
        )  # before each event, and after all
        late_E = step_E < over_E[:-1]
        if late_E.any():
            self.counts.late += int(late_E.sum())
            behind = int((latest_E[:-1] - since_E)[late_E].max())
            self.counts.largest_delay_us = max(self.counts.largest_delay_us, behind)
        self.counts.unseen += int((input_E == UNSEEN).sum())
        x_E, y_E = events_E["x"].astype(np.int64), events_E["y"].astype(np.int64)
        self._held.add(since_E[~late_E], x_E[~late_E], y_E[~late_E], input_E[~late_E])
        self._latest = self._origin + int(latest_E[-1])
        yield from self._hand_out(int(over_E[-1]))
        self.counts.held = max(self.counts.held, len(self._held))

    def _hand_out(self, stop: int) -> Iterator[Steps]:
        """Steps up to `stop`, empty ones too."""
        inputs = self._table.inputs
        self.counts.waiting = max(self.counts.waiting, stop - self._over)
        while self._over < stop:
            count = min(self._most, stop - self._over)
            frames_KI = np.zeros((count, inputs), np.uint8)
            active = self._held.take(self._over + count)
            frames_KI.reshape(-1)[active - self._over * inputs] = 1
            self.counts.noise = self._held.noise
            first = self._over
            self._over += count
            yield Steps(first, self._origin + first * self._deltat, frames_KI)

    def _jump(self, t: int) -> Iterator[Steps]:
        """All steps until now are over; time goes on with the event at t, after the longest gap there may be."""
        yield from self.finish()
        ahead = t - self._latest
        self.counts.jumps += 1
        kept = self.counts.shortened if ahead > 0 else self.counts.restarts
        if len(kept) < JUMPS_KEPT:
            kept.append(ahead)
        if ahead > 0:
            yield from self.pad(self._max_gap // self._deltat)
        self._origin, self._latest = t - self._over * self._deltat, t
