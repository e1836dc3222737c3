"""Compiled inner loops of the reference simulator: one layer, all recordings, event-driven.

Each recording is independent, so recordings run in parallel; each step touches only the weights of inputs that
spiked. A kernel is a kind of synapse; the neurons behind it are those of `decolle_hw.sim.neuron_kernels`.

What all kernels take. `spikes_RTI`: contiguous, its last axis a multiple of 8, with silent inputs at its end if need
be. `first`: the step at which the layer leaves its reset state. `registers`: is_decolle, du, dv, dr, rho. `out_*`:
(R, T, N) and zeroed; u, v and (decolle) r are written only where `record`, else their arrays may be empty.
"""

# R recordings, T steps, I inputs, N neurons, D longest delay

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from decolle_hw.fixedpoint import shift_sum, to_int32
from decolle_hw.sim.neuron_kernels import step_neurons

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


@njit(parallel=True, cache=True)
def dense_layer(
    spikes_RTI: Array, weight_IN: Array, weight_exp: int, vth_N: Array, bias_N: Array, registers: Array,
    first: int, record: bool, out_S: Array, out_u: Array, out_v: Array, out_r: Array,
) -> None:  # fmt: skip
    """Equation in `decolle_hw.compiler.layers.DenseLayer`, without delays."""
    recordings, steps, inputs = spikes_RTI.shape
    neurons = weight_IN.shape[1]
    is_decolle, du, dv, dr, rho = registers
    for k in prange(recordings):
        active_I = np.zeros(inputs + 1, np.int64)  # one place more: see find_active
        sum_N = np.zeros(neurons, np.int32)
        u_N, v_N, r_N = np.zeros(neurons, np.int32), np.zeros(neurons, np.int32), np.zeros(neurons, np.int32)
        silent_N = np.zeros(neurons, np.uint8)
        for t in range(first, steps):
            if t > 0:  # Dense sends the sum of the step before
                count = find_active(spikes_RTI[k, t - 1], active_I)
                add_rows(active_I, count, weight_IN, sum_N)
            before_N = out_S[k, t - 1] if t > 0 else silent_N
            step_neurons(
                is_decolle, sum_N, weight_exp, du, dv, vth_N, bias_N, dr, rho, before_N, u_N, v_N, r_N, out_S[k, t]
            )
            if record:
                out_u[k, t], out_v[k, t] = u_N, v_N
                if is_decolle:
                    out_r[k, t] = r_N


@njit(cache=True)
def send_delayed(
    active_I: Array, count: int, weight_IN: Array, delay_IN: Array, weight_exp: int, t: int, part_DN: Array,
    ring_DN: Array,
) -> None:  # fmt: skip
    """Put what `count` spikes send into the ring, where the steps at which it arrives stand; `part_DN`: scratch."""
    places, neurons = ring_DN.shape
    part_DN[:] = 0
    for j in range(count):
        for n in range(neurons):
            part_DN[delay_IN[active_I[j], n], n] += weight_IN[active_I[j], n]
    for d in range(places):
        for n in range(neurons):
            ring_DN[(t + d) % places, n] += shift_sum(part_DN[d, n], weight_exp)


@njit(parallel=True, cache=True)
def delayed_layer(
    spikes_RTI: Array, weight_IN: Array, delay_IN: Array, weight_exp: int, vth_N: Array, bias_N: Array,
    registers: Array, first: int, record: bool, out_S: Array, out_u: Array, out_v: Array, out_r: Array,
) -> None:  # fmt: skip
    """Equation in `decolle_hw.compiler.layers.DenseLayer`, with delays.

    What has been sent and not yet arrived waits in a ring of D + 1 sums, as in Lava's buffer; each delay's part of a
    sum is shifted on its own before it goes there.
    """
    recordings, steps, inputs = spikes_RTI.shape
    neurons = weight_IN.shape[1]
    is_decolle, du, dv, dr, rho = registers
    places = delay_IN.max() + 1
    for k in prange(recordings):
        active_I = np.zeros(inputs + 1, np.int64)
        part_DN = np.zeros((places, neurons), np.int64)
        ring_DN = np.zeros((places, neurons), np.int64)
        u_N, v_N, r_N = np.zeros(neurons, np.int32), np.zeros(neurons, np.int32), np.zeros(neurons, np.int32)
        silent_N = np.zeros(neurons, np.uint8)
        for t in range(first, steps):
            now = t % places
            if t > 0:
                count = find_active(spikes_RTI[k, t - 1], active_I)
                send_delayed(active_I, count, weight_IN, delay_IN, weight_exp, t, part_DN, ring_DN)
            for n in range(neurons):
                ring_DN[now, n] = to_int32(ring_DN[now, n])
            before_N = out_S[k, t - 1] if t > 0 else silent_N
            step_neurons(
                is_decolle, ring_DN[now], 0, du, dv, vth_N, bias_N, dr, rho, before_N, u_N, v_N, r_N, out_S[k, t]
            )
            ring_DN[now] = 0
            if record:
                out_u[k, t], out_v[k, t] = u_N, v_N
                if is_decolle:
                    out_r[k, t] = r_N


@njit(parallel=True, cache=True)
def biased_neurons(
    bias_RI: Array, du: int, dv: int, vth_I: Array, record: bool, out_S: Array, out_u: Array, out_v: Array
) -> None:
    """Equation in `decolle_hw.compiler.input_block.InputBlock`; bias_RI is shifted already."""
    recordings, steps, inputs = out_S.shape
    for k in prange(recordings):
        nothing_I = np.zeros(inputs, np.int32)
        u_I, v_I = np.zeros(inputs, np.int32), np.zeros(inputs, np.int32)
        for t in range(steps):
            step_neurons(
                False, nothing_I, 0, du, dv, vth_I, bias_RI[k], 0, 0, out_S[k, t], u_I, v_I, nothing_I, out_S[k, t]
            )
            if record:
                out_u[k, t], out_v[k, t] = u_I, v_I
