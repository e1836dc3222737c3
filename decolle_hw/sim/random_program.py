"""Random networks and recordings on which two integer paths must agree.

For tests and for `decolle-hw verify --random`. Numbers drawn blindly make dead networks, in which everything
agrees. So the thresholds of most layers come from a quantile of the potential that the layer reaches without
spiking, and only the rest from the whole register range. What a trained network never does is drawn on purpose:
full and no decay, weights at both ends, single-signed and empty matrices, sums shifted until u wraps, biases and
refractory steps that saturate v and r.
"""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.program import DenseLayer, NeuronKind, Program, first_step
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    BIAS_EXP_MAX,
    BIAS_MANT_MAX,
    BIAS_MANT_MIN,
    DECAY_UNITY,
    MIXED_WEIGHT_MAX,
    MIXED_WEIGHT_MIN,
    STATE_LIMIT,
    VTH_MAX,
    WEIGHT_EXP_MAX,
    WEIGHT_EXP_MIN,
)
from decolle_hw.sim.reference import run_layer

RATES = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0)  # spikes per input and step of a recording, silent to always on
# Kinds of weight matrix, and how often each is drawn.
WEIGHT_KINDS = {
    "mixed": 0.55,  # -256..254
    "ends": 0.15,  # -256, 0 or 254
    "positive": 0.12,
    "negative": 0.08,
    "largest": 0.05,  # all 254, or all -256
    "zero": 0.05,
}
FREE_THRESHOLD = 0.15  # share of layers whose threshold is drawn from the whole register range
CALIBRATION_RECORDINGS = 8


def random_spikes(rng: np.random.Generator, program: Program, recordings: int = 6) -> NDArray[np.uint8]:
    """(R, T, I) recordings whose rates go round `RATES`: every sixth is silent, every sixth always on."""
    return _spikes(rng, recordings, program.steps, program.num_inputs)


def random_program(
    rng: np.random.Generator,
    neuron: NeuronKind,
    *,
    sizes: Sequence[int] = (60, 40, 30, 20),
    steps: int = 25,
    classes: int = 3,
    weight_kind: str | None = None,
    weight_exp: int | None = None,
    like_quantizer: bool = False,
) -> Program:
    """A network of dense layers with random registers.

    Args:
        rng: where all numbers come from.
        neuron: 'decolle' or 'cuba', for all layers.
        sizes: inputs, then the units of each layer.
        steps: time steps of a recording; must exceed the number of layers.
        classes: rows of each readout.
        weight_kind: one of `WEIGHT_KINDS` for all layers; drawn per layer where None.
        weight_exp: -8..7 for all layers; drawn per layer where None.
        like_quantizer: only what `decolle_hw.compiler.quantize` can produce (mixed weights that `weight_exp`
            -7..0 shifts without loss, bias exponent 6), so that the network has an artifact that netx runs.
    """
    spikes_RTI = _spikes(rng, CALIBRATION_RECORDINGS, steps, sizes[0])
    layers: list[DenseLayer] = []
    for inputs, units in itertools.pairwise(sizes):
        shift = _draw_weight_exp(rng, weight_exp, like_quantizer)
        weight = _draw_weight(rng, (units, inputs), "mixed" if like_quantizer else weight_kind)
        if like_quantizer:
            weight = (weight >> max(1, -shift)) << max(1, -shift)
        layer = _draw_neurons(rng, neuron, weight, shift, classes, like_quantizer)
        start = first_step(layer, len(layers))
        layer = replace(layer, vth=_draw_threshold(rng, layer, spikes_RTI, start))
        layers.append(layer)
        spikes_RTI = run_layer(layer, spikes_RTI, first=start, record=False).spikes
    return Program(
        name=f"random-{neuron}",
        layers=tuple(layers),
        classes=tuple(f"class{index}" for index in range(classes)),
        input_shape=(1, 1, sizes[0]),
        steps=steps,
        burnin_steps=steps // 5,
        target="loihi2",
        spec_yaml="",
        checkpoint_sha256="",
    )


def _spikes(rng: np.random.Generator, recordings: int, steps: int, inputs: int) -> NDArray[np.uint8]:
    rates_R = np.resize(rng.permutation(RATES), recordings)
    return (rng.random((recordings, steps, inputs)) < rates_R[:, None, None]).astype(np.uint8)


def _draw_weight_exp(rng: np.random.Generator, given: int | None, like_quantizer: bool) -> int:
    if given is not None:
        return given
    low, high = (-7, 0) if like_quantizer else (WEIGHT_EXP_MIN, WEIGHT_EXP_MAX)
    return int(rng.integers(low, high, endpoint=True))


def _draw_weight(rng: np.random.Generator, shape: tuple[int, int], kind: str | None) -> NDArray[np.int32]:
    kind = kind or str(rng.choice(list(WEIGHT_KINDS), p=list(WEIGHT_KINDS.values())))
    # Drawn without the lowest bit, which is zero in sign mode MIXED.
    low, high = MIXED_WEIGHT_MIN // 2, MIXED_WEIGHT_MAX // 2
    half: NDArray[np.int64]
    if kind == "zero":
        half = np.zeros(shape, np.int64)
    elif kind == "largest":
        half = np.full(shape, rng.choice([low, high]))
    elif kind == "ends":
        half = rng.choice(np.array([low, 0, high]), shape)
    else:
        low, high = (0 if kind == "positive" else low), (0 if kind == "negative" else high)
        half = rng.integers(low, high, shape, np.int64, endpoint=True)
    return (2 * half).astype(np.int32)


def _draw_neurons(
    rng: np.random.Generator,
    neuron: NeuronKind,
    weight: NDArray[np.int32],
    weight_exp: int,
    classes: int,
    like_quantizer: bool,
) -> DenseLayer:
    """Everything but the threshold, which stands at its maximum."""
    units = weight.shape[0]
    bias_mant, bias_exp, dr, rho = np.zeros(units, np.int32), 0, 0, 0
    if neuron == "decolle":
        dr = _draw_decay(rng)
        # As many powers of two as the register has: from no effect to saturation in one step.
        rho = int(rng.choice([0, STATE_LIMIT - 1, *rng.integers(0, 1 << rng.integers(1, 24), 4)]))
    else:
        size = int(rng.choice([0, 100, BIAS_MANT_MAX]))
        bias_mant = rng.integers(-size, size, units, endpoint=True).astype(np.int32)
        if size == BIAS_MANT_MAX:
            bias_mant[0] = BIAS_MANT_MIN
        bias_exp = 6 if like_quantizer else int(rng.integers(0, BIAS_EXP_MAX, endpoint=True))
    return DenseLayer(
        neuron=neuron, weight=weight, weight_exp=weight_exp, du=_draw_decay(rng), dv=_draw_decay(rng),
        vth=np.full(units, VTH_MAX, np.int32), bias_mant=bias_mant, bias_exp=bias_exp, dr=dr, rho=rho,
        readout_weight=rng.integers(-127, 127, (classes, units), endpoint=True).astype(np.int32),
        readout_bias=rng.integers(-127, 127, classes, endpoint=True).astype(np.int32),
    )  # fmt: skip


def _draw_decay(rng: np.random.Generator) -> int:
    return int(rng.choice([0, DECAY_UNITY - 1, *rng.integers(0, DECAY_UNITY, 6), *rng.integers(0, 600, 6)]))


def _draw_threshold(
    rng: np.random.Generator, layer: DenseLayer, spikes_RTI: NDArray[np.uint8], start: int
) -> NDArray[np.int32]:
    """(N,) thresholds at a quantile of the potential that is reached while the threshold is at its maximum."""
    # Stock LIF has one threshold for all its neurons, and an unsigned one.
    per_neuron = layer.neuron == "decolle"
    lowest, count = (-VTH_MAX, layer.num_neurons) if per_neuron else (0, 1)
    if rng.random() < FREE_THRESHOLD:
        vth_N = rng.choice([lowest, VTH_MAX, *rng.integers(lowest, VTH_MAX, 4, endpoint=True)], count)
    else:
        voltage_RTN = run_layer(layer, spikes_RTI, first=start, record=True).registers["v"]
        pool = voltage_RTN.reshape(-1, count) if per_neuron else voltage_RTN[voltage_RTN > 0][:, None]
        quantile_N = np.quantile(pool, rng.uniform(0.5, 0.95), axis=0) if len(pool) else np.zeros(count)
        vth_N = np.clip(quantile_N.astype(np.int64) >> ALIGN_SHIFT, lowest, VTH_MAX)
    return np.broadcast_to(vth_N, layer.num_neurons).astype(np.int32)
