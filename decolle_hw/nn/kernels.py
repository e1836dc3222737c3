"""Compiled twins of the functions of `decolle_hw.nn.neurons`: same equations, for float32 on a CPU.

In torch each time step is four small operations, each a call and a pass over memory. Here a block of columns goes
through all its steps while its state stays in the first-level cache; what was a temporary is a register.

Kernels are single-threaded and release the GIL: `decolle_hw.nn.shards` runs one per core on its own recordings.
That also keeps compilation short (a few seconds in all, then cached on disk). No fast-math: every result is a
rounded float32 operation in the order written.
"""

# T steps of a chunk, B batch, I inputs, N neurons, C classes, M = B*I or B*N independent columns

from __future__ import annotations

import numpy as np
import torch
from numba import njit

from decolle_hw.nn.neurons import NeuronState, Traces
from decolle_hw.nn.surrogate import BOXCAR_HALF_WIDTH, FAST_SIGMOID_SLOPE, SURROGATE_CODES

BLOCK = 1024  # columns at a time: three rows of float32 are 12 KB, well inside of a 32 KB cache
ONE, ZERO = np.float32(1.0), np.float32(0.0)
SLOPE, HALF_WIDTH = np.float32(FAST_SIGMOID_SLOPE), np.float32(BOXCAR_HALF_WIDTH)


@njit(nogil=True, cache=True, error_model="numpy")
def _trace(S_TM, Q_M, P_M, alpha, alpha_in, beta, beta_in, P_TM, Qb_TM):
    """P of every step, and Q of the step before if `Qb_TM` has rows; Q_M, P_M go from first to last."""
    steps, columns = P_TM.shape
    keep_Q = Qb_TM.shape[0] > 0
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        Q = Q_M[start:stop]
        P = P_M[start:stop]
        for t in range(steps):
            S = S_TM[t, start:stop]
            P_out = P_TM[t, start:stop]
            if keep_Q:
                Qb_TM[t, start:stop] = Q
            for m in range(stop - start):
                P[m] = alpha * P[m] + alpha_in * Q[m]
                P_out[m] = P[m]
                Q[m] = beta * Q[m] + beta_in * np.float32(S[m])


@njit(nogil=True, cache=True, error_model="numpy")
def _decolle(U_TM, R_M, S_M, gamma, gamma_in, S_TM):
    """`U_TM` holds the drive and becomes the potential; R_M, S_M go from first to last."""
    steps, columns = U_TM.shape
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        R = R_M[start:stop]
        S = S_M[start:stop]
        for t in range(steps):
            U_out = U_TM[t, start:stop]
            S_out = S_TM[t, start:stop]
            for m in range(stop - start):
                R[m] = gamma * R[m] - gamma_in * S[m]
                potential = U_out[m] + R[m]
                S[m] = ONE if potential > ZERO else ZERO
                U_out[m] = potential
                S_out[m] = S[m]


@njit(nogil=True, cache=True, error_model="numpy")
def _cuba(U_TM, v_M, alpha, alpha_in, vth, S_TM):
    """`U_TM` holds the current and becomes v - vth before the reset; v_M goes from first to last."""
    steps, columns = U_TM.shape
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        v = v_M[start:stop]
        for t in range(steps):
            U_out = U_TM[t, start:stop]
            S_out = S_TM[t, start:stop]
            for m in range(stop - start):
                voltage = alpha * v[m] + alpha_in * U_out[m]
                potential = voltage - vth
                U_out[m] = potential
                S_out[m] = ONE if potential > ZERO else ZERO
                v[m] = ZERO if potential > ZERO else voltage


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def times_surrogate(delta, U, code):
    """``delta *= sigma'(U)`` along one row; codes as in `surrogate.SURROGATE_CODES`."""
    if code == 0:
        for n in range(len(delta)):
            width = ONE + SLOPE * abs(U[n])
            delta[n] /= width * width
    elif code == 1:
        for n in range(len(delta)):
            delta[n] = delta[n] if abs(U[n]) < HALF_WIDTH else ZERO
    else:
        for n in range(len(delta)):
            s = ONE / (ONE + np.exp(-U[n]))
            delta[n] *= s * (ONE - s)


@njit(nogil=True, cache=True, error_model="numpy")
def _delta(dL_dy_MC, feedback_CN, U_MN, code, delta_MN):
    """``delta = (dL/dy F) sigma'(U)`` row by row (M = T*B)."""
    rows, units = U_MN.shape
    for row in range(rows):
        delta = delta_MN[row]
        for n in range(units):
            delta[n] = ZERO
        for c in range(feedback_CN.shape[0]):
            error = dL_dy_MC[row, c]
            F = feedback_CN[c]
            for n in range(units):
                delta[n] += error * F[n]
        times_surrogate(delta, U_MN[row], code)


def trace_chunk(
    spikes_TBI: torch.Tensor, traces: Traces, alpha: float, beta: float, keep_Q: bool = True
) -> tuple[torch.Tensor, torch.Tensor, Traces]:
    """As `neurons.trace_chunk`; spikes may be uint8. Without `keep_Q` the second result has no rows."""
    assert spikes_TBI.shape[1:] == traces.Q_BI.shape  # the kernel does not check bounds
    spikes_TBI = (spikes_TBI if spikes_TBI.dtype == torch.uint8 else spikes_TBI.float()).contiguous()
    Q_BI, P_BI = traces.Q_BI.clone(), traces.P_BI.clone()
    P_TBI = torch.empty(spikes_TBI.shape)
    Q_before_TBI = torch.empty(spikes_TBI.shape if keep_Q else (0, *spikes_TBI.shape[1:]))
    _trace(
        _columns(spikes_TBI), _flat(Q_BI), _flat(P_BI),
        np.float32(alpha), np.float32(1.0 - alpha), np.float32(beta), np.float32(1.0 - beta),
        _columns(P_TBI), _columns(Q_before_TBI),
    )  # fmt: skip
    return P_TBI, Q_before_TBI, Traces(Q_BI, P_BI)


def decolle_chunk(
    drive_TBN: torch.Tensor, state: NeuronState, alpharp: float, wrp: float
) -> tuple[torch.Tensor, torch.Tensor, NeuronState]:
    """As `neurons.decolle_chunk`, but the drive is overwritten: it becomes the potential."""
    R_BN, S_BN = state.register_BN.clone(), state.spikes_BN.clone()
    S_TBN = torch.empty_like(drive_TBN)
    gamma, gamma_in = np.float32(alpharp), np.float32((1.0 - alpharp) * wrp)
    _decolle(_columns(drive_TBN), _flat(R_BN), _flat(S_BN), gamma, gamma_in, _columns(S_TBN))
    return S_TBN, drive_TBN, NeuronState(R_BN, S_BN)


def cuba_chunk(
    current_TBN: torch.Tensor, state: NeuronState, alpha: float, vth: float
) -> tuple[torch.Tensor, torch.Tensor, NeuronState]:
    """As `neurons.cuba_chunk`, but the current is overwritten: it becomes v - vth."""
    v_BN = state.register_BN.clone()
    S_TBN = torch.empty_like(current_TBN)
    alpha_in = np.float32(1.0 - alpha)
    _cuba(_columns(current_TBN), _flat(v_BN), np.float32(alpha), alpha_in, np.float32(vth), _columns(S_TBN))
    return S_TBN, current_TBN, NeuronState(v_BN, S_TBN[-1])


def local_delta(
    dL_dy_TBC: torch.Tensor, feedback_CN: torch.Tensor, potential_TBN: torch.Tensor, surrogate: str
) -> torch.Tensor:
    """As `neurons.local_delta`."""
    delta_TBN = torch.empty_like(potential_TBN)
    _delta(
        dL_dy_TBC.flatten(0, 1).numpy(), feedback_CN.numpy(), potential_TBN.flatten(0, 1).numpy(),
        SURROGATE_CODES[surrogate], delta_TBN.flatten(0, 1).numpy(),
    )  # fmt: skip
    return delta_TBN


def _columns(tensor_TBX: torch.Tensor) -> np.ndarray:
    # .numpy() of a contiguous tensor shares its memory; the kernels write through it.
    assert tensor_TBX.is_contiguous()
    return tensor_TBX.view(len(tensor_TBX), tensor_TBX[0].numel() if len(tensor_TBX) else 0).numpy()


def _flat(tensor_BX: torch.Tensor) -> np.ndarray:
    assert tensor_BX.is_contiguous()
    return tensor_BX.view(-1).numpy()
