"""The layers of a netx file, one after the other, as layers of a program: ``lava.lib.dl.netx.hdf5.Network._create``."""

# N neurons, I inputs; c, h, w channels, height, width

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.input_block import InputBlock
from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer, map_size
from decolle_hw.compiler.netx import NETX_MAX_DELAY
from decolle_hw.errors import CompileError
from decolle_hw.interchange.findings import Findings
from decolle_hw.interchange.netx_file import Entry
from decolle_hw.interchange.netx_neurons import WITHOUT_NEURONS, Neurons, bias_registers, read_neurons, whole_numbers
from decolle_hw.interchange.netx_weights import conv_fields, dense_fields

MOST_NEURONS = 1 << 24  # of a layer: what claims more is not made
INPUT_WEIGHT, INPUT_BIAS = 64, 0  # of an input block that has none: lava.lib.dl.netx.hdf5.Network.create_input
DENSE = ("dense", "affine")
REFUSED = {
    "dense_rec": "recurrent layers are",
    "dense_comp": "complex layers are",
    "pool": "pooling layers of netx are (its own Network does not run them either)",
    "convT": "transposed convolutions are",
    "unpool": "unpooling layers are",
    "concat": "branches are",
}
KNOWN = ("input", "dense", "affine", "conv", "flatten", "average")


@dataclass
class NetxLayers:
    """What has been made of the layers of a file so far; `add` takes the next one.

    Attributes:
        shape: of what the next layer is given, (c, h, w) or (n,); None where that is not known.
        never: indices of layers whose threshold must be out of reach.
        groups: that a final average layer counts together.
    """

    findings: Findings
    warnings: list[str] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    where: list[str] = field(default_factory=list)  # of `layers`, in messages
    never: dict[int, Neurons] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    input_shape: tuple[int, ...] | None = None
    block: InputBlock | None = None
    groups: int | None = None

    def add(self, entry: Entry, index: int, last: bool) -> None:
        """One layer of the file, whatever its type."""
        kind, where = entry.type, entry.where
        if not kind:
            self.findings.problem(where, "type is missing; export the network again")
        elif kind == "input":
            self._add_input(entry, index)
        elif kind in DENSE:
            self._add_dense(entry)
        elif kind == "conv":
            self._add_conv(entry)
        elif kind == "flatten":
            self.shape = None if self.shape is None else (math.prod(self.shape),)
        elif kind == "average":
            self._add_average(entry, last)
        elif kind in REFUSED:
            self.findings.problem(where, f"{REFUSED[kind]} not supported")
        else:
            self.findings.problem(where, f"this type is not known (known: {', '.join(KNOWN)})")

    def _add_input(self, entry: Entry, index: int) -> None:
        if index:
            self.findings.problem(entry.where, "an input stands at the beginning; export the network again")
            return
        shape = whole_numbers(entry, "shape", self.findings)
        if shape is not None:
            self.shape = self.input_shape = self._checked(shape, (1, 2, 3), entry.where)
        if entry.neuron is None:
            return
        transform = [INPUT_WEIGHT, INPUT_BIAS]
        for place, name in enumerate(("weight", "bias")):
            if name in entry.values:
                found = whole_numbers(entry, name, self.findings)
                if found is None or found.size != 1:
                    self.findings.problem(entry.where, f"{name} is not one number; export the network again")
                else:
                    transform[place] = int(found.flat[0])
        neurons = read_neurons(entry, self.findings)
        if neurons is not None:
            if neurons.never or neurons.summed:
                self.findings.problem(entry.where, "its neurons never spike or never forget; train it again")
                return
            try:
                self.block = InputBlock(
                    weight=transform[0], bias=transform[1], du=neurons.du, dv=neurons.dv, vth=neurons.vth
                )
            except CompileError as error:
                self.findings.problem(entry.where, f"{error}; export the network again")

    def _add_dense(self, entry: Entry) -> None:
        where, findings = entry.where, self.findings
        shape, weight = whole_numbers(entry, "shape", findings), whole_numbers(entry, "weight", findings)
        neurons = WITHOUT_NEURONS if entry.neuron is None else read_neurons(entry, findings)
        arriving, self.shape = self.shape, None
        if shape is None or weight is None:
            return
        units = math.prod(shape.ravel().tolist())
        if units < 1 or weight.ndim not in (1, 2) or weight.size % units or (weight.ndim == 2 and len(weight) != units):
            findings.problem(where, f"weight of shape {weight.shape} does not fit {units} neurons; export again")
            return
        weight = weight.reshape(units, -1)
        self.shape = (units,)
        if arriving is not None and len(arriving) != 1 and (self.layers or self.block):
            findings.problem(where, f"a map of shape {arriving} arrives; a flatten must stand between, as netx has it")
            return
        if arriving is not None and math.prod(arriving) != weight.shape[1]:
            findings.problem(where, f"weight has {weight.shape[1]} inputs, {math.prod(arriving)} arrive; export again")
            return
        if self.input_shape is None and not self.layers:
            self.input_shape = (weight.shape[1],)
        delay = self._delay(entry, weight.shape)
        bias_N = self._bias(entry, (units,), neurons)
        synapse = dense_fields(weight, where, findings)
        if neurons is not None and synapse is not None and delay is not None and bias_N is not None:
            if delay.any():
                synapse["delay"] = delay
            self._append(DenseLayer, neurons, bias_N, where, synapse)

    def _add_conv(self, entry: Entry) -> None:
        where, findings = entry.where, self.findings
        weight, shape = whole_numbers(entry, "weight", findings), whole_numbers(entry, "shape", findings)
        per_axis = {name: self._per_axis(entry, name) for name in ("stride", "padding", "dilation")}
        groups = whole_numbers(entry, "groups", findings)
        if entry.neuron is None:
            findings.problem(where, "neuron is missing; export the network again")
        neurons = None if entry.neuron is None else read_neurons(entry, findings)
        if "delay" in entry.values:
            findings.inexact(where, "a convolution has no delays", "left out, as netx does")
        arriving = self.shape
        # What the file says of itself, so that the layers after a wrong one can be looked at too.
        self.shape = None if shape is None else self._checked(shape, (3,), where)
        if arriving is not None and len(arriving) != 3:
            findings.problem(where, f"{arriving} arrives, not a map (c, h, w); export the network again")
            return
        if arriving is None and not self.layers:
            findings.problem(where, "the shape of its input is not known: an input layer with a shape must come first")
            return
        if weight is None or groups is None or neurons is None or arriving is None or None in per_axis.values():
            return
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]
        if weight.ndim != 4 or groups.size != 1:
            findings.problem(where, f"weight of shape {weight.shape} or groups is not that of a convolution")
            return
        if self.shape is None:
            return
        made = self._map_shape(weight.shape, arriving, per_axis)
        if made is not None and made != self.shape:
            findings.problem(where, f"shape is {self.shape}, a map of {made} comes of its weights; export again")
            return
        bias_N = self._bias(entry, self.shape, neurons)
        synapse = conv_fields(weight, where, findings)
        if synapse is not None and bias_N is not None:
            synapse |= {"input_shape": arriving, "groups": int(groups.flat[0]), **per_axis}
            self._append(ConvLayer, neurons, bias_N, where, synapse)

    @staticmethod
    def _map_shape(
        weight: tuple[int, ...], arriving: tuple[int, ...], per_axis: dict[str, Any]
    ) -> tuple[int, ...] | None:
        """(c, h, w); None for a geometry that does not exist, which the layer itself puts into words."""
        if min(per_axis["stride"]) < 1 or min(weight) < 1:
            return None
        size = map_size((arriving[1], arriving[2]), (weight[2], weight[3]), **per_axis)
        return (weight[0], *size) if min(size) > 0 else None

    def _add_average(self, entry: Entry, last: bool) -> None:
        shape = whole_numbers(entry, "shape", self.findings)
        if shape is None:
            return
        groups = math.prod(shape.ravel().tolist())
        if not last:
            self.findings.problem(entry.where, "is supported as the last layer only: it counts spikes for the decision")
        elif groups < 1 or (self.shape is not None and math.prod(self.shape) % groups):
            arriving = None if self.shape is None else math.prod(self.shape)
            self.findings.problem(entry.where, f"{arriving} neurons do not make {groups} groups of one size")
        else:
            self.groups = groups

    def _checked(self, shape: NDArray[np.int64], lengths: tuple[int, ...], where: str) -> tuple[int, ...] | None:
        """A shape as plain numbers, if it is one."""
        sizes = tuple(int(size) for size in shape.ravel()[: max(lengths) + 1])
        if len(sizes) not in lengths or min(sizes) < 1 or math.prod(sizes) > MOST_NEURONS:
            expected = " to ".join(str(length) for length in sorted({min(lengths), max(lengths)}))
            self.findings.problem(
                where, f"shape is {sizes}; expected {expected} positive numbers, of at most {MOST_NEURONS} neurons"
            )
            return None
        return sizes

    def _per_axis(self, entry: Entry, name: str) -> tuple[int, int] | None:
        """(y, x), as the file has them."""
        numbers = whole_numbers(entry, name, self.findings)
        if numbers is None:
            return None
        if numbers.size not in (1, 2) or np.abs(numbers).max() > 1 << 20:
            self.findings.problem(entry.where, f"{name} is {numbers.tolist()[:9]}; expected one or two small numbers")
            return None
        y, x = np.resize(numbers.ravel(), 2).tolist()
        return y, x

    def _bias(self, entry: Entry, shape: tuple[int, ...], neurons: Neurons | None) -> NDArray[np.int64] | None:
        """(N,) of neurons of this shape, channels first; None where it is wrong."""
        count = math.prod(shape)
        if "bias" not in entry.values:
            return np.zeros(count, np.int64)
        bias = whole_numbers(entry, "bias", self.findings)
        if bias is None:
            return None
        if neurons is not None and neurons.summed and bias.any():
            self.findings.problem(
                entry.where, "has a bias, and neurons whose voltage is their current; there is no register for that"
            )
            return None
        if bias.size == 1 and (len(shape) == 1 or bias.ndim == 0):
            return np.full(count, int(bias.flat[0]), np.int64)
        if bias.shape == (shape[0],):
            return bias.repeat(count // shape[0])
        if len(shape) == 3 and bias.shape == shape[::-1]:  # netx counts x, y, channel
            return bias.transpose(2, 1, 0).ravel()
        self.findings.problem(entry.where, f"bias of shape {bias.shape} does not fit neurons of shape {shape}")
        return None

    def _delay(self, entry: Entry, shape: tuple[int, ...]) -> NDArray[np.int32] | None:
        """(N, I) steps, zeros where there are none."""
        if "delay" not in entry.values:
            return np.zeros(shape, np.int32)
        delay = whole_numbers(entry, "delay", self.findings)
        if delay is None:
            return None
        if delay.min() < 0:
            self.findings.problem(entry.where, f"delay is {delay.min()} steps; delays are 0..{NETX_MAX_DELAY}")
            return None
        if delay.max() > NETX_MAX_DELAY:
            self.findings.inexact(
                entry.where, f"delay is {delay.max()} steps, more than {NETX_MAX_DELAY}", "clamped, as netx does"
            )
            delay = np.clip(delay, 0, NETX_MAX_DELAY)
        # Of a neuron where that fits, else of an input: the order in which create_dense asks.
        if delay.shape == shape[:1]:
            delay = delay[:, None]
        elif delay.ndim and delay.shape not in (shape, shape[1:]):
            self.findings.problem(entry.where, f"delay of shape {delay.shape} does not fit weight of shape {shape}")
            return None
        return np.ascontiguousarray(np.broadcast_to(delay, shape), np.int32)

    def _append(
        self, kind: type[Layer], neurons: Neurons, bias_N: NDArray[np.int64], where: str, synapse: dict[str, Any]
    ) -> None:
        mantissas, exponent = bias_registers(bias_N, where, self.findings)
        count = len(mantissas)
        try:
            layer = kind(
                neuron="cuba", du=neurons.du, dv=neurons.dv, vth=np.full(count, neurons.vth, np.int32),
                bias_mant=mantissas, bias_exp=exponent, dr=0, rho=0,
                readout_weight=np.zeros((0, count), np.int32), readout_bias=np.zeros(0, np.int32), **synapse,
            )  # fmt: skip
        except CompileError as error:
            self.findings.problem(where, f"{error}; export the network again")
            return
        if neurons.never or neurons.summed:
            self.never[len(self.layers)] = neurons
        self.layers.append(layer)
        self.where.append(where)
