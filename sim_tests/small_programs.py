"""Small compiled networks of every kind for tests of the chain, and the float network that each stands for."""

# R recordings, T steps, N neurons

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import torch

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer, NeuronKind, pooling_stage
from decolle_hw.compiler.program import Program
from decolle_hw.nn.layer import Dynamics
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.sim.reference import run_layer
from decolle_hw.spec import parse_model_spec

KINDS = ("dense", "delayed", "conv", "pooled")
INPUT_SHAPE = (2, 6, 6)
STEPS, CLASSES = 18, 3
SOFT = {"du": 900, "dv": 500, "dr": 1400}  # decays of every day
EXACT = {"du": 4095, "dv": 0, "dr": 0}  # nothing or everything stays: no register is ever rounded


def make_spikes(seed: int, recordings: int = 4, rate: float = 0.12) -> np.ndarray:
    """(R, T, I)"""
    rng = np.random.default_rng(seed)
    return (rng.random((recordings, STEPS, int(np.prod(INPUT_SHAPE)))) < rate).astype(np.uint8)


def make_program(kind: str, neuron: NeuronKind, seed: int = 0, decays: dict[str, int] = SOFT) -> Program:
    """Three layers with neurons (and, `pooled`, two pooling stages), whose thresholds make them spike often."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    layers: list[Layer] = []
    spikes_RTI = make_spikes(seed + 1, 6)

    def append(layer: Layer) -> None:
        nonlocal spikes_RTI
        first = 0 if neuron == "decolle" else 1 + sum(not before.is_pooling for before in layers) - layer.is_pooling
        if not layer.is_pooling:
            layer = with_threshold(layer, spikes_RTI, first)
        layers.append(layer)
        spikes_RTI = run_layer(layer, spikes_RTI, first=first, record=False).spikes

    shape = INPUT_SHAPE
    if kind in ("conv", "pooled"):
        for channels, stride, pool_size in ((4, 1, 2), (5, 2 if kind == "conv" else 1, 1)):
            pool_size = pool_size if kind == "pooled" else 1
            classes = 0 if pool_size > 1 else CLASSES
            convolution = make_convolution(rng, neuron, shape, channels, stride, classes, decays)
            append(convolution)
            shape = convolution.map_shape
            if pool_size > 1:
                shape = (shape[0], shape[1] // pool_size, shape[2] // pool_size)
                append(pooling_stage(convolution.map_shape, pool_size, **readout(rng, int(np.prod(shape)), CLASSES)))
        sizes = [int(np.prod(shape)), 7]
    else:
        sizes = [int(np.prod(shape)), 12, 10, 7]
    for inputs, units in itertools.pairwise(sizes):
        delay: dict[str, Any] = {}
        if kind == "delayed":
            delay["delay"] = rng.integers(0, 5, (units, inputs)).astype(np.int32)
        append(
            DenseLayer(
                weight=even(rng, (units, inputs)), weight_exp=0, **neurons(rng, neuron, units, decays),
                **readout(rng, units, CLASSES), **delay,
            )
        )  # fmt: skip
    return Program(
        name=f"{kind}-{neuron}", layers=tuple(layers), classes=("a", "b", "c"), input_shape=INPUT_SHAPE, steps=STEPS,
        burnin_steps=3, target="loihi2", spec_yaml="", checkpoint_sha256="",
    )  # fmt: skip


def make_convolution(
    rng: np.random.Generator, neuron: NeuronKind, shape: tuple[int, int, int], channels: int, stride: int,
    classes: int, decays: dict[str, int],
) -> ConvLayer:  # fmt: skip
    height, width = ((size + 2 - 3) // stride + 1 for size in shape[1:])
    units = channels * height * width
    return ConvLayer(
        weight=even(rng, (channels, shape[0], 3, 3)), weight_exp=0, input_shape=shape, stride=stride, padding=1,
        **neurons(rng, neuron, units, decays), **readout(rng, units, classes),
    )  # fmt: skip


def even(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (2 * rng.integers(-18, 24, shape)).astype(np.int32)


def neurons(rng: np.random.Generator, neuron: NeuronKind, units: int, decays: dict[str, int]) -> dict[str, Any]:
    bias_mant = np.zeros(units, np.int32)
    if neuron == "cuba":
        bias_mant += int(rng.integers(1, 30))  # the same for all, as of a convolution's channel
    return {
        "neuron": neuron, "du": decays["du"], "dv": decays["dv"], "vth": np.zeros(units, np.int32),
        "bias_mant": bias_mant, "bias_exp": 3, "dr": decays["dr"] if neuron == "decolle" else 0,
        "rho": 900 if neuron == "decolle" else 0,
    }  # fmt: skip


def readout(rng: np.random.Generator, units: int, classes: int) -> dict[str, Any]:
    return {
        "readout_weight": rng.integers(-100, 100, (classes, units)).astype(np.int32),
        "readout_bias": rng.integers(-100, 100, classes).astype(np.int32),
    }


def with_threshold(layer: Layer, spikes_RTI: np.ndarray, first: int) -> Layer:
    """At the 80 % quantile of v: of each channel (decolle), or of all neurons (stock LIF has one for all)."""
    voltage_RTN = run_layer(
        dataclasses.replace(layer, vth=np.full(layer.num_neurons, (1 << 17) - 1, np.int32)), spikes_RTI,
        first=first, record=True,
    ).registers["v"]  # fmt: skip
    groups = 1
    if layer.neuron == "decolle":
        groups = layer.map_shape[0] if isinstance(layer, ConvLayer) else layer.num_neurons
    by_group = voltage_RTN.reshape(-1, groups, layer.num_neurons // groups)
    quantile_G = np.quantile(by_group, 0.8, axis=(0, 2)).astype(np.int64) >> 6
    if layer.neuron == "cuba":
        quantile_G = np.maximum(quantile_G, 1)
    # Odd, and the sums are even: no potential of the networks without decays ever stands on its threshold.
    return dataclasses.replace(layer, vth=np.repeat(quantile_G | 1, layer.num_neurons // groups).astype(np.int32))


def float_twin(program: Program) -> DecolleNetwork:
    """A network in double precision that is trained, so to say, to what the integers stand for.

    The weight scale is 1, so one unit of potential is ``64 / ((1 - a)(1 - b))`` units of v.
    """
    stages: list[list[Layer]] = []
    for layer in program.layers:
        if layer.is_pooling:
            stages[-1].append(layer)
        else:
            stages.append([layer])
    maps = [stage for stage in stages if isinstance(stage[0], ConvLayer)]
    network: dict[str, Any] = {"neuron": program.layers[0].neuron, "alpha": 0.9, "beta": 0.8}
    network["Mhid"] = [stage[0].num_neurons for stage in stages[len(maps) :]]
    if maps:
        network["Nhid"] = [stage[0].map_shape[0] for stage in maps]  # type: ignore[attr-defined]
        for key in ("kernel_size", "stride", "padding", "dilation", "groups"):
            network[key] = [getattr(stage[0], key) for stage in maps]
        network["pool_size"] = [stage[1].kernel_size if len(stage) > 1 else 1 for stage in maps]  # type: ignore
    spec = parse_model_spec(
        {
            "name": "twin",
            "dataset": {
                "input_shape": list(program.input_shape), "chunk_size_train": STEPS, "chunk_size_test": STEPS,
            },
            "network": network,
            "training": {"burnin_steps": program.burnin_steps},
        },
        "test",
    )  # fmt: skip
    twin = DecolleNetwork(spec, len(program.classes), torch.Generator()).double()
    for layer, stage in zip(twin, stages, strict=True):
        integers = stage[0]
        a, b, g = 1 - integers.dv / 4096, 1 - (integers.du + 1) / 4096, 1 - integers.dr / 4096
        unit = 64 / ((1 - a) * (1 - b))
        channels = len(layer.bias)
        if integers.neuron == "decolle":
            bias_N = -64 * integers.vth / unit
            layer.dynamics = Dynamics("decolle", a, b, g, integers.rho / unit / (1 - g), 0.0)
        else:
            bias_N = integers.bias / (unit * (1 - a))
            layer.dynamics = Dynamics("cuba", a, b, 0.0, 0.0, 64 * int(integers.vth[0]) / unit)
        layer.weight.data.copy_(torch.from_numpy(integers.weight * 2.0**integers.weight_exp))
        layer.bias.data.copy_(torch.from_numpy(bias_N.reshape(channels, -1)[:, 0]))
        layer.readout_weight.copy_(torch.from_numpy(stage[-1].readout_weight))
        layer.readout_bias.copy_(torch.from_numpy(stage[-1].readout_bias))
    return twin


def many_channels(channels: int = 128) -> Program:
    """A convolution and a pooling stage with a group per channel, more than Lava's `Conv` counts (127)."""
    rng = np.random.default_rng(channels)
    shape, steps = (2, 4, 4), 8
    spikes_RTI = (rng.random((3, steps, 32)) < 0.2).astype(np.uint8)
    convolution = make_convolution(rng, "cuba", shape, channels, 1, 0, SOFT)
    silent = np.zeros_like(convolution.bias_mant)  # netx has another exponent of biases
    convolution = with_threshold(dataclasses.replace(convolution, bias_mant=silent, bias_exp=6), spikes_RTI, 1)
    c, h, w = convolution.map_shape
    pool = pooling_stage(convolution.map_shape, 2, **readout(rng, c * (h // 2) * (w // 2), CLASSES))
    return Program("many", (convolution, pool), ("a", "b", "c"), shape, steps, 0, "loihi2", "", "")
