"""Products of a weight matrix with traces of which few are not zero: compiled kernels for float32 on a CPU.

A trace is zero until its input's first event. While few inputs of a recording have had one, a sum over those beats a
dense product, although that runs near the peak of the machine.
"""

# R rows of traces, I inputs, N neurons

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
# Densest traces for which sums are taken. Chosen by hand, at 64 rows of 2312 inputs and 512 neurons; changes time only.
BREAK_EVEN = 0.13


def is_sparse(values_RI: FloatArray, break_even: float = BREAK_EVEN) -> bool:
    """Whether fewer than this share of the values are not zero; by default, whether the sums beat a dense product."""
    return int(_count(values_RI.reshape(-1))) < break_even * values_RI.size


def product(values_RI: FloatArray, weight_IN: FloatArray) -> FloatArray:
    """(R, N) ``x W``."""
    out_RN = np.zeros((len(values_RI), weight_IN.shape[1]), np.float32)
    _product(values_RI, weight_IN, out_RN)
    return out_RN


def add_gradient(values_RI: FloatArray, delta_RN: FloatArray, gradient_IN: FloatArray) -> None:
    """``gradient += x^T delta``."""
    _add_gradient(np.ascontiguousarray(values_RI.T), delta_RN, gradient_IN)


@njit(nogil=True, cache=True, error_model="numpy")
def _count(values):
    count = np.int32(0)
    for i in range(len(values)):
        count += np.int32(values[i] != np.float32(0.0))
    return count


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def find(values, places):
    """Places of the values that are not zero; how many."""
    count = 0
    for i in range(len(values)):
        places[count] = i
        count += values[i] != np.float32(0.0)
    return count


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def add_scaled(values, places, count, table, out):
    """``out += sum of values[i] table[i]`` over the places; four at a time to save passes over `out`."""
    k = 0
    width = len(out)
    while k + 4 <= count:
        i, j, l, m = places[k], places[k + 1], places[k + 2], places[k + 3]  # noqa: E741
        a, b, c, d = values[i], values[j], values[l], values[m]
        p, q, r, s = table[i], table[j], table[l], table[m]
        for n in range(width):
            out[n] += (a * p[n] + b * q[n]) + (c * r[n] + d * s[n])
        k += 4
    while k < count:
        a, p = values[places[k]], table[places[k]]
        for n in range(width):
            out[n] += a * p[n]
        k += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _product(values_RI, weight_IN, out_RN):
    rows, inputs = values_RI.shape
    places = np.empty(inputs + 1, np.int64)
    for r in range(rows):
        count = find(values_RI[r], places)
        add_scaled(values_RI[r], places, count, weight_IN, out_RN[r])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_gradient(values_IR, delta_RN, gradient_IN):
    inputs, rows = values_IR.shape
    places = np.empty(rows + 1, np.int64)
    for i in range(inputs):
        count = find(values_IR[i], places)
        if count:
            add_scaled(values_IR[i], places, count, delta_RN, gradient_IN[i])
