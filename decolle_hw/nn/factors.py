"""A gradient that is not multiplied out: traces and deltas, and events with their filtered deltas.

An update after few steps is bound by memory: a gradient of the input layer is as large as its weights, and would be
written by each part of a batch, added, and read again by the optimizer. Kept as factors it never exists: the optimizer
makes one row, uses it, and forgets it.
"""

# I inputs, N neurons, R traces, E events, K rows of filtered deltas

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from decolle_hw.nn.event_dense import add_rows
from decolle_hw.nn.sparse_product import add_scaled, find
from decolle_hw.nn.spikes import Events

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """``sum_r x_r delta_r^T + sum_e D[k(e)]`` in row i(e): the gradient of a dense layer, input-major (I, N)."""

    values_IR: FloatArray
    delta_RN: FloatArray
    begin_I: NDArray[np.int64]  # (I+1,): the events of input i are row_E[begin_I[i]:begin_I[i+1]]
    row_E: NDArray[np.int32]
    D_KN: FloatArray

    @classmethod
    def of(cls, values_RI: FloatArray, delta_RN: FloatArray, events: Events, D_KN: FloatArray) -> Factors:
        """Of traces before a chunk, and of the events of the chunk where `D_KN` has rows (one per recording, step)."""
        begin_I = np.zeros(values_RI.shape[1] + 1, np.int64)
        row_E = np.zeros(0, np.int32)
        if len(D_KN):
            row_E = np.empty(events.count(), np.int32)
            _by_input(events.indptr, events.index, events.rows, events.first, events.steps, begin_I, row_E)
        return cls(np.ascontiguousarray(values_RI.T), delta_RN, begin_I, row_E, D_KN)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """As the optimizer takes it."""
        return self.values_IR, self.delta_RN, self.begin_I, self.row_E, self.D_KN

    def multiplied_out(self) -> torch.Tensor:
        """(N, I), input-major in memory as the weights are."""
        gradient_IN = np.zeros((len(self.begin_I) - 1, self.delta_RN.shape[1]), np.float32)
        _add_to(self.values_IR, self.delta_RN, self.begin_I, self.row_E, self.D_KN, gradient_IN)
        return torch.from_numpy(gradient_IN).T


@njit(nogil=True, cache=True, error_model="numpy")
def _by_input(indptr, index, rows, first, steps, begin_I, row_E):
    inputs = len(begin_I) - 1
    batch = (len(indptr) - 1) // rows
    for b in range(batch):
        top = b * rows + first
        for e in range(indptr[top], indptr[top + steps]):
            begin_I[index[e] + 1] += 1
    for i in range(inputs):
        begin_I[i + 1] += begin_I[i]
    for b in range(batch):
        top = b * rows + first
        for t in range(steps):
            for e in range(indptr[top + t], indptr[top + t + 1]):
                i = index[e]
                row_E[begin_I[i]] = b * steps + t
                begin_I[i] += 1
    # Filling moved each beginning to its end.
    for i in range(inputs, 0, -1):
        begin_I[i] = begin_I[i - 1]
    begin_I[0] = 0


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def add_row(i, values_IR, delta_RN, begin_I, row_E, D_KN, places, out_N):
    """Add row i of a gradient; whether there is anything in it."""
    count = find(values_IR[i], places)
    add_scaled(values_IR[i], places, count, delta_RN, out_N)
    has_events = begin_I[i] < begin_I[i + 1]
    if has_events:
        add_rows(begin_I, row_E, i, D_KN, 0, len(out_N), out_N)
    return count > 0 or has_events


@njit(nogil=True, cache=True, error_model="numpy")
def _add_to(values_IR, delta_RN, begin_I, row_E, D_KN, gradient_IN):
    places = np.empty(values_IR.shape[1] + 1, np.int64)
    for i in range(len(gradient_IN)):
        add_row(i, values_IR, delta_RN, begin_I, row_E, D_KN, places, gradient_IN[i])
