"""Chunks and the loop: repeatable, independent of how a batch is split, equal to torch's Adamax."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.shards import Shards
from decolle_hw.spec import parse_model_spec
from decolle_hw.training.learner import Learner, NonFiniteLoss, chunks


@pytest.mark.parametrize(
    ("steps", "burnin", "every", "expected"),
    [
        (5, 2, 1, [(0, 2, False), (2, 3, True), (3, 4, True), (4, 5, True)]),
        (7, 2, 3, [(0, 2, False), (2, 5, True), (5, 7, True)]),
        (7, 0, "sequence", [(0, 7, True)]),
        (7, 3, "sequence", [(0, 3, False), (3, 7, True)]),
        (4, 1, 99, [(0, 1, False), (1, 4, True)]),
    ],
)
def test_chunks(steps: int, burnin: int, every: int | str, expected: list) -> None:
    assert list(chunks(steps, burnin, every)) == expected


def learner(neuron: str = "decolle") -> Learner:
    threshold = {"vth": 0.05} if neuron == "cuba" else {}  # that of a decolle neuron is 0
    spec = parse_model_spec(
        {
            "name": "small",
            "dataset": {"input_shape": [2, 4, 4], "chunk_size_train": 12},
            "network": {"neuron": neuron, "Mhid": [20, 10], "alpha": 0.8, "beta": 0.7, **threshold},
            "training": {"burnin_steps": 2, "update_every": 5},
        },
        "small",
    )
    return Learner(DecolleNetwork(spec, 3, torch.Generator().manual_seed(1)), spec.training, torch.device("cpu"))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    spikes = torch.from_numpy((rng.random((12, 34, 32)) < 0.2).astype(np.uint8))
    return spikes, torch.eye(3)[torch.from_numpy(rng.integers(0, 3, 34))]


def weights(of: Learner) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in of.network.parameters()]


@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
def test_a_run_repeats_itself(neuron: str) -> None:
    runs = []
    for _ in range(2):
        subject = learner(neuron)
        for _ in range(3):
            losses = subject.learn_batch(*batch())
        assert losses.shape == (10, 2)
        runs.append(weights(subject))
    assert all(map(torch.equal, *runs))
    assert not any(map(torch.equal, runs[0], weights(learner(neuron))))


def test_one_part_or_many() -> None:
    results = []
    for count in (1, 2, 4):
        subject = learner()
        subject.shards.count = count
        assert len(subject.shards.split(34)) == count
        losses = subject.learn_batch(*batch())
        results.append([losses, *weights(subject)])
    for other in results[1:]:
        for actual, expected in zip(other, results[0], strict=True):
            # Two updates of at most lr = 1e-3 from gradients that differ by rounding.
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def numbers() -> str:
    """SHA-256 of all weights after two batches."""
    subject = learner()
    for _ in range(2):
        subject.learn_batch(*batch())
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in weights(subject))).hexdigest()


def in_a_new_thread(function: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_a_second_learner_gives_the_numbers_of_a_process_of_its_own() -> None:
    program = "import test_learner, torch; torch.set_num_threads(2); print(test_learner.numbers())"
    alone = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert [numbers(), numbers(), in_a_new_thread(numbers)] == [alone] * 3
    finally:
        torch.set_num_threads(before)


def test_workers_use_one_thread_of_torch_and_leave_others_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        shards = Shards(torch.device("cpu"))
        assert shards.map(lambda _: torch.get_num_threads(), range(9)) == [1] * 9
        assert (torch.get_num_threads(), in_a_new_thread(torch.get_num_threads)) == (3, 3)
        assert shards.map(lambda _: torch.get_num_threads(), range(9)) == [1] * 9
    finally:
        torch.set_num_threads(before)


def test_split_covers_the_batch() -> None:
    shards = Shards(torch.device("cpu"))
    for count in (1, 2, 3, 16):
        shards.count = count
        for size in (1, 7, 8, 72, 1000):
            slices = shards.split(size)
            assert [index for piece in slices for index in range(size)[piece]] == list(range(size))


def test_a_failure_in_a_part_is_raised() -> None:
    spikes, target = batch()
    with pytest.raises(ValueError, match="layer 0 has 32 inputs, not 5"):
        learner().learn_batch(spikes[:, :, :5], target)


def dropout_learner(path: str, seed: int = 0) -> Learner:
    spec = parse_model_spec(
        {
            "name": "small",
            "dataset": {"input_shape": [2, 6, 6], "chunk_size_train": 12},
            "network": {"Nhid": [4], "kernel_size": 3, "pool_size": 2, "Mhid": [20], "dropout": [0.5, 0.2]},
            "training": {"burnin_steps": 2, "update_every": 5, "optimizer": "SGD", "learning_rate": 1.0, "seed": seed},
        },
        "small",
    )
    network = DecolleNetwork(spec, 3, torch.Generator().manual_seed(1))
    for layer in network:
        layer.weight.mul_(8.0)
    return Learner(network, spec.training, torch.device("cpu"), path)


def test_dropout_hides_spikes_from_the_readout_on_both_paths() -> None:
    generator = torch.Generator().manual_seed(0)
    spikes_TBI = (torch.rand((12, 20, 72), generator=generator) < 0.2).to(torch.uint8)
    target_BC = torch.eye(3)[torch.arange(20) % 3]
    results = {}
    for name, subject in (
        ("plain", dropout_learner("plain")),
        ("events", dropout_learner("events")),
        ("other seed", dropout_learner("events", seed=1)),
    ):
        before = weights(subject)
        subject.learn_batch(spikes_TBI, target_BC)
        results[name] = [new - old for new, old in zip(weights(subject), before, strict=True)]
    for plain, events, other in zip(*results.values(), strict=True):
        # Two updates by sums of some hundred terms, in another order; the second by weights that differ by rounding.
        assert (plain - events).abs().max() <= 1e-4 * plain.abs().max()
        assert (other - events).abs().max() > 1e-2 * plain.abs().max()


def test_masks_keep_the_mean_and_the_share() -> None:
    masks = dropout_learner("auto").teacher.masks(50, 20)
    assert masks is not None
    for mask, share in zip(masks, (0.5, 0.2), strict=True):
        assert mask is not None and mask.unique().tolist() == pytest.approx([0.0, 1.0 / (1.0 - share)])
        # 36,000 draws and more: five standard deviations of a mean are below 0.03.
        assert mask.mean().item() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("path", ["auto", "plain", "events"])
@pytest.mark.parametrize("update_every", [1, 4])
@pytest.mark.parametrize(
    ("network", "input_shape"),
    [
        ({"Mhid": [1, 1]}, [2, 3, 3]),
        ({"Nhid": [1], "kernel_size": 1, "pool_size": 3, "Mhid": [1]}, [2, 3, 3]),
        ({"Nhid": [1, 1], "kernel_size": [3, 1], "Mhid": [2], "output_layer": True}, [2, 1, 1]),
    ],
)
def test_axes_of_length_one(network: dict, input_shape: list[int], update_every: int, path: str) -> None:
    spec = parse_model_spec(
        {
            "name": "one",
            "dataset": {"input_shape": input_shape, "chunk_size_train": 8},
            "network": network,
            "training": {"burnin_steps": 0, "update_every": update_every},
        },
        "one",
    )
    network = DecolleNetwork(spec, 1, torch.Generator().manual_seed(1))
    subject = Learner(network, spec.training, torch.device("cpu"), path)
    spikes_TBI = torch.ones((8, 3, spec.num_inputs), dtype=torch.uint8)
    before = weights(subject)
    losses = subject.learn_batch(spikes_TBI, torch.ones(3, 1))
    assert losses.isfinite().all() and not all(map(torch.equal, before, weights(subject)))


@pytest.mark.parametrize("path", ["plain", "events"])
@pytest.mark.parametrize("surrogate", ["fast_sigmoid", "boxcar", "sigmoid"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_noticed_before_an_update(value: float, surrogate: str, path: str) -> None:
    spec = parse_model_spec(
        {
            "name": "small",
            "dataset": {"input_shape": [2, 4, 4], "chunk_size_train": 12},
            "network": {"Mhid": [20, 10]},
            "training": {"burnin_steps": 2, "update_every": 5, "surrogate": surrogate},
        },
        "small",
    )
    network = DecolleNetwork(spec, 3, torch.Generator().manual_seed(1))
    subject = Learner(network, spec.training, torch.device("cpu"), path)
    network.layers[1].weight[3, :] = value
    before = weights(subject)
    with pytest.raises(NonFiniteLoss) as caught:
        subject.learn_batch(torch.ones((12, 9, 32), dtype=torch.uint8), torch.eye(3).repeat(3, 1))
    assert caught.value.layer == 1 and 2 <= caught.value.step < 12
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, weights(subject), strict=True))


def test_a_batch_that_broke_off_leaves_nothing_behind() -> None:
    """Weights and state of before, loaded into the same learner, go on as in a new one."""
    spikes_TBI, target_BC = batch()
    spikes_TBI[:, :, 16:] = 0  # inputs that are silent so far: rows of the weights to catch up with

    def new() -> Learner:
        spec = parse_model_spec(
            {
                "name": "small",
                "dataset": {"input_shape": [2, 4, 4], "chunk_size_train": 12},
                "network": {"Mhid": [20, 10]},
                "training": {"burnin_steps": 0, "update_every": 1},
            },
            "small",
        )
        return Learner(DecolleNetwork(spec, 3, torch.Generator().manual_seed(1)), spec.training, torch.device("cpu"))

    subject = new()
    subject.learn_batch(spikes_TBI, target_BC)
    saved = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    network_state = {name: tensor.clone() for name, tensor in subject.network.state_dict().items()}
    broken = target_BC.clone()
    teach = subject.teacher.teach

    def break_off(parts, start, stop):  # type: ignore[no-untyped-def]
        if start == 6:
            raise NonFiniteLoss(0, start)
        return teach(parts, start, stop)

    subject.teacher.teach = break_off  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLoss):
        subject.learn_batch(spikes_TBI, broken)
    subject.teacher.teach = teach  # type: ignore[method-assign]
    other = new()
    for each in (subject, other):
        each.network.load_state_dict(network_state)
        each.load_state_dict(saved)
        each.learn_batch(spikes_TBI.flip(2), target_BC)
    assert all(map(torch.equal, weights(subject), weights(other)))
