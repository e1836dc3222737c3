"""The closed-form rule equals per-step autograd: weights and losses after `learn_batch`, for networks of every kind.

The oracle runs in double precision. Input is drawn until no potential, error or tie of a pooling stands within MARGIN
of the value at which a decision flips, so that rounding cannot flip one. What remains is the rounding of sums, and the
oracle itself shows how large that is when it runs in single precision: ours adds in another order and may be 8 times as
far from the truth, and 8 units in the last place of the largest weight beyond that. A test first makes sure that this
is far less than what was learned.
"""

# T steps, B batch, I inputs, C classes

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from per_step_autograd import PerStepAutograd

from decolle_hw.errors import SpecError
from decolle_hw.nn.engine import Path
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import ModelSpec, parse_model_spec
from decolle_hw.training.learner import Learner

EPS = 2.0**-23
ROUNDINGS = 8
MARGIN = (
    1e-5  # potentials are sums of some 50 products with partial sums below 4: rounding stays below 4 x 8 eps = 4e-6
)
DRAWS = 60  # of input, until nothing is within MARGIN of a flip
PATHS: tuple[Path, ...] = get_args(Path)
CLASSES, STEPS, BURNIN = 4, 12, 2
DENSE = {"Mhid": [9, 7]}
CONV = {"Nhid": [4], "kernel_size": 3}
MIXED = {"Nhid": [4, 4], "Mhid": [8], "kernel_size": 3, "pool_size": [2, 1]}


@dataclass(frozen=True)
class Case:
    """A description, and how the data are drawn."""

    network: dict[str, Any] = field(default_factory=lambda: dict(MIXED))
    training: dict[str, Any] = field(default_factory=dict)
    input_shape: tuple[int, int, int] = (2, 7, 6)
    batch: int = 5
    batches: int = 1
    density: float = 0.2
    bias: float = 0.0  # added to all biases
    parts: int = 1  # that the batch may be split in, each on a thread
    seed: int = 0
    piece: int | None = None  # steps that go through all layers at once; None: as the engine likes

    def spec(self) -> ModelSpec:
        network = {"alpha": 0.9, "beta": 0.8, "lc_ampl": 2.0, **self.network}
        if network.get("neuron") == "cuba":
            network = {**network, "alpha": 0.6, "vth": 0.05, **self.network}
        dataset = {"input_shape": list(self.input_shape), "chunk_size_train": STEPS, "chunk_size_test": STEPS}
        training = {
            "burnin_steps": BURNIN, "batch_size": self.batch, "optimizer": "SGD", "learning_rate": 1.0, **self.training
        }  # fmt: skip
        values = {"name": "case", "dataset": dataset, "network": network, "training": training}
        return parse_model_spec(values, "case")

    def fresh_network(self, spec: ModelSpec) -> DecolleNetwork:
        """Always the same, with weights and biases that make it spike."""
        generator = torch.Generator().manual_seed(self.seed)
        network = DecolleNetwork(spec, CLASSES, generator)
        for layer in network.layers:
            layer.weight.data.mul_(3.0)
            if spec.network.bias:
                layer.bias.data.uniform_(-0.1, 0.1, generator=generator).add_(self.bias)
        return network

    def data(self, spec: ModelSpec, draw: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Spikes (T, B, I) and targets (B, C) of each batch."""
        generator = torch.Generator().manual_seed(1000 * self.seed + draw)
        batches = []
        for _ in range(self.batches):
            spikes = torch.rand((STEPS, self.batch, spec.num_inputs), generator=generator) < self.density
            target_BC = torch.randn((self.batch, CLASSES), generator=generator) * 1.5  # on both sides of |error| = 1
            if "cross_entropy" in spec.of_layers("loss"):
                target_BC = torch.softmax(target_BC, 1)
            batches.append((spikes.to(torch.uint8), target_BC))
        return batches


class TooNearError(Exception):
    """A decision stands within MARGIN of falling out otherwise."""


class NoClearDrawError(AssertionError):
    """All draws of a case were too near."""


class Watched(PerStepAutograd):
    """Gives up at the first step that is too near to a flip."""

    def _step(self, spikes_BI: torch.Tensor, target_BC: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        result = super()._step(spikes_BI, target_BC)
        if distance_to_flip(self) <= MARGIN:
            raise TooNearError
        return result


def distance_to_flip(oracle: PerStepAutograd) -> float:
    """How far the nearest decision of the latest step is from falling out otherwise.

    Exactly 0 is not near 0: without input U is 0 + 0 in any precision, and all neurons of a pool hold the same bias.
    """
    distances = [torch.tensor([oracle.gate_margin])]
    training = oracle.spec.training
    for layer, maps, reg in zip(oracle.layers, oracle.maps, oracle.reg, strict=True):
        U = maps[-1]
        distances.append(U.abs().flatten())
        if training.surrogate == "boxcar":
            distances.append((U.abs() - 0.5).abs().flatten())
        if reg > 0.0:
            distances.append((U + 0.01).abs().flatten())
        if layer.shape.pool_size > 1:
            pool = layer.shape.pool_size
            windows = U.unfold(2, pool, pool).unfold(3, pool, pool).flatten(4)
            largest = windows.topk(2).values
            distances.append((largest[..., 0] - largest[..., 1]).flatten())
    everything = torch.cat(distances)
    return everything[everything > 0.0].min().item()


def run_oracle(case: Case, spec: ModelSpec, draw: int, dtype: torch.dtype) -> tuple[PerStepAutograd, torch.Tensor]:
    """In double precision, raises TooNearError where the input decides nothing clearly."""
    kind = Watched if dtype == torch.float64 else PerStepAutograd
    oracle = kind(case.fresh_network(spec), spec, dtype, record=True)
    losses = [oracle.learn_batch(*batch) for batch in case.data(spec, draw)]
    return oracle, torch.cat(losses)


def check(case: Case) -> PerStepAutograd:
    """Compare weights and losses on each path; returns the oracle in double precision."""
    spec = case.spec()
    for draw in range(DRAWS):
        with suppress(TooNearError):
            exact, exact_losses = run_oracle(case, spec, draw, torch.float64)
            break
    else:
        raise NoClearDrawError(f"{DRAWS} draws of input all have a decision within {MARGIN} of flipping: {case}")
    single, single_losses = run_oracle(case, spec, draw, torch.float32)
    for of_single, of_exact in zip(single.spikes, exact.spikes, strict=True):
        assert all(torch.equal(a.double(), b) for a, b in zip(of_single, of_exact, strict=True)), "MARGIN is too small"
    for path in PATHS:
        network = case.fresh_network(spec)
        before = [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in network.layers]
        learner = Learner(network, spec.training, torch.device("cpu"), path)
        learner.shards.count = case.parts
        if case.piece is not None:
            learner.teacher.engine.piece = lambda _batch: case.piece  # type: ignore[method-assign]
        losses = torch.cat([learner.learn_batch(*batch) for batch in case.data(spec, draw)])
        assert_equal(f"{path}: losses", losses, single_losses, exact_losses)
        assert_equal_weights(path, network, before, single, exact)
    return exact


def assert_equal_weights(
    path: Path,
    network: DecolleNetwork,
    before: list[tuple[torch.Tensor, torch.Tensor]],
    single: PerStepAutograd,
    exact: PerStepAutograd,
) -> None:
    """Compare all parameters with those of the oracle in single and double precision."""
    for index, layer in enumerate(network.layers):
        pairs = [(layer.weight, single.layers[index].weight, exact.layers[index].weight, before[index][0])]
        if layer.has_bias:
            pairs.append((layer.bias, single.layers[index].bias, exact.layers[index].bias, before[index][1]))
        else:
            assert not layer.bias.any()
        for ours, of_single, of_exact, start in pairs:
            name = f"{path}: layer {index}, {'weight' if ours is layer.weight else 'bias'}"
            learned = (of_exact - start).abs().max().item()
            tolerance = assert_equal(name, ours, of_single, of_exact)
            if exact.loss_names[index] == "none":
                assert torch.equal(ours, start), name
            assert learned == 0.0 or learned > 20 * tolerance, f"{name}: {learned:.1e} learned, {tolerance:.1e} allowed"


def assert_equal(name: str, ours: torch.Tensor, single: torch.Tensor, exact: torch.Tensor) -> float:
    """Raise where ours is further from the truth than rounding; returns the distance that is allowed."""
    ours, single, exact = (tensor.detach().double() for tensor in (ours, single, exact))
    noise = (single - exact).abs().max().item()
    tolerance = ROUNDINGS * (noise + EPS * exact.abs().max().item())
    torch.testing.assert_close(ours, exact, rtol=0, atol=tolerance, msg=lambda text: f"{name}: {text}")
    return tolerance


STACKS: dict[str, dict[str, Any]] = {
    "dense": DENSE,
    "conv": CONV,
    "conv stride": {**CONV, "stride": 2},
    "conv dilation": {**CONV, "dilation": 2},
    "conv groups": {**CONV, "groups": 2},
    "conv unpadded": {**CONV, "padding": 0},
    "conv wide padding": {**CONV, "padding": 3},
    "conv even kernel": {**CONV, "kernel_size": 2},
    "conv pool 2 of 7x6": {**CONV, "pool_size": 2},
    "conv pool 4 of 7x6": {**CONV, "pool_size": 4},
    "mixed": MIXED,
    "mixed, output": {**MIXED, "output_layer": True},
    "dense, output": {**DENSE, "output_layer": True},
}


@pytest.mark.parametrize("loss", ["smooth_l1", "mse", "cross_entropy"])
@pytest.mark.parametrize(
    ("stack", "neuron"),
    [(stack, "decolle") for stack in STACKS]
    + [(stack, "cuba") for stack, network in STACKS.items() if not network.get("output_layer")],
)
def test_layers(stack: str, neuron: str, loss: str) -> None:
    oracle = check(Case({**STACKS[stack], "neuron": neuron}, {"loss": loss}))
    for spikes in oracle.spikes[: oracle.spec.network.hidden_layers]:
        assert 0.02 < torch.stack(spikes).mean() < 0.98  # else the readouts have nothing to read


TRAININGS: dict[str, dict[str, Any]] = {
    "boxcar": {"surrogate": "boxcar", "update_every": 3},
    "sigmoid": {"surrogate": "sigmoid"},
    "random feedback": {"feedback": "random"},
    "random feedback, cross entropy": {"feedback": "random", "loss": "cross_entropy"},
    "one loss per layer": {"loss": ["mse", "none", "smooth_l1"]},
    "only the first": {"loss": ["mse", "none", "none"]},
    "regularizers": {"reg_l": [3.0, 0.0, 30.0]},
    "error threshold": {"error_threshold": [0.5, 0.0, 1.0]},
    "error threshold, cross entropy": {"error_threshold": 0.2, "loss": "cross_entropy"},
    "error rate": {"error_rate": 0.4, "error_adaptation": 0.8, "update_every": 2},
    "error rate, thresholds": {"error_rate": 0.4, "error_threshold": [0.1, 0.5, 1.0], "update_every": 3},
    "every step": {"update_every": 1},
    "every 3 steps": {"update_every": 3},
    "every 7 steps": {"update_every": 7},
    "no burn-in": {"burnin_steps": 0},
    "Adamax": {"optimizer": "Adamax", "learning_rate": 1e-2, "update_every": 3},
    "Adam": {"optimizer": "Adam", "learning_rate": 1e-2, "update_every": 3, "betas": [0.5, 0.9]},
    "momentum": {"optimizer": "SGD", "optimizer_args": {"momentum": 0.5, "weight_decay": 0.01}, "update_every": 3},
    "a rate per layer": {"learning_rate": [1.0, 0.5, 0.25]},
    "clipped": {"clip_grad_norm": 1e-2, "update_every": 5},
}


@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
@pytest.mark.parametrize("training", TRAININGS)
def test_training_options(training: str, neuron: str) -> None:
    oracle = check(Case({**MIXED, "neuron": neuron}, TRAININGS[training], batches=2))
    for layer in oracle.layers:
        assert layer.feedback is None or not torch.equal(layer.feedback, layer.readout_weight)


@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
def test_boxcar_on_both_sides_of_its_edge(neuron: str) -> None:
    oracle = check(Case({"Mhid": [9], "neuron": neuron}, {"surrogate": "boxcar"}, density=0.6, bias=0.4))
    U = torch.cat(oracle.maps[0]).abs()
    assert ((U > 0.4) & (U < 0.5)).any() and ((U > 0.5) & (U < 0.6)).any()


@pytest.mark.parametrize("training", ["regularizers", "error threshold", "error rate", "clipped", "only the first"])
def test_training_options_with_an_output_layer(training: str) -> None:
    check(Case({"Nhid": [4], "Mhid": [8], "kernel_size": 3, "output_layer": True}, TRAININGS[training]))


@pytest.mark.parametrize("reg", [True, False], ids=["reg", "no reg"])
def test_a_silent_layer_is_lifted_by_its_regularizer(reg: bool) -> None:
    """U is below -2.2 on average, where 0.1 - sigmoid(U) turns positive: the second regularizer acts only here."""
    training = {"reg_l": 300.0 if reg else 0.0, "surrogate": "boxcar", "update_every": 4}
    case = Case({"Mhid": [6], "wrp": 2.0}, training, bias=-4.0, batch=17, parts=2)
    risen = check(case).layers[0].parameters()[1] > case.fresh_network(case.spec()).layers[0].bias
    assert risen.all() if reg else not risen.any()


@pytest.mark.parametrize("training", ["every 3 steps", "regularizers", "error rate"])
@pytest.mark.parametrize(("batch", "parts"), [(1, 1), (1, 2), (7, 2), (20, 1), (20, 2), (24, 3)])
def test_split_batches(batch: int, parts: int, training: str) -> None:
    network = {"Nhid": [2], "Mhid": [5, 4], "kernel_size": 3, "pool_size": 2}
    check(Case(network, TRAININGS[training], input_shape=(2, 4, 5), batch=batch, parts=parts))


@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
@pytest.mark.parametrize("training", ["no burn-in", "every 7 steps", "regularizers", "error rate, thresholds"])
def test_chunks_that_go_through_in_pieces(training: str, neuron: str) -> None:
    check(Case({**MIXED, "neuron": neuron}, TRAININGS[training], piece=3))


@pytest.mark.parametrize("density", [0.0, 0.005, 0.05, 1.0])
@pytest.mark.parametrize("network", [DENSE, MIXED], ids=["dense", "mixed"])
def test_densities(network: dict[str, Any], density: float) -> None:
    check(Case(network, {"update_every": 3}, density=density))


@pytest.mark.parametrize(
    "network",
    [
        {"bias": False},
        {"lc_bias": False},
        {"random_tau": {"spread": 0.5, "tau_min": 2.0, "tau_max": 20.0}},
        {"alpha": [0.9, 0.5, 0.97], "beta": [0.0, 0.8, 0.7], "lc_ampl": [0.5, 1.0, 2.0]},
        {"alpharp": [0.65, 0.0, 0.9], "wrp": [1.0, 0.0, 3.0]},
        {"neuron": "cuba", "vth": [0.05, 0.1, 0.02], "alpha": 0.5},
        {"neuron": "cuba", "random_tau": {}},
    ],
    ids=["no bias", "no readout bias", "random tau", "decays", "refractory", "cuba vth", "cuba random tau"],
)
def test_network_options(network: dict[str, Any]) -> None:
    check(Case({**MIXED, **network}, {"update_every": 4}))


def one_or_each(draw: st.DrawFn, values: st.SearchStrategy, count: int) -> Any:
    return draw(st.one_of(values, st.lists(values, min_size=count, max_size=count)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    convolutions, dense = draw(st.sampled_from([(0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]))
    neuron = draw(st.sampled_from(["decolle", "cuba"]))
    network: dict[str, Any] = {
        "neuron": neuron,
        "Nhid": [draw(st.sampled_from([2, 4])) for _ in range(convolutions)],
        "Mhid": [draw(st.integers(1, 9)) for _ in range(dense)],
        "bias": draw(st.booleans()),
        "output_layer": neuron == "decolle" and draw(st.booleans()),
        "random_tau": draw(st.sampled_from([None, {"spread": 0.3, "tau_min": 2.0, "tau_max": 30.0}])),
    }
    if convolutions:
        options = {
            "kernel_size": st.integers(1, 4), "stride": st.integers(1, 2), "padding": st.integers(0, 2),
            "dilation": st.integers(1, 2), "groups": st.integers(1, 2), "pool_size": st.integers(1, 3),
        }  # fmt: skip
        network |= {key: one_or_each(draw, values, convolutions) for key, values in options.items()}
    layers = convolutions + dense + network["output_layer"]
    losses = [draw(st.sampled_from(["smooth_l1", "mse", "cross_entropy", "none"])) for _ in range(layers)]
    assume(any(loss != "none" for loss in losses))
    training = {
        "loss": losses,
        "burnin_steps": draw(st.integers(0, 3)),
        "update_every": draw(st.sampled_from([1, 3, 7, "sequence"])),
        "surrogate": draw(st.sampled_from(["fast_sigmoid", "boxcar", "sigmoid"])),
        "feedback": draw(st.sampled_from(["symmetric", "random"])),
        "reg_l": one_or_each(draw, st.sampled_from([0.0, 5.0]), layers),
        "error_threshold": one_or_each(draw, st.sampled_from([0.0, 0.3]), layers),
        "error_rate": draw(st.sampled_from([None, 0.4])),
        "clip_grad_norm": draw(st.sampled_from([None, 1e-2])),
        "optimizer": draw(st.sampled_from(["SGD", "Adamax"])),
    }
    if training["optimizer"] == "Adamax":  # eps: a gradient that is all rounding must not move a weight by a full step
        training |= {"optimizer_args": {"eps": 1e-4}, "learning_rate": 1e-2}
    shape = (2, draw(st.integers(3, 7)), draw(st.integers(3, 7)))
    batch = draw(st.sampled_from([1, 3, 7, 17]))
    density, seed = draw(st.sampled_from([0.01, 0.2, 0.6])), draw(st.integers(0, 2**20))
    return Case(
        network, training, shape, batch, batches=draw(st.integers(1, 2)), density=density,
        parts=draw(st.integers(1, 2)), seed=seed, piece=draw(st.sampled_from([None, 5])),
    )  # fmt: skip


@given(cases())
@settings(max_examples=settings.default.max_examples // 6, suppress_health_check=list(HealthCheck))
def test_random_networks(case: Case) -> None:
    try:
        case.spec()
    except SpecError:
        assume(False)  # a kernel or a pool larger than the map
    try:
        check(case)
    except NoClearDrawError:
        assume(False)
