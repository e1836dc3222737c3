"""Shapes of layers, values per layer, and descriptions that do not fit together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decolle_hw.errors import SpecError
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.spec import NetworkSpec, layer_shapes, parse_model_spec


def model(network: dict, training: dict | None = None, input_shape: tuple[int, ...] = (2, 12, 10)):
    values = {"name": "x", "dataset": {"input_shape": list(input_shape)}, "network": network}
    return parse_model_spec(values | {"training": training or {}}, "x.yaml")


@pytest.mark.parametrize(
    ("network", "training", "words"),
    [
        ({}, {}, ["no layer", "Nhid", "Mhid"]),
        ({"Nhid": [4], "pool_size": 13}, {}, ["layer 0", "pool_size 13", "12x10"]),
        ({"Nhid": [4, 4], "pool_size": [5, 3]}, {}, ["layer 1", "pool_size 3", "2x2"]),
        ({"Nhid": [4], "kernel_size": 15, "padding": 0}, {}, ["layer 0", "kernel_size 15", "10"]),
        (
            {"Nhid": [4], "kernel_size": 5, "dilation": 3, "padding": 0},
            {},
            ["kernel_size 5", "dilation 3", "13 pixels"],
        ),
        ({"Nhid": [4], "groups": 3}, {}, ["layer 0", "groups 3", "2 input channels"]),
        ({"Nhid": [3], "groups": 2}, {}, ["groups 2", "3 output channels"]),
        ({"Nhid": [4, 4, 4], "kernel_size": [3, 5]}, {}, ["kernel_size [3, 5]", "2 values for 3 layers"]),
        ({"Mhid": [4], "kernel_size": [3]}, {}, ["kernel_size [3]", "no convolutional layer"]),
        ({"Nhid": [4], "Mhid": [5], "alpha": [0.9, 0.8, 0.7]}, {}, ["alpha", "3 values for 2 layers"]),
        ({"Mhid": [5, 4], "dropout": [0.5, 1.0]}, {}, ["dropout", "1.0"]),
        ({"Mhid": [5, 4]}, {"learning_rate": [1e-3, 1e-3, 1e-3]}, ["training.learning_rate", "3 values for 2 layers"]),
        ({"Mhid": [5, 4]}, {"loss": ["none", "none"]}, ["training.loss", "nothing would be learned"]),
        ({"Mhid": [5, 4]}, {"loss": "hinge"}, ["training.loss", "hinge"]),
        ({"Mhid": [4], "pool_size": 2}, {}, ["pool_size 2", "no convolutional layer"]),
        ({"Mhid": [2**20, 2**20]}, {}, ["layer 1 (dense)", "1048576 units", "lower Mhid"]),
        ({"Mhid": [5], "neuron": "cuba", "output_layer": True}, {}, ["output_layer", "cuba"]),
        ({"Mhid": [5], "random_tau": {"tau_min": 9.0, "tau_max": 5.0}}, {}, ["tau_min 9.0", "tau_max 5.0"]),
        ({"Mhid": [5]}, {"method": "bptt", "update_every": 5}, ["bptt", "update_every 5"]),
        ({"Mhid": [5]}, {"error_rate": 1.5}, ["error_rate", "1.5"]),
    ],
)
def test_what_does_not_fit_is_named(network: dict, training: dict, words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        model(network, training)
    for word in ["x.yaml", *words]:
        assert word in str(caught.value)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(3, 14), st.integers(3, 14)),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.none() | st.integers(0, 3),
    pool=st.integers(1, 4),
    groups=st.integers(1, 2),
)
def test_shapes_are_those_of_torch(size, kernel, stride, dilation, padding, pool, groups) -> None:
    """Either refused, or a network of these shapes runs and has them."""
    keys = {"kernel_size": kernel, "stride": stride, "dilation": dilation, "pool_size": pool, "groups": groups}
    try:
        spec = model({"Nhid": [4], "Mhid": [3], **keys, "padding": padding}, input_shape=(2, *size))
    except SpecError:
        return
    first, second = spec.shapes(classes=5)
    reach = dilation * (kernel - 1)
    used = reach // 2 if padding is None else padding
    conv = torch.nn.Conv2d(2, 4, kernel, stride, used, dilation, groups)
    maps = conv(torch.zeros(1, 2, *size))
    assert first.map_shape == maps.shape[1:]
    assert first.output_shape == torch.nn.functional.max_pool2d(maps, pool).shape[1:]
    assert first.weight_shape == conv.weight.shape and second.inputs == first.outputs
    network = DecolleNetwork(spec, 5, torch.Generator().manual_seed(0))
    outputs, _ = network(torch.ones(4, 2, spec.num_inputs), network.zero_state(2))
    assert outputs[0].spikes_TBN.shape == (4, 2, first.outputs) and outputs[1].readout_TBC.shape == (4, 2, 5)


def test_lists_reach_their_layers() -> None:
    network = NetworkSpec(
        Nhid=[4, 6], Mhid=[5], alpha=[0.9, 0.8, 0.7], beta=[0.5], kernel_size=[3, 5], output_layer=False
    )
    assert network.layers == 3
    assert network.of_layers("alpha") == [0.9, 0.8, 0.7] and network.of_layers("beta") == [0.5] * 3
    shapes = layer_shapes(network, (2, 8, 8), classes=10)
    assert [shape.kind for shape in shapes] == ["conv", "conv", "dense"]
    assert [shape.kernel_size for shape in shapes[:2]] == [3, 5]


def test_output_layer_has_a_neuron_per_class_and_reads_its_potential() -> None:
    spec = model({"Mhid": [6], "output_layer": True, "dropout": 0.3}, {"loss": ["mse", "cross_entropy"]})
    network = DecolleNetwork(spec, 7, torch.Generator().manual_seed(0))
    outputs, _ = network(torch.ones(3, 2, spec.num_inputs), network.zero_state(2))
    assert network.layers[1].is_output and torch.equal(outputs[1].readout_TBC, outputs[1].potential_TBN)
    assert outputs[1].readout_TBC.shape == (3, 2, 7)


def test_time_constants_are_drawn_and_clipped() -> None:
    spec = model(
        {"Mhid": [6], "alpha": 0.97, "beta": 0.9, "random_tau": {"spread": 0.5, "tau_min": 8.0, "tau_max": 40.0}}
    )
    layer = DecolleNetwork(spec, 3, torch.Generator().manual_seed(0)).layers[0]
    for drawn in (layer.alpha_I, layer.beta_I):
        tau_I = 1.0 / (1.0 - drawn)
        assert drawn.shape == (240,) and len(drawn.unique()) > 100
        assert tau_I.min() >= 8.0 - 1e-4 and tau_I.max() <= 40.0 + 1e-3
