"""Compiled convolution of the reference simulator: each spike adds its kernel to the map, then the neurons step.

Inside, the map is channels-last: what one spike adds to a row of the map, for all channels at once, is then one
piece of memory, as is what it is added to. Spikes and registers go in and out channels-first.
"""

# R recordings, T steps, I inputs, N neurons; H, W height, width of the map, C its channels, K kernel size

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
    c: int, y: int, x: int, weight_cKKC: Array, stride: int, padding: int, dilation: int, groups: int, sum_HWC: Array
) -> None:
    """A spike of input channel c at (y, x) adds ``weight[:, c, ky, kx]`` wherever the kernel's tap sees it.

    `weight_cKKC` is (input channels, K, K, output channels of the group).
    """
    height, width, _ = sum_HWC.shape
    inputs, size, _, outputs = weight_cKKC.shape
    base = c // (inputs // groups) * outputs
    for ky in range(size):
        oy = y + padding - ky * dilation
        if oy < 0 or oy % stride or oy >= height * stride:
            continue
        oy //= stride
        for kx in range(size):
            ox = x + padding - kx * dilation
            if ox < 0 or ox % stride or ox >= width * stride:
                continue
            ox //= stride
            for o in range(outputs):
                sum_HWC[oy, ox, base + o] += weight_cKKC[c, ky, kx, o]


@njit(cache=True)
def add_kernel_rows(c: int, y: int, x: int, mirrored_cKKC: Array, padding: int, sum_HWC: Array) -> None:
    """`add_kernel` of stride and dilation 1 without groups: a row of the kernel falls on consecutive places.

    `mirrored_cKKC` is mirrored in x, as the tap that sees a spike moves right while its neuron moves left.
    """
    height, width, channels = sum_HWC.shape
    size = mirrored_cKKC.shape[1]
    left = x + padding - (size - 1)
    start, stop = max(0, left), min(width, left + size)
    if start >= stop:
        return
    for ky in range(max(0, y + padding - height + 1), min(size, y + padding + 1)):
        sums = sum_HWC[y + padding - ky].reshape(-1)[start * channels : stop * channels]
        taps = mirrored_cKKC[c, ky].reshape(-1)[(start - left) * channels : (stop - left) * channels]
        for n in range(len(sums)):
            sums[n] += taps[n]


@njit(cache=True)
def to_channels_first(values_N: Array, channels: int, out_N: Array) -> None:
    """(H*W, C) in one vector to (C, H*W)."""
    places = len(values_N) // channels
    for place in range(places):
        for channel in range(channels):
            out_N[channel * places + place] = values_N[place * channels + channel]


@njit(parallel=True, cache=True)
def conv_layer(
    spikes_RTI: Array, input_shape: Array, weight_cKKC: Array, mirrored: bool, geometry: Array, latency: int,
    map_shape: Array, vth_N: Array, bias_N: Array, registers: Array,
    first: int, record: bool, out_S: Array, out_u: Array, out_v: Array, out_r: Array,
) -> None:  # fmt: skip
    """Equation in `decolle_hw.compiler.layers.ConvLayer`. Arguments as in `decolle_hw.sim.kernels`, and

    Args:
        input_shape: (c, h, w).
        weight_cKKC: `ConvLayer.plain_weight`, see `add_kernel`, or `add_kernel_rows` where `mirrored`.
        geometry: stride, padding, dilation, groups.
        latency: steps from input to sum, in the float network's time: 1, of a pooling stage 0.
        map_shape: (C, H, W).
        vth_N, bias_N: channels-last.
    """
    recordings, steps, inputs = spikes_RTI.shape
    stride, padding, dilation, groups = geometry
    channels, height, width = map_shape
    area, row = input_shape[1] * input_shape[2], input_shape[2]
    neurons = channels * height * width
    is_decolle, du, dv, dr, rho = registers
    for k in prange(recordings):
        active_I = np.zeros(inputs + 1, np.int64)  # one place more: see find_active
        sum_HWC = np.zeros((height, width, channels), np.int32)
        sum_N = sum_HWC.reshape(neurons)
        u_N, v_N, r_N = np.zeros(neurons, np.int32), np.zeros(neurons, np.int32), np.zeros(neurons, np.int32)
        before_N, spike_N = np.zeros(neurons, np.uint8), np.zeros(neurons, np.uint8)
        for t in range(first, steps):
            if t >= latency:
                sum_N[:] = 0
                for j in range(find_active(spikes_RTI[k, t - latency], active_I)):
                    c, place = divmod(active_I[j], area)
                    y, x = divmod(place, row)
                    if mirrored:
                        add_kernel_rows(c, y, x, weight_cKKC, padding, sum_HWC)
                    else:
                        add_kernel(c, y, x, weight_cKKC, stride, padding, dilation, groups, sum_HWC)
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
