"""The closed-form rule against autograd, the neurons against per-step loops, the compiled path against torch."""

# T steps, B batch, I inputs, N neurons, C classes

from __future__ import annotations

import pytest
import torch
from torch import nn

from decolle_hw.nn import kernels, neurons
from decolle_hw.nn.layer import DecolleLayer, Dynamics
from decolle_hw.nn.losses import LOSSES
from decolle_hw.nn.neurons import NeuronState, Traces
from decolle_hw.nn.rule import LocalRule
from decolle_hw.spec import LayerShape

T, B, I, N, C = 23, 7, 19, 13, 4  # noqa: E741  odd sizes: no whole vector registers
NEURONS = ["decolle", "cuba"]
EPS = 2.0**-23


def make_layer(neuron: str, index: int = 0) -> DecolleLayer:
    generator = torch.Generator().manual_seed(5)
    dynamics = Dynamics(neuron, alpha=0.9, beta=0.8, alpharp=0.65, wrp=1.0, vth=0.05)
    layer = DecolleLayer(LayerShape.dense(I, N), C, dynamics, index, bias=True, lc_ampl=0.5, generator=generator)
    layer.weight.data.mul_(3.0)
    layer.bias.data.uniform_(-0.1, 0.1, generator=generator)
    return layer


def make_spikes() -> torch.Tensor:
    return (torch.rand((T, B, I), generator=torch.Generator().manual_seed(6)) < 0.3).float()


class Spike(torch.autograd.Function):
    """Step function with the derivative of the fast sigmoid."""

    @staticmethod
    def forward(ctx, potential):
        ctx.save_for_backward(potential)
        return (potential > 0).to(potential.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (potential,) = ctx.saved_tensors
        return gradient / (1.0 + 10.0 * potential.abs()) ** 2


def reference(layer: DecolleLayer, spikes_TBI: torch.Tensor, loss: str, target_BC: torch.Tensor):
    """A plain loop over steps in double precision, autograd on each step's local loss with all states detached.

    The trace that multiplies W is P, for cuba too: its v follows W P but for the reset.
    """
    dyn, spikes_TBI = layer.dynamics, spikes_TBI.double()
    W = layer.weight.detach().double().requires_grad_()
    b = layer.bias.detach().double().requires_grad_()
    G, g = layer.readout_weight.double(), layer.readout_bias.double()
    Q = P = torch.zeros(B, I, dtype=torch.double)
    R = S = v = torch.zeros(B, N, dtype=torch.double)
    all_S, all_U, total = [], [], 0.0
    for t in range(T):
        Q_before = Q
        P = dyn.alpha * P + (1 - dyn.alpha) * Q
        Q = dyn.beta * Q + (1 - dyn.beta) * spikes_TBI[t]
        if dyn.neuron == "decolle":
            R = dyn.alpharp * R - (1 - dyn.alpharp) * dyn.wrp * S
            U = P @ W.T + b + R
            S = Spike.apply(U)
        else:
            current = Q_before @ W.detach().T + b.detach()
            if t < layer.index + 1:
                current = torch.zeros_like(current)
            v = dyn.alpha * v + (1 - dyn.alpha) * current
            distance = v - dyn.vth
            # Value v - vth, derivative that of W P + b.
            through = P @ W.T + b
            U = distance + through - through.detach()
            S = Spike.apply(U)
            v = v * (1 - S.detach())
        error = S @ G.T + g - target_BC.double()
        criterion = nn.functional.smooth_l1_loss if loss == "smooth_l1" else nn.functional.mse_loss
        total = total + criterion(error, torch.zeros_like(error))
        S = S.detach()
        all_S.append(S)
        all_U.append(U.detach())
    total.backward()
    return torch.stack(all_S), torch.stack(all_U), W.grad, b.grad


@pytest.mark.parametrize("loss", ["smooth_l1", "mse"])
@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_and_gradient_equal_a_plain_loop(neuron: str, index: int, loss: str, dtype: torch.dtype) -> None:
    layer, spikes_TBI = make_layer(neuron, index), make_spikes()
    target_BC = torch.linspace(-2.0, 2.0, B * C).view(B, C)  # errors on both sides of the corner of smooth_l1
    S_TBN, U_TBN, dW, db = reference(layer, spikes_TBI, loss, target_BC)
    # One rounding step, for the sums of up to T*B = 161 terms of magnitude 0.1 and less (float32); 1e-12 in double.
    tolerance = 16 * EPS if dtype == torch.float32 else 1e-12
    assert U_TBN.abs().min() > tolerance  # so no rounding can flip a spike
    layer = layer.to(dtype)
    output, _ = layer(spikes_TBI.to(dtype), layer.zero_state(B))
    rule = LocalRule(LOSSES[loss], "fast_sigmoid", 0.0, 0.0)
    gradient, _ = layer.local_gradient(output, target_BC.to(dtype), rule, B)
    assert 0.05 < S_TBN.mean() < 0.95
    assert torch.equal(output.spikes_TBN.double(), S_TBN)
    for actual, expected in [(output.potential_TBN, U_TBN), (gradient.weight, dW), (gradient.bias, db)]:
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("index", [0, 2])
def test_cuba_bias_is_silent_before_input_can_arrive(index: int) -> None:
    layer = make_layer("cuba", index)
    layer.bias.data.fill_(10.0)
    output, _ = layer(torch.zeros(T, B, I), layer.zero_state(B))
    assert not output.spikes_TBN[: index + 1].any()
    assert output.spikes_TBN[index + 1 :].all()


@pytest.mark.parametrize("size", [1, 2, 5, 22])
@pytest.mark.parametrize("neuron", NEURONS)
def test_chunks_equal_one_pass(neuron: str, size: int) -> None:
    layer, spikes_TBI = make_layer(neuron, index=3), make_spikes()
    # Weights and decays are short binary fractions and the states are doubles: every sum is exact, so that the
    # matrix product may add in any order (BLAS chooses it by the number of rows) and equal means equal.
    layer.weight.data = (layer.weight.data * 16).round() / 16
    layer.bias.data = (layer.bias.data * 16).round() / 16
    layer.dynamics = Dynamics(neuron, alpha=0.5, beta=0.5, alpharp=0.5, wrp=1.0, vth=0.0625)
    for dtype in (torch.float32, torch.float64):
        typed, spikes = layer.to(dtype), spikes_TBI.to(dtype)
        if dtype == torch.float32:
            spikes, whole_steps = spikes[:9], 9  # 9 halvings and a product with 4 bits stay below 24 bits
        else:
            whole_steps = T
        whole, end = typed(spikes, typed.zero_state(B))
        state, parts = typed.zero_state(B), []
        for start in range(0, whole_steps, size):
            part, state = typed(spikes[start : start + size], state)
            parts.append(part)
        for field in ("spikes_TBN", "potential_TBN", "trace_TBI"):
            assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(whole, field)), field
        assert all(map(torch.equal, [*state.traces, *state.neurons], [*end.traces, *end.neurons]))
        assert state.steps_done == end.steps_done == whole_steps


@pytest.mark.parametrize("ops", [kernels, neurons])
@pytest.mark.parametrize("size", [1, 3, 10])
def test_scans_in_chunks_equal_one_pass_for_any_numbers(ops, size: int) -> None:
    spikes_TBI, drive_TBN = make_spikes(), torch.randn((T, B, N), generator=torch.Generator().manual_seed(7))
    zeros_BI, zeros_BN = torch.zeros(B, I), torch.zeros(B, N)
    scans = {
        "trace": (lambda x, state: ops.trace_chunk(x, state, 0.9, 0.8), spikes_TBI, Traces(zeros_BI, zeros_BI)),
        "decolle": (
            lambda x, state: ops.decolle_chunk(x.clone(), state, 0.6, 1.3),
            drive_TBN,
            NeuronState(zeros_BN, zeros_BN),
        ),
        "cuba": (
            lambda x, state: ops.cuba_chunk(x.clone(), state, 0.9, 0.1),
            drive_TBN,
            NeuronState(zeros_BN, zeros_BN),
        ),
    }
    for name, (scan, values, state) in scans.items():
        whole = scan(values, state)
        parts = []
        for start in range(0, T, size):
            first, second, state = scan(values[start : start + size], state)
            parts.append((first, second))
        assert torch.equal(torch.cat([part[0] for part in parts]), whole[0]), name
        assert torch.equal(torch.cat([part[1] for part in parts]), whole[1]), name
        assert all(map(torch.equal, state, whole[2])), name


def test_compiled_scans_equal_torch() -> None:
    spikes_TBI, drive_TBN = make_spikes(), torch.randn((T, B, N), generator=torch.Generator().manual_seed(8))
    traces = Traces(torch.rand(B, I), torch.rand(B, I))
    neuron = NeuronState(torch.rand(B, N), torch.zeros(B, N))
    pairs = [
        (ops.trace_chunk(spikes, traces, 0.9, 0.8), ops.decolle_chunk(drive_TBN.clone(), neuron, 0.65, 1.0),
         ops.cuba_chunk(drive_TBN.clone(), neuron, 0.9, 0.1))
        for ops, spikes in ((kernels, spikes_TBI.to(torch.uint8)), (neurons, spikes_TBI))
    ]  # fmt: skip
    for ours, theirs in zip(*pairs, strict=True):
        # Torch fuses a product with its sum, the kernels round both; states below 4 decay: a few roundings.
        for actual, expected in zip([*ours[:2], *ours[2]], [*theirs[:2], *theirs[2]], strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=16 * EPS)
