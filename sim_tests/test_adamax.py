"""The compiled Adamax is torch's, also by sums of gradients, and by gradients that are not multiplied out."""

# I inputs, N neurons, R traces, B batch, T steps

from __future__ import annotations

import numpy as np
import pytest
import torch

from decolle_hw.nn.adamax import CompiledAdamax
from decolle_hw.nn.factors import Factors
from decolle_hw.nn.spikes import Spikes

I, N, R, B, T = 21, 13, 5, 4, 3  # noqa: E741
# Up to 30 updates of at most 1e-2, added to weights below 4: a rounding of 4 x 2**-24 each.
TOLERANCE = 30 * 4 * 2.0**-24


def twins(beta1: float) -> tuple[list[torch.nn.Parameter], list[torch.optim.Optimizer]]:
    """The same input-major weights twice, for ours and for torch's."""
    start = torch.randn((I, N), generator=torch.Generator().manual_seed(3))
    parameters = [torch.nn.Parameter(start.clone().T, requires_grad=False) for _ in range(2)]
    optimizers = [
        kind([parameter], lr=1e-2, betas=(beta1, 0.95))
        for kind, parameter in zip((CompiledAdamax, torch.optim.Adamax), parameters, strict=True)
    ]
    return parameters, optimizers


def random_factors(rng: np.random.Generator, density: float, with_events: bool) -> tuple[Factors, torch.Tensor]:
    """Factors of which some inputs are silent, and what they stand for."""
    live = rng.random(I) < 0.6
    values_RI = (rng.standard_normal((R, I)) * (rng.random((R, I)) < density) * live).astype(np.float32)
    delta_RN = rng.standard_normal((R, N)).astype(np.float32)
    spikes_TBI = (rng.random((T, B, I)) < 0.1) & live
    D_BTN = rng.standard_normal((B, T, N) if with_events else (0, 0, N)).astype(np.float32)
    events = Spikes(I, dense=torch.from_numpy(spikes_TBI.astype(np.uint8))).events()
    expected_IN = values_RI.T.astype(np.float64) @ delta_RN
    if with_events:
        expected_IN += np.einsum("tbi,btn->in", spikes_TBI.astype(np.float64), D_BTN)
    factors = Factors.of(values_RI, delta_RN, events, D_BTN.reshape(-1, N))
    return factors, torch.from_numpy(expected_IN.astype(np.float32)).T


@pytest.mark.parametrize("beta1", [0.0, 0.3])
def test_step_is_that_of_torch(beta1: float) -> None:
    parameters, optimizers = twins(beta1)
    generator = torch.Generator().manual_seed(4)
    for _ in range(20):
        gradient = torch.randn((I, N), generator=generator).T
        for optimizer, parameter in zip(optimizers, parameters, strict=True):
            parameter.grad = gradient.clone(memory_format=torch.preserve_format)
            optimizer.step()
    torch.testing.assert_close(*parameters, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("workers", [1, 3])
def test_sum_of_several_gradients(workers: int) -> None:
    parameters, (ours, torchs) = twins(0.0)
    generator = torch.Generator().manual_seed(5)
    for _ in range(10):
        first, *others = (torch.randn((I, N), generator=generator).T for _ in range(4))
        parameters[1].grad = sum(others, first.clone())
        torchs.step()
        parameters[0].grad = first
        ours.update({parameters[0]: others}, map, workers)
    torch.testing.assert_close(*parameters, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("density", [0.0, 0.05, 0.9])
@pytest.mark.parametrize("with_events", [False, True])
def test_factors_multiplied_out(density: float, with_events: bool) -> None:
    factors, expected = random_factors(np.random.default_rng(0), density, with_events)
    gradient = factors.multiplied_out()
    assert gradient.shape == (N, I) and gradient.stride() == (1, N)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-5)  # sums of some ten terms of magnitude 1


@pytest.mark.parametrize("beta1", [0.0, 0.3])
@pytest.mark.parametrize("workers", [1, 3])
def test_updates_by_factors_leave_rows_alone_and_catch_up(beta1: float, workers: int) -> None:
    """Inputs come and go, one or two parts, sparse and dense, with full gradients in between."""
    parameters, (ours, torchs) = twins(beta1)
    ours_weight, theirs = parameters
    rng = np.random.default_rng(1)
    left_alone = 0
    for update in range(30):
        if update % 7 == 6:
            full = torch.from_numpy(rng.standard_normal((I, N)).astype(np.float32)).T
            ours_weight.grad, theirs.grad = full.clone(memory_format=torch.preserve_format), full
            ours.update({}, map, workers)
        else:
            density = (0.0, 0.05, 0.9)[update % 3]
            parts = [random_factors(rng, density, update % 2 == 0) for _ in range(1 + update % 2)]
            ours_weight.grad, theirs.grad = None, sum(expected for _, expected in parts)
            left_alone += int((theirs.grad == 0).all(0).sum())
            ours.update({ours_weight: [factors for factors, _ in parts]}, map, workers)
        torchs.step()
        torch.testing.assert_close(ours_weight, theirs, rtol=0, atol=TOLERANCE)
    assert left_alone > 50
    ours.catch_up()
    norms = [optimizer.state[weight]["exp_inf"] for optimizer, weight in ((ours, ours_weight), (torchs, theirs))]
    torch.testing.assert_close(*norms, rtol=30 * 2.0**-24, atol=0)
