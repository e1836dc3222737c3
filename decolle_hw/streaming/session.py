"""A stream from its first event to its last: steps, decisions, and what there is to say of them at the end."""

# K steps, I inputs, C classes

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import Program
from decolle_hw.errors import DataError, UsageError
from decolle_hw.execution import Backend
from decolle_hw.sim.compare import Comparison
from decolle_hw.spec import DatasetSpec
from decolle_hw.streaming.aim import filter_times, origin_of
from decolle_hw.streaming.decision import SlidingDecision
from decolle_hw.streaming.engines import Engine, LastLayer, open_engine
from decolle_hw.streaming.holding import DenoisedInputs
from decolle_hw.streaming.latency import latency_steps
from decolle_hw.streaming.pixels import PixelTable
from decolle_hw.streaming.source import Opened
from decolle_hw.streaming.steps import AT_ONCE, Binning, Counts, Steps

LONGEST_GAP_US = 10_000_000
REALTIME_PIECE_US = 50_000  # of a replay at its own pace: a tenth of what an eye takes for at once


@dataclass(frozen=True)
class StreamSettings:
    """How a stream is taken."""

    backend: Backend = "lava"
    reset_every: int | None = None  # steps of a recording; None: the network is never reset
    window: int | None = None  # steps that a decision looks back; None: as many as count in a recording
    every: int | None = None  # steps between two decisions that are told; None: only those that change
    tolerance: int | None = None  # microseconds that an event may be late; None: one step
    max_gap: int | None = None  # microseconds of silence, at most; None: 10 s, or 100 steps where these are longer
    realtime: bool = False  # replay at its own pace
    live: int | None = None  # microseconds without an event after which time goes on by our clock; None: never


class Decision(NamedTuple):
    """After one step."""

    step: int
    time_us: int  # end of the step, by the clock of the sensor
    winner: int  # index of the class; the lowest of equals
    margin: int  # of its readout over the next
    readouts: tuple[int, ...]
    recording: int | None  # number of the recording that it ends, where there are any


@dataclass(frozen=True)
class Streamed:
    """What there is to say of a stream."""

    program: Program
    settings: StreamSettings
    deltat: int
    sensor: tuple[int, int]  # height, width that the network was made for
    tolerance: int  # microseconds that a step waits for late events
    window: int
    steps: int  # made
    recordings: int  # that were decided on
    silent_recordings: int  # without an event
    decisions: int  # told
    last: Decision | None
    counts: Counts
    latency: int | None  # steps on chip from an event to the last layer
    seconds: float  # of computing
    behind_seconds: float  # of a replay at its own pace, at most
    comparison: Comparison | None  # Lava against the reference
    source: Opened | None

    @property
    def seconds_per_step(self) -> float:
        return self.seconds / max(1, self.steps)

    @property
    def real_time_factor(self) -> float:
        """Time of the stream for each second of computing; above 1 it keeps up."""
        return self.steps * self.deltat * 1e-6 / self.seconds if self.seconds else 0.0


class StreamSession:
    """One run; `summary` may be asked for at any time.

    Raises `UsageError` for settings that do not fit the network.
    """

    def __init__(
        self,
        program: Program,
        spec: DatasetSpec,
        settings: StreamSettings,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.program, self.spec, self.settings = program, spec, settings
        self.tolerance = spec.deltat if settings.tolerance is None else settings.tolerance
        self._clock = clock
        self._counts = Counts()
        self._decision = SlidingDecision(program, _window(program, settings))
        self._steps = self._decided_steps = self._decisions = self._silent = 0
        self._seconds = self._behind = 0.0
        self._in_recording, self._is_silent = 0, True
        self._ends_us: deque[int] = deque()  # of steps that are not decided on yet
        self._engine: Engine | None = None
        self._source: Opened | None = None
        self._heard: tuple[float, int] | None = None  # when the last events came: by our clock, by the sensor's
        self.last: Decision | None = None  # of every step
        self._last_told: Decision | None = None

    def run(self, source: Opened) -> Generator[Decision, None, None]:
        """Decisions that are told, as they happen.

        Raises:
            DataError: events that cannot be used, or none at all.
            DecolleHwError: a Lava process failed or died.
        """
        binning = self._binning(source)
        self._counts, self._source = binning.counts, source
        settings = self.settings
        with open_engine(self.program, settings.backend, settings.reset_every) as self._engine:
            for events_E in source.blocks:
                for steps in self._pass_time(binning) if events_E is None else self._add(binning, events_E):
                    yield from self._take(steps)
            if not self._counts.events:
                raise DataError(f"{source.place}: no events came; the stream was empty")
            for steps in binning.finish():
                yield from self._take(steps)
            if settings.reset_every and self._in_recording:
                for steps in binning.pad(settings.reset_every - self._in_recording):
                    yield from self._take(steps)
            if not settings.reset_every:
                yield from self._decide(self._timed(self._engine.end_recording))

    def _binning(self, source: Opened) -> Binning:
        settings, deltat, tolerance = self.settings, self.spec.deltat, self.tolerance
        max_gap = max(LONGEST_GAP_US, 100 * deltat, 2 * tolerance) if settings.max_gap is None else settings.max_gap
        if tolerance >= max_gap:
            raise UsageError(
                f"--max-gap {max_gap}: must be above the tolerance of {tolerance} us, or late events would be jumps of "
                "the clock"
            )
        table, filters = PixelTable(self.spec), filter_times(self.spec)
        return Binning(
            table, deltat,
            origin=origin_of(self.spec, source.format), tolerance=tolerance, max_gap=max_gap, place=source.place,
            most=max(1, REALTIME_PIECE_US // deltat) if settings.realtime else AT_ONCE,
            waiting=DenoisedInputs(deltat, table.inputs, self.spec.sensor, filters, settings.reset_every)
            if filters else None,
        )  # fmt: skip

    def _add(self, binning: Binning, events_E: np.ndarray) -> Iterator[Steps]:
        """The steps that are over when these events have come."""
        arrived = self._clock()
        yield from binning.add(events_E)
        self._heard = arrived, binning.latest_us

    def _pass_time(self, binning: Binning) -> Iterator[Steps]:
        """Nothing came: the clock of the sensor goes on as ours does, `settings.live` behind it."""
        if self.settings.live is not None and self._heard is not None:
            arrived, latest_us = self._heard
            silence_us = int((self._clock() - arrived) * 1e6)
            yield from binning.pass_time(latest_us + silence_us - self.settings.live)

    def summary(self) -> Streamed:
        """So far."""
        settings, length = self.settings, self.settings.reset_every
        return Streamed(
            self.program, settings, self.spec.deltat, self.spec.sensor, self.tolerance, self._decision.window,
            self._steps, self._steps // length - self._silent if length else 0, self._silent, self._decisions,
            self._last_told if length else self.last, self._counts, latency_steps(self.program), self._seconds,
            self._behind, None if self._engine is None else self._engine.comparison, self._source,
        )  # fmt: skip

    def _take(self, steps: Steps) -> Iterator[Decision]:
        """Run them, with a reset wherever a recording ends."""
        assert self._engine is not None
        length, begin = self.settings.reset_every, 0
        while begin < len(steps.frames_KI):
            stop = len(steps.frames_KI)
            if length:
                stop = min(stop, begin + length - self._in_recording)
            frames_KI = steps.frames_KI[begin:stop]
            if self.settings.realtime:
                self._wait_for(self._steps + len(frames_KI))
            ends_us = steps.begin_us + self.spec.deltat * np.arange(begin + 1, stop + 1)
            self._ends_us.extend(ends_us.tolist())
            self._steps += len(frames_KI)
            yield from self._decide(self._timed(partial(self._engine.run, frames_KI)))
            begin = stop
            if length:
                self._in_recording += len(frames_KI)
                self._is_silent &= not frames_KI.any()
                if self._in_recording == length:
                    yield from self._end_recording()

    def _end_recording(self) -> Iterator[Decision]:
        assert self._engine is not None
        yield from self._decide(self._timed(self._engine.end_recording))
        self._decision.reset()
        if self._is_silent:
            self._silent += 1
        elif self.last is not None:
            yield self._told()
        self._in_recording, self._is_silent = 0, True

    def _decide(self, known: LastLayer) -> Iterator[Decision]:
        """Of the steps that the last layer has made."""
        readouts_KC, counts_K = self._decision.add(*known)
        winner_K, margin_K = readouts_KC.argmax(1), _margins(readouts_KC)
        for step in range(len(readouts_KC)):
            end_us, before = self._ends_us.popleft(), self.last
            number = self._decided_steps
            self._decided_steps += 1
            if not counts_K[step]:
                continue
            length, every = self.settings.reset_every, self.settings.every
            self.last = Decision(
                number, end_us, int(winner_K[step]), int(margin_K[step]), tuple(readouts_KC[step].tolist()),
                number // length if length else None,
            )  # fmt: skip
            if length:
                continue  # told when the recording ends
            changed = before is None or before.winner != self.last.winner
            if (number + 1) % every == 0 if every else changed:
                yield self._told()

    def _told(self) -> Decision:
        assert self.last is not None
        self._decisions += 1
        self._last_told = self.last
        return self.last

    def _timed(self, work: Callable[[], Any]) -> Any:
        began = self._clock()
        try:
            return work()
        finally:
            self._seconds += self._clock() - began

    def _wait_for(self, steps: int) -> None:
        """Until so many steps would be over."""
        if not self._steps:
            self._began = self._clock()
        ahead = self._began + steps * self.spec.deltat * 1e-6 - self._clock()
        if ahead > 0:
            time.sleep(ahead)
        self._behind = max(self._behind, -ahead)


def _margins(readouts_KC: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K,) from the largest to the second; 0 where there is but one class."""
    if readouts_KC.shape[1] < 2:
        return np.zeros(len(readouts_KC), np.int64)
    largest_KC = np.partition(readouts_KC, -2, axis=1)
    margins_K: NDArray[np.int64] = largest_KC[:, -1] - largest_KC[:, -2]
    return margins_K


def _window(program: Program, settings: StreamSettings) -> int | None:
    length = settings.reset_every
    if length is None:
        return settings.window
    last = program.first_step(len(program.layers) - 1)
    if length <= max(program.burnin_steps, last):
        raise UsageError(
            f"--reset-every {length}: the last layer of {program.name} begins in step {last} and the first "
            f"{program.burnin_steps} steps do not count; give at least {max(program.burnin_steps, last) + 1}"
        )
    return length - program.burnin_steps
