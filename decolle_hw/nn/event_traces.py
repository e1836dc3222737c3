"""What the events of a chunk add to the traces Q and P of their inputs, and to a readout."""

# T steps of a chunk, B batch, I inputs, M neurons after pooling, C classes; events as in `spikes.Events`

from __future__ import annotations

import functools

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@functools.lru_cache(maxsize=256)
def trace_weights(alpha: float, beta: float, steps: int) -> FloatArray:
    """(T+2, 2): row k: what an event k steps before the end adds to Q and P; row T: what Q0 adds; T+1: P0 to P."""
    weights = np.zeros((steps + 2, 2))
    Q, P = 1.0 - beta, 0.0
    for k in range(steps):
        weights[k] = Q, P
        P = alpha * P + (1.0 - alpha) * Q
        Q *= beta
    Q, P = 1.0, 0.0
    for _ in range(steps):
        P = alpha * P + (1.0 - alpha) * Q
        Q *= beta
    weights[steps] = Q, P
    weights[steps + 1] = alpha**steps, 0.0
    return weights.astype(np.float32)


@njit(nogil=True, cache=True, error_model="numpy")
def decay_traces(indptr, index, rows, first, weights, Q_BI, P_BI):
    batch, inputs = Q_BI.shape
    steps = len(weights) - 2
    Q_on_Q, Q_on_P, P_on_P = weights[steps, 0], weights[steps, 1], weights[steps + 1, 0]
    for b in range(batch):
        Q, P = Q_BI[b], P_BI[b]
        for i in range(inputs):
            P[i] = P_on_P * P[i] + Q_on_P * Q[i]
            Q[i] = Q_on_Q * Q[i]
        for t in range(steps):
            row = b * rows + first + t
            on_Q, on_P = weights[steps - 1 - t, 0], weights[steps - 1 - t, 1]
            for e in range(indptr[row], indptr[row + 1]):
                Q[index[e]] += on_Q
                P[index[e]] += on_P


@njit(nogil=True, cache=True, error_model="numpy")
def sum_readout(indptr, index, readout_MC, bias_C, mask_TBM, readout_BTC):
    batch, steps, classes = readout_BTC.shape
    has_mask = mask_TBM.shape[0] > 0
    for b in range(batch):
        for t in range(steps):
            y = readout_BTC[b, t]
            for c in range(classes):
                y[c] = bias_C[c]
            row = b * steps + t
            for e in range(indptr[row], indptr[row + 1]):
                G = readout_MC[index[e]]
                if has_mask:
                    share = mask_TBM[t, b, index[e]]
                    for c in range(classes):
                        y[c] += share * G[c]
                else:
                    for c in range(classes):
                        y[c] += G[c]
