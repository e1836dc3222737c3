"""Compiled inner loops of the reference simulator: one layer, all recordings, event-driven.

Each recording is independent, so recordings run in parallel; each step touches only the weight rows of inputs that
spiked. The arithmetic is that of `decolle_hw.fixedpoint`, in the order of Lava's models.
"""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import numpy as np
from numba import njit, prange

from decolle_hw.fixedpoint import align, decay, saturate, shift_sum, to_int32, wrap_current


@njit(cache=True)
def accumulate(spikes_I, weight_IN, sum_N):  # type: ignore[no-untyped-def]
    """sum = W S, adding one row of weights per spike."""
    sum_N[:] = 0
    for i in range(spikes_I.shape[0]):
        if spikes_I[i]:
            row = weight_IN[i]
            for n in range(sum_N.shape[0]):
                sum_N[n] += row[n]


@njit(parallel=True, cache=True)
def cuba_layer(  # type: ignore[no-untyped-def]
    spikes_RTI, weight_IN, weight_exp, du, dv, vth_N, bias_N, first_step, record, out_S, out_u, out_v
):
    """Stock LIF: equations in `decolle_hw.compiler.program.DenseLayer`.

    `out_*` are (R, T, N) and zeroed; u and v are written only where `record` (their arrays may be empty otherwise).
    """
    recordings, steps, _ = spikes_RTI.shape
    neurons = weight_IN.shape[1]
    for r in prange(recordings):
        sum_N = np.zeros(neurons, np.int32)
        u_N = np.zeros(neurons, np.int64)
        v_N = np.zeros(neurons, np.int64)
        for t in range(first_step, steps):
            if t > 0:  # Dense sends the sum of the step before
                accumulate(spikes_RTI[r, t - 1], weight_IN, sum_N)
            for n in range(neurons):
                synaptic = align(shift_sum(sum_N[n], weight_exp))
                u = wrap_current(to_int32(decay(u_N[n], du + 1) + synaptic))
                v = saturate(to_int32(decay(v_N[n], dv) + u + bias_N[n]))
                spike = v > align(vth_N[n])
                if spike:
                    v = np.int64(0)
                u_N[n] = u
                v_N[n] = v
                out_S[r, t, n] = spike
                if record:
                    out_u[r, t, n] = u
                    out_v[r, t, n] = v


@njit(parallel=True, cache=True)
def decolle_layer(  # type: ignore[no-untyped-def]
    spikes_RTI, weight_IN, weight_exp, du, dv, vth_N, dr, rho, record, out_S, out_u, out_v, out_r
):
    """Microcode neuron with refractory register: equations in `decolle_hw.compiler.program.DenseLayer`.

    `out_*` as in `cuba_layer`.
    """
    recordings, steps, _ = spikes_RTI.shape
    neurons = weight_IN.shape[1]
    for k in prange(recordings):
        sum_N = np.zeros(neurons, np.int32)
        u_N = np.zeros(neurons, np.int64)
        v_N = np.zeros(neurons, np.int64)
        r_N = np.zeros(neurons, np.int64)
        spike_N = np.zeros(neurons, np.int64)
        for t in range(steps):
            if t > 0:
                accumulate(spikes_RTI[k, t - 1], weight_IN, sum_N)
            for n in range(neurons):
                synaptic = align(shift_sum(sum_N[n], weight_exp))
                u = wrap_current(to_int32(decay(u_N[n], du + 1) + synaptic))
                v = saturate(to_int32(decay(v_N[n], dv) + u))
                r = saturate(decay(r_N[n], dr) - rho * spike_N[n])
                spike = v + r > align(vth_N[n])
                u_N[n] = u
                v_N[n] = v
                r_N[n] = r
                spike_N[n] = spike
                out_S[k, t, n] = spike
                if record:
                    out_u[k, t, n] = u
                    out_v[k, t, n] = v
                    out_r[k, t, n] = r
