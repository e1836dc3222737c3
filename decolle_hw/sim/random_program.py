"""Random networks and recordings on which two integer paths must agree.

For tests and for `decolle-hw verify --random`. Numbers drawn blindly make dead networks, in which everything
agrees. So the thresholds of most layers come from a quantile of the potential that the layer reaches without
spiking, and only the rest from the whole register range. What a trained network never does is drawn on purpose:
full and no decay, weights at both ends, single-signed and empty matrices, synapses of few bits, sums shifted until u
wraps, biases and refractory steps that saturate v and r.
"""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer, NeuronKind, map_size, no_delay, pooling_stage
from decolle_hw.compiler.program import Program
from decolle_hw.fixedpoint import DELAY_MAX
from decolle_hw.sim.random_layers import (
    cut_to_exponent,
    draw_neurons,
    draw_readout,
    draw_threshold,
    draw_weight_exp,
    draw_weights,
)
from decolle_hw.sim.reference import run_layer

RATES = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0)  # spikes per input and step of a recording, silent to always on
CALIBRATION_RECORDINGS = 8


def random_spikes(rng: np.random.Generator, program: Program, recordings: int = 6) -> NDArray[np.uint8]:
    """(R, T, I) recordings whose rates go round `RATES`: every sixth is silent, every sixth always on."""
    return _spikes(rng, recordings, program.steps, program.num_inputs)


def random_networks(seed: int) -> Iterator[Program]:
    """Networks without end: dense, convolutional and with delays, of both neurons in turn."""
    for index in itertools.count():
        rng = np.random.default_rng([seed, index])
        neuron: NeuronKind = "decolle" if index % 2 == 0 else "cuba"
        if index // 2 % 3 == 1:
            yield random_conv_program(rng, neuron)
        else:
            yield random_program(rng, neuron, max_delay=0 if index // 2 % 3 == 0 else int(rng.integers(1, 8)))


def random_program(
    rng: np.random.Generator,
    neuron: NeuronKind,
    *,
    sizes: Sequence[int] = (60, 40, 30, 20),
    steps: int = 25,
    classes: int = 3,
    weight_kind: str | None = None,
    weight_exp: int | None = None,
    max_delay: int = 0,
    like_quantizer: bool = False,
) -> Program:
    """A network of dense layers with random registers.

    Args:
        rng: where all numbers come from.
        neuron: 'decolle' or 'cuba', for all layers.
        sizes: inputs, then the units of each layer.
        steps: time steps of a recording; must exceed the number of layers.
        classes: rows of each readout.
        weight_kind: one of `random_layers.WEIGHT_KINDS` for all layers; drawn per layer where None.
        weight_exp: -8..7 for all layers; drawn per layer where None.
        max_delay: synaptic delays are drawn from 0 to this.
        like_quantizer: only what netx runs too (mixed weights that `weight_exp` -7..0 shifts without loss, bias
            exponent 6).
    """
    spikes_RTI = _spikes(rng, CALIBRATION_RECORDINGS, steps, sizes[0])
    layers: list[Layer] = []
    for index, (inputs, units) in enumerate(itertools.pairwise(sizes)):
        shift = draw_weight_exp(rng, weight_exp, like_quantizer)
        weights = draw_weights(rng, (units, inputs), weight_kind, like_quantizer)
        if like_quantizer:
            weights["weight"] = cut_to_exponent(weights["weight"], shift)
        layer = DenseLayer(
            weight_exp=shift, delay=_draw_delay(rng, (units, inputs), max_delay),
            **weights, **draw_neurons(rng, neuron, units, classes, like_quantizer),
        )  # fmt: skip
        start = 0 if neuron == "decolle" else index + 1
        layer = replace(layer, vth=draw_threshold(rng, layer, spikes_RTI, start))
        layers.append(layer)
        spikes_RTI = run_layer(layer, spikes_RTI, first=start, record=False).spikes
    return _program(neuron, layers, (1, 1, sizes[0]), steps, classes)


def random_conv_program(
    rng: np.random.Generator,
    neuron: NeuronKind,
    *,
    input_shape: tuple[int, int, int] | None = None,
    convolutions: int = 2,
    units: int = 12,
    steps: int = 20,
    classes: int = 3,
    weight_kind: str | None = None,
    weight_exp: int | None = None,
    like_quantizer: bool = False,
) -> Program:
    """A network of convolutions of random geometry, most of them pooled, then a dense layer.

    Args: as in `random_program`; input_shape (c, h, w), drawn where None; units of the dense layer, 0: there is none.
    """
    shape = input_shape or (2, int(rng.integers(5, 11)), int(rng.integers(5, 11)))
    input_shape = shape
    spikes_RTI = _spikes(rng, CALIBRATION_RECORDINGS, steps, int(np.prod(shape)))
    layers: list[Layer] = []

    def append(layer: Layer) -> None:
        nonlocal spikes_RTI
        # The step at which a layer starts, in the recording's own time: pooling delays nothing there.
        start = 0 if neuron == "decolle" else 1 + sum(not before.is_pooling for before in layers) - layer.is_pooling
        if not layer.is_pooling:
            layer = replace(layer, vth=draw_threshold(rng, layer, spikes_RTI, start))
        layers.append(layer)
        spikes_RTI = run_layer(layer, spikes_RTI, first=start, record=False).spikes

    for _ in range(convolutions):
        shift = draw_weight_exp(rng, weight_exp, like_quantizer)
        convolution = _draw_convolution(rng, neuron, shape, shift, weight_kind, like_quantizer)
        shape = convolution.map_shape
        pool_size = int(rng.integers(1, 4))
        if pool_size > 1 and pool_size <= min(shape[1:]):
            append(convolution)
            pooled = (shape[0], shape[1] // pool_size, shape[2] // pool_size)
            append(pooling_stage(shape, pool_size, **draw_readout(rng, int(np.prod(pooled)), classes)))
            shape = pooled
        else:
            append(replace(convolution, **draw_readout(rng, convolution.num_neurons, classes)))
    if units:
        shift = draw_weight_exp(rng, weight_exp, like_quantizer)
        weights = draw_weights(rng, (units, int(np.prod(shape))), weight_kind, like_quantizer)
        if like_quantizer:
            weights["weight"] = cut_to_exponent(weights["weight"], shift)
        neurons = draw_neurons(rng, neuron, units, classes, like_quantizer)
        append(DenseLayer(weight_exp=shift, **weights, **neurons))
    return _program(neuron, layers, input_shape, steps, classes)


def _draw_convolution(
    rng: np.random.Generator, neuron: NeuronKind, input_shape: tuple[int, int, int], weight_exp: int,
    weight_kind: str | None, like_quantizer: bool,
) -> ConvLayer:  # fmt: skip
    """Without a readout."""
    channels = input_shape[0]
    groups = int(rng.choice([count for count in (1, 1, 2, channels) if channels % count == 0]))
    outputs = groups * int(rng.integers(1, 4))
    paddings, dilations = _per_axis(rng, [0, 1, 2]), _per_axis(rng, [1, 1, 2])
    largest = [
        (size + 2 * padding - 1) // dilation + 1
        for size, padding, dilation in zip(input_shape[1:], paddings, dilations, strict=True)
    ]
    rows, columns = (min(pair) for pair in zip(_per_axis(rng, [1, 2, 3, 4, 5]), largest, strict=True))
    weights = draw_weights(rng, (outputs, channels // groups, rows, columns), weight_kind, like_quantizer)
    weights["weight"] = cut_to_exponent(weights["weight"], weight_exp)
    strides = _per_axis(rng, [1, 1, 1, 2, 3])
    height, width = map_size(input_shape[1:], (rows, columns), strides, paddings, dilations)
    return ConvLayer(
        weight_exp=weight_exp, input_shape=input_shape, stride=strides, padding=paddings, dilation=dilations,
        groups=groups, **weights, **draw_neurons(rng, neuron, outputs * height * width, 0, like_quantizer),
    )  # fmt: skip


def _per_axis(rng: np.random.Generator, choices: Sequence[int]) -> tuple[int, int]:
    """(y, x), the same for both in two of three."""
    y, x = (int(number) for number in rng.choice(choices, 2))
    return (y, y) if rng.random() < 2 / 3 else (y, x)


def _program(
    neuron: NeuronKind, layers: list[Layer], input_shape: tuple[int, int, int], steps: int, classes: int
) -> Program:
    return Program(
        name=f"random-{neuron}",
        layers=tuple(layers),
        classes=tuple(f"class{index}" for index in range(classes)),
        input_shape=input_shape,
        steps=steps,
        burnin_steps=steps // 5,
        target="loihi2",
        spec_yaml="",
        checkpoint_sha256="",
    )


def _spikes(rng: np.random.Generator, recordings: int, steps: int, inputs: int) -> NDArray[np.uint8]:
    rates_R = np.resize(rng.permutation(RATES), recordings)
    return (rng.random((recordings, steps, inputs)) < rates_R[:, None, None]).astype(np.uint8)


def _draw_delay(rng: np.random.Generator, shape: tuple[int, int], largest: int) -> NDArray[np.int32]:
    assert 0 <= largest <= DELAY_MAX
    return rng.integers(0, largest, shape, endpoint=True).astype(np.int32) if largest else no_delay()
