"""Compiled convolution of the reference simulator: each spike adds its kernel to the map, then the neurons step.

Inside, the map is channels-last: what one spike adds to a row of the map, for all channels at once, is then one
piece of memory, as is what it is added to. Spikes and registers go in and out channels-first.
"""

# R recordings, T steps, I inputs, N neurons; H, W height, width of the map, C its channels, K kernel size (per axis)

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from decolle_hw.fixedpoint import wrap24
from decolle_hw.sim.kernels import find_active
from decolle_hw.sim.neuron_kernels import step_neurons

Array = Any


@njit(cache=True)
def add_kernel(
    c: int, y: int, x: int, weight_cKKC: Array, geometry: Array, height: int, width: int, channels: int, sum_N: Array
) -> None:
    """A spike of input channel c at (y, x) adds ``weight[:, c, ky, kx]`` wherever the kernel's tap sees it.

    `weight_cKKC` is (input channels, K, K, output channels of the group); `sum_N` (H*W*C).
    """
    stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x, groups = geometry
    inputs, rows, columns, outputs = weight_cKKC.shape
    base = c // (inputs // groups) * outputs
    for ky in range(rows):
        oy = y + padding_y - ky * dilation_y
        if oy < 0 or oy % stride_y or oy >= height * stride_y:
            continue
        for kx in range(columns):
            ox = x + padding_x - kx * dilation_x
            if ox < 0 or ox % stride_x or ox >= width * stride_x:
                continue
            start = (oy // stride_y * width + ox // stride_x) * channels + base
            sums, taps = sum_N[start : start + outputs], weight_cKKC[c, ky, kx]
            for n in range(outputs):
                sums[n] = np.int32(sums[n] + np.int32(taps[n]))


@njit(cache=True)
def add_kernel_rows(
    c: int, y: int, x: int, mirrored_cKX: Array, geometry: Array, height: int, width: int, channels: int, sum_N: Array
) -> None:
    """`add_kernel` of stride and dilation 1 without groups: a row of the kernel falls on consecutive places.

    `mirrored_cKX` is (input channels, K, K*C), mirrored in x: the tap that sees a spike moves right while its neuron
    moves left. Without the explicit 32-bit additions the loop would widen to 64 (a third of the speed when timed).
    """
    padding_y, padding_x = geometry[2], geometry[3]
    rows, columns = mirrored_cKX.shape[1], mirrored_cKX.shape[2] // channels
    left = x + padding_x - (columns - 1)
    start, stop = max(0, left), min(width, left + columns)
    if start >= stop:
        return
    length, first = (stop - start) * channels, (start - left) * channels
    for ky in range(max(0, y + padding_y - height + 1), min(rows, y + padding_y + 1)):
        place = ((y + padding_y - ky) * width + start) * channels
        sums, taps = sum_N[place : place + length], mirrored_cKX[c, ky, first : first + length]
        for n in range(length):
            sums[n] = np.int32(sums[n] + np.int32(taps[n]))


@njit(cache=True)
def to_channels_first(values_N: Array, channels: int, out_N: Array) -> None:
    """(H*W, C) in one vector to (C, H*W)."""
    places = len(values_N) // channels
    for place in range(places):
        for channel in range(channels):
            out_N[channel * places + place] = values_N[place * channels + channel]


@njit(parallel=True, cache=True)
def conv_layer(
    spikes_RTI: Array, place_I3: Array, weight_cKKC: Array, mirrored_cKX: Array, geometry: Array, map_shape: Array,
    vth_N: Array, bias_N: Array, registers: Array,
    first: int, record: bool, out_S: Array, out_u: Array, out_v: Array, out_r: Array,
) -> None:  # fmt: skip
    """Equation in `decolle_hw.compiler.layers.ConvLayer`. Arguments as in `decolle_hw.sim.kernels`, and

    Args:
        place_I3: channel, y, x of each input.
        weight_cKKC: `ConvLayer.plain_weight`, see `add_kernel`.
        mirrored_cKX: the same for `add_kernel_rows` where it will do, else empty.
        geometry: strides, paddings, dilations (y, x each), groups.
        map_shape: (C, H, W).
        vth_N, bias_N: channels-last.
    """
    recordings, steps, inputs = spikes_RTI.shape
    channels, height, width = map_shape
    neurons = channels * height * width
    is_decolle, du, dv, dr, rho = registers
    for k in prange(recordings):
        active_I = np.zeros(inputs + 1, np.int64)  # one place more: see find_active
        sum_N = np.zeros(neurons, np.int32)
        u_N, v_N, r_N = np.zeros(neurons, np.int32), np.zeros(neurons, np.int32), np.zeros(neurons, np.int32)
        before_N, spike_N = np.zeros(neurons, np.uint8), np.zeros(neurons, np.uint8)
        for t in range(first, steps):
            if t > 0:  # Conv sends the sum of the step before
                sum_N[:] = 0
                for j in range(find_active(spikes_RTI[k, t - 1], active_I)):
                    c, y, x = place_I3[active_I[j]]
                    if len(mirrored_cKX):
                        add_kernel_rows(c, y, x, mirrored_cKX, geometry, height, width, channels, sum_N)
                    else:
                        add_kernel(c, y, x, weight_cKKC, geometry, height, width, channels, sum_N)
                for n in range(neurons):
                    sum_N[n] = wrap24(sum_N[n])
            step_neurons(is_decolle, sum_N, 0, du, dv, vth_N, bias_N, dr, rho, before_N, u_N, v_N, r_N, spike_N)
            to_channels_first(spike_N, channels, out_S[k, t])
            before_N, spike_N = spike_N, before_N
            if record:
                to_channels_first(u_N, channels, out_u[k, t])
                to_channels_first(v_N, channels, out_v[k, t])
                if is_decolle:
                    to_channels_first(r_N, channels, out_r[k, t])


@njit(parallel=True, cache=True)
def pooling_layer(
    spikes_RTI: Array, window_I: Array, weight: int, du: int, dv: int, vth_N: Array, bias_N: Array,
    first: int, record: bool, out_S: Array, out_u: Array, out_v: Array,
) -> None:  # fmt: skip
    """`decolle_hw.compiler.layers.pooling_stage`: of the spikes of the same step, in the float network's time.

    Args: window_I: the neuron that sees each input, or N where none does; weight: of all its synapses.
    """
    recordings, steps, inputs = spikes_RTI.shape
    neurons = out_S.shape[2]
    for k in prange(recordings):
        active_I = np.zeros(inputs + 1, np.int64)
        sum_N = np.zeros(neurons + 1, np.int32)
        u_N, v_N, none_N = np.zeros(neurons, np.int32), np.zeros(neurons, np.int32), np.zeros(neurons, np.int32)
        for t in range(first, steps):
            sum_N[:] = 0
            for j in range(find_active(spikes_RTI[k, t], active_I)):
                sum_N[window_I[active_I[j]]] += weight
            step_neurons(
                False, sum_N[:neurons], 0, du, dv, vth_N, bias_N, 0, 0, out_S[k, t], u_N, v_N, none_N, out_S[k, t]
            )
            if record:
                out_u[k, t], out_v[k, t] = u_N, v_N
