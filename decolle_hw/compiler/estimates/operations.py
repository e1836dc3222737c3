"""Synaptic operations: how many weights the spikes of a source meet on their way into each neuron.

One operation is one spike through one synapse. A spike of input i meets as many synapses as the layer has neurons
that see i (`Layer.fan_out`); here the same sum is taken from the other end, neuron by neuron, so that a core's share
is the sum over its block of neurons, and shares add up exactly.
"""

# I inputs, N neurons; c, h, w channels, height, width; G groups

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.estimates.activity import IntArray
from decolle_hw.compiler.lowering.graph import Connection, Geometry, Shape

ROWS_AT_ONCE = 1 << 24  # elements of a mask that are made numbers at once


def operations_per_neuron(
    connection: Connection, shape: Shape, spikes_I: IntArray, *, skip_zeros: bool = False
) -> IntArray:
    """(c, h, w) synaptic operations of the connection at each neuron of its target.

    ::

        dense        ops_n = sum over i of spikes_i                 (skip_zeros: over i with a weight other than zero)
        convolution  ops_n = sum over the inputs of its window, those in the padding excepted, of spikes_i

    Args:
        shape: (c, h, w) of the target population.
        spikes_I: (I,) spikes of each source neuron, any number of steps.
        skip_zeros: weights of zero are not stored (sparse format), so no spike meets them. Where a matrix's mask is
            not known, and in convolutions, no weight is taken to be zero.
    """
    if connection.geometry is not None:
        return _convolution(connection.geometry, connection.source_shape, shape, spikes_I)
    if connection.nonzero is None or not skip_zeros:
        return np.full(shape, spikes_I.sum(), np.int64)
    rows = max(1, ROWS_AT_ONCE // connection.source_size)
    parts = [
        connection.nonzero[start : start + rows] @ spikes_I for start in range(0, len(connection.nonzero), rows)
    ]  # fmt: skip
    operations: IntArray = np.concatenate(parts).astype(np.int64).reshape(shape)
    return operations


def _convolution(geometry: Geometry, source_shape: Shape, shape: Shape, spikes_I: IntArray) -> IntArray:
    # All channels of a group see the same inputs, and a window is the product of its rows and its columns.
    of_group = spikes_I.reshape(geometry.groups, -1, *source_shape[1:]).sum(1)
    summed_Ghw = _window_sums(_window_sums(of_group, geometry, shape, axis=0), geometry, shape, axis=1)
    operations: IntArray = np.repeat(summed_Ghw, shape[0] // geometry.groups, axis=0)
    return operations


def _window_sums(values_Ghw: IntArray, geometry: Geometry, shape: Shape, axis: int) -> IntArray:
    """Sums along the rows (axis 0) or the columns (axis 1) that each neuron sees."""
    padding = [(0, 0), (0, 0), (0, 0)]
    padding[1 + axis] = (geometry.padding[axis],) * 2
    padded = np.pad(values_Ghw, padding)
    taps = [padded[axis_slice(geometry, shape, tap, axis)] for tap in range(geometry.kernel[axis])]
    sums: IntArray = np.sum(taps, axis=0, dtype=np.int64)
    return sums


def axis_slice(geometry: Geometry, shape: Shape, tap: int, axis: int) -> tuple[slice, ...]:
    """Of a padded (channels, h, w) input: the rows (axis 0) or columns (axis 1) that meet one tap of the kernel."""
    start = tap * geometry.dilation[axis]
    stop = start + (shape[1 + axis] - 1) * geometry.stride[axis] + 1
    slices = [slice(None)] * 3
    slices[1 + axis] = slice(start, stop, geometry.stride[axis])
    return tuple(slices)


def effective_operations(
    geometry: Geometry | None, source_shape: Shape, shape: Shape, weight: NDArray[np.int32], spikes_I: IntArray
) -> int:
    """Synaptic operations of a whole layer in which neither the weight nor the input is zero; padding excepted.

    Args:
        geometry: None: weight is a matrix (N, I); else it is (channels, input channels / groups, kh, kw).
        spikes_I: (I,) spikes of each input.
    """
    if geometry is None:
        return int(np.count_nonzero(weight, axis=0) @ spikes_I)
    channels, groups = source_shape[0], geometry.groups
    by_group = weight.reshape(groups, shape[0] // groups, channels // groups, *geometry.kernel)
    nonzero_ckk = np.count_nonzero(by_group, axis=1).reshape(channels, *geometry.kernel)
    (top, left) = geometry.padding
    padded = np.pad(spikes_I.reshape(source_shape), ((0, 0), (top, top), (left, left)))
    total = 0
    for row in range(geometry.kernel[0]):
        rows = padded[axis_slice(geometry, shape, row, 0)]
        for column in range(geometry.kernel[1]):
            met_c = rows[axis_slice(geometry, shape, column, 1)].sum((1, 2))
            total += int(nonzero_ckk[:, row, column] @ met_c)
    return total


def dense_operations(geometry: Geometry | None, source_shape: Shape, shape: Shape) -> int:
    """Synapses of a layer that can be met, zeros included and padding excepted: operations of one step, all active."""
    if geometry is None:
        return math.prod(shape) * math.prod(source_shape)
    ones_I = np.ones(math.prod(source_shape), np.int64)
    return int(_convolution(geometry, source_shape, shape, ones_I).sum())
