"""A dense layer driven by events: compiled kernels for float32 on a CPU.

Two facts make the dense products of the plain path unnecessary. Traces are linear, so that filtering may follow the
product: ``W P = filter(W S)``, and ``W S`` is a sum of the weight rows of the active inputs. And the gradient of a
chunk may be filtered on the other side, backwards in time::

    sum_t delta[t] P[t]^T  =  sum_t D[t] S[t]^T          (+ two products with the traces Q0, P0 before the chunk)
    gQ[t] = beta gQ[t+1] + (1-alpha) gP[t+1];   gP[t] = alpha gP[t+1] + delta[t];   D[t] = (1-beta) gQ[t]

so that it, too, is a sum of one row per event. A kernel takes all recordings of its caller, one after the other:
a recording's rows stay in the second-level cache from one step to the next.
"""

# T steps of a chunk, B batch, I inputs, N neurons, C classes; events as in `spikes.Events`

from __future__ import annotations

import numpy as np
from numba import njit

from decolle_hw.nn.kernels import ONE, ZERO, times_surrogate


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def add_rows(indptr, index, row, table, start, stop, out):
    """``out += sum of table[i, start:stop]`` over the events i of a row; four at a time to save passes over `out`."""
    e, end = indptr[row], indptr[row + 1]
    width = stop - start
    while e + 4 <= end:
        a = table[index[e], start:stop]
        b = table[index[e + 1], start:stop]
        c = table[index[e + 2], start:stop]
        d = table[index[e + 3], start:stop]
        for n in range(width):
            out[n] += (a[n] + b[n]) + (c[n] + d[n])
        e += 4
    while e < end:
        a = table[index[e], start:stop]
        for n in range(width):
            out[n] += a[n]
        e += 1


@njit(nogil=True, cache=True, error_model="numpy")
def dense_forward(
    indptr, index, rows, first, W_IN, bias_N, is_cuba, silent_steps, decays,
    wq_BN, wp_BN, register_BN, S_BN, U_BTN, block,
):  # fmt: skip
    """Potentials of a chunk; the states W Q, W P, R or v, and S go from first to last.

    decays: alpha, 1-alpha, beta, 1-beta, and gamma, (1-gamma) rho (decolle) or vth, 0 (cuba).
    silent_steps: cuba only; steps at the start of the chunk without current.
    block: neurons at a time, so that their part of W fits in the cache.
    """
    batch, steps, units = U_BTN.shape
    alpha, alpha_in, beta, beta_in, gamma, gamma_in = decays
    drive = np.empty(block, np.float32)
    for start in range(0, units, block):
        stop = min(start + block, units)
        width = stop - start
        bias = bias_N[start:stop]
        x = drive[:width]
        for b in range(batch):
            wq, wp = wq_BN[b, start:stop], wp_BN[b, start:stop]
            register, S = register_BN[b, start:stop], S_BN[b, start:stop]
            for t in range(steps):
                for n in range(width):
                    x[n] = ZERO
                add_rows(indptr, index, b * rows + first + t, W_IN, start, stop, x)
                U = U_BTN[b, t, start:stop]
                if is_cuba:
                    cuba_step(x, wq, bias, register, S, U, t < silent_steps, alpha, alpha_in, beta, beta_in, gamma)
                else:
                    decolle_step(x, wq, wp, bias, register, S, U, alpha, alpha_in, beta, beta_in, gamma, gamma_in)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def decolle_step(x, wq, wp, bias, R, S, U, alpha, alpha_in, beta, beta_in, gamma, gamma_in):
    """One step of a row of decolle neurons whose input is ``x = W S_in``."""
    for n in range(len(U)):
        wp[n] = alpha * wp[n] + alpha_in * wq[n]
        wq[n] = beta * wq[n] + beta_in * x[n]
        R[n] = gamma * R[n] - gamma_in * S[n]
        U[n] = (wp[n] + bias[n]) + R[n]
        S[n] = ONE if U[n] > ZERO else ZERO


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def cuba_step(x, wq, bias, v, S, U, silent, alpha, alpha_in, beta, beta_in, vth):
    """One step of a row of cuba neurons; `silent`: neither current nor bias."""
    on = ZERO if silent else ONE
    for n in range(len(U)):
        voltage = alpha * v[n] + alpha_in * (on * (wq[n] + bias[n]))
        wq[n] = beta * wq[n] + beta_in * x[n]
        U[n] = voltage - vth
        S[n] = ONE if U[n] > ZERO else ZERO
        v[n] = ZERO if U[n] > ZERO else voltage


@njit(nogil=True, cache=True, error_model="numpy")
def dense_backward(
    indptr, index, rows, first, dL_dy_BTC, feedback_CN, extra_BTN, mask_BTN, surrogate, is_output, decays,
    U_BTN, before_BN, before_Q_BN, gradient_IN, bias_N, block,
):  # fmt: skip
    """Gradient of a chunk, added to `gradient_IN` and `bias_N`.

    extra_BTN: added to delta (regularizers); mask_BTN: dropout; no rows: none.
    before_BN, before_Q_BN receive what multiplies the traces P0 and Q0 from before the chunk.
    """
    batch, steps, units = U_BTN.shape
    alpha, alpha_in, beta, beta_in, _, _ = decays
    classes = dL_dy_BTC.shape[2]
    has_extra, has_mask = extra_BTN.shape[0] > 0, mask_BTN.shape[0] > 0
    rows_D = np.empty((steps, block), np.float32)
    row_delta = np.empty(block, np.float32)
    inputs = gradient_IN.shape[0]
    begin_I = np.empty(inputs + 1, np.int64)
    for start in range(0, units, block):
        stop = min(start + block, units)
        width = stop - start
        delta = row_delta[:width]
        gQ, gP = np.empty(width, np.float32), np.empty(width, np.float32)
        bias = bias_N[start:stop]
        for b in range(batch):
            for n in range(width):
                gQ[n] = ZERO
                gP[n] = ZERO
            for back in range(steps):
                t = steps - 1 - back
                for n in range(width):
                    delta[n] = ZERO
                if is_output:
                    e = dL_dy_BTC[b, t, start:stop]
                    for n in range(width):
                        delta[n] = e[n]
                else:
                    for c in range(classes):
                        error = dL_dy_BTC[b, t, c]
                        if error != ZERO:
                            F = feedback_CN[c, start:stop]
                            for n in range(width):
                                delta[n] += error * F[n]
                    if has_mask:
                        mask = mask_BTN[b, t, start:stop]
                        for n in range(width):
                            delta[n] *= mask[n]
                    times_surrogate(delta, U_BTN[b, t, start:stop], surrogate)
                if has_extra:
                    extra = extra_BTN[b, t, start:stop]
                    for n in range(width):
                        delta[n] += extra[n]
                D = rows_D[t]
                for n in range(width):
                    gQ[n] = beta * gQ[n] + alpha_in * gP[n]
                    gP[n] = alpha * gP[n] + delta[n]
                    D[n] = beta_in * gQ[n]
                    bias[n] += delta[n]
            A, A_Q = before_BN[b, start:stop], before_Q_BN[b, start:stop]
            for n in range(width):
                A[n] = alpha * gP[n]
                A_Q[n] = beta * gQ[n] + alpha_in * gP[n]
            by_input, step_E = sort_by_input(indptr, index, rows, first, steps, b, begin_I)
            for i in range(inputs):
                if by_input[i] < by_input[i + 1]:
                    add_rows(by_input, step_E, i, rows_D, 0, width, gradient_IN[i, start:stop])


@njit(nogil=True, cache=True, error_model="numpy")
def sort_by_input(indptr, index, rows, first, steps, b, begin_I):
    """The events of one recording by input: step_E[begin_I[i]:begin_I[i+1]] are the steps at which i was active."""
    inputs = len(begin_I) - 1
    top = b * rows + first
    lo, hi = indptr[top], indptr[top + steps]
    step_E = np.empty(hi - lo, np.int32)
    begin_I[:] = 0
    for e in range(lo, hi):
        begin_I[index[e] + 1] += 1
    for i in range(inputs):
        begin_I[i + 1] += begin_I[i]
    for t in range(steps):
        for e in range(indptr[top + t], indptr[top + t + 1]):
            i = index[e]
            step_E[begin_I[i]] = t
            begin_I[i] += 1
    # Filling moved each beginning to its end.
    for i in range(inputs, 0, -1):
        begin_I[i] = begin_I[i - 1]
    begin_I[0] = 0
    return begin_I, step_E


@njit(nogil=True, cache=True, error_model="numpy")
def spike_events(U_BTM, name_M, indptr, index):
    """Write the events of ``U > 0``, called `name_M`, in order; returns how many. `index` has room for one more."""
    batch, steps, units = U_BTM.shape
    place = 0
    for b in range(batch):
        for t in range(steps):
            indptr[b * steps + t] = place
            U = U_BTM[b, t]
            for n in range(units):
                index[place] = name_M[n]
                place += U[n] > ZERO
    indptr[batch * steps] = place
    return place
