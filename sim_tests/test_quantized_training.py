"""Quantization-aware training: the forward sees W_q and realisable decays, the floats behind W_q learn.

The oracle is a float learner whose weights are overwritten with W_q before each batch and after each update, by copies
and NumPy: what it does between is what `test_closed_form` proves of a plain network, and its optimizer is a plain one.
"""

# T steps, B batch, I inputs, C classes

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from train_tools import CPU

from decolle_hw.nn.layer import DecolleLayer
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, parse_model_spec
from decolle_hw.training.learner import Learner, NonFiniteLoss
from decolle_hw.weightgrid import best_step, to_grid

BITS = 4
CLASSES, STEPS, BATCH = 4, 14, 18
DENSE = {"Mhid": [20, 10]}
CONV = {"Nhid": [6], "kernel_size": 3, "pool_size": 2, "Mhid": [12]}


def spec_of(quantize: dict | None, network: dict[str, Any], **changes: Any) -> ModelSpec:
    return parse_model_spec(
        {
            "name": "small",
            "dataset": {"input_shape": [2, 6, 6], "chunk_size_train": STEPS, "chunk_size_test": STEPS},
            "network": {"alpha": 0.8, "beta": 0.7, "lc_ampl": 2.0, **network},
            "training": {"burnin_steps": 2, "update_every": 5, "learning_rate": 0.02, "quantize": quantize, **changes},
        },
        "small",
    )


def network_of(spec: ModelSpec) -> DecolleNetwork:
    """Always the same, with weights that make it spike."""
    generator = torch.Generator().manual_seed(3)
    network = DecolleNetwork(spec, CLASSES, generator)
    for layer in network:
        layer.weight.mul_(4.0)
        if layer.has_bias:
            layer.bias.uniform_(-0.1, 0.1, generator=generator)
    return network


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    spikes = torch.from_numpy((rng.random((STEPS, BATCH, 72)) < 0.15).astype(np.uint8))
    return spikes, torch.eye(CLASSES)[torch.from_numpy(rng.integers(0, CLASSES, BATCH))]


def on_grid(weight: torch.Tensor, step: float, bits: int = BITS) -> torch.Tensor:
    """W_q by definition, with the strides of `weight`."""
    q = to_grid(weight.numpy(), step, bits)
    return torch.empty_like(weight).copy_(torch.from_numpy(np.float32(step) * q.astype(np.float32)))


class Oracle:
    """Straight-through learning on a learner of the float description."""

    def __init__(self, spec: ModelSpec, path: str) -> None:
        network = network_of(spec)
        self.learner = Learner(network, spec.training, CPU, path)  # type: ignore[arg-type]
        self.masters = [layer.weight.clone() for layer in network]
        self.steps: list[float] = []
        step_of_learner = self.learner._step

        def step(others):  # type: ignore[no-untyped-def]
            for layer, master in zip(network, self.masters, strict=True):
                layer.weight.copy_(master)
            step_of_learner(others)
            self.masters = [layer.weight.clone() for layer in network]
            self.place()

        self.learner._step = step  # type: ignore[method-assign]

    def place(self) -> None:
        for layer, master, step in zip(self.learner.network, self.masters, self.steps, strict=True):
            layer.weight.copy_(on_grid(master, step))
        self.learner.teacher.engine.take_weights()

    def learn_batch(self, *presented: torch.Tensor) -> torch.Tensor:
        self.steps = [best_step(master.numpy(), BITS) for master in self.masters]
        self.place()
        return self.learner.learn_batch(*presented)


def realised(network: dict[str, Any]) -> dict[str, Any]:
    """The same description with decays that registers have: round(4096 (1 - a)) parts of 4096."""

    def nearest(factor: float) -> float:
        return 1.0 - round(4096 * (1.0 - factor)) / 4096

    values = {"alpha": 0.8, "beta": 0.7} | network
    if values.get("neuron", "decolle") == "decolle":
        values = {"alpharp": 0.65} | values
    decays = {key: values[key] for key in ("alpha", "beta", "alpharp") if key in values}
    return values | {
        key: [nearest(factor) for factor in value] if isinstance(value, list) else nearest(value)
        for key, value in decays.items()
    }


NETWORKS = {
    "dense": DENSE,
    "conv": CONV,
    "strided conv": {"Nhid": [4], "kernel_size": 3, "stride": 2, "groups": 2},
    "cuba": {**CONV, "neuron": "cuba", "vth": 0.05},
    "output layer": {**DENSE, "output_layer": True},
    "no bias": {**DENSE, "bias": False},
    "dropout": {**CONV, "dropout": 0.3},
}
SGD = {"optimizer": "SGD", "betas": None, "optimizer_args": {"momentum": 0.5, "weight_decay": 0.01}}
TRAININGS = {
    "sequence": {"update_every": "sequence"},
    "5 steps": {},
    "every step": {"update_every": 1},
    "Adamax with a mean": {"betas": [0.5, 0.9]},
    "SGD": {**SGD, "learning_rate": 0.5},
    "Adam, clipped": {"optimizer": "Adam", "betas": [0.5, 0.9], "clip_grad_norm": 0.01},
    "regularizers": {"reg_l": 3.0},
    "a layer that does not learn": {"loss": ["none", "smooth_l1", "smooth_l1"]},
    "bptt": {"method": "bptt", "update_every": "sequence"},
}


def check(network: dict[str, Any], changes: dict[str, Any], path: str, parts: int = 1) -> None:
    oracle = Oracle(spec_of(None, realised(network), **changes), path)
    spec = spec_of({"weight_bits": BITS}, network, **changes)
    subject = Learner(network_of(spec), spec.training, CPU, path)  # type: ignore[arg-type]
    subject.shards.count = oracle.learner.shards.count = parts
    start = [layer.weight.clone() for layer in subject.network]
    for number in range(3):
        presented = batch(number)
        assert torch.equal(subject.learn_batch(*presented), oracle.learn_batch(*presented))
        rules = subject.teacher.rules
        for layer, plain, master, step, rule, before in zip(
            subject.network, oracle.learner.network, oracle.masters, oracle.steps, rules, start, strict=True
        ):
            assert layer.weight_step == step and layer.master_weight is not None
            assert torch.equal(layer.master_weight, master) and torch.equal(layer.weight, plain.weight)
            assert torch.equal(layer.bias, plain.bias)
            assert layer.weight.stride() == before.stride() == layer.master_weight.stride()
            assert torch.equal(master, before) != rule.learns and not torch.equal(layer.weight, master)


@pytest.mark.parametrize("path", ["auto", "plain", "events"])
@pytest.mark.parametrize("network", NETWORKS)
def test_straight_through_on_every_kind_of_network(network: str, path: str) -> None:
    check(NETWORKS[network], {}, path)


@pytest.mark.parametrize("path", ["plain", "events"])
@pytest.mark.parametrize("name", TRAININGS)
def test_straight_through_with_every_kind_of_update(name: str, path: str) -> None:
    network = {**CONV, "Mhid": [12, 10]} if name == "a layer that does not learn" else CONV
    check(network, TRAININGS[name], path)
    if name != "a layer that does not learn":
        check(DENSE, TRAININGS[name], path)


@pytest.mark.parametrize("name", ["5 steps", "every step", "Adam, clipped"])
def test_straight_through_in_several_threads(name: str) -> None:
    check(CONV, TRAININGS[name], "auto", parts=2)
    check(DENSE, TRAININGS[name], "auto", parts=2)


def test_silent_inputs_do_not_matter() -> None:
    """Rows of the weights that the optimizer leaves alone until they have a gradient again."""
    spec = spec_of({"weight_bits": BITS}, DENSE, update_every=1)
    oracle = Oracle(spec_of(None, realised(DENSE), update_every=1), "auto")
    subject = Learner(network_of(spec), spec.training, CPU)
    for number in range(3):
        spikes_TBI, target_BC = batch(number)
        spikes_TBI[:, :, 10:] *= number == 1
        assert torch.equal(subject.learn_batch(spikes_TBI, target_BC), oracle.learn_batch(spikes_TBI, target_BC))
        assert all(torch.equal(a.master_weight, b) for a, b in zip(subject.network, oracle.masters, strict=True))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("network", [DENSE, CONV], ids=["dense", "conv"])
def test_weights_are_on_the_grid_by_definition(network: dict[str, Any], bits: int) -> None:
    subject = network_of(spec_of({"weight_bits": bits}, network))
    learned = [layer.weight.clone() for layer in subject]
    assert all(layer.weight_step is None and layer.master_weight is None for layer in subject)
    subject.quantize()
    for layer, master in zip(subject, learned, strict=True):
        assert layer.weight_step == best_step(master.numpy(), bits)
        assert torch.equal(layer.weight, on_grid(master, layer.weight_step, bits))
        assert torch.equal(layer.master_weight, master)
        assert min(2 ** (bits - 1), master.numel() // 2) < len(layer.weight.unique()) <= 2**bits
    subject.quantize()
    assert all(torch.equal(layer.master_weight, master) for layer, master in zip(subject, learned, strict=True))


def test_other_types_round_the_same() -> None:
    """Not through the compiled kernel: as on a GPU."""
    compiled, other = (network_of(spec_of({"weight_bits": BITS}, CONV)) for _ in range(2))
    other.double()
    for network in (compiled, other):
        network.quantize()
    for a, b in zip(compiled, other, strict=True):
        assert a.weight_step == b.weight_step and b.weight.dtype == torch.float64
        assert torch.equal(a.weight, b.weight.float()) and torch.equal(b.weight.float().double(), b.weight)


def test_without_quantize_everything_is_float() -> None:
    subject = network_of(spec_of(None, DENSE))
    before = [layer.weight.clone() for layer in subject]
    subject.quantize()
    with subject.learned_weights():
        pass
    for layer, weight in zip(subject, before, strict=True):
        assert layer.weight_step is None and layer.master_weight is None and torch.equal(layer.weight, weight)
        assert layer.dynamics.alpha == 0.8


def test_decays_are_those_of_registers() -> None:
    network = {**DENSE, "alpha": [0.9, 0.0], "beta": [0.85, 0.9999], "alpharp": [0.65, 0.1]}
    first, second = network_of(spec_of({"weight_bits": 8}, network))
    assert (first.dynamics.alpha, first.dynamics.beta) == (3686 / 4096, 3482 / 4096)
    assert first.dynamics.alpharp == 2662 / 4096
    # dv = 4095 leaves 1 of 4096, du = 0 takes 1 of 4096.
    assert (second.dynamics.alpha, second.dynamics.beta) == (1 / 4096, 4095 / 4096)
    (cuba,) = network_of(spec_of({"weight_bits": 8}, {"neuron": "cuba", "Mhid": [5], "alpha": 0.9}))
    assert cuba.dynamics.alpha == 3686 / 4096 and cuba.dynamics.alpharp == 0.0


class TestState:
    def subject(self) -> Learner:
        spec = spec_of({"weight_bits": BITS}, CONV)
        return Learner(network_of(spec), spec.training, CPU)

    def test_a_state_dict_holds_the_learned_floats(self) -> None:
        subject = self.subject()
        names = subject.network.state_dict().keys()
        subject.learn_batch(*batch(0))
        state = subject.network.state_dict()
        assert state.keys() == names
        for index, layer in enumerate(subject.network):
            assert torch.equal(state[f"layers.{index}.weight"], layer.master_weight)

    def test_loading_into_a_quantized_network(self) -> None:
        subject, other = self.subject(), self.subject()
        subject.learn_batch(*batch(0))
        state = {name: tensor.clone() for name, tensor in subject.network.state_dict().items()}
        subject.network.quantize()
        other.learn_batch(*batch(1))
        other.network.load_state_dict(state)
        assert all(layer.weight_step is None for layer in other.network)
        other.network.quantize()
        for a, b in zip(subject.network, other.network, strict=True):
            assert torch.equal(a.weight, b.weight) and torch.equal(a.master_weight, b.master_weight)

    def test_a_failing_update_leaves_the_weights_on_the_grid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        subject = self.subject()
        subject.network.quantize()
        before = [layer.weight.clone() for layer in subject.network]

        def fail(others):  # type: ignore[no-untyped-def]
            raise RuntimeError("no update")

        monkeypatch.setattr(subject.optimizer, "update", lambda *arguments: fail(None))
        with pytest.raises(RuntimeError, match="no update"):
            subject.learn_batch(*batch(0))
        assert all(torch.equal(layer.weight, weight) for layer, weight in zip(subject.network, before, strict=True))


@pytest.mark.parametrize("path", ["plain", "events"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_noticed(value: float, path: str) -> None:
    """Before a batch, and after an update within one."""
    spec = spec_of({"weight_bits": BITS}, DENSE)
    subject = Learner(network_of(spec), spec.training, CPU, path)  # type: ignore[arg-type]
    layer: DecolleLayer = subject.network.layers[1]  # type: ignore[assignment]
    step = subject._step

    def break_one(others):  # type: ignore[no-untyped-def]
        step(others)
        with subject.network.learned_weights():
            layer.weight[3, 2] = value

    subject._step = break_one  # type: ignore[method-assign]
    spikes_TBI, target_BC = torch.ones((STEPS, BATCH, 72), dtype=torch.uint8), batch(0)[1]
    for _ in range(2):
        with pytest.raises(NonFiniteLoss) as caught:
            subject.learn_batch(spikes_TBI, target_BC)
        assert caught.value.layer == 1
        assert not any(bool(weight.isfinite().all()) for weight in (layer.weight, layer.master_weight))
