"""Linear maps between two layers of neurons, in real numbers: matrices, convolutions, and what they make together.

Between two populations a graph may have several linear nodes (a sum-pooling, a flattening, a matrix), a chip has one
synapse. `fold` finds the one that does the same: sum-pooling before a convolution is a wider convolution, and whatever
is no convolution is a matrix. Nothing is approximated.
"""

# B maps at once, N outputs, I inputs; C, c output and input channels; k = (ky, kx) kernel; (y, x) pairs per axis

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import GEOMETRY_MAX

Floats = NDArray[np.float64]
Pair = tuple[int, int]
Shape = tuple[int, ...]
LARGEST_MATRIX_BYTES = 1 << 30
UNIT_VECTORS_BYTES = 1 << 26


class TooLargeError(ValueError):
    """The one synapse that would do it is a matrix beyond what is worth holding."""


@dataclass(frozen=True)
class Convolution:
    """``out = conv2d(in, weight) + bias``, as `torch.nn.functional.conv2d` has it, strides and padding per axis (y, x).

    Attributes: weight (C, c/groups, ky, kx); bias (N,) of all places of the map, or a single 0.
    """

    weight: Floats
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: Floats | float = 0.0

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) for an input (c, h, w); a side of 0 or less: the kernel does not fit."""
        return (len(self.weight), *(self._outputs(size, axis) for axis, size in enumerate(shape[1:])))

    def _outputs(self, size: int, axis: int) -> int:
        reach = self.dilation[axis] * (self.weight.shape[2 + axis] - 1) + 1
        return (size + 2 * self.padding[axis] - reach) // self.stride[axis] + 1

    def apply(self, values_BI: Floats, shape: Shape) -> Floats:
        """(B, I) maps of `shape` (c, h, w) to (B, N): one product per tap of the kernel, over the whole map."""
        channels, height, width = self.output_shape(shape)
        (top, left), (down, right), (dy, dx) = self.padding, self.stride, self.dilation
        maps = np.pad(values_BI.reshape(-1, *shape), ((0, 0), (0, 0), (top, top), (left, left)))
        grouped = maps.reshape(len(maps), self.groups, -1, *maps.shape[2:])
        taps = self.weight.reshape(self.groups, channels // self.groups, *self.weight.shape[1:])
        sums = np.zeros((len(maps), self.groups, channels // self.groups, height, width))
        for ky, kx in itertools.product(*map(range, self.weight.shape[2:])):
            seen = grouped[
                :, :, :, ky * dy : ky * dy + (height - 1) * down + 1 : down,
                kx * dx : kx * dx + (width - 1) * right + 1 : right,
            ]  # fmt: skip
            sums += np.einsum("bgchw,gnc->bgnhw", seen, taps[..., ky, kx], optimize=True)
        return sums.reshape(len(maps), -1) + self.bias


@dataclass(frozen=True)
class Matrix:
    """``out = W in + b``. Attributes: weight (N, I); bias (N,) or a single 0."""

    weight: Floats
    bias: Floats | float = 0.0

    def output_shape(self, shape: Shape) -> Shape:
        return (len(self.weight),)

    def apply(self, values_BI: Floats, shape: Shape) -> Floats:
        return values_BI @ self.weight.T + self.bias


Synapse = Convolution | Matrix


def sum_pooling(channels: int, kernel: Pair, stride: Pair, padding: Pair) -> Convolution:
    """The sum over a window of each channel."""
    return Convolution(np.ones((channels, 1, *kernel)), stride, padding, groups=channels)


def ungrouped(synapse: Convolution) -> Convolution:
    """The same with a kernel over all input channels: zeros where a group does not look."""
    outputs, inputs, *kernel = synapse.weight.shape
    weight = np.zeros((outputs, inputs * synapse.groups, *kernel))
    each = outputs // synapse.groups
    for group in range(synapse.groups):
        rows, columns = slice(group * each, (group + 1) * each), slice(group * inputs, (group + 1) * inputs)
        weight[rows, columns] = synapse.weight[rows]
    return replace(synapse, weight=weight, groups=1)


def identity(shape: Shape) -> Synapse:
    """Each neuron of `shape` hears the one at its own place."""
    if len(shape) == 3:
        return Convolution(np.eye(shape[0])[:, :, None, None])
    size = math.prod(shape)
    _check_size(size, size)
    return Matrix(np.eye(size))


def fold(synapses: Sequence[Synapse], shape: Shape) -> Synapse:
    """The one synapse that does what all of them do, one after the other, on an input of `shape`.

    Raises `TooLargeError` where that is a matrix of more than `LARGEST_MATRIX_BYTES`.
    """
    if not synapses:
        return identity(shape)
    whole = synapses[0]
    # Carried along, as a matrix no longer knows that what it makes is a map.
    between = whole.output_shape(shape)
    for after in synapses[1:]:
        whole = _pair(whole, after, shape, between)
        between = after.output_shape(between)
    return whole


def _pair(first: Synapse, second: Synapse, shape: Shape, between: Shape) -> Synapse:
    """One synapse for two, the first of which makes what is of shape `between`."""
    if isinstance(first, Convolution) and isinstance(second, Convolution) and _is_pooling(first):
        wider = _wider(first, second, shape)
        if wider is not None:
            return wider
    inputs, outputs = math.prod(shape), math.prod(second.output_shape(between))
    _check_size(inputs, outputs)
    nothing_N = second.apply(first.apply(np.zeros((1, inputs)), shape), between)[0]
    # What the input's unit vectors become, as many at once as are worth holding. Without the biases, so that what
    # hears nothing of an input has a weight of exactly zero.
    first, second = replace(first, bias=0.0), replace(second, bias=0.0)
    weight_NI = np.empty((outputs, inputs))
    at_once = max(1, UNIT_VECTORS_BYTES // (weight_NI.itemsize * max(inputs, math.prod(between), outputs)))
    for begin in range(0, inputs, at_once):
        units_BI = np.eye(min(at_once, inputs - begin), inputs, begin)
        weight_NI[:, begin : begin + at_once] = second.apply(first.apply(units_BI, shape), between).T
    return Matrix(weight_NI, nothing_N)


def _is_pooling(synapse: Convolution) -> bool:
    weight = synapse.weight
    return len(weight) == synapse.groups and bool(np.all(weight == 1.0)) and not np.any(synapse.bias)


def _wider(pool: Convolution, conv: Convolution, shape: Shape) -> Convolution | None:
    """Sum-pooling (p kernel, s stride) and then a convolution (k, stride t, dilation d) in one kernel.

    ::

        kernel[.., d*s*i + j] += weight[.., i]  for j in 0..p-1;   stride s*t, padding p_pool + s*p_conv

    None where the padding of the convolution, which is silent, would have to hear real inputs: pooling leaves out the
    end of a map that it does not divide.
    """
    axes = range(2)
    if not all(_padding_is_silent(pool, conv, shape[1 + axis], axis) for axis in axes):
        return None
    step = tuple(conv.dilation[axis] * pool.stride[axis] for axis in axes)
    size = tuple(step[axis] * (conv.weight.shape[2 + axis] - 1) + pool.weight.shape[2 + axis] for axis in axes)
    stride = (pool.stride[0] * conv.stride[0], pool.stride[1] * conv.stride[1])
    padding = (
        pool.padding[0] + pool.stride[0] * conv.padding[0],
        pool.padding[1] + pool.stride[1] * conv.padding[1],
    )
    if max(*size, *stride, *padding) > GEOMETRY_MAX:
        return None
    kernel = np.zeros((*conv.weight.shape[:2], *size))
    for ky, kx in itertools.product(*map(range, conv.weight.shape[2:])):
        y, x = ky * step[0], kx * step[1]
        kernel[:, :, y : y + pool.weight.shape[2], x : x + pool.weight.shape[3]] += conv.weight[
            :, :, ky, kx, None, None
        ]
    return Convolution(kernel, stride, padding, groups=conv.groups, bias=conv.bias)


def _padding_is_silent(pool: Convolution, conv: Convolution, size: int, axis: int) -> bool:
    window, step, margin = pool.weight.shape[2 + axis], pool.stride[axis], pool.padding[axis]
    reach = conv.dilation[axis] * (conv.weight.shape[2 + axis] - 1)
    pooled = (size + 2 * margin - window) // step + 1
    outputs = (pooled + 2 * conv.padding[axis] - reach - 1) // conv.stride[axis] + 1
    last = (outputs - 1) * conv.stride[axis] - conv.padding[axis] + reach
    outside = [place for place in range(-conv.padding[axis], last + 1) if not 0 <= place < pooled]
    silent = all(place * step - margin + window <= 0 or place * step - margin >= size for place in outside)
    wide = size + 2 * (margin + step * conv.padding[axis]) - step * reach - window
    return silent and wide // (step * conv.stride[axis]) + 1 == outputs


def _check_size(inputs: int, outputs: int) -> None:
    needed = inputs * outputs * np.dtype(np.float64).itemsize
    if needed > LARGEST_MATRIX_BYTES:
        raise TooLargeError(
            f"become a matrix of {inputs} by {outputs} numbers ({needed >> 20} MiB, at most "
            f"{LARGEST_MATRIX_BYTES >> 20})"
        )
