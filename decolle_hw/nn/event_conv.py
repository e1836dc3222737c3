"""A convolutional layer driven by events: compiled kernels for float32 on a CPU.

The same two facts as in `event_dense`: filter after the convolution, and filter the deltas backwards in time. An
event at input (i, y, x) adds the kernel of channel i, turned by half a turn, to a k x k patch of the map; its gradient
is the same patch of the filtered deltas. Maps lie channels-last, so that the k*C values of one patch row are
contiguous, and have a border of k-1 pixels, so that no patch needs a bounds check. For stride 1, dilation 1, groups 1.
"""

# T steps of a chunk, B batch, C channels of the map, K classes, N = H*W*C neurons, M = neurons after pooling
# Map rows are "lines" of W*C values. Events as in `spikes.Events`.

from __future__ import annotations

import numpy as np
from numba import njit

from decolle_hw.nn.event_dense import cuba_step, decolle_step
from decolle_hw.nn.kernels import ZERO, times_surrogate


@njit(nogil=True, cache=True, error_model="numpy")
def conv_forward(
    indptr, index, rows, first, place_I, channel_I, kernel_IKR, bias_L, is_cuba, silent_steps, decays,
    wq_BN, wp_BN, register_BN, S_BN, border, line, height, pool, U_BTM, winner_BTM,
):  # fmt: skip
    """Potentials of a chunk after pooling; the states W Q, W P, R or v, and S go from first to last.

    place_I: where the patch of an input begins in the bordered map. channel_I: its channel.
    kernel_IKR: (input channels, k, k*C) kernels, turned. bias_L: along one line.
    border: pixels between the bordered map's edge and the map. line: W*C. height: H.
    winner_BTM: which pixel of a pooling window was the largest, row-major.
    """
    batch, steps, _ = U_BTM.shape
    alpha, alpha_in, beta, beta_in, gamma, gamma_in = decays
    size, patch_row = kernel_IKR.shape[1], kernel_IKR.shape[2]
    channels = patch_row // size
    wide = line + 2 * border * channels  # a line of the bordered map
    x = np.zeros((height + 2 * border) * wide, np.float32)
    U_map = np.empty((height, line), np.float32)
    best_L, code_L = np.empty(line, np.float32), np.empty(line, np.float32)
    kernels = kernel_IKR.reshape(-1)
    for b in range(batch):
        for t in range(steps):
            row = b * rows + first + t
            if indptr[row] < indptr[row + 1]:
                x[:] = ZERO
                _add_kernels(index, indptr[row], indptr[row + 1], place_I, channel_I, kernels, size, patch_row, wide, x)
            elif t == 0 or indptr[row - 1] < indptr[row]:
                x[:] = ZERO
            for h in range(height):
                begin = (h + border) * wide + border * channels
                lo, hi = h * line, (h + 1) * line
                drive, U = x[begin : begin + line], U_map[h]
                wq, wp = wq_BN[b, lo:hi], wp_BN[b, lo:hi]
                register, S = register_BN[b, lo:hi], S_BN[b, lo:hi]
                if is_cuba:
                    cuba_step(
                        drive, wq, bias_L, register, S, U, t < silent_steps, alpha, alpha_in, beta, beta_in, gamma
                    )
                else:
                    decolle_step(drive, wq, wp, bias_L, register, S, U, alpha, alpha_in, beta, beta_in, gamma, gamma_in)
            if pool == 1:
                out = U_BTM[b, t]
                for h in range(height):
                    U = U_map[h]
                    pooled = out[h * line : (h + 1) * line]
                    for n in range(line):
                        pooled[n] = U[n]
            else:
                _pool(U_map, channels, pool, best_L, code_L, U_BTM[b, t], winner_BTM[b, t])


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _add_kernels(index, lo, hi, place_I, channel_I, kernels, size, patch_row, wide, x):
    """Add the kernel of each event to its patch; two events at the same pixel share a pass over the patch.

    Unsigned offsets: for signed ones each access would ask whether it counts from the end.
    """
    row, line = np.uint64(patch_row), np.uint64(wide)
    e = lo
    while e < hi:
        i = index[e]
        begin = np.uint64(place_I[i])
        a = np.uint64(channel_I[i] * size) * row
        if e + 1 < hi and place_I[index[e + 1]] == place_I[i]:
            b = np.uint64(channel_I[index[e + 1]] * size) * row
            for _ in range(size):
                for n in range(row):
                    x[begin + n] += kernels[a + n] + kernels[b + n]
                begin += line
                a += row
                b += row
            e += 2
        else:
            for _ in range(size):
                for n in range(row):
                    x[begin + n] += kernels[a + n]
                begin += line
                a += row
            e += 1


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _pool(U_map, channels, pool, best_L, code_L, out_M, winner_M):
    """Largest U of each window; of equal ones the first, row by row. First down the lines, then along them."""
    height, line = U_map.shape
    out_width = line // channels // pool
    for py in range(height // pool):
        top = U_map[py * pool]
        for n in range(line):
            best_L[n] = top[n]
        for n in range(line):
            code_L[n] = ZERO
        for ky in range(1, pool):
            U, code = U_map[py * pool + ky], np.float32(ky * pool)
            for n in range(line):
                value, best, kept = U[n], best_L[n], code_L[n]
                code_L[n] = code if value > best else kept
                best_L[n] = value if value > best else best
        for px in range(out_width):
            left, begin = px * pool * channels, (py * out_width + px) * channels
            best_C, code_C = best_L[left : left + channels], code_L[left : left + channels]
            for kx in range(1, pool):
                right, shift = left + kx * channels, np.float32(kx)
                value_C, other_C = best_L[right : right + channels], code_L[right : right + channels]
                for c in range(channels):
                    value, code, best, kept = value_C[c], other_C[c] + shift, best_C[c], code_C[c]
                    better = (value > best) | ((value == best) & (code < kept))
                    best_C[c] = value if better else best
                    code_C[c] = code if better else kept
            out, winner = out_M[begin : begin + channels], winner_M[begin : begin + channels]
            for c in range(channels):
                out[c] = best_C[c]
            for c in range(channels):
                winner[c] = np.uint8(code_C[c])


@njit(nogil=True, cache=True, error_model="numpy")
def conv_backward(
    indptr, index, rows, first, place_I, channel_I, dL_dy_BTK, feedback_KM, extra_BTM, mask_BTM, surrogate, decays,
    U_BTM, winner_BTM, border, line, height, pool, before_BN, before_Q_BN, gradient_IKR, bias_M,
):  # fmt: skip
    """Gradient of a chunk, added to `gradient_IKR` (kernels, turned; to be multiplied by 1-beta) and `bias_M`.

    extra_BTM: added to delta (regularizers); mask_BTM: dropout; no rows: none.
    before_BN, before_Q_BN receive what multiplies the traces P0 and Q0 from before the chunk.
    """
    batch, steps, outputs = U_BTM.shape
    alpha, alpha_in, beta, _, _, _ = decays
    size, patch_row = gradient_IKR.shape[1], gradient_IKR.shape[2]
    input_channels, channels = gradient_IKR.shape[0], patch_row // size
    wide = line + 2 * border * channels
    has_extra, has_mask = extra_BTM.shape[0] > 0, mask_BTM.shape[0] > 0
    gQ = np.zeros((height + 2 * border) * wide, np.float32)
    gP_HL = np.empty((height, line), np.float32)
    delta = np.empty(outputs, np.float32)
    begin_C = np.empty(input_channels + 1, np.int64)
    sorted_E = np.empty(1, np.int64)
    for b in range(batch):
        gQ[:] = ZERO
        gP_HL[:] = ZERO
        for back in range(steps):
            t = steps - 1 - back
            for h in range(height):
                begin = (h + border) * wide + border * channels
                Q, P = gQ[begin : begin + line], gP_HL[h]
                for n in range(line):
                    Q[n] = beta * Q[n] + alpha_in * P[n]
                    P[n] = alpha * P[n]
            delta[:] = ZERO
            for k in range(dL_dy_BTK.shape[2]):
                error = dL_dy_BTK[b, t, k]
                if error != ZERO:
                    F = feedback_KM[k]
                    for n in range(outputs):
                        delta[n] += error * F[n]
            if has_mask:
                mask = mask_BTM[b, t]
                for n in range(outputs):
                    delta[n] *= mask[n]
            times_surrogate(delta, U_BTM[b, t], surrogate)
            if has_extra:
                extra = extra_BTM[b, t]
                for n in range(outputs):
                    delta[n] += extra[n]
            for n in range(outputs):
                bias_M[n] += delta[n]
            if pool == 1:
                for h in range(height):
                    P, d = gP_HL[h], delta[h * line : (h + 1) * line]
                    for n in range(line):
                        P[n] += d[n]
            else:
                _unpool(delta, winner_BTM[b, t], channels, pool, gP_HL)
            row = b * rows + first + t
            lo, hi = indptr[row], indptr[row + 1]
            if hi - lo > len(sorted_E):
                sorted_E = np.empty(2 * (hi - lo), np.int64)
            _sort_by_channel(index, lo, hi, channel_I, place_I, begin_C, sorted_E)
            for i in range(input_channels):
                _add_patches(gQ, wide, sorted_E, begin_C[i], begin_C[i + 1], gradient_IKR[i])
        for h in range(height):
            begin = (h + border) * wide + border * channels
            Q, P = gQ[begin : begin + line], gP_HL[h]
            A, A_Q = before_BN[b, h * line : (h + 1) * line], before_Q_BN[b, h * line : (h + 1) * line]
            for n in range(line):
                A[n] = alpha * P[n]
                A_Q[n] = beta * Q[n] + alpha_in * P[n]


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _unpool(delta_M, winner_M, channels, pool, P_HL):
    height, line = P_HL.shape
    out_width = line // channels // pool
    for py in range(height // pool):
        for px in range(out_width):
            begin = (py * out_width + px) * channels
            d, winner = delta_M[begin : begin + channels], winner_M[begin : begin + channels]
            for place in range(pool * pool):
                left = (px * pool + place % pool) * channels
                P = P_HL[py * pool + place // pool, left : left + channels]
                code = np.uint8(place)
                for c in range(channels):
                    P[c] += d[c] if winner[c] == code else ZERO


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _sort_by_channel(index, lo, hi, channel_I, place_I, begin_C, sorted_E):
    """Places of a row's events by channel: those of channel i are sorted_E[begin_C[i]:begin_C[i+1]]."""
    begin_C[:] = 0
    for e in range(lo, hi):
        begin_C[channel_I[index[e]] + 1] += 1
    for i in range(1, len(begin_C)):
        begin_C[i] += begin_C[i - 1]
    for e in range(lo, hi):
        i = channel_I[index[e]]
        sorted_E[begin_C[i]] = place_I[index[e]]
        begin_C[i] += 1
    # Filling moved each beginning to its end.
    for i in range(len(begin_C) - 1, 0, -1):
        begin_C[i] = begin_C[i - 1]
    begin_C[0] = 0


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _add_patches(values, wide, begin_E, lo, hi, total_KR):
    """Add the patches of `values` that begin at begin_E[lo:hi]; four at a time to save passes over the total."""
    size, patch_row = total_KR.shape
    total = total_KR.reshape(-1)
    row, line = np.uint64(patch_row), np.uint64(wide)
    e = lo
    while e + 4 <= hi:
        a, b = np.uint64(begin_E[e]), np.uint64(begin_E[e + 1])
        c, d = np.uint64(begin_E[e + 2]), np.uint64(begin_E[e + 3])
        out = np.uint64(0)
        for _ in range(size):
            for n in range(row):
                total[out + n] += (values[a + n] + values[b + n]) + (values[c + n] + values[d + n])
            a += line
            b += line
            c += line
            d += line
            out += row
        e += 4
    while e < hi:
        a, out = np.uint64(begin_E[e]), np.uint64(0)
        for _ in range(size):
            for n in range(row):
                total[out + n] += values[a + n]
            a += line
            out += row
        e += 1
