"""`method: bptt` against a plain loop over steps, finite differences, and the local rule where both must agree."""

# T steps, B batch, C classes

from __future__ import annotations

from typing import Any

import pytest
import torch
from per_step_autograd import Spike
from torch.nn import functional

from decolle_hw.nn.bptt import LayerParameters, bptt_gradients, bptt_losses
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.rule import PotentialSums, local_rules
from decolle_hw.spec import ModelSpec, parse_model_spec

T, B, C, BURNIN = 14, 5, 3, 4
SURROGATES = {
    "fast_sigmoid": lambda U: 1.0 / (1.0 + 10.0 * U.abs()) ** 2,
    "boxcar": lambda U: (U.abs() < 0.5).to(U.dtype),
    "sigmoid": lambda U: torch.sigmoid(U) * torch.sigmoid(-U),
}
DENSE = {"Mhid": [11, 9, 8]}
CONV = {"Nhid": [4, 6], "Mhid": [9], "kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 1],
        "dilation": [1, 2], "groups": [2, 1], "pool_size": [2, 1]}  # fmt: skip
CUBA = {"neuron": "cuba", "vth": 0.03}


def make(network: dict[str, Any], burnin: int = BURNIN, **training: Any) -> tuple[ModelSpec, DecolleNetwork]:
    """A network in double precision whose layers all spike."""
    spec = parse_model_spec(
        {
            "name": "small",
            "dataset": {"input_shape": [2, 9, 9], "chunk_size_train": T, "chunk_size_test": T},
            "network": {"alpha": 0.8, "beta": 0.7, **network},
            "training": {"burnin_steps": burnin, "method": "bptt", **training},
        },
        "small",
    )
    generator = torch.Generator().manual_seed(4)
    made = DecolleNetwork(spec, C, generator).double()
    for layer in made.layers:
        layer.precision = torch.float64  # of the factors in products; a network is made for single precision
        layer.weight.data.mul_(2.0)
        if layer.has_bias:
            layer.bias.data.uniform_(-0.05, 0.1, generator=generator)
    return spec, made


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    spikes = (torch.rand((T, B, 162), generator=torch.Generator().manual_seed(6)) < 0.3).to(torch.uint8)
    # Rows add up to 1, as cross_entropy wants them, and errors stand on both sides of the corner of smooth_l1.
    target = torch.tensor([[2.5, -1.0, -0.5], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [-1.5, 0.5, 2.0], [1.0, 0.0, 0.0]])
    return spikes, target.double()


def by_steps(spec: ModelSpec, network: DecolleNetwork, masks: list | None = None, local: bool = False):
    """All layers step by step, losses written out; gradients by autograd. `local`: none between layers."""
    training, surrogate = spec.training, SURROGATES[spec.training.surrogate]
    layers = list(network.layers)
    spikes_TBI, target = batch()
    W = [layer.weight.detach().clone().contiguous().requires_grad_() for layer in layers]
    b = [layer.bias.detach().clone().requires_grad_() for layer in layers]
    Q = [torch.zeros(B, layer.shape.inputs).double() for layer in layers]
    P, R = [q.clone() for q in Q], [torch.zeros(B, *layer.shape.map_shape).double() for layer in layers]
    S_map = [r.clone() for r in R]
    losses = []
    counts = [0.0] * len(layers)
    for t in range(T):
        S = spikes_TBI[t].double()
        row = []
        for k, layer in enumerate(layers):
            shape, dyn = layer.shape, layer.dynamics
            alpha = dyn.alpha if layer.alpha_I is None else layer.alpha_I
            beta = dyn.beta if layer.beta_I is None else layer.beta_I
            Q_before = Q[k]
            P[k] = alpha * P[k] + (1 - alpha) * Q_before
            Q[k] = beta * Q_before + (1 - beta) * (S.detach() if local else S)
            x = Q_before if dyn.neuron == "cuba" else P[k]
            if shape.kind == "conv":
                x = x.view(B, *shape.input_shape)
                drive = functional.conv2d(x, W[k], b[k], shape.stride, shape.padding, shape.dilation, shape.groups)
            else:
                drive = x @ W[k].T + b[k]
            if dyn.neuron == "cuba":
                drive = drive if t > k else torch.zeros_like(drive)
                R[k] = dyn.alpha * R[k] + (1 - dyn.alpha) * drive  # v
                U = R[k] - dyn.vth
                R[k] = R[k] * (U <= 0).double()
            else:
                R[k] = dyn.alpharp * R[k] - (1 - dyn.alpharp) * dyn.wrp * S_map[k]
                U = drive + R[k]
            S_map[k] = (U > 0).double()
            if shape.pool_size > 1:
                U = functional.max_pool2d(U, shape.pool_size)
            U = U.flatten(1)
            S = Spike.apply(U, surrogate)
            counts[k] += float(S.sum())
            if t >= training.burnin_steps:
                seen = S if masks is None or masks[k] is None else S * masks[k][t]
                y = U if layer.is_output else seen @ layer.readout_weight.T + layer.readout_bias
                row.append(step_loss(spec, k, y, U, target))
        if row:
            losses.append(torch.stack(row))
    loss_TL = torch.stack(losses)
    leaves = [*W, *b]
    gradients = torch.autograd.grad(loss_TL.sum(), leaves, allow_unused=True)
    return loss_TL.detach(), gradients[: len(W)], gradients[len(W) :], counts


def step_loss(spec: ModelSpec, k: int, y: torch.Tensor, U: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    loss, threshold, reg = (spec.of_layers(key)[k] for key in ("loss", "error_threshold", "reg_l"))
    if loss == "none":
        return torch.zeros(()).double()
    if threshold:
        error = (y.softmax(1) if loss == "cross_entropy" else y).detach() - target
        y = y * (error.abs() > threshold) + (y * (error.abs() <= threshold)).detach()
    value = {
        "smooth_l1": lambda: functional.smooth_l1_loss(y, target),
        "mse": lambda: functional.mse_loss(y, target),
        "cross_entropy": lambda: functional.cross_entropy(y, target),
    }[loss]()
    high, silent = torch.relu(U + 0.01).mean(), torch.relu((0.1 - torch.sigmoid(U)).mean())
    return value + reg * 1e-2 * high + reg * 6e-5 * silent


def assert_same(actual: torch.Tensor | None, expected: torch.Tensor | None) -> None:
    assert (actual is None) == (expected is None)
    if expected is not None:
        # Double precision: sums of some thousand terms below 1, a hundred times over for products of Jacobians.
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dense": (DENSE, {}),
    "conv": (CONV, {}),
    "conv-pool-drops-a-row": ({"Nhid": [4], "kernel_size": 3, "pool_size": 2, "Mhid": [7]}, {"loss": "mse"}),
    "cuba": ({**DENSE, **CUBA}, {}),
    "cuba-conv": ({**CONV, **CUBA}, {"loss": "cross_entropy", "surrogate": "sigmoid"}),
    "output": ({**DENSE, "output_layer": True}, {"loss": ["mse", "none", "smooth_l1", "cross_entropy"]}),
    "random-tau": ({**CONV, "random_tau": {"tau_min": 2.0, "tau_max": 20.0}}, {"surrogate": "boxcar"}),
    "cuba-random-tau": ({**DENSE, **CUBA, "random_tau": {"tau_min": 2.0, "tau_max": 20.0}}, {}),
    "no-bias": ({**DENSE, "bias": False}, {"loss": "cross_entropy"}),
    "layer-below-taught-from-above": (CONV, {"loss": ["none", "none", "mse"]}),
    "layers-above-the-last-loss": (CONV, {"loss": ["mse", "none", "none"]}),
    "regularizers": (CONV, {"reg_l": [10.0, 0.0, 30.0], "loss": ["mse", "mse", "none"]}),
    "regularizer-of-silence": ({**DENSE, "wrp": 40.0}, {"reg_l": 1e3, "surrogate": "sigmoid"}),
    "threshold": (DENSE, {"error_threshold": [0.3, 0.0, 0.8], "loss": ["mse", "mse", "cross_entropy"]}),
    "no-burn-in": (DENSE, {"burnin": 0}),
    "per-layer": ({**DENSE, "alpha": [0.9, 0.8, 0.6], "beta": [0.6, 0.5, 0.4], "alpharp": [0.5, 0.6, 0.7]}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_a_loop_over_steps(case: str) -> None:
    network_keys, training = CASES[case]
    spec, network = make(network_keys, **training)
    spikes, target = batch()
    before = [parameter.clone() for parameter in network.parameters()]
    loss_TL, gradients = bptt_gradients(network, spikes, target, spec.training)
    expected_loss, weights, biases, counts = by_steps(spec, network)
    assert all(0 < count < 0.9 * T * B * layer.shape.outputs for count, layer in zip(counts, network, strict=True))
    assert_same(loss_TL, expected_loss)
    for layer, gradient, weight, bias in zip(network.layers, gradients, weights, biases, strict=True):
        assert_same(gradient.weight, weight)
        assert_same(gradient.bias, bias if layer.has_bias else None)
        assert layer.weight.grad is None
        assert gradient.weight is None or gradient.weight.abs().max() > 0
    assert all(map(torch.equal, before, network.parameters()))
    above = {"layers-above-the-last-loss": [False, True, True], "regularizers": [False, False, True]}
    assert [gradient.weight is None for gradient in gradients] == above.get(case, [False] * len(network))
    if case == "regularizers":
        plain, _ = make(network_keys, **{**training, "reg_l": 0.0})
        assert (by_steps(plain, network)[0] != expected_loss).any(0).tolist() == [True, False, False]


def test_the_case_of_silence_is_one() -> None:
    network_keys, training = CASES["regularizer-of-silence"]
    _, network = make(network_keys, **training)
    outputs, _ = network(batch()[0], network.zero_state(B))
    silent_T = PotentialSums.of(outputs[0].potential_TBN).silent_T[BURNIN:]
    assert (silent_T > 0).any() and (silent_T < 0).any()


def test_dropout_masks_hide_spikes_from_readouts_only() -> None:
    spec, network = make(CONV)
    spikes, target = batch()
    generator = torch.Generator().manual_seed(8)
    kept = [torch.rand((T, B, layer.shape.outputs), generator=generator) < 0.5 for layer in network.layers]
    masks: list[torch.Tensor | None] = [mask.double() / 0.5 for mask in kept]
    masks[1] = None
    loss_TL, gradients = bptt_gradients(network, spikes, target, spec.training, masks)
    expected_loss, weights, biases, _ = by_steps(spec, network, masks)
    assert_same(loss_TL, expected_loss)
    for gradient, weight, bias in zip(gradients, weights, biases, strict=True):
        assert_same(gradient.weight, weight)
        assert_same(gradient.bias, bias)
    unmasked, _ = bptt_gradients(network, spikes, target, spec.training)
    changed = (unmasked != loss_TL).any(0).tolist()
    assert changed == [True, False, True]


@pytest.mark.parametrize("keys", [DENSE, CONV, {"Mhid": [8]}, {**DENSE, "output_layer": True}])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_last_layer_learns_as_by_the_local_rule(keys: dict, surrogate: str) -> None:
    # U of its neurons depends on W through W P alone, as the reset is detached: so no term is left out by the rule.
    spec, network = make(keys, surrogate=surrogate, reg_l=3.0)
    spikes, target = batch()
    _, gradients = bptt_gradients(network, spikes, target, spec.training)
    outputs, _ = network(spikes[BURNIN:], network(spikes[:BURNIN], network.zero_state(B))[1])
    same = []
    for layer, output, rule, gradient in zip(
        network.layers, outputs, local_rules(spec.training, len(network)), gradients, strict=True
    ):
        local, _ = layer.local_gradient(output, target, rule, B, PotentialSums.of(output.potential_TBN))
        same.append(torch.allclose(gradient.weight, local.weight, rtol=1e-9, atol=1e-12))
        same[-1] &= torch.allclose(gradient.bias, local.bias, rtol=1e-9, atol=1e-12)
    assert same == [False] * (len(network) - 1) + [True]


def test_without_spikes_a_cuba_layer_learns_as_by_the_local_rule() -> None:
    # Without a reset v is W P, step by step; the bias, which v integrates, is outside of this.
    spec, network = make({"Mhid": [8], "neuron": "cuba", "vth": 2.0})
    spikes, target = batch()
    _, (gradient,) = bptt_gradients(network, spikes, target, spec.training)
    outputs, _ = network(spikes[BURNIN:], network(spikes[:BURNIN], network.zero_state(B))[1])
    assert not outputs[0].spikes_TBN.any()
    local, _ = network.layers[0].local_gradient(outputs[0], target, local_rules(spec.training, 1)[0], B)
    assert local.weight.abs().max() > 1e-6
    torch.testing.assert_close(gradient.weight, local.weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "case", ["dense", "conv", "cuba", "cuba-conv", "output", "cuba-random-tau", "regularizer-of-silence"]
)
def test_smooth_network_equals_finite_differences(case: str) -> None:
    network_keys, training = CASES[case]
    spec, network = make(network_keys, **training)
    spikes, target = batch()
    parameters = [LayerParameters(layer.weight.clone(), layer.bias.clone()) for layer in network.layers]

    def total(moved: list[LayerParameters]) -> torch.Tensor:
        return bptt_losses(
            network, moved, spikes, target, spec.training,
            spike=lambda U: torch.sigmoid(4.0 * U), detach_reset=False,
        ).sum()  # fmt: skip

    leaves = [LayerParameters(*(value.clone().requires_grad_() for value in pair)) for pair in parameters]
    gradients = torch.autograd.grad(total(leaves), [value for pair in leaves for value in pair])
    generator = torch.Generator().manual_seed(9)
    for place, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, generator=generator).double()
        step = 1e-5
        values = []
        for sign in (1, -1):
            moved = [value.clone() for pair in parameters for value in pair]
            moved[place] += sign * step * direction
            values.append(total([LayerParameters(*moved[i : i + 2]) for i in range(0, len(moved), 2)]))
        slope = (values[0] - values[1]) / (2 * step)
        # Central differences err by step**2 times a third derivative (here below 1e3), and eps * value / step = 1e-10.
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-7)


def test_single_precision_and_input_major_weights() -> None:
    spec, network = make(DENSE)
    spikes, target = batch()
    _, expected = bptt_gradients(network, spikes, target, spec.training)
    single = network.float()
    assert not single.layers[0].weight.is_contiguous()
    with torch.no_grad():  # as the learner calls it
        loss_TL, gradients = bptt_gradients(single, spikes, target.float(), spec.training)
    assert loss_TL.dtype == torch.float32 and not loss_TL.requires_grad
    for gradient, reference in zip(gradients, expected, strict=True):
        # Rounding of 2**-24 in some hundred sums of terms up to 1; the surrogate is steep: tenfold.
        torch.testing.assert_close(gradient.weight.double(), reference.weight, rtol=1e-3, atol=1e-5)
