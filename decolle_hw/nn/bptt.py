"""Back-propagation through time and layers on a DECOLLE network: `method: bptt`, what the local rule is compared with.

The same neurons, parameters, readouts and local losses; but all losses are added, and their sum is differentiated by
autograd through every spike (with the surrogate for its derivative), trace and membrane, back to the first step:

    dW_l = sum over steps t and layers k >= l of  dL_k[t] / dW_l

where the local rule keeps k = l and, of the past, only P. Steps of the burn-in have no loss but belong to the graph.

The reset is detached: R (decolle) and v = 0 (cuba) follow the spikes, but no gradient runs from them back into the
spikes. That is common (snnTorch's default) and trains better with surrogates (Zenke, Vogels 2021, "The remarkable
robustness of surrogate gradient learning"). The last layer's gradient is then the local rule's exactly, for decolle
neurons: U depends on W through P alone. For cuba it is not: a reset erases the past of v, the local rule's P does not.

Memory grows linearly with the number of steps, as every step's potentials stay in the graph.
"""

# T steps, B batch, I inputs, N neurons of the map, M neurons after pooling, C classes, L layers

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from decolle_hw.nn.layer import DecolleLayer
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.neurons import Decay
from decolle_hw.nn.rule import LocalRule, PotentialSums, local_rules
from decolle_hw.nn.surrogate import SURROGATES
from decolle_hw.spec import TrainingSpec

Spike = Callable[[torch.Tensor], torch.Tensor]  # of the distance to threshold, element by element


class LayerParameters(NamedTuple):
    """What a gradient is taken of."""

    weight: torch.Tensor
    bias: torch.Tensor


class LayerGradient(NamedTuple):
    """Of a layer; None where no loss depends on it (layers above the last loss), and for a bias that is not learned."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None


def bptt_gradients(
    network: DecolleNetwork,
    spikes_TBI: torch.Tensor,
    target_BC: torch.Tensor,
    spec: TrainingSpec,
    dropout_masks: Sequence[torch.Tensor | None] | None = None,
) -> tuple[torch.Tensor, list[LayerGradient]]:
    """Losses of a whole sequence and the gradients of their sum.

    Args:
        network: nothing in it changes, `.grad` included.
        spikes_TBI: 0/1 of any dtype, all steps from the first.
        target_BC: one target for all steps.
        spec: losses, regularizers, error thresholds, surrogate, burn-in.
        dropout_masks: one (T, B, M) or None per layer; 0 hides a spike from the readout, 1/(1-p) lets it through.

    Returns:
        loss per step and layer (T - burn-in, L), zero where the loss is `none`; gradients per layer, in the layout that
        autograd gives them.
    """
    parameters = [_leaves(layer) for layer in network]
    with torch.enable_grad():
        loss_TL = bptt_losses(network, parameters, spikes_TBI, target_BC, spec, dropout_masks)
        # One list for all leaves: a single walk through the graph, which is freed as it goes.
        leaves = [tensor for pair in parameters for tensor in pair if tensor.requires_grad]
        found = iter(torch.autograd.grad(loss_TL.sum(), leaves, allow_unused=True))
    gradients = [LayerGradient(next(found), next(found) if pair.bias.requires_grad else None) for pair in parameters]
    return loss_TL.detach(), gradients


def bptt_losses(
    network: DecolleNetwork,
    parameters: Sequence[LayerParameters],
    spikes_TBI: torch.Tensor,
    target_BC: torch.Tensor,
    spec: TrainingSpec,
    dropout_masks: Sequence[torch.Tensor | None] | None = None,
    *,
    spike: Spike | None = None,
    detach_reset: bool = True,
) -> torch.Tensor:
    """The losses (T - burn-in, L) as a function of `parameters`, for autograd.

    Args:
        parameters: in place of those of the layers. spike: in place of step and surrogate (a smooth one makes the
        whole a function that finite differences can check). detach_reset: see above.
        Others: as for `bptt_gradients`.
    """
    spike = spike or _surrogate_spike(SURROGATES[spec.surrogate])
    masks = dropout_masks or [None] * len(network)
    learned_steps = len(spikes_TBI) - spec.burnin_steps
    assert learned_steps > 0
    passed_on_TBI = spikes_TBI.to(parameters[0].weight.dtype)
    losses = []
    for layer, values, rule, mask in zip(network, parameters, local_rules(spec, len(network)), masks, strict=True):
        U_TBM = _potentials(layer, values, passed_on_TBI, spike, detach_reset)
        passed_on_TBI = spike(U_TBM)
        if rule.learns:
            U, S = U_TBM[-learned_steps:], passed_on_TBI[-learned_steps:]
            losses.append(_loss(layer, rule, U, S if mask is None else S * mask[-learned_steps:], target_BC))
        else:
            losses.append(U_TBM.new_zeros(learned_steps))
    return torch.stack(losses, 1)


def _loss(
    layer: DecolleLayer, rule: LocalRule, U_TBM: torch.Tensor, seen_TBM: torch.Tensor, target_BC: torch.Tensor
) -> torch.Tensor:
    """(T,) local loss and regularizers of a layer whose readout sees `seen_TBM`."""
    assert rule.loss is not None
    y_TBC = U_TBM
    if not layer.is_output:
        y_TBC = functional.linear(seen_TBM, layer.readout_weight, layer.readout_bias)
    if rule.threshold > 0.0:
        with torch.no_grad():
            silent_TBC = rule.loss(y_TBC, target_BC, y_TBC.shape[1]).error_TBC.abs() <= rule.threshold
        y_TBC = torch.where(silent_TBC, y_TBC.detach(), y_TBC)
    loss_T = rule.loss(y_TBC, target_BC, y_TBC.shape[1]).loss_T
    return loss_T + PotentialSums.of(U_TBM).loss(rule.reg) if rule.reg > 0.0 else loss_T


def _potentials(
    layer: DecolleLayer, values: LayerParameters, spikes_TBI: torch.Tensor, spike: Spike, detach_reset: bool
) -> torch.Tensor:
    """(T, B, M) distance to threshold at every step, pooled; equations in `decolle_hw.nn.neurons`."""
    dyn = layer.dynamics
    P_TBI, Q_before_TBI = _traces(spikes_TBI, layer.alpha, layer.beta)
    if dyn.neuron == "cuba":
        current_TBN = _product(layer, values, Q_before_TBI)
        silent_steps = min(layer.index + 1, len(current_TBN))
        current_TBN = torch.cat([torch.zeros_like(current_TBN[:silent_steps]), current_TBN[silent_steps:]])
        U_TBN = _cuba(current_TBN, dyn.alpha, dyn.vth, spike, detach_reset)
    else:
        U_TBN = _decolle(_product(layer, values, P_TBI), dyn.alpharp, dyn.wrp, spike, detach_reset)
    if layer.shape.pool_size == 1:
        return U_TBN
    maps = U_TBN.reshape(-1, *layer.shape.map_shape)
    return functional.max_pool2d(maps, layer.shape.pool_size).reshape(*U_TBN.shape[:2], layer.shape.outputs)


def _traces(spikes_TBI: torch.Tensor, alpha: Decay, beta: Decay) -> tuple[torch.Tensor, torch.Tensor]:
    """P[t] and Q[t-1] for each step, (T, B, I) both."""
    Q_BI = P_BI = torch.zeros_like(spikes_TBI[0])
    all_P, all_Q_before = [], []
    for S_BI in spikes_TBI:
        P_BI = alpha * P_BI + (1.0 - alpha) * Q_BI
        all_P.append(P_BI)
        all_Q_before.append(Q_BI)
        Q_BI = beta * Q_BI + (1.0 - beta) * S_BI
    return torch.stack(all_P), torch.stack(all_Q_before)


def _product(layer: DecolleLayer, values: LayerParameters, x_TBI: torch.Tensor) -> torch.Tensor:
    """``W * x + b`` at every step, (T, B, N): one product for all steps."""
    shape = layer.shape
    if shape.kind == "dense":
        return functional.linear(x_TBI, values.weight, values.bias)
    images = x_TBI.reshape(-1, *shape.input_shape)
    geometry = shape.stride, shape.padding, shape.dilation, shape.groups
    drive = functional.conv2d(images, values.weight, values.bias, *geometry)
    return drive.reshape(*x_TBI.shape[:2], shape.neurons)


def _decolle(drive_TBN: torch.Tensor, alpharp: float, wrp: float, spike: Spike, detach_reset: bool) -> torch.Tensor:
    R_BN = S_BN = torch.zeros_like(drive_TBN[0])
    all_U = []
    for drive_BN in drive_TBN:
        R_BN = alpharp * R_BN - (1.0 - alpharp) * wrp * S_BN
        U_BN = drive_BN + R_BN
        S_BN = spike(U_BN.detach() if detach_reset else U_BN)
        all_U.append(U_BN)
    return torch.stack(all_U)


def _cuba(current_TBN: torch.Tensor, alpha: float, vth: float, spike: Spike, detach_reset: bool) -> torch.Tensor:
    v_BN = torch.zeros_like(current_TBN[0])
    all_U = []
    for current_BN in current_TBN:
        v_BN = alpha * v_BN + (1.0 - alpha) * current_BN
        U_BN = v_BN - vth
        all_U.append(U_BN)
        v_BN = v_BN * (1.0 - spike(U_BN.detach() if detach_reset else U_BN))
    return torch.stack(all_U)


class _Step(torch.autograd.Function):
    """Step function with a surrogate for its derivative."""

    @staticmethod
    def forward(ctx: Any, potential: torch.Tensor, surrogate: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        ctx.save_for_backward(potential)
        ctx.surrogate = surrogate
        return (potential > 0).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        (potential,) = ctx.saved_tensors
        return gradient * ctx.surrogate(potential), None


def _surrogate_spike(surrogate: Callable[[torch.Tensor], torch.Tensor]) -> Spike:
    return lambda potential: _Step.apply(potential, surrogate)


def _leaves(layer: DecolleLayer) -> LayerParameters:
    """The values of the parameters (the same memory) as the beginning of a graph."""
    weight, bias = layer.weight.detach().requires_grad_(), layer.bias.detach()
    return LayerParameters(weight, bias.requires_grad_() if layer.has_bias else bias)
