"""Compiled inner loops of the reference simulator: one layer, all recordings, event-driven.

Each recording is independent, so recordings run in parallel; each step touches only the weight rows of inputs
that spiked. The arithmetic is that of `decolle_hw.fixedpoint`, in the order of Lava's models.

One equation is one loop over the neurons, in a function of its own: a loop that touches two or three arrays is
compiled to vector instructions, one that does a whole step is not, as LLVM gives up proving that ten arrays do
not overlap (1.8 times as fast when the two were timed side by side, on 512 neurons).
"""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from decolle_hw.fixedpoint import (
    CURRENT_DECAY_OFFSET,
    VOLTAGE_DECAY_OFFSET,
    align,
    decay,
    saturate,
    shift_sum,
    to_int32,
    wrap_current,
)

# Numba compiles for the array types it is given; to a type checker they are Any.
Array = Any


@njit(cache=True)
def find_active(spikes_I: Array, active_I: Array) -> int:
    """Write the indices of the inputs that spiked, return how many. Silent inputs are passed eight at a time."""
    words = spikes_I.view(np.uint64)
    count = 0
    for word in range(words.shape[0]):
        if words[word]:
            for i in range(8 * word, 8 * word + 8):
                active_I[count] = i
                count += spikes_I[i] != 0  # a silent input's index is overwritten by the next one
    return count


@njit(cache=True)
def add_rows(active_I: Array, count: int, weight_IN: Array, sum_N: Array) -> None:
    """``sum = W S``, one row of weights per spike. 32 bits hold it for fewer than 2**23 inputs.

    Four rows at a time, so that the sum is loaded and stored a quarter as often.
    """
    sum_N[:] = 0
    fours = count - count % 4
    for j in range(0, fours, 4):
        a_N, b_N = weight_IN[active_I[j]], weight_IN[active_I[j + 1]]
        c_N, d_N = weight_IN[active_I[j + 2]], weight_IN[active_I[j + 3]]
        for n in range(sum_N.shape[0]):
            sum_N[n] += a_N[n] + b_N[n] + c_N[n] + d_N[n]
    for j in range(fours, count):
        row_N = weight_IN[active_I[j]]
        for n in range(sum_N.shape[0]):
            sum_N[n] += row_N[n]


@njit(cache=True)
def step_current(sum_N: Array, weight_exp: int, du: int, u_N: Array) -> None:
    """``u = wrap(decay(u, du+1) + (shift(sum, weight_exp) << 6))``"""
    for n in range(u_N.shape[0]):
        synaptic = align(shift_sum(sum_N[n], weight_exp))
        u_N[n] = wrap_current(to_int32(decay(u_N[n], du + CURRENT_DECAY_OFFSET) + synaptic))


@njit(cache=True)
def step_voltage(u_N: Array, bias_N: Array, dv: int, v_N: Array) -> None:
    """``v = saturate(decay(v, dv) + u + bias)``"""
    for n in range(v_N.shape[0]):
        v_N[n] = saturate(to_int32(decay(v_N[n], dv + VOLTAGE_DECAY_OFFSET) + u_N[n] + bias_N[n]))


@njit(cache=True)
def step_refractory(spike_N: Array, dr: int, rho: int, r_N: Array) -> None:
    """``r = saturate(decay(r, dr) - rho S)``, S of the step before"""
    for n in range(r_N.shape[0]):
        r_N[n] = saturate(decay(r_N[n], dr) - rho * np.int64(spike_N[n]))


@njit(cache=True)
def fire(v_N: Array, vth_N: Array, spike_N: Array) -> None:
    """``S = v > vth << 6``"""
    for n in range(v_N.shape[0]):
        spike_N[n] = v_N[n] > align(vth_N[n])


@njit(cache=True)
def reset_voltage(spike_N: Array, v_N: Array) -> None:
    """``v = 0 where S``"""
    for n in range(v_N.shape[0]):
        v_N[n] *= 1 - np.int32(spike_N[n])


@njit(parallel=True, cache=True)
def cuba_layer(
    spikes_RTI: Array, weight_IN: Array, weight_exp: int, du: int, dv: int, vth_N: Array, bias_N: Array,
    first_step: int, record: bool, out_S: Array, out_u: Array, out_v: Array,
) -> None:  # fmt: skip
    """Stock LIF: equations in `decolle_hw.compiler.program.DenseLayer`.

    `spikes_RTI` is contiguous and its last axis a multiple of 8, with silent inputs at its end if need be.
    `out_*` are (R, T, N) and zeroed; u and v are written only where `record` (else their arrays may be empty).
    """
    recordings, steps, inputs = spikes_RTI.shape
    neurons = weight_IN.shape[1]
    for k in prange(recordings):
        active_I = np.zeros(inputs + 1, np.int64)  # one place more: see find_active
        sum_N = np.zeros(neurons, np.int32)
        u_N = np.zeros(neurons, np.int32)
        v_N = np.zeros(neurons, np.int32)
        for t in range(first_step, steps):
            if t > 0:  # Dense sends the sum of the step before
                count = find_active(spikes_RTI[k, t - 1], active_I)
                add_rows(active_I, count, weight_IN, sum_N)
            step_current(sum_N, weight_exp, du, u_N)
            step_voltage(u_N, bias_N, dv, v_N)
            fire(v_N, vth_N, out_S[k, t])
            reset_voltage(out_S[k, t], v_N)
            if record:
                out_u[k, t] = u_N
                out_v[k, t] = v_N


@njit(parallel=True, cache=True)
def decolle_layer(
    spikes_RTI: Array, weight_IN: Array, weight_exp: int, du: int, dv: int, vth_N: Array, bias_N: Array,
    dr: int, rho: int, record: bool, out_S: Array, out_u: Array, out_v: Array, out_r: Array,
) -> None:  # fmt: skip
    """Microcode neuron with refractory register: equations in `decolle_hw.compiler.program.DenseLayer`.

    Arrays as in `cuba_layer`; `bias_N` is zero by definition of the neuron.
    """
    recordings, steps, inputs = spikes_RTI.shape
    neurons = weight_IN.shape[1]
    for k in prange(recordings):
        active_I = np.zeros(inputs + 1, np.int64)  # one place more: see find_active
        sum_N = np.zeros(neurons, np.int32)
        u_N = np.zeros(neurons, np.int32)
        v_N = np.zeros(neurons, np.int32)
        r_N = np.zeros(neurons, np.int32)
        for t in range(steps):
            if t > 0:
                count = find_active(spikes_RTI[k, t - 1], active_I)
                add_rows(active_I, count, weight_IN, sum_N)
                step_refractory(out_S[k, t - 1], dr, rho, r_N)
            step_current(sum_N, weight_exp, du, u_N)
            step_voltage(u_N, bias_N, dv, v_N)
            fire(v_N + r_N, vth_N, out_S[k, t])
            if record:
                out_u[k, t] = u_N
                out_v[k, t] = v_N
                out_r[k, t] = r_N
