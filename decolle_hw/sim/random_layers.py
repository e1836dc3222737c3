"""Random weights, registers and thresholds of one layer, extremes included; see `decolle_hw.sim.random_program`."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import Layer, NeuronKind
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    BIAS_EXP_MAX,
    BIAS_MANT_MAX,
    BIAS_MANT_MIN,
    DECAY_UNITY,
    STATE_LIMIT,
    VTH_MAX,
    WEIGHT_EXP_MAX,
    WEIGHT_EXP_MIN,
    weight_limits,
)
from decolle_hw.sim.reference import run_layer
from decolle_hw.weightgrid import SIGN_MODES

# Kinds of weights, and how often each is drawn.
WEIGHT_KINDS = {
    "mixed": 0.55,  # from the lowest to the highest that the synapse stores
    "ends": 0.15,  # lowest, 0 or highest
    "positive": 0.12,
    "negative": 0.08,
    "largest": 0.05,  # all lowest, or all highest
    "zero": 0.05,
}
NARROW = 0.3  # share of layers with fewer than 8 bits
SIGN_MODE_SHARES = (0.7, 0.15, 0.15)  # of SIGN_MODES
FREE_THRESHOLD = 0.15  # share of layers whose threshold is drawn from the whole register range

AnyLayer = TypeVar("AnyLayer", bound=Layer)


def draw_weight_exp(rng: np.random.Generator, given: int | None, like_quantizer: bool) -> int:
    if given is not None:
        return given
    low, high = (-7, 0) if like_quantizer else (WEIGHT_EXP_MIN, WEIGHT_EXP_MAX)
    return int(rng.integers(low, high, endpoint=True))


def draw_weights(
    rng: np.random.Generator, shape: tuple[int, ...], kind: str | None, like_quantizer: bool
) -> dict[str, Any]:
    """Fields weight, weight_bits and sign_mode. Of a given kind only with full width and mixed signs."""
    bits, sign_mode = 8, "mixed"
    if kind is None and not like_quantizer:
        bits = int(rng.integers(2, 8)) if rng.random() < NARROW else 8
        sign_mode = str(rng.choice(SIGN_MODES, p=SIGN_MODE_SHARES))
    if kind is None:
        kind = "mixed" if like_quantizer else str(rng.choice(list(WEIGHT_KINDS), p=list(WEIGHT_KINDS.values())))
    lowest, highest, step = weight_limits(bits, sign_mode)
    low, high = lowest // step, highest // step
    chosen: NDArray[np.int64]
    if kind == "zero":
        chosen = np.zeros(shape, np.int64)
    elif kind == "largest":
        chosen = np.full(shape, rng.choice([low, high]))
    elif kind == "ends":
        chosen = rng.choice(np.array([low, 0, high]), shape)
    else:
        low, high = (max(0, low) if kind == "positive" else low), (min(0, high) if kind == "negative" else high)
        chosen = rng.integers(min(low, high), max(low, high), shape, np.int64, endpoint=True)
    return {"weight": (step * chosen).astype(np.int32), "weight_bits": bits, "sign_mode": sign_mode}


def cut_to_exponent(weight: NDArray[np.int32], weight_exp: int) -> NDArray[np.int32]:
    """Without the bits that a negative exponent would cut off the sum; towards zero, as the grid goes on there."""
    step = 1 << max(0, -weight_exp)
    cut: NDArray[np.int32] = (np.sign(weight) * (np.abs(weight) // step * step)).astype(np.int32)
    return cut


def draw_neurons(
    rng: np.random.Generator, neuron: NeuronKind, units: int, classes: int, like_quantizer: bool
) -> dict[str, Any]:
    """Fields of so many neurons and their readout; the threshold stands at its maximum."""
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
    return {
        "neuron": neuron, "du": _draw_decay(rng), "dv": _draw_decay(rng), "vth": np.full(units, VTH_MAX, np.int32),
        "bias_mant": bias_mant, "bias_exp": bias_exp, "dr": dr, "rho": rho, **draw_readout(rng, units, classes),
    }  # fmt: skip


def draw_readout(rng: np.random.Generator, units: int, classes: int) -> dict[str, Any]:
    return {
        "readout_weight": rng.integers(-127, 127, (classes, units), endpoint=True).astype(np.int32),
        "readout_bias": rng.integers(-127, 127, classes, endpoint=True).astype(np.int32),
    }


def draw_threshold(
    rng: np.random.Generator, layer: Layer, spikes_RTI: NDArray[np.uint8], start: int
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


def _draw_decay(rng: np.random.Generator) -> int:
    return int(rng.choice([0, DECAY_UNITY - 1, *rng.integers(0, DECAY_UNITY, 6), *rng.integers(0, 600, 6)]))
