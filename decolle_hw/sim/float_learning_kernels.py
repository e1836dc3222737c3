"""Compiled steps of a dense layer that learns in real numbers: the order of `decolle_hw.sim.learning_kernels`.

A ring holds the traces of the inputs at each step of an epoch, as a product may want those at the step of a spike::

    ring[t] = kept ring[t-1] + impulse S_in[t]

At the end of an epoch ``w += gain * dependency * factors`` for each product, with the weight as it was before.
"""

# B runs, S steps, I inputs, N neurons, C classes, T steps of an epoch, P products, F factors

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from decolle_hw.compiler.plasticity import TRACE_MAX
from decolle_hw.sim.kernels import find_active
from decolle_hw.sim.learning_engine import OF_U, OF_X0, OF_Y0, SIGN_W, X0, X1, Y0, Y1, W

# Numba compiles for the array types it is given; to a type checker they are Any.
Array = Any


class FloatLayerState(NamedTuple):
    """All that one layer remembers from one step to the next, of every run; see `LayerState`."""

    weight: Array  # (B, I, N) float32
    sum: Array  # (B, N) float64
    u: Array  # (B, N) float64
    v: Array  # (B, N) float64
    r: Array  # (B, N) float64
    spikes: Array  # (B, N) uint8
    ring: Array  # (B, T, 2, I) float32 x1, x2 at the steps of the epoch
    tx: Array  # (B, I) uint8 step of the epoch in which an input last spiked
    ty: Array  # (B, N) uint8
    y: Array  # (B, 2, N) float32
    readout: Array  # (B, C) float64
    z: Array  # (B, C) float64
    feedback: Array  # (B, N) float64


class FloatRegisters(NamedTuple):
    """A layer and its loop in real numbers."""

    is_decolle: bool
    unit: float  # what a weight of 1 adds to u
    keep_u: float
    keep_v: float
    keep_r: float
    rho: float
    threshold: NDArray[np.float64]  # (N,) on the scale of v
    bias: NDArray[np.float64]  # (N,)
    slot: int
    reset: int
    learns: bool
    readout_NC: NDArray[np.float64]
    readout_bias: NDArray[np.float64]  # (C,)
    on: float
    off: float
    keep_z: float
    error_unit: float
    dead_zone: float
    feedback_unit: float
    gate_width: float


class FloatRule(NamedTuple):
    """A rule and its traces in real numbers."""

    epoch: int
    period: int  # epochs from one in which u_k is 1 to the next
    dependency: NDArray[np.int64]  # (P,)
    gain: NDArray[np.float64]  # (P,)
    of_weight: NDArray[np.bool_]  # (P,) whether the weight is a factor
    factors: NDArray[np.int64]  # (P, F, 2) kind, constant; kind -1: none
    kept: NDArray[np.float32]  # (2,) share of x1, x2 that a step leaves
    impulse: NDArray[np.float32]  # (2,)


@njit(cache=True)
def step_float_neurons(registers: FloatRegisters, sum_N: Array, u_N: Array, v_N: Array, r_N: Array, spikes_N: Array,
                       distance_N: Array) -> None:  # fmt: skip
    """Equations in `decolle_hw.compiler.layers.Layer`; `distance_N` receives U, before any reset."""
    for n in range(u_N.shape[0]):
        u_N[n] = registers.keep_u * u_N[n] + registers.unit * sum_N[n]
        v_N[n] = registers.keep_v * v_N[n] + u_N[n] + registers.bias[n]
        distance_N[n] = v_N[n] - registers.threshold[n]
        if registers.is_decolle:
            r_N[n] = registers.keep_r * r_N[n] - registers.rho * spikes_N[n]
            distance_N[n] += r_N[n]
        spikes_N[n] = distance_N[n] > 0
        if spikes_N[n] and not registers.is_decolle:
            v_N[n] = 0.0


@njit(cache=True)
def float_error_loop(registers: FloatRegisters, target: int, spikes_N: Array, distance_N: Array, readout_C: Array,
                     z_C: Array, error_C: Array, feedback_N: Array, y_2N: Array) -> None:  # fmt: skip
    """Equations in `decolle_hw.compiler.learning_program`, without rounding; y is not cut to 7 bits, the error is."""
    neurons, classes = registers.readout_NC.shape
    for n in range(neurons):
        third = feedback_N[n] / registers.feedback_unit
        if abs(distance_N[n]) >= registers.gate_width:
            third = 0.0
        y_2N[0, n] = max(third, 0.0)
        y_2N[1, n] = max(-third, 0.0)
    for c in range(classes):
        z_C[c] = registers.keep_z * z_C[c] + readout_C[c]
        error_C[c] = 0.0
        if target >= 0:
            error = (registers.on if c == target else registers.off) - z_C[c] - registers.readout_bias[c]
            if abs(error) > registers.dead_zone:
                error_C[c] = min(max(error / registers.error_unit, -TRACE_MAX), TRACE_MAX)
        readout_C[c] = 0.0
    for n in range(neurons):
        feedback_N[n] = 0.0
        if target >= 0:
            for c in range(classes):
                feedback_N[n] += error_C[c] * registers.readout_NC[n, c]
        if spikes_N[n]:
            for c in range(classes):
                readout_C[c] += registers.readout_NC[n, c]


@njit(cache=True)
def multiply_factors(factors_F: Array, spiked: Array, traces: Array, spike_kind: int, trace_kind: int, out: Array
                     ) -> bool:  # fmt: skip
    """The factors of a product that belong to inputs, or to neurons, multiplied; whether any is not 0."""
    out[:] = 1.0
    for f in range(factors_F.shape[0]):
        kind, constant = factors_F[f]
        for i in range(out.shape[0]):
            if kind == spike_kind:
                out[i] *= (spiked[i] > 0) + constant
            elif kind == trace_kind or kind == trace_kind + 1:
                out[i] *= traces[kind - trace_kind, i] + constant
    return bool(np.any(out))


@njit(cache=True)
def of_the_weight(factors_F: Array, weight: float) -> float:
    """The factors of a product that read the weight, multiplied."""
    value = 1.0
    for f in range(factors_F.shape[0]):
        kind, constant = factors_F[f]
        if kind == W:
            value *= weight + constant
        elif kind == SIGN_W:
            value *= np.sign(weight + constant)
    return value


@njit(cache=True)
def learn_float_epoch(rule: FloatRule, epoch: int, ring_T2I: Array, tx_I: Array, ty_N: Array, y_2N: Array,
                      weight_IN: Array, x_I: Array, z_N: Array) -> None:  # fmt: skip
    """Apply the rule at the end of epoch number `epoch` (from 1). `x_I`, `z_N`: scratch."""
    steps, inputs, neurons = ring_T2I.shape[0], weight_IN.shape[0], weight_IN.shape[1]
    before_IN = weight_IN.copy() if np.any(rule.of_weight) else weight_IN
    for p in range(rule.gain.shape[0]):
        dependency, factors_F = rule.dependency[p], rule.factors[p]
        if dependency == OF_U and epoch % rule.period:
            continue
        if not multiply_factors(factors_F, ty_N, y_2N, Y0, Y1, z_N):
            continue
        for t in range(0 if dependency != OF_U else steps - 1, steps):
            # Of x0 and y0, each synapse takes the step in which its input, or its neuron, last spiked.
            if not multiply_factors(factors_F, tx_I, ring_T2I[t], X0, X1, x_I):
                continue
            for i in range(inputs):
                if x_I[i] == 0 or (dependency == OF_X0 and tx_I[i] != t + 1):
                    continue
                scale = np.float32(rule.gain[p] * x_I[i])
                if dependency != OF_Y0 and not rule.of_weight[p]:
                    for n in range(neurons):
                        weight_IN[i, n] += scale * z_N[n]
                    continue
                for n in range(neurons):
                    if dependency != OF_Y0 or ty_N[n] == t + 1:
                        weight_IN[i, n] += scale * z_N[n] * of_the_weight(factors_F, before_IN[i, n])


@njit(cache=True)
def float_learning_run(b: np.int64, pre_SI: Array, target_S: Array, start: int, registers: FloatRegisters,
                       rule: FloatRule, state: FloatLayerState, out_SN: Array) -> None:  # fmt: skip
    """Run number b of `float_learning_layer`."""
    steps, width = pre_SI.shape
    inputs, neurons = state.weight.shape[1:]
    length = rule.epoch
    active_I = np.zeros(width + 1, np.int64)  # one place more: see find_active
    distance_N = np.zeros(neurons)
    error_C = np.zeros(state.z.shape[1])
    x_I, third_N = np.zeros(inputs, np.float32), np.zeros(neurons, np.float32)
    weight_IN, sum_N, spikes_N = state.weight[b], state.sum[b], state.spikes[b]
    u_N, v_N, r_N = state.u[b], state.v[b], state.r[b]
    ring_T2I, tx_I, ty_N, y_2N = state.ring[b], state.tx[b], state.ty[b], state.y[b]
    readout_C, z_C, feedback_N = state.readout[b], state.z[b], state.feedback[b]
    for s in range(steps):
        if (start + s) % registers.slot == registers.reset:
            u_N[:] = 0
            v_N[:] = 0
            z_C[:] = 0
            readout_C[:] = 0
            if registers.is_decolle:
                r_N[:] = 0
                spikes_N[:] = 0
                sum_N[:] = 0
        step_float_neurons(registers, sum_N, u_N, v_N, r_N, spikes_N, distance_N)
        out_SN[s] = spikes_N
        count = find_active(pre_SI[s], active_I)
        sum_N[:] = 0
        for j in range(count):
            row_N = weight_IN[active_I[j]]
            for n in range(neurons):
                sum_N[n] += row_N[n]
        if not registers.learns:
            continue
        float_error_loop(registers, target_S[s], spikes_N, distance_N, readout_C, z_C, error_C, feedback_N, y_2N)
        within = (start + s) % length
        for k in range(2):
            for i in range(inputs):
                ring_T2I[within, k, i] = rule.kept[k] * ring_T2I[within - 1, k, i]  # -1: the last of the epoch before
            for j in range(count):
                ring_T2I[within, k, active_I[j]] += rule.impulse[k]
        for j in range(count):
            tx_I[active_I[j]] = within + 1
        for n in range(neurons):
            if spikes_N[n]:
                ty_N[n] = within + 1
        if within == length - 1:
            learn_float_epoch(
                rule, (start + s + 1) // length, ring_T2I, tx_I, ty_N, y_2N, weight_IN, x_I, third_N
            )  # fmt: skip
            tx_I[:] = 0
            ty_N[:] = 0


@njit(parallel=True, cache=True)
def float_learning_layer(pre_BSI: Array, target_BS: Array, start: int, registers: FloatRegisters, rule: FloatRule,
                         state: FloatLayerState, out_BSN: Array) -> None:  # fmt: skip
    """Steps ``start .. start + S - 1`` of every run; arguments as in `learning_kernels.learning_layer`."""
    for b in prange(pre_BSI.shape[0]):
        float_learning_run(np.int64(b), pre_BSI[b], target_BS[b], start, registers, rule, state, out_BSN[b])
