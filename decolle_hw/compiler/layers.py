"""The layers of a compiled network: one synapse each, and its neurons, in nothing but integers.

A synapse (dense matrix or convolution) sums what its weights make of the spikes of the step before; neurons of one
kind take the sum. A max-pooling stage is a convolution too: the OR over its window is a memoryless LIF that one
spike fires (design section 2.3).
"""

# N neurons, I inputs, C classes; c, h, w channels, height, width

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import (
    BIAS_EXP_MAX,
    BIAS_MANT_MAX,
    BIAS_MANT_MIN,
    DECAY_UNITY,
    DELAY_MAX,
    STATE_LIMIT,
    VTH_MAX,
    WEIGHT_EXP_MAX,
    WEIGHT_EXP_MIN,
    weight_limits,
)
from decolle_hw.weightgrid import BITS_MAX, BITS_MIN, SIGN_MODES, SignMode

NeuronKind = Literal["decolle", "cuba"]
NEURON_KINDS = ("decolle", "cuba")
PerAxis = int | tuple[int, int]  # one number for both axes of a map, or one for each: (y, x)

POOL_WEIGHT = 2  # the smallest of sign mode MIXED; any positive weight over a threshold of 0 makes an OR
READOUT_MIN, READOUT_MAX = -128, 127  # signed 8 bit

Rules = Iterator[tuple[str, "bool | np.bool_", str]]  # (field, whether it is right, what is right)


def no_delay() -> NDArray[np.int32]:
    return np.zeros((0, 0), np.int32)


@dataclass(frozen=True, kw_only=True)
class Layer(ABC):
    """What all layers have: weights as stored, and neurons, in the registers of design section 2.

    cuba (stock Lava LIF)::

        u[t] = wrap(decay(u[t-1], du+1) + (sum[t] << 6))
        v[t] = saturate(decay(v[t-1], dv) + u[t] + (bias_mant << bias_exp))
        S[t] = v[t] > vth << 6;   v[t] = 0 where S[t]

    decolle (microcode neuron)::

        u, v as above without bias
        r[t] = saturate(decay(r[t-1], dr) - rho * S[t-1])
        S[t] = v[t] + r[t] > vth << 6                       # vth is per neuron and may be negative: -bias

    `sum` is that of the synapse: see `DenseLayer`, `ConvLayer`.
    """

    neuron: NeuronKind
    weight: NDArray[np.int32]  # as stored in synaptic memory, on the grid of weight_bits and sign_mode
    weight_exp: int  # shifts the sum
    weight_bits: int = 8  # width of the stored weight, its sign included where signs are mixed
    sign_mode: SignMode = "mixed"
    du: int  # current decay register; effective decay (du+1)/4096
    dv: int  # voltage decay register; effective decay dv/4096
    vth: NDArray[np.int32]  # (N,) mantissa, shifted left by 6
    bias_mant: NDArray[np.int32]  # (N,) zero for decolle
    bias_exp: int
    dr: int  # refractory decay register, effective dr/4096; 0 for cuba
    rho: int  # refractory decrement per spike; 0 for cuba
    readout_weight: NDArray[np.int32]  # (C, N) fixed local readout, signed 8 bit; (0, N): nothing is read out here
    readout_bias: NDArray[np.int32]  # (C,) on the same scale

    def __post_init__(self) -> None:
        for name, holds, expected in itertools.chain(self._synapse_rules(), self._neuron_rules()):
            if not holds:
                raise CompileError(f"{name}: expected {expected}")

    @property
    @abstractmethod
    def kind(self) -> str:
        """One word for it in tables and pictures."""

    @property
    @abstractmethod
    def map_shape(self) -> tuple[int, ...]:
        """Of the neurons: (N,), or (c, h, w) of a convolution."""

    @property
    @abstractmethod
    def num_inputs(self) -> int:
        """I"""

    @property
    @abstractmethod
    def num_synapses(self) -> int:
        """Connections between two neurons, those of weight zero included."""

    @abstractmethod
    def fan_out(self) -> NDArray[np.int64]:
        """(I,) synapses that a spike of each input goes through, those of weight zero included."""

    @property
    def num_neurons(self) -> int:
        """N"""
        return math.prod(self.map_shape)

    @property
    def plain_weight(self) -> NDArray[np.int32]:
        """Weights with `weight_exp` applied, rounded down where it cuts off bits: what netx and Lava's `Conv` take."""
        if self.weight_exp > 0:
            return self.weight << self.weight_exp
        return self.weight >> -self.weight_exp

    @property
    def is_pooling(self) -> bool:
        """A stage that the float network has not: its one step of latency is a delay there."""
        return False

    @property
    def has_readout(self) -> bool:
        return len(self.readout_bias) > 0

    @property
    def bias(self) -> NDArray[np.int32]:
        """(N,) what is added to v at every step."""
        return (self.bias_mant << self.bias_exp).astype(np.int32)

    def _synapse_rules(self) -> Rules:
        """Each rule relies on those before, in all of these."""
        yield "neuron", self.neuron in NEURON_KINDS, "decolle or cuba"
        yield "sign_mode", self.sign_mode in SIGN_MODES, "mixed, excitatory or inhibitory"
        yield "weight_bits", BITS_MIN <= self.weight_bits <= BITS_MAX, f"{BITS_MIN}..{BITS_MAX}"
        low, high, step = weight_limits(self.weight_bits, self.sign_mode)
        yield "weight", self.weight.size > 0, "no dimension of 0"
        grid = f"multiples of {step} in {low}..{high} ({self.sign_mode}, {self.weight_bits} bit)"
        yield "weight", within(self.weight, low, high) and not np.any(self.weight % step), grid
        yield "weight_exp", WEIGHT_EXP_MIN <= self.weight_exp <= WEIGHT_EXP_MAX, "-8..7"

    def _neuron_rules(self) -> Rules:
        n, stock = self.num_neurons, self.neuron == "cuba"
        yield "du", 0 <= self.du < DECAY_UNITY, "0..4095"
        # Stock LIF holds its decay in 12 bits; a 4096 would come back as 0.
        yield "dv", 0 <= self.dv < DECAY_UNITY + (not stock), "0..4095" if stock else "0..4096"
        yield "dr", 0 <= self.dr <= DECAY_UNITY, "0..4096"
        yield "rho", 0 <= self.rho < STATE_LIMIT, "0..2**23-1"
        yield "vth", self.vth.shape == (n,) and within(self.vth, -VTH_MAX, VTH_MAX), f"{n} values of 17 bit"
        shared = self.vth.min() == self.vth.max() >= 0
        yield "vth", shared or not stock, "one unsigned value for all neurons of a stock LIF"
        mantissas = self.bias_mant.shape == (n,) and within(self.bias_mant, BIAS_MANT_MIN, BIAS_MANT_MAX)
        yield "bias_mant", mantissas, f"{n} values of 13 bit"
        yield "bias_mant", stock or not np.any(self.bias_mant), "zero for decolle (bias sits in vth)"
        yield "bias_exp", 0 <= self.bias_exp <= BIAS_EXP_MAX, "0..7"
        readout = self.readout_weight.ndim == 2 and self.readout_weight.shape[1] == n
        fits = readout and within(self.readout_weight, READOUT_MIN, READOUT_MAX)
        yield "readout_weight", fits, f"(C, {n}) values of 8 bit"
        yield "readout_bias", self.readout_bias.shape == self.readout_weight.shape[:1], "(C,)"


@dataclass(frozen=True, kw_only=True)
class DenseLayer(Layer):
    """A matrix (Lava `Dense`, with delays `DelayDense`) and its neurons.

    ::

        sum[t] = sum over delays d of shift(sum over synapses with this delay of weight * S_in[t-1-d], weight_exp)
    """

    weight: NDArray[np.int32]  # (N, I)
    delay: NDArray[np.int32] = field(default_factory=no_delay)  # (N, I) steps of 0..63; (0, 0): none

    @property
    def kind(self) -> str:
        return "dense"

    @property
    def map_shape(self) -> tuple[int, ...]:
        return (int(self.weight.shape[0]),)

    @property
    def num_inputs(self) -> int:
        return int(self.weight.shape[1])

    @property
    def num_synapses(self) -> int:
        return int(self.weight.size)

    def fan_out(self) -> NDArray[np.int64]:
        return np.full(self.num_inputs, self.num_neurons, np.int64)

    @property
    def max_delay(self) -> int:
        return int(self.delay.max()) if self.delay.size else 0

    def _synapse_rules(self) -> Rules:
        yield "weight", self.weight.ndim == 2, "two dimensions (N, I)"
        yield from super()._synapse_rules()
        yield "delay", self.delay.shape in ((0, 0), self.weight.shape), f"none, or as weight {self.weight.shape}"
        yield "delay", within(self.delay, 0, DELAY_MAX), f"0..{DELAY_MAX}"


@dataclass(frozen=True, kw_only=True)
class ConvLayer(Layer):
    """A convolution (Lava `Conv`), as `torch.nn.Conv2d` has it, and the neurons of its map.

    ::

        sum[t] = wrap24(shift(conv(S_in[t-1], weight), weight_exp))

    Lava's `Conv` has no exponent: its weights are given shifted, so the shift must not cut off anything.
    Neuron (c*h + y)*w + x; input likewise. Stride, padding and dilation are one number where both axes have the same,
    else (y, x), however they were given; `strides`, `paddings` and `dilations` are (y, x) always.
    """

    weight: NDArray[np.int32]  # (channels, input channels / groups, kernel height, kernel width)
    input_shape: tuple[int, int, int]  # (c, h, w)
    stride: PerAxis = 1
    padding: PerAxis = 0
    dilation: PerAxis = 1
    groups: int = 1
    pooling: bool = False  # the OR over a window; see `pooling_stage`

    def __post_init__(self) -> None:
        for name in ("stride", "padding", "dilation"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1]:
                object.__setattr__(self, name, value[0])
        super().__post_init__()

    @property
    def kind(self) -> str:
        return "pooling" if self.pooling else "convolution"

    @property
    def kernel_size(self) -> int:
        """Of a square kernel, as those of our own networks and all pooling windows are."""
        height, width = self.kernel_sizes
        assert height == width, "a rectangular kernel has kernel_sizes"
        return height

    @property
    def kernel_sizes(self) -> tuple[int, int]:
        """(y, x)"""
        return int(self.weight.shape[2]), int(self.weight.shape[3])

    @property
    def strides(self) -> tuple[int, int]:
        """(y, x)"""
        return _both(self.stride)

    @property
    def paddings(self) -> tuple[int, int]:
        """(y, x)"""
        return _both(self.padding)

    @property
    def dilations(self) -> tuple[int, int]:
        """(y, x)"""
        return _both(self.dilation)

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of the neurons."""
        height, width = map_size(self.input_shape[1:], self.kernel_sizes, self.strides, self.paddings, self.dilations)
        return int(self.weight.shape[0]), height, width

    @property
    def num_inputs(self) -> int:
        return math.prod(self.input_shape)

    @property
    def num_synapses(self) -> int:
        """Connections of all neurons, those that reach into the padding included."""
        return self.num_neurons * int(np.prod(self.weight.shape[1:]))

    def fan_out(self) -> NDArray[np.int64]:
        rows, columns = (self._taps(axis) for axis in (0, 1))
        of_channel = np.outer(rows, columns).reshape(-1) * (self.map_shape[0] // self.groups)
        return np.tile(of_channel, self.input_shape[0])

    def _taps(self, axis: int) -> NDArray[np.int64]:
        """(inputs,) neurons along one axis of the map that see each place of the input."""
        inputs, neurons = self.input_shape[1 + axis], self.map_shape[1 + axis]
        places = (
            np.arange(neurons)[:, None] * self.strides[axis] - self.paddings[axis]
            + np.arange(self.kernel_sizes[axis])[None] * self.dilations[axis]
        )  # fmt: skip
        inside = places[(places >= 0) & (places < inputs)]
        return np.bincount(inside, minlength=inputs).astype(np.int64)

    def in_lava(self) -> tuple[NDArray[np.int32], int]:
        """Plain weights and groups of the same convolution, in the at most 127 groups that Lava's `Conv` counts.

        Where there are more, neighbours become one group with weights of zero between them.
        """
        weight = self.plain_weight
        groups = max(count for count in range(1, GEOMETRY_MAX + 1) if self.groups % count == 0)
        merged = self.groups // groups
        if merged == 1:
            return weight, groups
        channels, inputs = weight.shape[:2]
        wide = np.zeros((channels, merged, inputs, *weight.shape[2:]), np.int32)
        channel = np.arange(channels)
        wide[channel, channel // (channels // self.groups) % merged] = weight
        return wide.reshape(channels, merged * inputs, *weight.shape[2:]), groups

    @property
    def is_pooling(self) -> bool:
        return self.pooling

    def _synapse_rules(self) -> Rules:
        shape = self.weight.shape
        kernels = self.weight.ndim == 4 and max(shape[2:]) <= GEOMETRY_MAX
        yield "weight", kernels, f"four dimensions (channels, input channels / groups, y, x), y and x to {GEOMETRY_MAX}"
        yield from super()._synapse_rules()
        cut = self.weight_exp < 0 and np.any(self.weight & ((1 << -self.weight_exp) - 1))
        yield "weight_exp", not cut, "a shift that cuts off no bit of a weight (Lava's Conv has no exponent)"
        positive = len(self.input_shape) == 3 and min(self.input_shape) > 0
        yield "input_shape", positive, "three positive numbers (c, h, w)"
        for name, smallest in (("stride", 1), ("padding", 0), ("dilation", 1)):
            value = getattr(self, name)
            yield name, not isinstance(value, tuple) or len(value) == 2, "one number, or two: (y, x)"
            yield name, all(smallest <= size <= GEOMETRY_MAX for size in _both(value)), f"{smallest}..{GEOMETRY_MAX}"
        yield "groups", self.groups >= 1, "1 or more"
        channels, groups = self.input_shape[0], self.groups
        yield "groups", channels % groups == 0 and shape[0] % groups == 0, "a divisor of both numbers of channels"
        yield "weight", shape[1] == channels // groups, f"{channels // groups} input channels per group"
        yield "weight", min(self.map_shape) > 0, "a kernel that fits the padded map"
        largest = int(np.abs(self.plain_weight.astype(np.int64)).max()) * int(np.prod(shape[1:]))
        yield "weight", largest < 1 << 31, "sums of at most 31 bits, all inputs active"
        yield "pooling", not self.pooling or self._is_or(), "the registers of `pooling_stage`"

    def _is_or(self) -> bool:
        return (
            self.neuron == "cuba" and self.groups == self.weight.shape[0]
            and self.weight_exp == 0 and bool(np.all(self.weight == POOL_WEIGHT))
            and self.strides == self.kernel_sizes and self.padding == 0 and self.dilation == 1
            and isinstance(self.stride, int)
            and self.du == self.dv == DECAY_UNITY - 1 and not np.any(self.vth) and not np.any(self.bias_mant)
        )  # fmt: skip


# Lava holds the geometry of a convolution in signed 8 bits (lava.proc.conv.models).
GEOMETRY_MAX = 127


def pooling_stage(
    input_shape: tuple[int, int, int],
    pool_size: int,
    readout_weight: NDArray[np.int32],
    readout_bias: NDArray[np.int32],
) -> ConvLayer:
    """Max-pooling of spikes: a neuron per window that fires on one spike or more, one step later.

    u and v forget everything within a step, and v is above its threshold of 0 as soon as anything arrives.

    Args: input_shape (c, h, w); pool_size of the square window; readout as in `Layer`, of the pooled spikes.
    """
    channels, height, width = input_shape
    neurons = channels * (height // pool_size) * (width // pool_size)
    zeros_N = np.zeros(neurons, np.int32)
    return ConvLayer(
        neuron="cuba", weight=np.full((channels, 1, pool_size, pool_size), POOL_WEIGHT, np.int32), weight_exp=0,
        du=DECAY_UNITY - 1, dv=DECAY_UNITY - 1, vth=zeros_N, bias_mant=zeros_N, bias_exp=0, dr=0, rho=0,
        readout_weight=readout_weight, readout_bias=readout_bias,
        input_shape=input_shape, stride=pool_size, groups=channels, pooling=True,
    )  # fmt: skip


def map_size(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int]:  # fmt: skip
    """(y, x) neurons that a convolution has on an input of this size; not positive where its kernel does not fit."""
    y, x = (
        (size[axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    )  # fmt: skip
    return y, x


def _both(value: PerAxis) -> tuple[int, int]:
    """(y, x)"""
    return value if isinstance(value, tuple) else (value, value)


def within(values: NDArray[np.int32], low: int, high: int) -> bool:
    return bool(values.size == 0 or (values.min() >= low and values.max() <= high))
