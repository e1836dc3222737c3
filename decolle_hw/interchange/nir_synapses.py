"""NIR's linear nodes (Affine, Linear, Conv2d, SumPool2d) and Flatten, as `float_synapse` has them.

Maps are (channels, height, width), kernels (outputs, inputs, y, x), as all tools that write NIR have them, whatever
its documentation calls the axes.
"""

# N outputs, I inputs; C, c output and input channels

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from decolle_hw.compiler.layers import GEOMETRY_MAX
from decolle_hw.interchange.findings import Findings
from decolle_hw.interchange.float_synapse import Convolution, Matrix, Pair, Shape, Synapse, sum_pooling


def matrix(node: Any, where: str, shape: Shape, findings: Findings) -> Matrix | None:
    """Affine and Linear. Takes (I,), or a shape in which all other axes are 1."""
    weight = np.asarray(node.weight, np.float64)
    if weight.ndim != 2:
        findings.problem(where, f"weight is of shape {weight.shape}, two axes (outputs, inputs) are expected")
        return None
    if math.prod(shape) != weight.shape[1] or max(shape) != weight.shape[1]:
        remedy = "; put a Flatten before it" if math.prod(shape) == weight.shape[1] else ""
        findings.problem(where, f"weight takes {weight.shape[1]} inputs, shape {shape} arrives{remedy}")
        return None
    bias = np.asarray(getattr(node, "bias", 0.0), np.float64)
    if bias.ndim and bias.shape != (len(weight),):
        findings.problem(where, f"bias is of shape {bias.shape}, there are {len(weight)} outputs")
        return None
    return Matrix(weight, bias if bias.ndim else float(bias))


def convolution(node: Any, where: str, shape: Shape, findings: Findings) -> Convolution | None:
    """Conv2d, padding 'same' and 'valid' included."""
    if not _is_map(shape, where, findings):
        return None
    weight = np.asarray(node.weight, np.float64)
    if weight.ndim != 4 or max(weight.shape[2:]) > GEOMETRY_MAX:
        findings.problem(where, f"weight is of shape {weight.shape}, (outputs, inputs / groups, y, x) up to "
                                f"{GEOMETRY_MAX} are expected")  # fmt: skip
        return None
    before = len(findings.problems)
    stride = _pair(node.stride, "stride", 1, where, findings)
    dilation = _pair(node.dilation, "dilation", 1, where, findings)
    groups = int(np.asarray(node.groups).reshape(-1)[0])
    if groups < 1 or shape[0] % groups or len(weight) % groups or weight.shape[1] * groups != shape[0]:
        findings.problem(where, f"{shape[0]} channels arrive; weight {weight.shape} takes {weight.shape[1]} in each of "
                                f"{groups} groups")  # fmt: skip
    said = [int(size) for size in np.asarray(node.input_shape if node.input_shape is not None else ()).reshape(-1)]
    if said and tuple(said[-2:]) != shape[1:]:
        findings.problem(where, f"input_shape is {tuple(said)}, shape {shape} arrives")
    if len(findings.problems) > before:
        return None
    if isinstance(node.padding, str):
        weight, padding = _named_padding(node.padding, weight, stride, dilation, where, findings)
    else:
        padding = _pair(node.padding, "padding", 0, where, findings)
    made = Convolution(weight, stride, padding, dilation, groups)
    if len(findings.problems) > before or not _fits(made, shape, where, findings):
        return None
    bias = np.asarray(node.bias if node.bias is not None else 0.0, np.float64)
    if bias.size not in (1, len(weight)):
        findings.problem(where, f"bias is of shape {bias.shape}, there are {len(weight)} channels")
        return None
    places = math.prod(made.output_shape(shape)[1:])
    of_channels = np.broadcast_to(bias.reshape(-1), (len(weight),))
    return Convolution(weight, stride, padding, dilation, groups, of_channels.repeat(places))


def pooling(node: Any, where: str, shape: Shape, findings: Findings) -> Convolution | None:
    """SumPool2d: it has no neurons of its own, and becomes part of the synapse that it stands in."""
    if not _is_map(shape, where, findings):
        return None
    before = len(findings.problems)
    kernel = _pair(node.kernel_size, "kernel_size", 1, where, findings)
    stride = _pair(node.stride, "stride", 1, where, findings)
    made = sum_pooling(shape[0], kernel, stride, _pair(node.padding, "padding", 0, where, findings))
    if len(findings.problems) > before or not _fits(made, shape, where, findings):
        return None
    return made


SYNAPSES: dict[str, Callable[[Any, str, Shape, Findings], Synapse | None]] = {
    "Affine": matrix,
    "Linear": matrix,
    "Conv2d": convolution,
    "SumPool2d": pooling,
}


def flattened(node: Any, where: str, shape: Shape, findings: Findings) -> Shape | None:
    """The shape behind a Flatten: axes start_dim to end_dim become one."""
    start, end = (int(np.asarray(value).reshape(-1)[0]) for value in (node.start_dim, node.end_dim))
    axes = len(shape)
    first, last = (dim + axes if dim < 0 else dim for dim in (start, end))
    if not 0 <= first <= last < axes:
        findings.problem(where, f"start_dim {start} to end_dim {end} are not axes of shape {shape}, which arrives; "
                                "NIR counts without the batch")  # fmt: skip
        return None
    return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])


def _named_padding(
    name: str, weight: Any, stride: Pair, dilation: Pair, where: str, findings: Findings
) -> tuple[Any, Pair]:
    """(weight, padding) of 'valid' and 'same'.

    'same' of an even kernel pads one more at the end than at the start; a row of zeros before the kernel makes that a
    padding that is equal on both sides.
    """
    if name == "valid":
        return weight, (0, 0)
    if stride != (1, 1):
        findings.problem(
            where, f"padding 'same' with stride {stride}: only a stride of 1 leaves a map as large as it was"
        )
    padding = []
    for axis in range(2):
        total = dilation[axis] * (weight.shape[2 + axis] - 1)
        if total % 2 and dilation[axis] > 1:
            findings.problem(where, f"padding 'same' of an even kernel {weight.shape[2:]} with dilation {dilation}")
        if total % 2:
            weight = np.pad(weight, [(0, 0)] * (2 + axis) + [(1, 0)] + [(0, 0)] * (1 - axis))
        padding.append((total + 1) // 2)
    return weight, (padding[0], padding[1])


def _pair(value: Any, name: str, smallest: int, where: str, findings: Findings) -> Pair:
    """(y, x) of what is one number for both, or two."""
    array = np.asarray(value).reshape(-1)
    if array.size in (1, 2) and np.all(array == np.rint(array)):
        first, last = int(array[0]), int(array[-1])
        if smallest <= min(first, last) and max(first, last) <= GEOMETRY_MAX:
            return first, last
    findings.problem(
        where, f"{name} is {array.tolist()}, one or two whole numbers of {smallest}..{GEOMETRY_MAX} expected"
    )
    return 1, 1


def _is_map(shape: Shape, where: str, findings: Findings) -> bool:
    if len(shape) != 3:
        findings.problem(where, f"takes maps (channels, height, width), shape {shape} arrives")
    return len(shape) == 3


def _fits(made: Convolution, shape: Shape, where: str, findings: Findings) -> bool:
    fits = min(made.output_shape(shape)) > 0
    if not fits:
        findings.problem(where, f"its kernel {made.weight.shape[2:]} does not fit into what arrives, {shape}")
    return fits
