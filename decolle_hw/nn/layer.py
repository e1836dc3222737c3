"""One dense DECOLLE layer: weights, neurons, a fixed random readout, and the closed-form local gradient."""

# T steps of a chunk, B batch, I inputs, N neurons, C classes

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn

from decolle_hw.nn import kernels, neurons
from decolle_hw.nn.losses import LossAndGradient
from decolle_hw.nn.neurons import NeuronState, Traces


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

    spikes_TBN: torch.Tensor
    potential_TBN: torch.Tensor  # decolle: U; cuba: v - vth before the reset
    trace_TBI: torch.Tensor  # P
    readout_TBC: torch.Tensor


class LocalGradient(NamedTuple):
    """Loss per step and gradients of one layer over some steps of some recordings."""

    loss_T: torch.Tensor
    weight_NI: torch.Tensor
    bias_N: torch.Tensor

    def beside(self, other: LocalGradient) -> LocalGradient:
        """Together with other recordings of the same steps; adds in place."""
        return LocalGradient(
            self.loss_T.add_(other.loss_T), self.weight_NI.add_(other.weight_NI), self.bias_N.add_(other.bias_N)
        )

    def followed_by(self, later: LocalGradient) -> LocalGradient:
        """Together with later steps of the same recordings; adds in place."""
        loss_T = torch.cat([self.loss_T, later.loss_T])
        return LocalGradient(loss_T, self.weight_NI.add_(later.weight_NI), self.bias_N.add_(later.bias_N))


class DecolleLayer(nn.Module):
    """``S = neuron(W, b, S_in)``, ``y = G S + g`` with G, g fixed.

    Args:
        inputs: I. units: N. classes: C. dynamics: time constants.
        index: position in the stack; a cuba layer's bias acts from step index + 1, the first step at which input
            can have reached it, because that is where its chip twin leaves the reset state.
        lc_ampl: G and g are uniform in +-lc_ampl/sqrt(N).
        generator: source of all initial values.

    W starts uniform in +-1/sqrt(I), b at zero. Autograd is never used. In float32 on a CPU the element-wise work
    is done by `kernels`, elsewhere by `neurons`: same equations, equal to rounding.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        classes: int,
        dynamics: Dynamics,
        index: int,
        *,
        bias: bool,
        lc_ampl: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.index = index
        self.has_bias = bias
        self.weight = nn.Parameter(_uniform((units, inputs), inputs**-0.5, generator), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(units), requires_grad=False)
        bound = lc_ampl * units**-0.5
        self.register_buffer("readout_weight", _uniform((classes, units), bound, generator))
        self.register_buffer("readout_bias", _uniform((classes,), bound, generator))
        self.readout_weight: torch.Tensor
        self.readout_bias: torch.Tensor

    def zero_state(self, batch: int) -> LayerState:
        """State before the first step of `batch` recordings."""
        units, inputs = self.weight.shape
        zeros_BI = self.weight.new_zeros((batch, inputs))
        zeros_BN = self.weight.new_zeros((batch, units))
        return LayerState(Traces(zeros_BI, zeros_BI), NeuronState(zeros_BN, zeros_BN), 0)

    def forward(self, spikes_TBI: torch.Tensor, state: LayerState) -> tuple[LayerOutput, LayerState]:
        """A chunk of steps through the layer: one matrix product for all steps, then a cheap scan of the neurons."""
        if spikes_TBI.shape[2] != self.weight.shape[1]:
            raise ValueError(f"layer {self.index} has {self.weight.shape[1]} inputs, not {spikes_TBI.shape[2]}")
        dyn = self.dynamics
        ops = self._ops()
        P_TBI, Q_before_TBI, traces = ops.trace_chunk(
            spikes_TBI, state.traces, dyn.alpha, dyn.beta, keep_Q=dyn.neuron == "cuba"
        )
        if dyn.neuron == "decolle":
            drive_TBN = nn.functional.linear(P_TBI, self.weight, self.bias)
            S_TBN, U_TBN, neuron_state = ops.decolle_chunk(drive_TBN, state.neurons, dyn.alpharp, dyn.wrp)
        else:
            current_TBN = nn.functional.linear(Q_before_TBI, self.weight, self.bias)
            silent_steps = max(0, min(self.index + 1 - state.steps_done, len(current_TBN)))
            current_TBN[:silent_steps] = 0.0
            S_TBN, U_TBN, neuron_state = ops.cuba_chunk(current_TBN, state.neurons, dyn.alpha, dyn.vth)
        readout_TBC = nn.functional.linear(S_TBN, self.readout_weight, self.readout_bias)
        output = LayerOutput(S_TBN, U_TBN, P_TBI, readout_TBC)
        return output, LayerState(traces, neuron_state, state.steps_done + len(spikes_TBI))

    def local_gradient(
        self, output: LayerOutput, target_BC: torch.Tensor, loss: LossAndGradient, batch: int
    ) -> LocalGradient:
        """The three-factor gradient of a chunk.

        ``delta = (G^T dL/dy) * sigma'(U)``; ``dW = sum_tb delta P^T``; ``db = sum_tb delta``: the exact sum of
        the gradients of each step, as no term crosses steps or layers.

        Args:
            output: of the chunk. target_BC: one target for all steps. loss: with its gradient.
            batch: recordings that the loss is a mean over; more than B where `output` is part of a batch.
        """
        loss_T, dL_dy_TBC = loss(output.readout_TBC - target_BC, batch)
        delta_TBN = self._ops().local_delta(dL_dy_TBC, self.readout_weight, output.potential_TBN)
        delta = delta_TBN.flatten(0, 1)
        return LocalGradient(loss_T, delta.T @ output.trace_TBI.flatten(0, 1), delta.sum(0))

    def _ops(self) -> ModuleType:
        compiled = self.weight.device.type == "cpu" and self.weight.dtype == torch.float32
        return kernels if compiled else neurons


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> torch.Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
