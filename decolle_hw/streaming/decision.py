"""The decision of a stream: what `sim.trace.readouts` adds up over a recording, over the last W steps instead.

    sum      y_c[t] = sum over the last W steps that count of (G S + g)_c
    mode     y_c[t] = at how many of them (G S + g)_c is the largest
    voltage  y_c[t] = (G v[t] + g)_c

Steps count from `burnin_steps` after a reset on. W is by default what counts in a recording, `steps - burnin_steps`: so
after the last step of a recording, and before anything is forgotten, the decision is that of `run` on the recording.
All sums are integers, and what leaves the window is taken off exactly.
"""

# K steps, W steps of the window, N neurons, C classes

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import Program


class SlidingDecision:
    """The readouts after each step."""

    def __init__(self, program: Program, window: int | None = None) -> None:
        integers = program.layers[-1]
        self.window = window or program.steps - program.burnin_steps
        self._kind, self._burnin = program.prediction, program.burnin_steps
        self._weight_NC = integers.readout_weight.T.astype(np.int64)
        self._bias_C = integers.readout_bias.astype(np.int64)
        self.reset()

    def reset(self) -> None:
        """As the network: nothing has counted yet."""
        classes = len(self._bias_C)
        self._step = self._place = 0
        self._window_WC = np.zeros((self.window, classes), np.int64)
        self._total_C = np.zeros(classes, np.int64)

    def add(
        self, spikes_KN: NDArray[np.uint8], voltage_KN: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(K, C) readouts after each of the next steps of the last layer, and (K,) whether anything has counted yet.

        Args: voltage_KN: v of the last layer where `prediction` is voltage.
        """
        steps = len(spikes_KN)
        counts_K = self._step + np.arange(steps) >= self._burnin
        self._step += steps
        if self._kind == "voltage":
            assert voltage_KN is not None, "a network that decides by voltages is run with them"
            return voltage_KN.astype(np.int64) @ self._weight_NC + self._bias_C, np.ones(steps, bool)
        of_step_KC = spikes_KN.astype(np.int64) @ self._weight_NC + self._bias_C
        if self._kind == "mode":
            of_step_KC = (of_step_KC.argmax(1)[:, None] == np.arange(len(self._bias_C))).astype(np.int64)
        of_step_KC[~counts_K] = 0
        pieces = [of_step_KC[start : start + self.window] for start in range(0, steps, self.window)]
        return np.concatenate([of_step_KC[:0], *(self._slide(piece_KC) for piece_KC in pieces)]), counts_K

    def _slide(self, added_KC: NDArray[np.int64]) -> NDArray[np.int64]:
        """(K, C) totals after each of at most W steps, which take the places of the oldest."""
        places_K = (self._place + np.arange(len(added_KC))) % self.window
        total_KC = self._total_C + np.cumsum(added_KC - self._window_WC[places_K], 0)
        self._window_WC[places_K] = added_KC
        self._total_C, self._place = total_KC[-1], (self._place + len(added_KC)) % self.window
        return total_KC
