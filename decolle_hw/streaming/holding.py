"""Events that wait until their step is over, and what becomes of them then: the inputs that are active in it.

`Inputs` needs to know of an event no more than its input. Where noise is dropped (`dataset.denoise`), whether an event
stays depends on those before it, beside it, in the order of their times; so `DenoisedInputs` holds the events, and
looks at them when nobody can come in between any longer.
"""

# E events, I inputs, S pixels of the sensor

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.denoising import Denoiser
from decolle_hw.streaming.pixels import UNSEEN

Numbers = NDArray[np.int64]


class Waiting(Protocol):
    """Of both kinds."""

    @property
    def noise(self) -> int:
        """Events that were dropped as noise."""

    def __len__(self) -> int:
        """Entries that are held."""

    def add(self, since_E: Numbers, x_E: Numbers, y_E: Numbers, input_E: Numbers) -> None:
        """Events in order of arrival, microseconds after the begin of step 0, and their inputs, or `UNSEEN`."""

    def take(self, stop: int) -> Numbers:
        """``step * I + input`` of all active inputs in the steps before `stop`, ascending; they are held no longer."""


class Inputs:
    """Each event counts."""

    noise = 0

    def __init__(self, deltat: int, inputs: int) -> None:
        self._deltat, self._inputs = deltat, inputs
        self._held = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._held)

    def add(self, since_E: Numbers, x_E: Numbers, y_E: Numbers, input_E: Numbers) -> None:
        seen_E = input_E != UNSEEN
        added_E = since_E[seen_E] // self._deltat * self._inputs + input_E[seen_E]
        self._held = np.unique(np.concatenate([self._held, added_E]))

    def take(self, stop: int) -> Numbers:
        ready = int(np.searchsorted(self._held, stop * self._inputs))
        taken, self._held = self._held[:ready], self._held[ready:]
        return taken


class DenoisedInputs:
    """Events without another one beside them shortly before do not count.

    Args:
        sensor: height and width.
        filter_times: microseconds, of one filter after the other.
        recording: steps after which it begins anew, as the network does; None: never.
    """

    def __init__(
        self, deltat: int, inputs: int, sensor: tuple[int, int], filter_times: Sequence[float], recording: int | None
    ) -> None:
        self._deltat, self._inputs = deltat, inputs
        self._recording_us = None if recording is None else recording * deltat
        self._number = 0  # of the recording
        self._held_4E = np.zeros((4, 0), np.int64)  # time, x, y, input
        height, width = sensor
        self._filters = [Denoiser(filter_time, width, height) for filter_time in filter_times]
        self.noise = 0
        for one in self._filters:  # loads the compiled loop, so that the first events need not wait for that
            one.connected(*self._held_4E[[1, 2, 0]])

    def __len__(self) -> int:
        return self._held_4E.shape[1]

    def add(self, since_E: Numbers, x_E: Numbers, y_E: Numbers, input_E: Numbers) -> None:
        self._held_4E = np.concatenate([self._held_4E, np.stack([since_E, x_E, y_E, input_E])], axis=1)

    def take(self, stop: int) -> Numbers:
        is_ready_E = self._held_4E[0] < stop * self._deltat
        ready_4E, self._held_4E = self._held_4E[:, is_ready_E], self._held_4E[:, ~is_ready_E]
        ready_4E = ready_4E[:, np.argsort(ready_4E[0], kind="stable")]
        taken = [self._held_4E[0, :0]]
        for number, part_4E in self._by_recording(ready_4E):
            if number != self._number:
                self._number = number
                for one in self._filters:
                    one.reset()
            taken.append(self._active(part_4E))
        return np.unique(np.concatenate(taken))

    def _by_recording(self, ready_4E: Numbers) -> list[tuple[int, Numbers]]:
        """Number of each recording, and its events with times from its begin on, after their step."""
        step_E = ready_4E[0] // self._deltat
        events_5E = np.concatenate([ready_4E, step_E[None]])
        if self._recording_us is None:
            return [(0, events_5E)]
        number_E = events_5E[0] // self._recording_us
        events_5E[0] -= number_E * self._recording_us
        return [(int(number), events_5E[:, number_E == number]) for number in np.unique(number_E)]

    def _active(self, events_5E: Numbers) -> Numbers:
        came = events_5E.shape[1]
        for one in self._filters:
            t_E, x_E, y_E = np.ascontiguousarray(events_5E[:3])
            events_5E = events_5E[:, one.connected(x_E, y_E, t_E)]
        self.noise += came - events_5E.shape[1]
        *_, input_E, step_E = events_5E
        seen_E = input_E != UNSEEN
        return step_E[seen_E] * self._inputs + input_E[seen_E]
