"""DECOLLE written the straightforward way: a loop over time steps, autograd on the local losses of each step.

The oracle of the tests, in double precision, and the baseline of `benchmarks/train_throughput.py`, in single: what one
writes from the paper with plain torch. All states are detached; a spike is an `autograd.Function` with a surrogate for
its derivative; the losses of a step go backward at once, so that no graph outlives its step; gradients add up in
`.grad` until a torch optimizer takes its step. Shares no code with `decolle_hw.nn` but the network that it copies its
parameters from.
"""

# T steps, B batch, I inputs, C classes, X any shape of a layer's input, M its map of neurons, N the map after pooling

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import LayerShape, ModelSpec


def fast_sigmoid(U: torch.Tensor) -> torch.Tensor:
    """``1 / (1 + 10 |U|)**2``."""
    return 1.0 / (1.0 + 10.0 * U.abs()) ** 2


def boxcar(U: torch.Tensor) -> torch.Tensor:
    """1 where |U| < 1/2, else 0."""
    return (U.abs() < 0.5).to(U.dtype)


def sigmoid(U: torch.Tensor) -> torch.Tensor:
    """``s(U) (1 - s(U))`` with the logistic function s."""
    s = torch.sigmoid(U)
    return s * (1.0 - s)


SURROGATES = {"fast_sigmoid": fast_sigmoid, "boxcar": boxcar, "sigmoid": sigmoid}
LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "smooth_l1": functional.smooth_l1_loss,
    "mse": functional.mse_loss,
    "cross_entropy": functional.cross_entropy,  # takes probabilities as targets, too
}


class Spike(torch.autograd.Function):
    """Step function with a surrogate derivative."""

    @staticmethod
    def forward(ctx, U, surrogate):
        ctx.save_for_backward(U)
        ctx.surrogate = surrogate
        return (U > 0).to(U.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (U,) = ctx.saved_tensors
        return gradient * ctx.surrogate(U), None


class ReadoutWithFeedback(torch.autograd.Function):
    """``y = G S + g`` whose error comes back through another matrix: feedback alignment."""

    @staticmethod
    def forward(ctx, S_BN, G_CN, g_C, feedback_CN):
        ctx.save_for_backward(feedback_CN)
        return functional.linear(S_BN, G_CN, g_C)

    @staticmethod
    def backward(ctx, gradient_BC):
        (feedback_CN,) = ctx.saved_tensors
        return gradient_BC @ feedback_CN, None, None, None


class Gate(torch.autograd.Function):
    """Identity whose gradient passes only where `passes_BC` is true: error-triggered learning."""

    @staticmethod
    def forward(ctx, y_BC, passes_BC):
        ctx.save_for_backward(passes_BC)
        return y_BC.view_as(y_BC)

    @staticmethod
    def backward(ctx, gradient_BC):
        (passes_BC,) = ctx.saved_tensors
        return gradient_BC * passes_BC, None


class PerStepLayer:
    """A layer with its states; `step` is one time step.

    Args:
        ours: a layer of `DecolleNetwork`: parameters, readout and time constants are copied from it.
        shape: of the layer. spec: of the network. index: position in the stack. dtype: of everything.
    """

    def __init__(self, ours: Any, shape: LayerShape, spec: ModelSpec, index: int, dtype: torch.dtype) -> None:
        def copy(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)

        self.shape, self.index, self.dtype = shape, index, dtype
        self.dynamics = ours.dynamics
        self.surrogate = SURROGATES[spec.training.surrogate]
        self.is_output = spec.network.output_layer and index == spec.network.layers - 1
        self.weight = copy(ours.weight).requires_grad_()
        self.bias = copy(ours.bias).requires_grad_() if spec.network.bias else None
        if not self.is_output:
            self.readout_weight, self.readout_bias = copy(ours.readout_weight), copy(ours.readout_bias)
            self.feedback = copy(ours.feedback_weight) if spec.training.feedback == "random" else None
        self.taus: tuple[torch.Tensor, torch.Tensor] | None = None
        if spec.network.random_tau is not None:
            self.taus = copy(ours.alpha_I).view(shape.input_shape), copy(ours.beta_I).view(shape.input_shape)

    def parameters(self) -> list[torch.Tensor]:
        """What is learned: the weight, and the bias if the layer has one."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def reset(self, batch: int) -> None:
        """State before the first step of `batch` recordings."""
        self.t = 0
        self.P, self.Q = (torch.zeros((batch, *self.shape.input_shape), dtype=self.dtype) for _ in range(2))
        # R is v for cuba neurons.
        self.R, self.S = (torch.zeros((batch, *self.shape.map_shape), dtype=self.dtype) for _ in range(2))

    def step(self, spikes_BX: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(spikes, potential) of one step, both after pooling and connected to the parameters where grad is on.

        The states change in place: autograd may do so, as the graph of the step before has gone backward.
        """
        dyn = self.dynamics
        Q_before = self.Q.clone() if dyn.neuron == "cuba" else None
        self._filter(spikes_BX)
        if Q_before is None:
            self.R.mul_(dyn.alpharp).sub_(self.S, alpha=(1.0 - dyn.alpharp) * dyn.wrp)
            U_BM = self._drive(self.P) + self.R
        else:
            U_BM = self._cuba_potential(Q_before)
        self.t += 1
        self.U = U_BM.detach()
        U_BN = functional.max_pool2d(U_BM, self.shape.pool_size) if self.shape.pool_size > 1 else U_BM
        S_BN = Spike.apply(U_BN, self.surrogate)
        self.S = S_BN.detach() if U_BN is U_BM else (self.U > 0).to(self.dtype)
        if Q_before is not None:
            self.R.mul_(1.0 - self.S)
        return S_BN, U_BN

    def readout(self, S_BN: torch.Tensor, U_BN: torch.Tensor) -> torch.Tensor:
        """(B, C); the output layer's is the potential itself."""
        if self.is_output:
            return U_BN
        if self.feedback is None:
            return functional.linear(S_BN.flatten(1), self.readout_weight, self.readout_bias)
        return ReadoutWithFeedback.apply(S_BN.flatten(1), self.readout_weight, self.readout_bias, self.feedback)

    def _filter(self, spikes_BX: torch.Tensor) -> None:
        if self.taus is None:
            dyn = self.dynamics
            self.P.mul_(dyn.alpha).add_(self.Q, alpha=1.0 - dyn.alpha)
            self.Q.mul_(dyn.beta).add_(spikes_BX, alpha=1.0 - dyn.beta)
        else:
            alpha, beta = self.taus
            self.P.mul_(alpha).addcmul_(self.Q, 1.0 - alpha)
            self.Q.mul_(beta).addcmul_(spikes_BX, 1.0 - beta)

    def _drive(self, trace_BX: torch.Tensor) -> torch.Tensor:
        shape = self.shape
        if shape.kind == "dense":
            return functional.linear(trace_BX, self.weight, self.bias)
        return functional.conv2d(
            trace_BX, self.weight, self.bias, shape.stride, shape.padding, shape.dilation, shape.groups
        )

    def _cuba_potential(self, Q_before_BX: torch.Tensor) -> torch.Tensor:
        """v - vth before the reset, with the derivative of ``W P + b``."""
        dyn = self.dynamics
        with torch.no_grad():
            current_BM = self._drive(Q_before_BX) * float(self.t > self.index)
            self.R.mul_(dyn.alpha).add_(current_BM, alpha=1.0 - dyn.alpha)
            U_BM = self.R - dyn.vth
        if torch.is_grad_enabled():
            through_BM = self._drive(self.P)
            U_BM = U_BM + (through_BM - through_BM.detach())  # adds zero exactly
        return U_BM


class PerStepAutograd:
    """A network and its optimizer; `learn_batch` does what `Learner.learn_batch` is to do.

    Args:
        network: initial parameters and the fixed readouts.
        spec: of the network and its training (method decolle; dropout is left out).
        dtype: torch.float32 or torch.float64.
        record: keep `spikes` and `maps` (per layer, a list of S (B, N) and of U before pooling (B, M) of all steps)
            and `gate_margin`, the smallest distance of an error to the threshold that it is compared with.
    """

    def __init__(
        self, network: DecolleNetwork, spec: ModelSpec, dtype: torch.dtype = torch.float32, record: bool = False
    ) -> None:
        assert spec.training.method == "decolle"
        self.spec, self.dtype, self.record = spec, dtype, record
        pairs = zip(network.layers, spec.shapes(network.classes), strict=True)
        self.layers = [PerStepLayer(ours, shape, spec, index, dtype) for index, (ours, shape) in enumerate(pairs)]
        self.optimizer = self._make_optimizer()
        self.loss_names = spec.of_layers("loss")
        self.reg = spec.of_layers("reg_l")
        thresholds = spec.of_layers("error_threshold")
        self.gated = [threshold > 0.0 or spec.training.error_rate is not None for threshold in thresholds]
        self.thresholds = [torch.tensor(threshold, dtype=dtype) for threshold in thresholds]
        self._passed: list[list[torch.Tensor]] = [[] for _ in self.layers]
        self.forget()

    def forget(self) -> None:
        """Drop what was recorded."""
        self.spikes: list[list[torch.Tensor]] = [[] for _ in self.layers]
        self.maps: list[list[torch.Tensor]] = [[] for _ in self.layers]
        self.gate_margin = float("inf")

    def learn_batch(self, spikes_TBI: torch.Tensor, target_BC: torch.Tensor) -> torch.Tensor:
        """Present a batch once; weights change after every `update_every` steps beyond burn-in.

        Returns:
            loss per step and layer (T - burn-in, L), regularizers included; 0 where a layer's loss is none.
        """
        training = self.spec.training
        steps, batch = spikes_TBI.shape[:2]
        target_BC = target_BC.to(self.dtype)
        for layer in self.layers:
            layer.reset(batch)
        with torch.no_grad():
            for t in range(training.burnin_steps):
                self._step(spikes_TBI[t], None)
        losses = []
        size = steps if training.update_every == "sequence" else training.update_every
        for start in range(training.burnin_steps, steps, size):
            self.optimizer.zero_grad()
            for t in range(start, min(start + size, steps)):
                total, losses_L = self._step(spikes_TBI[t], target_BC)
                total.backward()
                losses.append(losses_L)
            self._update()
        return torch.stack(losses)

    def _step(self, spikes_BI: torch.Tensor, target_BC: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of all layers: what is to go backward, and the losses (L,); both zero without a target."""
        x_BX = spikes_BI.to(self.dtype)
        total, losses = torch.zeros((), dtype=self.dtype), []
        for index, layer in enumerate(self.layers):
            name = self.loss_names[index] if target_BC is not None else "none"
            with torch.set_grad_enabled(name != "none"):
                S_BN, U_BN = layer.step(x_BX.view(-1, *layer.shape.input_shape))
                loss = torch.zeros((), dtype=self.dtype)
                if name != "none":
                    y_BC = self._gate(index, layer.readout(S_BN, U_BN), target_BC, name)
                    loss = LOSSES[name](y_BC, target_BC)
                    if self.reg[index] > 0.0:
                        loss = loss + self.reg[index] * _regularizer(U_BN)
                    total = total + loss
            losses.append(loss.detach())
            x_BX = S_BN.detach()
            if self.record:
                self.spikes[index].append(S_BN.detach())
                self.maps[index].append(layer.U)
        return total, torch.stack(losses)

    def _gate(self, index: int, y_BC: torch.Tensor, target_BC: torch.Tensor, name: str) -> torch.Tensor:
        if not self.gated[index]:
            return y_BC
        with torch.no_grad():
            prediction_BC = torch.softmax(y_BC, 1) if name == "cross_entropy" else y_BC
            magnitude_BC = (prediction_BC - target_BC).abs()
            passes_BC = magnitude_BC > self.thresholds[index]
            self._passed[index].append(passes_BC.to(self.dtype).mean())
            if self.record:
                margin = (magnitude_BC - self.thresholds[index]).abs().min().item()
                self.gate_margin = min(self.gate_margin, margin)
        return Gate.apply(y_BC, passes_BC)

    def _update(self) -> None:
        training = self.spec.training
        if training.clip_grad_norm is not None:
            for layer in self.layers:
                nn.utils.clip_grad_norm_(layer.parameters(), training.clip_grad_norm)
        self.optimizer.step()
        for index, shares in enumerate(self._passed):
            if shares and training.error_rate is not None:
                excess = torch.stack(shares).mean() - training.error_rate
                self.thresholds[index] = (self.thresholds[index] + training.error_adaptation * excess).clamp(min=0.0)
            shares.clear()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        training = self.spec.training
        kind = getattr(torch.optim, training.optimizer)
        arguments = dict(training.optimizer_args)
        if training.betas is not None and "betas" in inspect.signature(kind).parameters:
            arguments["betas"] = tuple(training.betas)
        rates = self.spec.of_layers("learning_rate")
        groups = [{"params": layer.parameters(), "lr": rate} for layer, rate in zip(self.layers, rates, strict=True)]
        return kind(groups, lr=rates[0], **arguments)


def _regularizer(U_BN: torch.Tensor) -> torch.Tensor:
    """Against high potentials, and against a layer that is silent on the whole."""
    high = functional.relu(U_BN + 0.01).mean()
    silent = functional.relu((0.1 - torch.sigmoid(U_BN)).mean())
    return 1e-2 * high + 6e-5 * silent
