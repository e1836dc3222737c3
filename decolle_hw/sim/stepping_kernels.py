"""Compiled inner loops of one stream: the sums of a few steps of a layer, then its neurons, from a state that stays.

A synapse without delays keeps nothing from one step to the next, so its kernel makes the sums of all steps at once;
what a step depends on lies in the neurons, which have one kernel for all. `decolle_hw.sim.kernels` does both in one
loop and starts every recording anew. The arithmetic is written once: both call the same functions for it.

`spikes_KI`: what arrives at each step; contiguous, its last axis a multiple of 8, as in `decolle_hw.sim.kernels`.
"""

# K steps, I inputs, N neurons, D longest delay

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from decolle_hw.fixedpoint import to_int32, wrap24
from decolle_hw.sim.conv_kernels import add_kernel, add_kernel_rows
from decolle_hw.sim.kernels import add_rows, find_active, send_delayed
from decolle_hw.sim.neuron_kernels import step_neurons

# Numba compiles for the array types it is given; to a type checker they are Any.
Array = Any


@njit(cache=True)
def dense_sums(spikes_KI: Array, out_KN: Array, weight_IN: Array) -> None:
    """``sum = W S`` of each step."""
    active_I = np.zeros(spikes_KI.shape[1] + 1, np.int64)  # one place more: see find_active
    for k in range(len(spikes_KI)):
        add_rows(active_I, find_active(spikes_KI[k], active_I), weight_IN, out_KN[k])


@njit(cache=True)
def delayed_sums(
    spikes_KI: Array, out_KN: Array, start: int, ring_DN: Array, weight_IN: Array, delay_IN: Array, weight_exp: int
) -> None:
    """Sums with delays, shifted already; `ring_DN` holds what is on its way at step `start` and is changed in place."""
    places, neurons = ring_DN.shape
    active_I = np.zeros(spikes_KI.shape[1] + 1, np.int64)
    part_DN = np.zeros((places, neurons), np.int64)
    for k in range(len(spikes_KI)):
        t = start + k
        count = find_active(spikes_KI[k], active_I)
        if count:
            send_delayed(active_I, count, weight_IN, delay_IN, weight_exp, t, part_DN, ring_DN)
        for n in range(neurons):
            out_KN[k, n] = to_int32(ring_DN[t % places, n])
        ring_DN[t % places] = 0


@njit(cache=True)
def conv_sums(
    spikes_KI: Array, out_KN: Array, place_I3: Array, weight_cKKC: Array, mirrored_cKX: Array, geometry: Array,
    map_shape: Array,
) -> None:  # fmt: skip
    """Sums of a convolution, channels-last; arguments as in `decolle_hw.sim.conv_kernels.conv_layer`."""
    channels, height, width = map_shape
    active_I = np.zeros(spikes_KI.shape[1] + 1, np.int64)
    for k in range(len(spikes_KI)):
        sum_N = out_KN[k]
        sum_N[:] = 0
        for j in range(find_active(spikes_KI[k], active_I)):
            c, y, x = place_I3[active_I[j]]
            if len(mirrored_cKX):
                add_kernel_rows(c, y, x, mirrored_cKX, geometry, height, width, channels, sum_N)
            else:
                add_kernel(c, y, x, weight_cKKC, geometry, height, width, channels, sum_N)
        for n in range(len(sum_N)):
            sum_N[n] = wrap24(sum_N[n])


@njit(cache=True)
def neuron_steps(
    sum_KN: Array, weight_exp: int, registers: Array, vth_N: Array, bias_N: Array,
    spike_N: Array, u_N: Array, v_N: Array, r_N: Array, out_KN: Array,
) -> None:  # fmt: skip
    """All steps of a layer's neurons; `spike_N` (of the step before), u, v and r are changed in place."""
    is_decolle, du, dv, dr, rho = registers
    for k in range(len(sum_KN)):
        step_neurons(
            is_decolle, sum_KN[k], weight_exp, du, dv, vth_N, bias_N, dr, rho, spike_N, u_N, v_N, r_N, out_KN[k]
        )
        spike_N[:] = out_KN[k]
