"""A gradient that is not multiplied out: traces and deltas, and events with their filtered deltas.

An update after few steps is bound by memory: a gradient of the input layer is as large as its weights, and would be
written by each part of a batch, added, and read again by the optimizer. Kept as factors it never exists: the optimizer
makes one row, uses it, and forgets it.
"""

# I inputs, N neurons, R traces, E events, K rows of filtered deltas

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from decolle_hw.nn.event_dense import add_rows
from decolle_hw.nn.sparse_product import add_gradient, is_sparse
from decolle_hw.nn.spikes import Events

FloatArray = NDArray[np.float32]
# Densest traces for which a sum over those that are not zero makes a row in place of a matrix product. Chosen by hand,
# as that of `sparse_product`; higher, as deltas stay in the cache where weights do not. Changes time only.
ROW_BREAK_EVEN = 0.2
_NO_ROWS, _NO_VALUES = np.zeros(0, np.int32), np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class Factors:
    """``sum_r x_r delta_r^T + sum_e D[k(e)]`` in row i(e): the gradient of a dense layer, input-major (I, N)."""

    values_RI: FloatArray
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
        return cls(values_RI, delta_RN, begin_I, row_E, D_KN)

    def is_sparse(self) -> bool:
        """Whether sums over the values that are not zero beat a matrix product."""
        return is_sparse(self.values_RI, ROW_BREAK_EVEN)

    def multiplied_out(self) -> torch.Tensor:
        """(N, I), input-major in memory as the weights are."""
        gradient_IN = np.zeros((len(self.begin_I) - 1, self.delta_RN.shape[1]), np.float32)
        if self.is_sparse():
            add_gradient(self.values_RI, self.delta_RN, gradient_IN)
        else:
            torch.mm(*map(torch.from_numpy, (self.values_RI.T, self.delta_RN)), out=torch.from_numpy(gradient_IN))
        _add_events(self.begin_I, self.row_E, self.D_KN, gradient_IN)
        return torch.from_numpy(gradient_IN).T


class GradientRows:
    """Some rows of the sum of several gradients: those that are not zero."""

    def __init__(self, parts: Sequence[Factors]) -> None:
        inputs = len(parts[0].begin_I) - 1
        self._dense = [part for part in parts if not part.is_sparse()]
        touched_I = np.zeros(inputs, np.bool_)
        arrays = []
        for part in parts:
            is_dense = part in self._dense
            begin_I, row_V, value_V = np.zeros(inputs + 1, np.int64), _NO_ROWS, _NO_VALUES
            if is_dense:
                _touch(part.values_RI, touched_I)
            else:
                count = _count_columns(part.values_RI, begin_I)
                row_V, value_V = np.empty(count, np.int32), np.empty(count, np.float32)
                _fill_columns(part.values_RI, begin_I, row_V, value_V)
            for begins in (begin_I, part.begin_I):
                touched_I |= begins[1:] > begins[:-1]
            arrays.append((begin_I, row_V, value_V, part.delta_RN, part.begin_I, part.row_E, part.D_KN))
        self.touched = np.flatnonzero(touched_I)
        # For kernels: one tuple per kind of array, with an entry per part.
        self.arrays = tuple(zip(*arrays, strict=True))

    def products(self, rows: NDArray[np.int64]) -> FloatArray:
        """(K, N) what matrix products give to these rows; no rows where there is none to make."""
        if not self._dense:
            return np.zeros((0, self._width()), np.float32)
        total = None
        for part in self._dense:
            values_KR = torch.from_numpy(part.values_RI[:, rows]).T
            delta = torch.from_numpy(part.delta_RN)
            total = values_KR @ delta if total is None else total.addmm_(values_KR, delta)
        assert total is not None
        return total.numpy()

    def _width(self) -> int:
        return self.arrays[3][0].shape[1]


@njit(nogil=True, cache=True, error_model="numpy")
def _touch(values_RI, touched_I):
    for r in range(len(values_RI)):
        values = values_RI[r]
        for i in range(len(values)):
            touched_I[i] |= values[i] != np.float32(0.0)


@njit(nogil=True, cache=True, error_model="numpy")
def _count_columns(values_RI, begin_I):
    """Where the values of each column that are not zero will begin; how many there are."""
    for r in range(len(values_RI)):
        values = values_RI[r]
        for i in range(len(values)):
            begin_I[i + 1] += values[i] != np.float32(0.0)
    for i in range(len(begin_I) - 1):
        begin_I[i + 1] += begin_I[i]
    return begin_I[-1]


@njit(nogil=True, cache=True, error_model="numpy")
def _fill_columns(values_RI, begin_I, row_V, value_V):
    place_I = begin_I.copy()
    for r in range(len(values_RI)):
        values = values_RI[r]
        for i in range(len(values)):
            if values[i] != np.float32(0.0):
                row_V[place_I[i]] = r
                value_V[place_I[i]] = values[i]
                place_I[i] += 1


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


@njit(nogil=True, cache=True, error_model="numpy")
def _add_events(begin_I, row_E, D_KN, gradient_IN):
    for i in range(len(gradient_IN)):
        if begin_I[i] < begin_I[i + 1]:
            add_rows(begin_I, row_E, i, D_KN, 0, gradient_IN.shape[1], gradient_IN[i])


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def add_row(i, begin_V, row_V, value_V, delta_RN, begin_I, row_E, D_KN, out_N):
    """Add row i of a gradient: scaled deltas four at a time, to save passes over the row, and filtered deltas."""
    k, end = begin_V[i], begin_V[i + 1]
    width = len(out_N)
    while k + 4 <= end:
        a, b, c, d = value_V[k], value_V[k + 1], value_V[k + 2], value_V[k + 3]
        p, q = delta_RN[row_V[k]], delta_RN[row_V[k + 1]]
        r, s = delta_RN[row_V[k + 2]], delta_RN[row_V[k + 3]]
        for n in range(width):
            out_N[n] += (a * p[n] + b * q[n]) + (c * r[n] + d * s[n])
        k += 4
    while k < end:
        a, p = value_V[k], delta_RN[row_V[k]]
        for n in range(width):
            out_N[n] += a * p[n]
        k += 1
    if begin_I[i] < begin_I[i + 1]:
        add_rows(begin_I, row_E, i, D_KN, 0, width, out_N)
