"""Compiled steps of the neurons, in the arithmetic of `decolle_hw.fixedpoint` and the order of Lava's models.

One equation is one loop over the neurons, in a function of its own: a loop that touches two or three arrays is
compiled to vector instructions, one that does a whole step is not, as LLVM gives up proving that ten arrays do
not overlap (1.8 times as fast when the two were timed side by side, on 512 neurons).
"""

# N neurons

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

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


@njit(cache=True)
def step_neurons(
    is_decolle: bool, sum_N: Array, weight_exp: int, du: int, dv: int, vth_N: Array, bias_N: Array, dr: int, rho: int,
    before_N: Array, u_N: Array, v_N: Array, r_N: Array, spike_N: Array,
) -> None:  # fmt: skip
    """One step of all neurons of a layer: equations in `decolle_hw.compiler.layers.Layer`.

    `before_N` holds the spikes of the step before, `spike_N` receives those of this one; registers change in place.
    `r_N` is used by decolle neurons, `bias_N` is zero for them by definition.
    """
    step_current(sum_N, weight_exp, du, u_N)
    step_voltage(u_N, bias_N, dv, v_N)
    if is_decolle:
        step_refractory(before_N, dr, rho, r_N)
        fire(v_N + r_N, vth_N, spike_N)
    else:
        fire(v_N, vth_N, spike_N)
        reset_voltage(spike_N, v_N)
