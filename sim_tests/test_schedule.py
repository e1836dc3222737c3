"""Schedules: the authors' and those of torch, stepped per epoch, and the same after a resume."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from test_optimizers import CPU, LAYERS, optimizer_of, small_network

from decolle_hw.errors import UsageError
from decolle_hw.spec import TrainingSpec
from decolle_hw.training.optimizers import Schedule, build_optimizer, check_training, decolle_rate


def test_drops_are_those_of_the_authors() -> None:
    spec = TrainingSpec(learning_rate=1.0, lr_drop_interval=30, lr_drop_factor=5.0)
    rates = [decolle_rate(1.0, spec, epoch) for epoch in (0, 29, 30, 59, 60, 90)]
    assert rates == [1, 1, 1 / 5, 1 / 5, 1 / 10, 1 / 15]


EPOCHS = 12
ALL_SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("decolle", {}),
    ("constant", {}),
    ("StepLR", {"step_size": 3, "gamma": 0.3}),
    ("MultiStepLR", {"milestones": [2, 7]}),
    ("ConstantLR", {"total_iters": 4}),
    ("LinearLR", {"total_iters": 4}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {"total_iters": 8, "power": 1.5}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 1e-4}),
    ("cosineannealingwarmrestarts", {"T_0": 2, "T_mult": 2}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": [0.1, 0.2, 0.3], "step_size_up": 3}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": EPOCHS}),
]


def rates_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    keys = ("lr", "betas", "momentum")
    return [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]


@pytest.mark.parametrize("optimizer", ["Adamax", "SGD"])
@pytest.mark.parametrize(("name", "arguments"), ALL_SCHEDULES, ids=[name for name, _ in ALL_SCHEDULES])
def test_resumed_schedule_is_the_unbroken_one(name: str, arguments: dict, optimizer: str) -> None:
    keys = {
        "optimizer": optimizer, "schedule": name, "schedule_args": arguments, "lr_drop_interval": 4,
        "learning_rate": [0.1, 0.02, 0.003], "num_epochs": EPOCHS,
    }  # fmt: skip
    spec = TrainingSpec(**keys)
    check_training(spec, LAYERS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unbroken = build_optimizer(small_network(), spec, CPU)
        schedule = Schedule(unbroken, spec)
        expected, saved = [], []
        for epoch in range(EPOCHS):
            schedule.start_epoch(epoch)
            expected.append(rates_of(unbroken))
            saved.append(load(save(schedule.state_dict())))
        for last in range(EPOCHS - 1):
            resumed = build_optimizer(small_network(), spec, CPU)
            again = Schedule(resumed, spec)
            again.load_state_dict(saved[last])
            assert rates_of(resumed) == expected[last]
            for epoch in range(last + 1, EPOCHS):
                again.start_epoch(epoch)
                assert rates_of(resumed) == expected[epoch]
        schedule.start_epoch(3)  # and back
        assert rates_of(unbroken) == expected[3]
    changing = {str(values) for values in expected}
    assert (len(changing) > 1) == (name != "constant")


@pytest.mark.parametrize(("name", "arguments"), ALL_SCHEDULES[2:], ids=[name for name, _ in ALL_SCHEDULES[2:]])
def test_schedules_are_those_of_torch_stepped_per_epoch(name: str, arguments: dict) -> None:
    spec = TrainingSpec(optimizer="SGD", schedule=name, schedule_args=arguments, learning_rate=[0.1, 0.02, 0.003])
    optimizer = build_optimizer(small_network(), spec, CPU)
    schedule = Schedule(optimizer, spec)
    plain = build_optimizer(small_network(), spec, CPU)
    kinds = {kind.lower(): value for kind, value in vars(torch.optim.lr_scheduler).items()}
    scheduler = kinds[name.lower()](plain, **arguments)
    for epoch in range(EPOCHS):
        schedule.start_epoch(epoch)
        assert rates_of(optimizer) == rates_of(plain)
        plain.step()
        if epoch < EPOCHS - 1:
            scheduler.step()


def test_a_schedule_that_differs_from_the_saved_one_is_refused() -> None:
    saved = Schedule(optimizer_of(small_network()), TrainingSpec())
    saved.start_epoch(31)
    other = TrainingSpec(lr_drop_factor=2.0)
    with pytest.raises(UsageError, match=r"epoch 32 was trained with learning rates \[0.0002"):
        Schedule(optimizer_of(small_network()), other).load_state_dict(saved.state_dict())
    with pytest.raises(UsageError, match="epoch is missing"):
        saved.load_state_dict({"lr": torch.zeros(3)})
    fresh = Schedule(optimizer_of(small_network()), other)
    fresh.load_state_dict(Schedule(optimizer_of(small_network()), TrainingSpec()).state_dict())  # none started
    fresh.start_epoch(0)


@pytest.mark.parametrize("name", ["decolle", "constant", "ExponentialLR"])
def test_rates_begin_with_the_description_whatever_the_optimizer_has_now(name: str) -> None:
    arguments = {"gamma": 0.5} if name == "ExponentialLR" else {}
    spec = TrainingSpec(schedule=name, schedule_args=arguments, learning_rate=0.25)
    optimizer = build_optimizer(small_network(), spec, CPU)
    for group in optimizer.param_groups:
        group["lr"] = 7.0
    Schedule(optimizer, spec).start_epoch(0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25] * LAYERS
