"""One DECOLLE layer: weights, neurons, max-pooling, a fixed random readout, and the closed-form local gradient.

This is the plain path: every step of a chunk in one matrix product or convolution of the traces P. It runs on any
device and dtype and is the oracle of `decolle_hw.nn.event_layer`, which does the same from events.
"""

# T steps of a chunk, B batch, I inputs, N neurons of the map, M neurons after pooling, C classes

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from decolle_hw.nn import kernels, neurons
from decolle_hw.nn.factors import Factors
from decolle_hw.nn.neurons import Decay, NeuronState, Traces
from decolle_hw.nn.quantized import QuantizableWeight
from decolle_hw.nn.rule import LocalRule, PotentialSums
from decolle_hw.nn.surrogate import SURROGATES
from decolle_hw.spec import LayerShape


@dataclass(frozen=True)
class Dynamics:
    """Time constants and thresholds of a layer; equations in `decolle_hw.nn.neurons`."""

    neuron: str  # decolle or cuba
    alpha: float
    beta: float
    alpharp: float
    wrp: float
    vth: float


class LayerState(NamedTuple):
    """All that a layer carries from one chunk to the next."""

    traces: Traces
    neurons: NeuronState
    steps_done: int


class LayerOutput(NamedTuple):
    """What a layer did in a chunk: the factors of the rule and what follows from the spikes."""

    spikes_TBN: torch.Tensor  # after pooling, as the next layer and the readout see them
    potential_TBN: torch.Tensor  # after pooling; decolle: U; cuba: v - vth before the reset
    trace_TBI: torch.Tensor  # P
    readout_TBC: torch.Tensor
    winners_TBN: torch.Tensor | None = None  # pooling: place of the largest U in its channel's map
    mask_TBN: torch.Tensor | None = None  # dropout: 0 or 1/(1-p)


class LocalGradient(NamedTuple):
    """Loss per step and gradients of one layer over some steps of some recordings."""

    loss_T: torch.Tensor
    weight: torch.Tensor | Factors
    bias: torch.Tensor

    def followed_by(self, later: LocalGradient) -> LocalGradient:
        """Together with later steps of the same recordings; adds in place."""
        loss_T = torch.cat([self.loss_T, later.loss_T])
        weight = self.weight_matrix().add_(later.weight_matrix())
        return LocalGradient(loss_T, weight, self.bias.add_(later.bias))

    def weight_matrix(self) -> torch.Tensor:
        """The gradient of the weights, multiplied out, with the strides of the weights."""
        return self.weight.multiplied_out() if isinstance(self.weight, Factors) else self.weight


class DecolleLayer(QuantizableWeight):
    """``S = pool(neuron(W * S_in + b))``, ``y = G S + g`` with G, g fixed; W a matrix or a convolution.

    Args:
        shape: of input, map and output.
        classes: C.
        dynamics: time constants.
        index: position in the stack; a cuba layer's bias acts from step index + 1, the first step at which input
            can have reached it, because that is where its chip twin leaves the reset state.
        bias: learn b.
        lc_ampl: G and g are uniform in +-lc_ampl/sqrt(M).
        lc_bias: False: g is zero.
        is_output: the output layer: y is U itself, and the error meets no surrogate.
        random_feedback: errors come back through a fixed matrix of their own, drawn like G.
        precision: dtype of the factors in products with W; default: that of W.
        weight_bits: W is seen on the grid of synapses of so many bits, once it is quantized; see the base class.
        generator: source of all initial values.

    W starts uniform in +-1/sqrt(fan-in), b at zero. Autograd is never used. In float32 on a CPU the element-wise work
    is done by `kernels`, elsewhere by `neurons`: same equations, equal to rounding.
    """

    def __init__(
        self,
        shape: LayerShape,
        classes: int,
        dynamics: Dynamics,
        index: int,
        *,
        bias: bool,
        lc_ampl: float,
        generator: torch.Generator,
        lc_bias: bool = True,
        is_output: bool = False,
        random_feedback: bool = False,
        precision: torch.dtype | None = None,
        weight_bits: int | None = None,
    ) -> None:
        super().__init__(weight_bits)
        self.shape = shape
        self.dynamics = dynamics
        self.index = index
        self.has_bias = bias
        self.is_output = is_output
        self.precision = precision
        self.random_feedback = random_feedback
        weight = _uniform(shape.weight_shape, shape.fan_in**-0.5, generator)
        if shape.kind == "dense":
            # Input-major in memory: events and their gradients go through it row by row.
            weight = weight.t().contiguous().t()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(shape.map_shape[0]), requires_grad=False)
        self.alpha_I: torch.Tensor | None
        self.beta_I: torch.Tensor | None
        self.register_buffer("alpha_I", None)
        self.register_buffer("beta_I", None)
        if not is_output:
            bound = lc_ampl * shape.outputs**-0.5
            self.readout_weight: torch.Tensor
            self.readout_bias: torch.Tensor
            self.register_buffer("readout_weight", _uniform((classes, shape.outputs), bound, generator))
            readout_bias = _uniform((classes,), bound, generator)
            self.register_buffer("readout_bias", readout_bias if lc_bias else torch.zeros(classes))
            if random_feedback:
                self.register_buffer("own_feedback_weight", _uniform((classes, shape.outputs), bound, generator))

    @property
    def feedback_weight(self) -> torch.Tensor:
        """(C, M): what errors come back through."""
        return self.own_feedback_weight if self.random_feedback else self.readout_weight  # type: ignore[return-value]

    def draw_time_constants(self, spread: float, tau_min: float, tau_max: float, generator: torch.Generator) -> None:
        """Replace alpha and beta by one value per input: ``tau ~ N(1, spread) / (1 - alpha)``, clipped (in steps)."""
        for name, decay in (("alpha_I", self.dynamics.alpha), ("beta_I", self.dynamics.beta)):
            tau_I = torch.normal(1.0, spread, (self.shape.inputs,), generator=generator) / (1.0 - decay)
            setattr(self, name, 1.0 - 1.0 / tau_I.clamp_(tau_min, tau_max))

    @property
    def alpha(self) -> Decay:
        return self.dynamics.alpha if self.alpha_I is None else self.alpha_I

    @property
    def beta(self) -> Decay:
        return self.dynamics.beta if self.beta_I is None else self.beta_I

    def zero_state(self, batch: int) -> LayerState:
        """State before the first step of `batch` recordings."""
        zeros_BI = self.weight.new_zeros((batch, self.shape.inputs))
        zeros_BN = self.weight.new_zeros((batch, self.shape.neurons))
        return LayerState(Traces(zeros_BI, zeros_BI), NeuronState(zeros_BN, zeros_BN), 0)

    def forward(
        self, spikes_TBI: torch.Tensor, state: LayerState, mask_TBN: torch.Tensor | None = None
    ) -> tuple[LayerOutput, LayerState]:
        """A chunk of steps through the layer: one product for all steps, then a cheap scan of the neurons."""
        if spikes_TBI.shape[2] != self.shape.inputs:
            raise ValueError(f"layer {self.index} has {self.shape.inputs} inputs, not {spikes_TBI.shape[2]}")
        dyn = self.dynamics
        is_cuba = dyn.neuron == "cuba"
        trace_chunk = self._ops().trace_chunk if self.alpha_I is None else neurons.trace_chunk
        P_TBI, Q_before_TBI, traces = trace_chunk(spikes_TBI, state.traces, self.alpha, self.beta, keep_Q=is_cuba)
        ops = self._ops()
        drive_TBN = self.product(Q_before_TBI if is_cuba else P_TBI)
        if is_cuba:
            silent_steps = max(0, min(self.index + 1 - state.steps_done, len(drive_TBN)))
            drive_TBN[:silent_steps] = 0.0
            S_TBN, U_TBN, neuron_state = ops.cuba_chunk(drive_TBN, state.neurons, dyn.alpha, dyn.vth)
        else:
            S_TBN, U_TBN, neuron_state = ops.decolle_chunk(drive_TBN, state.neurons, dyn.alpharp, dyn.wrp)
        winners_TBM = None
        if self.shape.pool_size > 1:
            U_TBN, winners_TBM = self._pool(U_TBN)
            S_TBN = (U_TBN > 0).to(U_TBN.dtype)
        readout_TBC = self.read_out(S_TBN, U_TBN, mask_TBN)
        output = LayerOutput(S_TBN, U_TBN, P_TBI, readout_TBC, winners_TBM, mask_TBN)
        return output, LayerState(traces, neuron_state, state.steps_done + len(spikes_TBI))

    def product(self, values_TBI: torch.Tensor, bias: bool = True) -> torch.Tensor:
        """``W * x + b`` at every step, (T, B, N)."""
        steps, batch, _ = values_TBI.shape
        dtype = self.precision or self.weight.dtype
        weight, x = self.weight.to(dtype), values_TBI.to(dtype)
        if self.shape.kind == "dense":
            drive = functional.linear(x, weight).to(self.weight.dtype)
            return drive.add_(self.bias) if bias else drive
        images = x.reshape(steps * batch, *self.shape.input_shape)
        drive = functional.conv2d(images, weight, None, *self._geometry()).to(self.weight.dtype)
        if bias:
            drive.add_(self.bias.view(-1, 1, 1))
        return drive.reshape(steps, batch, self.shape.neurons)

    def product_gradient(self, values_TBI: torch.Tensor, delta_TBN: torch.Tensor) -> torch.Tensor:
        """``sum_tb delta x^T`` in the shape of W."""
        dtype = self.precision or self.weight.dtype
        x, delta = values_TBI.to(dtype), delta_TBN.to(dtype)
        if self.shape.kind == "dense":
            return (x.flatten(0, 1).T @ delta.flatten(0, 1)).T.to(self.weight.dtype)  # input-major, as W
        gradient = conv2d_weight(
            x.reshape(-1, *self.shape.input_shape), self.shape.weight_shape,
            delta.reshape(-1, *self.shape.map_shape), *self._geometry(),
        )  # fmt: skip
        return gradient.to(self.weight.dtype)

    def read_out(
        self, spikes_TBM: torch.Tensor, potential_TBM: torch.Tensor, mask_TBM: torch.Tensor | None
    ) -> torch.Tensor:
        """(T, B, C) y."""
        if self.is_output:
            return potential_TBM
        visible_TBM = spikes_TBM if mask_TBM is None else spikes_TBM * mask_TBM
        return functional.linear(visible_TBM, self.readout_weight, self.readout_bias)

    def local_gradient(
        self, output: LayerOutput, target_BC: torch.Tensor, rule: LocalRule, batch: int,
        sums: PotentialSums | None = None,
    ) -> tuple[LocalGradient, int]:  # fmt: skip
        """The three-factor gradient of a chunk.

        ``delta = (F^T dL/dy) * sigma'(U)``; ``dW = sum_tb delta P^T``; ``db = sum_tb delta``: the exact sum of
        the gradients of each step, as no term crosses steps or layers.

        Args:
            output: of the chunk. target_BC: one target for all steps. rule: how the layer learns.
            batch: recordings that the loss is a mean over; more than B where `output` is part of a batch.
            sums: of the whole batch, where the rule has regularizers.

        Returns:
            the gradient, and how many errors passed the threshold. Of L_reg the loss holds nothing: it is the
            caller's, once for the whole batch.
        """
        signal = rule.teach(output.readout_TBC, target_BC, batch)
        if self.is_output:
            delta_TBM = signal.dL_dy_TBC.clone()
        elif output.mask_TBN is None:
            delta_TBM = self._ops().local_delta(
                signal.dL_dy_TBC, self.feedback_weight, output.potential_TBN, rule.surrogate
            )
        else:
            delta_TBM = (signal.dL_dy_TBC @ self.feedback_weight) * output.mask_TBN
            delta_TBM *= SURROGATES[rule.surrogate](output.potential_TBN)
        if sums is not None:
            delta_TBM += sums.gradient(rule.reg, output.potential_TBN)
        delta_TBN = self._unpool(delta_TBM, output.winners_TBN)
        weight = self.product_gradient(output.trace_TBI, delta_TBN)
        bias = delta_TBN.reshape(-1, len(self.bias), self.shape.neurons // len(self.bias)).sum((0, 2))
        return LocalGradient(signal.loss_T, weight, bias), signal.passed

    def _pool(self, potential_TBN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steps, batch, _ = potential_TBN.shape
        maps = potential_TBN.reshape(steps * batch, *self.shape.map_shape)
        largest, winners = functional.max_pool2d(maps, self.shape.pool_size, return_indices=True)
        return largest.reshape(steps, batch, -1), winners.reshape(steps, batch, -1)

    def _unpool(self, delta_TBM: torch.Tensor, winners_TBM: torch.Tensor | None) -> torch.Tensor:
        """Back to the map: what a pooled neuron received goes to the neuron that it took U from."""
        if winners_TBM is None:
            return delta_TBM
        steps, batch, _ = delta_TBM.shape
        channels = self.shape.map_shape[0]
        delta = delta_TBM.new_zeros((steps, batch, channels, self.shape.neurons // channels))
        delta.scatter_(3, winners_TBM.view(steps, batch, channels, -1), delta_TBM.view(steps, batch, channels, -1))
        return delta.view(steps, batch, -1)

    def _geometry(self) -> tuple[int, int, int, int]:
        return self.shape.stride, self.shape.padding, self.shape.dilation, self.shape.groups

    def _ops(self) -> ModuleType:
        compiled = self.weight.device.type == "cpu" and self.weight.dtype == torch.float32
        return kernels if compiled else neurons


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> torch.Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
