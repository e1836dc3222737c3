"""The two float neurons, state in, state out, over a chunk of time steps.

This is the definition, in torch for any device and dtype; `decolle_hw.nn.kernels` is its compiled twin for the CPU.

Traces of the input are shared by both; they are the P that the three-factor rule multiplies::

    Q[t] = beta  Q[t-1] + (1-beta)  S_in[t]
    P[t] = alpha P[t-1] + (1-alpha) Q[t-1]          # Q of the previous step

decolle (Kaiser, Mostafa, Neftci 2020, with the normalised traces of the authors' code)::

    R[t] = gamma R[t-1] - (1-gamma) rho S[t-1]
    U[t] = W P[t] + b + R[t];   S[t] = U[t] > 0

cuba (Lava's LIF; weights in the same units, so that the same learning rates serve)::

    u[t] = beta u[t-1] + (1-beta) W S_in[t-1]                             = W Q[t-1]
    v[t] = alpha v[t-1] + (1-alpha) (u[t] + b);   S[t] = v[t] > vth;   v[t] = 0 where S[t]

with beta = 1 - du and alpha = 1 - dv. The factor (1-alpha)(1-beta) moves into the integer weights when compiled.
"""

# T steps of a chunk, B batch, I inputs, N neurons

from __future__ import annotations

from typing import NamedTuple

import torch

from decolle_hw.nn.surrogate import SURROGATES

Decay = float | torch.Tensor  # one for all, or (I,) per input


class Traces(NamedTuple):
    """Filtered input at the end of the last chunk, (B, I) each."""

    Q_BI: torch.Tensor
    P_BI: torch.Tensor


class NeuronState(NamedTuple):
    """State of the neurons at the end of the last chunk, (B, N) each.

    For decolle `register` is R and `spikes` is S; for cuba `register` is v (after reset).
    """

    register_BN: torch.Tensor
    spikes_BN: torch.Tensor


def trace_chunk(
    spikes_TBI: torch.Tensor, traces: Traces, alpha: Decay, beta: Decay, keep_Q: bool = True
) -> tuple[torch.Tensor, torch.Tensor, Traces]:
    """Filter a chunk of input spikes, of any dtype; alpha and beta for all inputs or (I,) for each.

    Returns:
        P[t] for each step (T, B, I); Q[t-1] for each step (T, B, I), what the synaptic current sees (nobody may
        look at it if not `keep_Q`); the traces.
    """
    del keep_Q  # here it costs nothing
    spikes_TBI = spikes_TBI.to(traces.Q_BI.dtype)
    steps = spikes_TBI.shape[0]
    # One buffer holds Q[-1], Q[0], ...: the first T rows are Q[t-1] and no copy is needed.
    Q_all = spikes_TBI.new_empty((steps + 1, *spikes_TBI.shape[1:]))
    P_TBI = torch.empty_like(spikes_TBI)
    Q_all[0] = traces.Q_BI
    P_last = traces.P_BI
    for t in range(steps):
        torch.mul(P_last, alpha, out=P_TBI[t]).add_((1.0 - alpha) * Q_all[t])
        torch.mul(Q_all[t], beta, out=Q_all[t + 1]).add_((1.0 - beta) * spikes_TBI[t])
        P_last = P_TBI[t]
    return P_TBI, Q_all[:steps], Traces(Q_all[steps], P_last)


def decolle_chunk(
    drive_TBN: torch.Tensor, state: NeuronState, alpharp: float, wrp: float
) -> tuple[torch.Tensor, torch.Tensor, NeuronState]:
    """Run decolle neurons on ``drive = W P + b``.

    Returns:
        spikes S (T, B, N) as 0/1 floats, potentials U (T, B, N), the state.
    """
    S_TBN = torch.empty_like(drive_TBN)
    U_TBN = torch.empty_like(drive_TBN)
    R_BN, S_BN = state
    for t in range(drive_TBN.shape[0]):
        R_BN = (alpharp * R_BN).sub_(S_BN, alpha=(1.0 - alpharp) * wrp)
        torch.add(drive_TBN[t], R_BN, out=U_TBN[t])
        torch.gt(U_TBN[t], 0.0, out=S_TBN[t])
        S_BN = S_TBN[t]
    return S_TBN, U_TBN, NeuronState(R_BN, S_BN)


def cuba_chunk(
    current_TBN: torch.Tensor, state: NeuronState, alpha: float, vth: float
) -> tuple[torch.Tensor, torch.Tensor, NeuronState]:
    """Run cuba neurons on ``current = W Q[t-1] + b``.

    Returns:
        spikes S (T, B, N) as 0/1 floats, distance to threshold v - vth *before* the reset (T, B, N), the state.
    """
    S_TBN = torch.empty_like(current_TBN)
    U_TBN = torch.empty_like(current_TBN)
    v_BN = state.register_BN
    for t in range(current_TBN.shape[0]):
        v_BN = (alpha * v_BN).add_(current_TBN[t], alpha=1.0 - alpha)
        torch.sub(v_BN, vth, out=U_TBN[t])
        torch.gt(U_TBN[t], 0.0, out=S_TBN[t])
        v_BN = v_BN.masked_fill_(S_TBN[t].bool(), 0.0)
    return S_TBN, U_TBN, NeuronState(v_BN, S_TBN[-1])


def local_delta(
    dL_dy_TBC: torch.Tensor, feedback_CN: torch.Tensor, potential_TBN: torch.Tensor, surrogate: str
) -> torch.Tensor:
    """``(F^T dL/dy) * sigma'(U)``, (T, B, N): the part of the rule that belongs to the neuron."""
    return (dL_dy_TBC @ feedback_CN).mul_(SURROGATES[surrogate](potential_TBN))
