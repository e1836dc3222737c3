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
    indptr, index, rows, first, W_IN, bias_N, is_cuba, silent_steps, decays, wq_BN, wp_BN, register_BN, S_BN, U_BTN
):
    """Potentials of a chunk; the states W Q, W P, R or v, and S go from first to last.

    decays: alpha, 1-alpha, beta, 1-beta, and gamma, (1-gamma) rho (decolle) or vth, 0 (cuba).
    silent_steps: cuba only; steps at the start of the chunk without current.
    """
    batch, steps, units = U_BTN.shape
    alpha, alpha_in, beta, beta_in, gamma, gamma_in = decays
    x = np.empty(units, np.float32)
    for b in range(batch):
        wq, wp, register, S = wq_BN[b], wp_BN[b], register_BN[b], S_BN[b]
        for t in range(steps):
            x[:] = ZERO
            add_rows(indptr, index, b * rows + first + t, W_IN, 0, units, x)
            U = U_BTN[b, t]
            if is_cuba:
                cuba_step(x, wq, bias_N, register, S, U, t < silent_steps, alpha, alpha_in, beta, beta_in, gamma)
            else:
                decolle_step(x, wq, wp, bias_N, register, S, U, alpha, alpha_in, beta, beta_in, gamma, gamma_in)


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
    U_BTN, before_BN, before_Q_BN, D_BTN, gradient_IN, bias_N,
):  # fmt: skip
    """Gradient of a chunk, added to `gradient_IN` and `bias_N`.

    D_BTN: where it has room, D goes there and `gradient_IN` stays.
    extra_BTN: added to delta (regularizers); mask_BTN: dropout; no rows: none.
    before_BN, before_Q_BN receive what multiplies the traces P0 and Q0 from before the chunk.
    """
    batch, steps, units = U_BTN.shape
    alpha, alpha_in, beta, beta_in, _, _ = decays
    classes = dL_dy_BTC.shape[2]
    has_extra, has_mask = extra_BTN.shape[0] > 0, mask_BTN.shape[0] > 0
    keep_D = D_BTN.shape[0] > 0
    own_D_TN = np.empty((steps, units), np.float32)
    delta, gQ, gP = np.empty(units, np.float32), np.empty(units, np.float32), np.empty(units, np.float32)
    inputs = gradient_IN.shape[0]
    begin_I = np.empty(inputs + 1, np.int64)
    for b in range(batch):
        D_TN = D_BTN[b] if keep_D else own_D_TN
        gQ[:] = ZERO
        gP[:] = ZERO
        for back in range(steps):
            t = steps - 1 - back
            if is_output:
                error_N = dL_dy_BTC[b, t]
                for n in range(units):
                    delta[n] = error_N[n]
            else:
                delta[:] = ZERO
                for c in range(classes):
                    error = dL_dy_BTC[b, t, c]
                    if error != ZERO:
                        F = feedback_CN[c]
                        for n in range(units):
                            delta[n] += error * F[n]
                if has_mask:
                    mask = mask_BTN[b, t]
                    for n in range(units):
                        delta[n] *= mask[n]
                times_surrogate(delta, U_BTN[b, t], surrogate)
            if has_extra:
                extra = extra_BTN[b, t]
                for n in range(units):
                    delta[n] += extra[n]
            D = D_TN[t]
            for n in range(units):
                gQ[n] = beta * gQ[n] + alpha_in * gP[n]
                gP[n] = alpha * gP[n] + delta[n]
                D[n] = beta_in * gQ[n]
                bias_N[n] += delta[n]
        A, A_Q = before_BN[b], before_Q_BN[b]
        for n in range(units):
            A[n] = alpha * gP[n]
            A_Q[n] = beta * gQ[n] + alpha_in * gP[n]
        if keep_D or steps == 1:  # the D of a single step is zero
            continue
        by_input, step_E = sort_by_input(indptr, index, rows, first, steps, b, begin_I)
        for i in range(inputs):
            if by_input[i] < by_input[i + 1]:
                add_rows(by_input, step_E, i, D_TN, 0, units, gradient_IN[i])


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
