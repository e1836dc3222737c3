"""Compiled steps of one dense layer that may learn: all runs side by side, each step by step through its recordings.

In the order of Lava's processes within a step: the synapses pass on the sum of the step before, the neurons step,
gate the third factor and set y1, y2; readout and feedback pass on theirs; the error neurons compare; the synapses
take the new spikes, with the weights as they are, and at the end of an epoch learn.
"""

# B runs, S steps, I inputs, N neurons, C classes, E epochs

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from decolle_hw.compiler.plasticity import TRACE_MAX
from decolle_hw.fixedpoint import align, decay, saturate
from decolle_hw.sim.kernels import add_rows, find_active
from decolle_hw.sim.learning_engine import Engine, note_spike, post_history, trace_history, update_weights
from decolle_hw.sim.neuron_kernels import fire, reset_voltage, step_current, step_refractory, step_voltage

# Numba compiles for the array types it is given; to a type checker they are Any.
Array = Any


class LayerState(NamedTuple):
    """All that one layer remembers from one step to the next, of every run."""

    weight: Array  # (B, I, N) int16
    sum: Array  # (B, N) int32 that the synapses pass on in the next step, before its exponent
    u: Array  # (B, N) int32
    v: Array  # (B, N) int32
    r: Array  # (B, N) int32
    spikes: Array  # (B, N) uint8 of the last step
    x: Array  # (B, 2, I) int16 traces at the start of the epoch, and what second spikes in it have added
    tx: Array  # (B, I) uint8 step of the epoch in which an input last spiked
    y: Array  # (B, 2, N) int16
    ty: Array  # (B, N) uint8
    readout: Array  # (B, C) int32 that the readout passes on in the next step
    z: Array  # (B, C) int32 of the error neurons
    feedback: Array  # (B, N) int32 that the feedback passes on in the next step


class Registers(NamedTuple):
    """What a layer and its loop are, for the compiled loops."""

    is_decolle: bool
    weight_exp: int
    du: int
    dv: int
    dr: int
    rho: int
    vth: NDArray[np.int32]  # (N,)
    bias: NDArray[np.int32]  # (N,)
    slot: int
    reset: int
    learns: bool
    layer: int
    readout_NC: NDArray[np.int32]
    readout_bias: NDArray[np.int32]  # (C,)
    on: int
    off: int
    decay: int
    shift: int
    dead_zone: int
    feedback_shift: int
    gate_width: int


class Outputs(NamedTuple):
    """What is kept of a run; arrays without elements where it is not recorded."""

    spikes: NDArray[np.uint8]  # (B, S, N)
    u: NDArray[np.int32]  # (B, S, N)
    v: NDArray[np.int32]
    r: NDArray[np.int32]
    weight: NDArray[np.int16]  # (B, E, I, N) after each epoch
    x: NDArray[np.int16]  # (B, E, 2, I)
    y: NDArray[np.int16]  # (B, E, 2, N)
    changed: NDArray[np.int64]  # (B,) weights that an update changed, over all updates


@njit(cache=True)
def send_error(incoming_C: Array, target: int, registers: Registers, z_C: Array, error_C: Array) -> bool:
    """Error neurons: equation in `decolle_hw.compiler.learning_program`. Whether any sends."""
    sends = False
    for c in range(z_C.shape[0]):
        z_C[c] = saturate(decay(z_C[c], registers.decay) + incoming_C[c])
        error_C[c] = 0
        if target >= 0:
            wanted = registers.on if c == target else registers.off
            error = np.int64(wanted) - (np.int64(z_C[c]) + registers.readout_bias[c])
            if abs(error) > registers.dead_zone:
                size = min(abs(error) >> registers.shift, TRACE_MAX)
                error_C[c] = size if error > 0 else -size
                sends = sends or size > 0
    return sends


@njit(cache=True)
def set_post_traces(potential_N: Array, registers: Registers, feedback_N: Array, y_2N: Array) -> None:
    """Third factor, gated by the distance of the neuron to its threshold."""
    for n in range(feedback_N.shape[0]):
        y_2N[0, n] = 0
        y_2N[1, n] = 0
        third = feedback_N[n]
        if third == 0 or abs(np.int64(potential_N[n]) - align(registers.vth[n])) >= registers.gate_width:
            continue
        y_2N[0 if third > 0 else 1, n] = min(abs(third) >> registers.feedback_shift, TRACE_MAX)


@njit(cache=True)
def read_out(spikes_N: Array, readout_NC: Array, out_C: Array) -> None:
    """``G S``"""
    out_C[:] = 0
    for n in range(spikes_N.shape[0]):
        if spikes_N[n]:
            for c in range(out_C.shape[0]):
                out_C[c] += readout_NC[n, c]


@njit(cache=True)
def feed_back(error_C: Array, sends: bool, readout_NC: Array, out_N: Array) -> None:
    """``G^T e``"""
    out_N[:] = 0
    if sends:
        for n in range(out_N.shape[0]):
            total = 0
            for c in range(error_C.shape[0]):
                total += error_C[c] * readout_NC[n, c]
            out_N[n] = total


@njit(cache=True)
def learning_run(
    b: np.int64, pre_SI: Array, target_S: Array, start: int, registers: Registers, engine: Engine, randoms: Any,
    seed: int, state: LayerState, out: Outputs,
) -> None:  # fmt: skip
    """Run number b of `learning_layer`."""
    steps, width = pre_SI.shape
    inputs, neurons = state.weight.shape[1:]
    classes = state.z.shape[1]
    products = engine.products.shape[0]
    length = engine.epoch
    active_I = np.zeros(width + 1, np.int64)  # one place more: see find_active
    potential_N = np.zeros(neurons, np.int32)
    error_C = np.zeros(classes, np.int32)
    x_history = np.zeros((2, length + 1, inputs), np.int16)
    y_history = np.zeros((2, length + 1, neurons), np.int16)
    x_PTI = np.zeros((products, length + 1, inputs), np.int32)
    y_PTN = np.zeros((products, length + 1, neurons), np.int32)
    acc_N = np.zeros(neurons, np.int32)
    weight_IN, sum_N = state.weight[b], state.sum[b]
    u_N, v_N, r_N, spikes_N = state.u[b], state.v[b], state.r[b], state.spikes[b]
    x_2I, tx_I, y_2N, ty_N = state.x[b], state.tx[b], state.y[b], state.ty[b]
    readout_C, z_C, feedback_N = state.readout[b], state.z[b], state.feedback[b]
    recorded = 0
    for s in range(steps):
        resets = (start + s) % registers.slot == registers.reset
        if resets:
            u_N[:] = 0
            v_N[:] = 0
            z_C[:] = 0
            readout_C[:] = 0
            if registers.is_decolle:
                r_N[:] = 0
                spikes_N[:] = 0
                sum_N[:] = 0
        step_current(sum_N, registers.weight_exp, registers.du, u_N)
        step_voltage(u_N, registers.bias, registers.dv, v_N)
        potential_N[:] = v_N
        if registers.is_decolle:
            step_refractory(spikes_N, registers.dr, registers.rho, r_N)
            potential_N += r_N
        fire(potential_N, registers.vth, spikes_N)
        if not registers.is_decolle:
            reset_voltage(spikes_N, v_N)
        out.spikes[b, s] = spikes_N
        if out.u.size:
            out.u[b, s], out.v[b, s] = u_N, v_N
            if registers.is_decolle:
                out.r[b, s] = r_N
        count = find_active(pre_SI[s], active_I)
        add_rows(active_I, count, weight_IN, sum_N)
        if not registers.learns:
            continue
        set_post_traces(potential_N, registers, feedback_N, y_2N)
        sends = send_error(readout_C, target_S[s], registers, z_C, error_C)
        feed_back(error_C, sends, registers.readout_NC, feedback_N)
        read_out(spikes_N, registers.readout_NC, readout_C)
        within = (start + s) % length + 1
        for j in range(count):
            note_spike(tx_I, x_2I, active_I[j], within, engine.impulse)
        for n in range(neurons):
            if spikes_N[n]:
                ty_N[n] = within
        if within == length:
            epoch = (start + s + 1) // length
            trace_history(
                x_2I, tx_I, engine.kept[:2], engine.impulse, randoms.x_decay[b, recorded],
                randoms.x_impulse[b, recorded], x_history,
            )  # fmt: skip
            if np.any(y_2N) or not engine.error_triggered:
                post_history(y_2N, engine.kept[2], randoms.y_decay[b, recorded], y_history)
                out.changed[b] += update_weights(
                    weight_IN, tx_I, ty_N, x_history, y_history, epoch, engine, randoms.weight[b, recorded],
                    seed, registers.layer, x_PTI, y_PTN, acc_N,
                )  # fmt: skip
            tx_I[:] = 0
            ty_N[:] = 0
            if out.weight.size:
                out.weight[b, recorded] = weight_IN
                out.x[b, recorded], out.y[b, recorded] = x_2I, y_2N
            recorded += 1


@njit(parallel=True, cache=True)
def learning_layer(
    pre_BSI: Array, target_BS: Array, start: int, registers: Registers, engine: Engine, randoms: Any, seeds_B: Array,
    state: LayerState, out: Outputs,
) -> None:  # fmt: skip
    """Steps ``start .. start + S - 1`` of every run; `state` changes in place, `out` is zeroed.

    `pre_BSI`: spikes of the layer below in the same steps, its last axis a multiple of 8. `target_BS`: class, or -1.
    `randoms`: `EpochRandoms` of the epochs that end in these steps. `seeds_B`: negative where Lava's rounding holds.
    """
    for b in prange(pre_BSI.shape[0]):
        # In a function of its own: within a parallel loop Numba loses what is written to an array of a tuple. Of one
        # type of b: the loop counts in two, and compiling that function takes seconds for each.
        learning_run(np.int64(b), pre_BSI[b], target_BS[b], start, registers, engine, randoms, seeds_B[b], state, out)
