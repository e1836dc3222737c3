"""Optimizers by name: groups, checks of all that is named, and training that goes on bit for bit from saved tensors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from decolle_hw.errors import SpecError, UsageError
from decolle_hw.nn.adamax import CompiledAdamax
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import TrainingSpec, parse_model_spec
from decolle_hw.training.optimizers import (
    build_optimizer,
    check_training,
    clip_gradients,
    load_optimizer_state,
    optimizer_state,
)

CPU = torch.device("cpu")
LAYERS = 3


def small_network(bias: bool = True) -> DecolleNetwork:
    """A convolution, a dense layer (its weights lie input-major in memory) and an output layer."""
    spec = parse_model_spec(
        {
            "name": "small",
            "dataset": {"input_shape": [2, 5, 5], "chunk_size_train": 12},
            "network": {"Nhid": [3], "kernel_size": 3, "Mhid": [7], "output_layer": True, "bias": bias},
            "training": {"burnin_steps": 2},
        },
        "small",
    )
    return DecolleNetwork(spec, 4, torch.Generator().manual_seed(1))


def optimizer_of(network: DecolleNetwork, **keys: Any) -> torch.optim.Optimizer:
    return build_optimizer(network, TrainingSpec(**keys), CPU)


def learn(network: DecolleNetwork, optimizer: torch.optim.Optimizer, updates: range) -> None:
    """Updates by random gradients that follow from the number of the update."""
    for update in updates:
        generator = torch.Generator().manual_seed(update)
        for layer in network.layers:
            for parameter in (layer.weight, layer.bias):
                gradient = torch.randn(parameter.shape, generator=generator)
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()


ALL_OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("Adadelta", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"foreach": True}),
    ("AdamW", {}),
    ("Adamax", {}),
    ("Adamax", {"weight_decay": 0.1}),
    ("Adamax", {"foreach": True}),
    ("ASGD", {"t0": 3.0}),
    ("NAdam", {"decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("Rprop", {"etas": [0.4, 1.3]}),
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True}),
]
OPTIMIZER_IDS = ["-".join([name, *arguments]) for name, arguments in ALL_OPTIMIZERS]


@pytest.mark.parametrize(("name", "arguments"), ALL_OPTIMIZERS, ids=OPTIMIZER_IDS)
@pytest.mark.parametrize("before", [0, 1, 4])
def test_training_goes_on_bit_for_bit(name: str, arguments: dict, before: int) -> None:
    keys = {"optimizer": name, "optimizer_args": arguments, "learning_rate": [0.1, 0.02, 0.003]}
    unbroken = small_network()
    optimizer = optimizer_of(unbroken, **keys)
    learn(unbroken, optimizer, range(before + 5))

    first = small_network()
    first_optimizer = optimizer_of(first, **keys)
    learn(first, first_optimizer, range(before))
    stored = load(save(optimizer_state(first_optimizer)))
    second = small_network()
    second.load_state_dict(first.state_dict())
    second_optimizer = optimizer_of(second, **keys)
    load_optimizer_state(second_optimizer, stored)
    learn(second, second_optimizer, range(before, before + 5))

    start = small_network()
    for parameter, expected, initial in zip(
        second.parameters(), unbroken.parameters(), start.parameters(), strict=True
    ):
        assert torch.equal(parameter, expected)
        assert not torch.equal(parameter, initial)
    # Not by chance: with a fresh state the same updates lead elsewhere (plain SGD has none).
    if before and stored:
        third = small_network()
        third.load_state_dict(first.state_dict())
        learn(third, optimizer_of(third, **keys), range(before, before + 5))
        assert not torch.equal(third.layers[1].weight, unbroken.layers[1].weight)
    assert bool(stored) == (name not in ("SGD",) or "momentum" in arguments) or not before


def test_restored_state_lies_in_memory_as_before() -> None:
    for name in ("Adam", "Adamax", "Rprop", "SGD"):
        network = small_network()
        arguments = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = optimizer_of(network, optimizer=name, optimizer_args=arguments)
        learn(network, optimizer, range(2))
        stored = optimizer_state(optimizer)
        assert all(tensor.is_contiguous() for tensor in stored.values())
        assert "1.weight.exp_avg.stride" in stored or name not in ("Adam", "Adamax")
        other = small_network()
        fresh = optimizer_of(other, optimizer=name, optimizer_args=arguments)
        load_optimizer_state(fresh, stored)
        for mine, theirs in zip(other.parameters(), network.parameters(), strict=True):
            before, after = optimizer.state.get(theirs, {}), fresh.state.get(mine, {})
            assert before.keys() == after.keys()
            for key, value in before.items():
                assert type(after[key]) is type(value)
                if isinstance(value, torch.Tensor):
                    assert (after[key].stride(), after[key].dtype) == (value.stride(), value.dtype)
                    assert torch.equal(after[key], value)


def test_saved_state_is_a_copy() -> None:
    network = small_network()
    optimizer = optimizer_of(network)
    learn(network, optimizer, range(1))
    stored = optimizer_state(optimizer)
    kept = {name: tensor.clone() for name, tensor in stored.items()}
    learn(network, optimizer, range(1, 3))
    assert all(torch.equal(stored[name], kept[name]) for name in kept)


def test_a_layer_without_updates_has_no_state() -> None:
    network = small_network()
    optimizer = optimizer_of(network)
    learn(network, optimizer, range(1))
    del optimizer.state[network.layers[0].weight], optimizer.state[network.layers[0].bias]
    stored = optimizer_state(optimizer)
    assert stored and not any(name.startswith("0.") for name in stored)
    other = small_network()
    fresh = optimizer_of(other)
    load_optimizer_state(fresh, stored)
    assert other.layers[0].weight not in fresh.state
    assert torch.equal(optimizer_state(fresh)["2.bias.exp_inf"], stored["2.bias.exp_inf"])


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    network = small_network()
    optimizer = optimizer_of(network)
    learn(network, optimizer, range(2))
    stored = optimizer_state(optimizer)
    for change, message in [
        ({"1.weight.exp_avg": None}, "1.weight.exp_avg is missing"),
        ({"9.weight.exp_avg": torch.zeros(2)}, "9.weight.exp_avg is not of CompiledAdamax"),
        ({"0.bias.exp_avg": torch.zeros(4)}, r"0.bias.exp_avg is float32 \[4\], and float32 \[3\]"),
        ({"0.bias.exp_avg": torch.zeros(3, dtype=torch.float64)}, "0.bias.exp_avg is float64"),
        ({"0.bias.exp_avg.stride": torch.tensor([0])}, r"0.bias.exp_avg.stride \[0\] does not fit"),
        ({"1.weight.exp_avg.stride": torch.tensor([75, 7])}, "does not fit"),
        ({"1.weight.exp_avg.stride": torch.tensor([1])}, "does not fit"),
        ({"1.nonsense.stride": torch.tensor([1])}, "1.nonsense is not of"),
    ]:
        bad = {name: tensor for name, tensor in {**stored, **change}.items() if tensor is not None}
        fresh = optimizer_of(small_network())
        with pytest.raises(UsageError, match=message):
            load_optimizer_state(fresh, bad)
        assert not optimizer_state(fresh)
    with pytest.raises(UsageError, match="is not of SGD"):
        load_optimizer_state(optimizer_of(small_network(), optimizer="SGD"), stored)
    numbers = {"0.bias.step": torch.zeros(2)}
    rprop = optimizer_of(small_network(), optimizer="RMSprop")
    learn(network, rprop_trained := optimizer_of(network, optimizer="RMSprop"), range(1))
    with pytest.raises(UsageError, match=r"0\.bias\.step"):
        load_optimizer_state(rprop, {**optimizer_state(rprop_trained), **numbers})


@pytest.mark.parametrize("bias", [True, False])
def test_one_group_per_layer(bias: bool) -> None:
    network = small_network(bias)
    optimizer = optimizer_of(network, optimizer="sgd", learning_rate=[0.1, 0.2, 0.3], betas=None)
    assert type(optimizer) is torch.optim.SGD
    for layer, group, rate in zip(network.layers, optimizer.param_groups, [0.1, 0.2, 0.3], strict=True):
        expected = [layer.weight, layer.bias] if bias else [layer.weight]
        assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in expected]
        assert group["lr"] == rate


def test_betas_go_where_they_are_taken() -> None:
    network = small_network()
    assert optimizer_of(network).param_groups[0]["betas"] == (0.0, 0.95)
    assert optimizer_of(network, optimizer="RAdam", betas=[0.5, 0.6]).param_groups[1]["betas"] == (0.5, 0.6)
    assert optimizer_of(network, optimizer="Adam", betas=None).param_groups[0]["betas"] == (0.9, 0.999)
    optimizer_of(network, optimizer="SGD")  # the default is no wish
    # Nor is it one where a run has written out all of its description.
    optimizer_of(network, **TrainingSpec(optimizer="SGD").model_dump())
    with pytest.raises(SpecError, match=r"training.betas \[0.5, 0.6\]: SGD has no betas"):
        optimizer_of(network, optimizer="SGD", betas=[0.5, 0.6])


def test_adamax_is_compiled_where_it_can_be() -> None:
    network = small_network()
    assert type(optimizer_of(network, optimizer="adamax")) is CompiledAdamax
    assert type(optimizer_of(network, optimizer_args={"eps": 1e-6})) is CompiledAdamax
    assert type(build_optimizer(network, TrainingSpec(), torch.device("cuda"))) is torch.optim.Adamax
    for arguments in ({"weight_decay": 0.1}, {"maximize": True}, {"foreach": True}):
        assert type(optimizer_of(network, optimizer_args=arguments)) is torch.optim.Adamax
    assert type(optimizer_of(network.double())) is torch.optim.Adamax


def test_compiled_adamax_equals_torch_on_both_layouts() -> None:
    compiled, plain = small_network(), small_network()
    learn(compiled, optimizer_of(compiled, learning_rate=0.01, betas=[0.3, 0.9]), range(10))
    groups = [{"params": list(plain.parameters())}]
    learn(plain, torch.optim.Adamax(groups, lr=0.01, betas=(0.3, 0.9)), range(10))
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        # 10 steps of up to lr = 0.01 added to weights below 1: a rounding of 2**-24 each, and as many in the ratio.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=20 * 2.0**-24)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": "Adamx"}, "training.optimizer 'Adamx': is unknown; did you mean 'Adamax'"),
        ({"optimizer": "Optimizer"}, "training.optimizer 'Optimizer': is unknown; .*known: ASGD, Adadelta"),
        ({"optimizer": "lbfgs"}, "training.optimizer LBFGS: evaluates the loss several times"),
        ({"optimizer": "SparseAdam"}, "training.optimizer SparseAdam: takes sparse gradients"),
        (
            {"optimizer_args": {"weight_decai": 0.1}},
            "optimizer_args.weight_decai: Adamax has no such argument; did you",
        ),
        ({"optimizer_args": {"lr": 0.1}}, "optimizer_args.lr: is training.learning_rate"),
        ({"optimizer_args": {"betas": [0.1, 0.2]}}, "optimizer_args.betas: is training.betas"),
        ({"optimizer_args": {"params": 1}}, "optimizer_args.params: Adamax has no such argument"),
        ({"optimizer_args": {"capturable": True}}, "optimizer_args.capturable: has no use here"),
        ({"optimizer_args": {"differentiable": True}}, "optimizer_args.differentiable: has no use here"),
        ({"optimizer_args": {"weight_decay": "x"}}, "optimizer_args.weight_decay 'x': Adamax needs a finite number"),
        ({"optimizer_args": {"weight_decay": math.nan}}, "optimizer_args.weight_decay nan: .*finite"),
        ({"optimizer_args": {"weight_decay": [0.1]}}, "optimizer_args.weight_decay .*a finite number"),
        ({"optimizer_args": {"weight_decay": True}}, "optimizer_args.weight_decay True: .*a finite number"),
        ({"optimizer_args": {"maximize": 1}}, "optimizer_args.maximize 1: Adamax needs true or false"),
        ({"optimizer_args": {"foreach": 3}}, "optimizer_args.foreach 3: Adamax needs true or false"),
        ({"optimizer_args": {"weight_decay": -1.0}}, "optimizer_args {'weight_decay': -1.0}: Invalid weight_decay"),
        ({"optimizer": "Rprop", "optimizer_args": {"etas": 1.5}}, "optimizer_args.etas 1.5: Rprop needs a list of 2"),
        ({"optimizer": "Rprop", "optimizer_args": {"etas": [0.5, 0.9]}}, "Invalid eta values"),
        ({"optimizer": "SGD", "optimizer_args": {"nesterov": True}}, "training.optimizer SGD, .*Nesterov"),
        ({"learning_rate": [0.1, 0.2]}, r"training.learning_rate \[0.1, 0.2\]: 2 values for 3 layers"),
        ({"schedule": "StepLr", "schedule_args": {"step_size": 0}}, "schedule_args.step_size 0: StepLR needs a whole"),
        ({"schedule": "Cosine"}, "training.schedule 'Cosine': is unknown; .*constant, decolle"),
        ({"schedule": "LRScheduler"}, "training.schedule 'LRScheduler': is unknown"),
        ({"schedule": "ReduceLROnPlateau"}, "training.schedule ReduceLROnPlateau: follows a metric"),
        ({"schedule": "LambdaLR"}, "takes a function"),
        ({"schedule": "MultiplicativeLR"}, "takes a function"),
        ({"schedule": "SequentialLR"}, "takes other schedules"),
        ({"schedule": "ChainedScheduler"}, "takes other schedules"),
        ({"schedule": "constant", "schedule_args": {"gamma": 0.1}}, "schedule_args.gamma: schedule constant takes no"),
        ({"schedule_args": {"gamma": 0.1}}, "schedule_args.gamma: schedule decolle takes .*lr_drop_interval"),
        ({"schedule": "StepLR"}, "training.schedule_args.step_size: is missing"),
        (
            {"schedule": "StepLR", "schedule_args": {"step_sice": 2}},
            "schedule_args.step_sice: .*did you mean 'step_size'",
        ),
        ({"schedule": "StepLR", "schedule_args": {"step_size": 2.5}}, "step_size 2.5: StepLR needs a whole number"),
        ({"schedule": "StepLR", "schedule_args": {"step_size": 2, "last_epoch": 3}}, "last_epoch: is set by the run"),
        ({"schedule": "ExponentialLR", "schedule_args": {"gamma": "x"}}, "schedule_args.gamma 'x': .*finite number"),
        ({"schedule": "ExponentialLR", "schedule_args": {"gamma": -0.5}}, "learning rate of layer 0 is -.* in epoch 2"),
        ({"schedule": "ExponentialLR", "schedule_args": {"gamma": 1e300}}, "layer 0 is inf in epoch 3"),
        ({"schedule": "MultiStepLR", "schedule_args": {"milestones": 3}}, "milestones 3: .*a list of epochs"),
        (
            {"schedule": "LinearLR", "schedule_args": {"start_factor": 2.0}},
            "training.schedule LinearLR, epoch 1: Start",
        ),
        ({"schedule": "CyclicLR", "schedule_args": {"base_lr": 0.1, "max_lr": "x"}}, "schedule_args.max_lr 'x'"),
        (
            {"schedule": "CyclicLR", "schedule_args": {"base_lr": [0.1], "max_lr": 1.0}},
            "CyclicLR, epoch 1: expected 3 values",
        ),
        (
            {"schedule": "CyclicLR", "schedule_args": {"base_lr": 0.1, "max_lr": 1.0, "scale_fn": "f"}},
            "schedule_args.scale_fn: is a function",
        ),
        ({"schedule": "OneCycleLR", "schedule_args": {"max_lr": 0.1}}, "OneCycleLR, epoch 1: .*total_steps"),
        (
            {"schedule": "OneCycleLR", "schedule_args": {"max_lr": 0.1, "epochs": 3, "steps_per_epoch": 2}},
            "schedule_args.epochs: counts batches; .* total_steps",
        ),
        (
            {"schedule": "OneCycleLR", "schedule_args": {"max_lr": 0.1, "total_steps": 4}, "num_epochs": 6},
            "OneCycleLR, epoch [56]: ",
        ),
        (
            {"schedule": "OneCycleLR", "schedule_args": {"max_lr": 0.1, "total_steps": 40}, "optimizer": "Adagrad"},
            "momentum",
        ),
        (
            {"schedule": "OneCycleLR", "schedule_args": {"max_lr": 0.1, "total_steps": 40, "anneal_strategy": 3}},
            "anneal_strategy 3: OneCycleLR needs a name",
        ),
        ({"method": "bptt", "precision": "bfloat16"}, "training.precision bfloat16: method bptt computes in float32"),
    ],
)
def test_what_cannot_be_done_is_refused_by_key(keys: dict, message: str) -> None:
    spec = TrainingSpec(**keys)
    with pytest.raises(SpecError, match=message):
        check_training(spec, LAYERS)


@pytest.mark.parametrize(("name", "arguments"), ALL_OPTIMIZERS, ids=OPTIMIZER_IDS)
def test_check_accepts_every_optimizer(name: str, arguments: dict) -> None:
    check_training(TrainingSpec(optimizer=name, optimizer_args=arguments), LAYERS)


def test_clipping_is_per_layer_over_weight_and_bias() -> None:
    network = small_network()
    learn(network, optimizer_of(network, learning_rate=1e-3), range(1))
    for layer, scale in zip(network.layers, (10.0, 1.0, 1e-3), strict=True):
        layer.weight.grad *= scale
        layer.bias.grad *= scale
    network.layers[1].bias.grad = None
    expected = []
    for layer in network.layers:
        parts = [gradient for gradient in (layer.weight.grad, layer.bias.grad) if gradient is not None]
        norm = math.sqrt(sum(float(part.double().square().sum()) for part in parts))
        expected.append([part * min(1.0, 0.5 / norm) for part in parts])
    clip_gradients(network, 0.5)
    for layer, parts in zip(network.layers, expected, strict=True):
        actual = [gradient for gradient in (layer.weight.grad, layer.bias.grad) if gradient is not None]
        for ours, theirs in zip(actual, parts, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)  # torch divides by norm + 1e-6
    assert torch.equal(network.layers[2].weight.grad, expected[2][0])  # shorter than the limit: as it was


def test_dummy_updates_touch_no_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    check_training(TrainingSpec(), LAYERS)
    optimizer = optimizer_of(small_network())
    load_optimizer_state(optimizer, {})
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(optimizer.param_groups[0]["params"][0], nn.Parameter)
