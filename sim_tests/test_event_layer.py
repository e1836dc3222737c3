"""The event-driven path equals the plain one to rounding, from silent input to dense, across changes of the weights."""

# T steps, B batch, I inputs, M neurons after pooling, C classes

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decolle_hw.nn.engine import Engine
from decolle_hw.nn.event_layer import EventLayer, can_be_driven
from decolle_hw.nn.layer import DecolleLayer
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.rule import PotentialSums, local_rules
from decolle_hw.nn.spikes import Spikes
from decolle_hw.spec import parse_model_spec

T, B, CLASSES = 21, 3, 4
SHAPE = [2, 9, 10]
I = 180  # noqa: E741
LAYERS = {
    "dense": {"Mhid": [21]},
    "conv": {"Nhid": [6], "kernel_size": 5},
    "even kernel": {"Nhid": [5], "kernel_size": 4},
    "no padding, pooled": {"Nhid": [5], "kernel_size": 3, "pool_size": 2, "padding": 0},
    "pooling drops lines": {"Nhid": [3], "kernel_size": 7, "pool_size": 4},
    "one pixel": {"Nhid": [9], "kernel_size": 1, "pool_size": 3},
}
EPS = 2.0**-23


def make_network(layer: str, neuron: str, surrogate: str = "fast_sigmoid", seed: int = 1, **training) -> DecolleNetwork:
    spec = parse_model_spec(
        {
            "name": "x",
            "dataset": {"input_shape": SHAPE},
            "network": {"neuron": neuron, **LAYERS[layer], "alpha": 0.9, "beta": 0.8}
            | ({"vth": 0.05} if neuron == "cuba" else {}),
            "training": {"surrogate": surrogate, **training},
        },
        "test",
    )
    generator = torch.Generator().manual_seed(seed)
    network = DecolleNetwork(spec, CLASSES, generator)
    network.rules = local_rules(spec.training, len(network))  # type: ignore[assignment]
    for module in network:
        module.weight.mul_(6.0)
        module.bias.uniform_(-0.1, 0.1, generator=generator)
    return network


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    layer=st.sampled_from(sorted(LAYERS)),
    neuron=st.sampled_from(["decolle", "cuba"]),
    surrogate=st.sampled_from(["fast_sigmoid", "boxcar", "sigmoid"]),
    density=st.sampled_from([0.0, 0.01, 0.2, 0.6, 1.0]),
    reg=st.sampled_from([0.0, 3.0]),
    dropout=st.booleans(),
    feedback=st.sampled_from(["symmetric", "random"]),
    cut=st.integers(0, T),
    seed=st.integers(0, 10**6),
)
def test_events_equal_the_plain_path(layer, neuron, surrogate, density, reg, dropout, feedback, cut, seed) -> None:
    """Potentials, spikes, readouts, states and gradients of two chunks, with other weights in the second.

    Sums of up to 180 terms and their filters in another order: 2**-23 times some tens, relative to the largest value.
    """
    network = make_network(layer, neuron, surrogate, reg_l=reg, feedback=feedback)
    module: DecolleLayer = network.layers[0]
    assert can_be_driven(module)
    generator = torch.Generator().manual_seed(seed)
    spikes_TBI = (torch.rand((T, B, I), generator=generator) < density).to(torch.uint8)
    target_BC = torch.randn((B, CLASSES), generator=generator)
    rule = network.rules[0]
    driven = EventLayer(module)
    driven.use_weights(0)
    plain_state = module.zero_state(B)
    state = driven.state(plain_state)
    tolerance = 64 * EPS
    for version, (start, stop) in enumerate(((0, cut), (cut, T))):
        if start == stop:
            continue
        if version == 1:
            module.weight.add_(0.05 * torch.randn(module.weight.shape, generator=generator))
            driven.use_weights(1)
        mask = None
        if dropout:
            mask = 2.0 * (torch.rand((stop - start, B, module.shape.outputs), generator=generator) < 0.5)
        plain, plain_state = module(spikes_TBI[start:stop], plain_state, mask)
        output, state = driven.forward(Spikes(I, dense=spikes_TBI).between(start, stop), state, mask)
        U = torch.from_numpy(output.potential_BTM).transpose(0, 1)
        sums = PotentialSums.of(plain.potential_TBN) if reg else None
        expected, _ = module.local_gradient(plain, target_BC, rule, B, sums)
        actual, _ = driven.local_gradient(output, target_BC, rule, B, PotentialSums.of(U) if reg else None)
        potential_TBM = driven.channels_first(U, module.shape.output_shape)
        assert relative_error(potential_TBM, plain.potential_TBN) < tolerance
        near = plain.potential_TBN.abs() < tolerance * plain.potential_TBN.abs().max()
        differ = output.spikes.dense().float() != plain.spikes_TBN
        assert not (differ & ~near).any()
        if differ.any():
            return  # a potential of zero to rounding: what follows may differ
        readout_TBC = torch.from_numpy(output.readout_BTC).transpose(0, 1)
        assert relative_error(readout_TBC, plain.readout_TBC) < tolerance
        if surrogate != "boxcar":  # whose corners at |U| = 1/2 rounding may cross
            assert relative_error(actual.weight, expected.weight) < tolerance
            assert relative_error(actual.bias, expected.bias) < tolerance
        assert relative_error(actual.loss_T, expected.loss_T) < tolerance
        after = driven.plain_state(state)
        assert after.steps_done == plain_state.steps_done
        for ours, theirs in zip(
            (*after.traces, *after.neurons), (*plain_state.traces, *plain_state.neurons), strict=True
        ):
            assert relative_error(ours, theirs) < tolerance


@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_state_goes_from_path_to_path(layer: str, neuron: str) -> None:
    network = make_network(layer, neuron)
    module = network.layers[0]
    driven = EventLayer(module)
    driven.use_weights(0)
    spikes_TBI = (torch.rand((T, B, I), generator=torch.Generator().manual_seed(3)) < 0.1).to(torch.uint8)
    whole, end = module(spikes_TBI, module.zero_state(B))
    state, parts = module.zero_state(B), []
    for start in range(0, T, 3):
        if start % 2:
            output, after = driven.forward(Spikes(I, dense=spikes_TBI[start : start + 3]), driven.state(state))
            state = driven.plain_state(after)
            U = torch.from_numpy(output.potential_BTM).transpose(0, 1)
            parts.append(driven.channels_first(U, module.shape.output_shape))
        else:
            output, state = module(spikes_TBI[start : start + 3], state)
            parts.append(output.potential_TBN)
    assert relative_error(torch.cat(parts), whole.potential_TBN) < 64 * EPS
    assert relative_error(state.neurons.register_BN, end.neurons.register_BN) < 64 * EPS


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("neuron", ["decolle", "cuba"])
@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_short_chunks_with_weights_that_change(layer: str, neuron: str, size: int) -> None:
    network = make_network(layer, neuron)
    module, rule = network.layers[0], network.rules[0]
    driven = EventLayer(module)
    driven.use_weights(0)
    generator = torch.Generator().manual_seed(4)
    spikes_TBI = (torch.rand((T, B, I), generator=generator) < 0.02).to(torch.uint8)
    target_BC = torch.randn((B, CLASSES), generator=generator)
    plain_state = module.zero_state(B)
    state = driven.state(plain_state)
    for start in range(0, T - 1, size):
        plain, plain_state = module(spikes_TBI[start : start + size], plain_state)
        output, state = driven.forward(Spikes(I, dense=spikes_TBI[start : start + size]), state)
        expected, _ = module.local_gradient(plain, target_BC, rule, B)
        actual, _ = driven.local_gradient(output, target_BC, rule, B)
        assert relative_error(torch.from_numpy(output.readout_BTC).transpose(0, 1), plain.readout_TBC) < 64 * EPS
        if start:
            assert expected.weight.abs().max() > 0
        assert relative_error(actual.weight, expected.weight) < 64 * EPS
        assert actual.weight.stride() == module.weight.stride()
        if start % 4:  # some chunks follow without a change
            module.weight.add_(0.05 * torch.randn(module.weight.shape, generator=generator))
            driven.use_weights(start)


@pytest.mark.parametrize(
    "network",
    [
        {"Nhid": [4], "stride": 2},
        {"Nhid": [4], "dilation": 2},
        {"Nhid": [4], "groups": 2},
        {"Nhid": [4], "kernel_size": 3, "padding": 3},
        {"Mhid": [4], "random_tau": {}},
    ],
)
def test_what_has_no_kernels_stays_on_the_plain_path(network: dict) -> None:
    spec = parse_model_spec({"name": "x", "dataset": {"input_shape": SHAPE}, "network": network}, "test")
    subject = DecolleNetwork(spec, CLASSES, torch.Generator().manual_seed(0))
    assert not can_be_driven(subject.layers[0])
    engine = Engine(subject, "events")
    engine.take_weights()
    spikes_TBI = (torch.rand((T, B, I), generator=torch.Generator().manual_seed(0)) < 0.1).to(torch.uint8)
    result, _ = engine.forward(Spikes(I, dense=spikes_TBI), engine.zero_state(B))
    outputs, _ = subject(spikes_TBI, subject.zero_state(B))
    assert torch.equal(result.readout_TBC(0), outputs[0].readout_TBC)


@pytest.mark.parametrize("density", [0.0, 0.003, 0.3, 1.0])
def test_spikes_dense_and_as_events(density: float) -> None:
    spikes_TBI = (torch.rand((T, B, I), generator=torch.Generator().manual_seed(0)) < density).to(torch.uint8)
    events = Spikes(I, dense=spikes_TBI).events()
    assert events.count() == int(spikes_TBI.sum())
    for start, stop in ((0, T), (3, 11), (T, T)):
        piece = Spikes(I, events=events).between(start, stop)
        assert torch.equal(piece.dense(), spikes_TBI[start:stop])
        assert piece.events().count() == int(spikes_TBI[start:stop].sum())
        if stop > start:
            assert piece.density() == pytest.approx(spikes_TBI[start:stop].float().mean().item())


def test_engine_takes_the_path_by_density() -> None:
    subject = make_network("dense", "decolle")
    engine = Engine(subject)
    engine.take_weights()
    for density, expected in ((0.01, True), (0.9, False)):
        spikes_TBI = (np.random.default_rng(0).random((T, B, I)) < density).astype(np.uint8)
        result, _ = engine.forward(Spikes(I, dense=torch.from_numpy(spikes_TBI)), engine.zero_state(B))
        assert hasattr(result.outputs[0], "input_events") == expected
