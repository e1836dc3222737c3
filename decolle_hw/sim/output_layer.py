"""A plastic output layer on frozen features: what few-shot learning on chip needs beside the rule.

Two dense layers are put on top of a hidden layer, whose own readout and all above it are dropped::

    features  S  --diag-->  centring neurons  C  --W, plastic, zero at first-->  one neuron per class

**Centring.** A centring neuron fires while the trace of its feature neuron is above what is usual::

    p[t] = exp(-1/tau) p[t-1] + S[t-1];   C[t] = p[t] > mean(p) + margin * (sd(p) + 0.05)

with mean and sd over the calibration recordings. Hidden neurons that fire whatever is shown, of which trained networks
have many, would otherwise dominate every product x1 y1 and every sum W S: each presentation would undo the one before.
Subtracting the mean is what ridge regression does first, too. It is fixed, local, and knows no label.

**Scale.** Units of the output layer follow from A, the spikes per step of all centring neurons in calibration: a weight
of `threshold_weight` on all of them makes the drive ``exp(-1/tau) u + W C`` just reach the threshold. A step of full
error and full trace moves a weight by `step` of that, whatever the network.
"""

# R recordings, T steps, S of a slot, I inputs, N neurons, C classes

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import READOUT_MAX, DenseLayer, Layer, NeuronKind
from decolle_hw.compiler.learning_program import ErrorNeurons, LearningProgram, PlasticLayer, output_readout
from decolle_hw.compiler.plasticity import EXPONENT_MIN, TRACE_MAX, TraceFilter, three_factor_rule
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    BIAS_MANT_MAX,
    DECAY_UNITY,
    STATE_LIMIT,
    VTH_MAX,
    WEIGHT_EXP_MAX,
    WEIGHT_EXP_MIN,
)
from decolle_hw.sim.frozen import frozen_frames

CENTRING_WEIGHT = 64  # resolution of a centring neuron's threshold: so many units of u per spike
LEAST_SD = 0.05  # of a trace, in spikes: a feature neuron that was always silent in calibration fires its twin at once
READOUT_GAIN = 64  # of an output neuron's spike in its error neuron


@dataclass(frozen=True)
class OutputSettings:
    """Numbers of the two layers, in units that do not depend on the network; found by search on two data sets.

    They were searched for on digits and N-MNIST small at once, with classes 0-4 known; `docs/on_chip_learning.md` says
    how well they do there and elsewhere.
    """

    feature_tau: float = 30.0  # steps
    margin: float = 0.3  # standard deviations above the mean
    tau: float = 5.0  # steps, of the output neuron's drive
    threshold_weight: float = 32.0
    refractory: float = 2.0  # thresholds of drive beyond the threshold, above which a neuron fires in every step
    target_rate: float = 0.9  # of the taught class, spikes per step
    error_decay: int = 2048  # of the error neurons' readout, in parts of 4096
    dead_zone: float = 0.05  # of the largest readout
    trace_impulse: float = 64.0
    trace_tau: float = 10.0
    step: float = 0.05  # change of a weight in a step of full error and full trace, as a share of threshold_weight
    teach_from: float = 1 / 3  # of a recording
    epoch: int = 1


def with_output_layer(
    program: Program,
    classes: Sequence[str],
    recordings: NDArray[Any],
    *,
    features: int | None = None,
    settings: OutputSettings | None = None,
) -> LearningProgram:
    """The network up to layer `features`, a centring layer, and a plastic output layer with a neuron per class.

    Args:
        program: compiled, from events.
        classes: those that the output layer shall tell apart, known or new.
        recordings: (R, T, I) binary input of what is usual; labels are not needed.
        features: index of the layer whose spikes are the features, default: `feature_layer`.
        settings: default: `OutputSettings()`.

    Raises: CompileError for a layer that there is not, for features that never fire, or a network from images.
    """
    chosen = settings or OutputSettings()
    index = feature_layer(program) if features is None else features
    if not 0 <= index < len(program.layers):
        last = len(program.layers) - 1
        raise CompileError(f"features {features}: {program.name} has layers 0..{last}, pooling stages counted")
    below = [_without_readout(layer) for layer in program.layers[: index + 1]]
    if index + 1 < len(program.layers) and program.layers[index + 1].is_pooling:
        raise CompileError(f"features {index}: a convolution before its pooling stage; take layer {index + 1}")
    centred = _centring_layer(program, index, recordings, chosen)
    unscaled = replace(
        program, layers=(*below, centred, _output_layer(centred, len(classes), 1, 0, chosen)),
        classes=tuple(classes), quantization=(), prediction="sum",
    )  # fmt: skip
    threshold, weight_exp = _threshold(unscaled, recordings, chosen)
    output = _output_layer(centred, len(classes), threshold, weight_exp, chosen)
    taught = replace(unscaled, layers=(*below, centred, output))
    start = round(chosen.teach_from * program.steps)
    return LearningProgram(taught, (_plasticity(index + 2, len(classes), chosen),), (start, taught.slot_steps()))


def feature_layer(program: Program) -> int:
    """The lowest dense layer, whose features are the most general; of a network without any, the last layer."""
    dense = (index for index, layer in enumerate(program.layers) if isinstance(layer, DenseLayer))
    return next(dense, len(program.layers) - 1)


def _centring_layer(program: Program, features: int, recordings: NDArray[Any], settings: OutputSettings) -> DenseLayer:
    below, neuron = program.layers[features], _neuron_of(program)
    mean_N, sd_N = _trace_statistics(program, features, recordings, settings.feature_tau)
    level_N = CENTRING_WEIGHT * (mean_N + settings.margin * (sd_N + LEAST_SD))
    limit = VTH_MAX if neuron == "decolle" else BIAS_MANT_MAX
    level_N = np.clip(np.rint(level_N), 1, limit).astype(np.int32)
    weight_NN = CENTRING_WEIGHT * np.eye(below.num_neurons, dtype=np.int32)
    return _memoryless(neuron, weight_NN, 0, settings.feature_tau, level_N)


def _neuron_of(program: Program) -> NeuronKind:
    """That of all its layers; a pooling stage is always made of stock neurons."""
    return next(layer.neuron for layer in program.layers if not layer.is_pooling)


def _trace_statistics(
    program: Program, features: int, recordings: NDArray[Any], tau: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) mean and standard deviation of ``p[t] = exp(-1/tau) p[t-1] + S[t]`` over recordings and steps."""
    kept = math.exp(-1 / tau)
    spikes_RSN = frozen_frames(program, recordings, features + 1)
    trace_RN = np.zeros((len(spikes_RSN), spikes_RSN.shape[2]))
    total_N, squares_N = np.zeros(spikes_RSN.shape[2]), np.zeros(spikes_RSN.shape[2])
    for step in range(spikes_RSN.shape[1]):
        trace_RN = kept * trace_RN + spikes_RSN[:, step]
        total_N += trace_RN.sum(0)
        squares_N += (trace_RN**2).sum(0)
    if not np.any(total_N):
        raise CompileError(f"layer {features}: no neuron fires in calibration, so it has no features to learn from")
    count = spikes_RSN.shape[0] * spikes_RSN.shape[1]
    mean_N = total_N / count
    return mean_N, np.sqrt(np.maximum(squares_N / count - mean_N**2, 0.0))


def _threshold(program: Program, recordings: NDArray[Any], settings: OutputSettings) -> tuple[int, int]:
    """(vth, weight_exp) of the output layer: see the module for the scale."""
    per_step = frozen_frames(program, recordings, len(program.layers) - 1).sum(2, np.int64)
    if not np.any(per_step):
        raise CompileError(f"margin {settings.margin:g}: no centring neuron fires in calibration; take a smaller one")
    drive = settings.threshold_weight * float(per_step.mean()) / (1 - math.exp(-1 / settings.tau))
    inputs = program.layers[-1].num_inputs
    # u with all weights and inputs at their limits
    largest = (1 << ALIGN_SHIFT) * 256 * inputs / (1 - math.exp(-1 / settings.tau))
    room = min(STATE_LIMIT / largest, VTH_MAX / (drive * (1 + settings.refractory)))
    exponent = min(WEIGHT_EXP_MAX, math.floor(math.log2(room)))
    if exponent < WEIGHT_EXP_MIN:
        raise CompileError(f"{inputs} features: their sum does not fit 24 bits; take a smaller layer as features")
    return max(1, round(drive * 2.0**exponent)), exponent


def _output_layer(
    below: DenseLayer, classes: int, threshold: int, weight_exp: int, settings: OutputSettings
) -> DenseLayer:
    weight_CN = np.zeros((classes, below.num_neurons), np.int32)
    level_C = np.full(classes, threshold, np.int32)
    layer = _with_identity(_memoryless(below.neuron, weight_CN, weight_exp, settings.tau, level_C))
    if below.neuron != "decolle":
        # v gathers u until its reset: from the threshold, where v just gets there, to 1 + refractory times as much
        # drive, where it does in every step, the rate rises as that of a decolle neuron does.
        leak = round(DECAY_UNITY / (1 + settings.refractory))
        vth_C = np.full(classes, round(threshold * DECAY_UNITY / leak), np.int32)
        return replace(
            layer, dv=min(leak, DECAY_UNITY - 1), vth=vth_C, bias_mant=np.zeros(classes, np.int32), bias_exp=0
        )
    kept = 0.65  # of r a step, as DECOLLE's alpharp
    rho = round(settings.refractory * (threshold << ALIGN_SHIFT) * (1 - kept))
    return replace(layer, dr=round(DECAY_UNITY * (1 - kept)), rho=min(rho, STATE_LIMIT - 1))


def _memoryless(
    neuron: NeuronKind, weight: NDArray[np.int32], weight_exp: int, tau: float, level_N: NDArray[np.int32]
) -> DenseLayer:
    """Neurons that fire in every step in which ``u > level << 6``: only the current has a memory, and no spike ends it.

    Stock LIF has one threshold for all: there the level is a negative bias.
    """
    stock, neurons = neuron == "cuba", len(weight)
    zeros_N = np.zeros(neurons, np.int32)
    return DenseLayer(
        neuron=neuron, weight=weight, weight_exp=weight_exp,
        du=max(0, round(DECAY_UNITY * (1 - math.exp(-1 / tau))) - 1),
        dv=DECAY_UNITY - 1, vth=zeros_N if stock else level_N, bias_mant=-level_N if stock else zeros_N,
        bias_exp=ALIGN_SHIFT if stock else 0, dr=0, rho=0,
        readout_weight=np.zeros((0, neurons), np.int32), readout_bias=np.zeros(0, np.int32),
    )  # fmt: skip


def _without_readout(layer: Layer) -> Layer:
    nothing = np.zeros((0, layer.num_neurons), np.int32)
    return replace(layer, readout_weight=nothing, readout_bias=np.zeros(0, np.int32))


def _with_identity(layer: DenseLayer) -> DenseLayer:
    """Each neuron is its own readout: the class whose neuron fires most is the decision."""
    neurons = layer.num_neurons
    return replace(
        layer, readout_weight=READOUT_MAX * np.eye(neurons, dtype=np.int32), readout_bias=np.zeros(neurons, np.int32)
    )


def _plasticity(layer: int, classes: int, settings: OutputSettings) -> PlasticLayer:
    """Of the output layer: error neurons, traces, and the rule whose step is nearest to the one asked for."""
    largest = READOUT_GAIN * DECAY_UNITY / max(settings.error_decay, 1)  # readout of a neuron that fires in every step
    error = ErrorNeurons(
        on=round(settings.target_rate * largest), off=0, decay=settings.error_decay,
        shift=max(0, math.ceil(math.log2(largest / TRACE_MAX))), dead_zone=round(settings.dead_zone * largest),
    )  # fmt: skip
    top_trace = min(TRACE_MAX, settings.trace_impulse / (1 - math.exp(-1 / settings.trace_tau)))
    top_error = min(TRACE_MAX, max(error.on, largest) / 2**error.shift)
    wanted = settings.step * settings.threshold_weight / (top_trace * top_error)
    mantissa, shift = _gain(wanted)
    readout = output_readout(classes, READOUT_GAIN)
    return PlasticLayer(
        layer=layer, rule=three_factor_rule(EXPONENT_MIN, mantissa=mantissa),
        x1=TraceFilter(settings.trace_impulse, settings.trace_tau), epoch=settings.epoch, error=error,
        feedback_shift=round(math.log2(READOUT_GAIN)) + shift,
        readout_weight=readout["readout_weight"], readout_bias=readout["readout_bias"],
    )  # fmt: skip


def _gain(wanted: float) -> tuple[int, int]:
    """(mantissa, further shift of the error) for a change `wanted` of a weight per unit of trace times error.

    At the engine's smallest exponent: a shifted error has fewer bits, so as little of it as does.
    """
    unit = three_factor_rule(EXPONENT_MIN, mantissa=1).products[0]
    choices = [(mantissa, shift) for shift in range(6) for mantissa in (1, 2, 4)]
    return min(choices, key=lambda one: (abs(math.log(one[0] * unit.gain / 2 ** one[1] / wanted)), one[1]))
