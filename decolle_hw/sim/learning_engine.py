"""Compiled learning engine of one synaptic matrix: traces and weights at the end of an epoch, as Lava has them.

Equations in `decolle_hw.compiler.plasticity`. In an epoch of T steps Lava only notes when a neuron last spiked (tx,
ty: 1..T, 0 for not); a second spike adds its impulse to x at once. At the end it goes through the epoch again, from
the traces that there were at its start: decay, and the impulse in the step that was noted. A product takes traces as
they were when its dependency fired: x0 at tx, y0 at ty, u at the end. What the neuron sends as y1, y2 is taken for
their value at the *start* of the epoch, and decays with a time constant of 65535 steps. Source:
``lava.magma.core.model.py.connection.LearningConnectionModelBitApproximate`` and ``learning_rule_applier``.
"""

# I inputs, N neurons, T steps of an epoch, P products, F factors, V values of a trace

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.compiler.learning_program import PlasticLayer
from decolle_hw.compiler.plasticity import ACCUMULATOR_BITS, FACTOR_BITS, TRACE_MAX, WEIGHT_SHIFT, Rule
from decolle_hw.sim.learning_randoms import synapse_bits

# Numba compiles for the array types it is given; to a type checker they are Any.
Array = Any

POST_TAU = 65535  # of y1, y2 in lava.magma.core.learning.learning_rule.Loihi3FLearningRule
ACCUMULATOR_MIN, ACCUMULATOR_MAX = -(1 << ACCUMULATOR_BITS) - 1, (1 << ACCUMULATOR_BITS) - 1
FRACTION = (1 << WEIGHT_SHIFT) - 1
OF_X0, OF_Y0, OF_U = 0, 1, 2
X0, Y0, X1, X2, Y1, Y2, W, SIGN_W = range(8)
KINDS = dict(zip(FACTOR_BITS, range(8), strict=True))


class Engine(NamedTuple):
    """A rule and its traces in arrays, for the compiled loops."""

    epoch: int
    period: int  # epochs from one in which u_k is 1 to the next
    products: NDArray[np.int64]  # (P, 5) dependency, mantissa, right shift, left shift, whether the weight is a factor
    factors: NDArray[np.int64]  # (P, F, 3) kind, constant, bits; kind -1: none
    kept: NDArray[np.float64]  # (3, V) what a value of x1, x2, y is after a step, before rounding
    impulse: NDArray[np.int64]  # (2, 2) whole and 1/256 parts, of x1 and x2
    low: int
    high: int
    least: int  # of the accumulator, by sign mode
    most: int
    error_triggered: bool  # every product has a trace of the neuron, y1 or y2, as a bare factor


def engine(layer: DenseLayer, plastic: PlasticLayer) -> Engine:
    """Of a plastic layer that is known to be right."""
    taus = np.array([plastic.x1.tau, plastic.x2.tau, POST_TAU])
    kept = np.zeros((3, TRACE_MAX + 1))
    moving = taus != 0
    kept[moving] = np.exp(-1 / taus[moving][:, None]) * np.arange(TRACE_MAX + 1)  # as Lava writes it, to the last bit
    signed = layer.sign_mode
    return Engine(
        epoch=plastic.epoch,
        period=1 << plastic.rule.decimation,
        **_encode(plastic.rule),
        kept=kept,
        impulse=np.array([plastic.x1.parts, plastic.x2.parts], np.int64),
        low={"mixed": -256, "excitatory": 0, "inhibitory": -255}[signed],
        high=0 if signed == "inhibitory" else 255,
        least=0 if signed == "excitatory" else ACCUMULATOR_MIN,
        most=0 if signed == "inhibitory" else ACCUMULATOR_MAX,
        error_triggered=plastic.rule.error_triggered,
    )


def _encode(rule: Rule) -> dict[str, NDArray[np.int64]]:
    products = np.zeros((len(rule.products), 5), np.int64)
    factors = np.full((len(rule.products), max((len(p.factors) for p in rule.products), default=0), 3), -1, np.int64)
    for p, product in enumerate(rule.products):
        of_weight = any(KINDS[factor.name] >= W for factor in product.factors)
        dependency = {"x0": OF_X0, "y0": OF_Y0}.get(product.dependency, OF_U)
        products[p] = dependency, product.mantissa, product.right_shift, product.left_shift, of_weight
        for f, factor in enumerate(product.factors):
            factors[p, f] = KINDS[factor.name], factor.constant, factor.bits
    return {"products": products, "factors": factors}


@njit(cache=True)
def note_spike(tx_I: Array, x_2I: Array, i: int, step: int, impulse: Array) -> None:
    """Input i spikes in this step (1..T) of an epoch. A second spike adds its impulses, any fraction rounded up."""
    if tx_I[i] > 0:
        for k in range(2):
            x_2I[k, i] = min(x_2I[k, i] + impulse[k, 0] + (impulse[k, 1] > 0), TRACE_MAX)
    tx_I[i] = step


@njit(cache=True)
def trace_history(
    x_2I: Array, tx_I: Array, kept_2V: Array, impulse: Array, decay_random: float, impulse_random: int, history: Array
) -> None:
    """(2, T+1, I) traces in the course of an epoch; x receives those at its end."""
    steps = history.shape[1] - 1
    for k in range(2):
        added = impulse[k, 0] + (impulse_random < impulse[k, 1])
        for i in range(x_2I.shape[1]):
            value = x_2I[k, i]
            history[k, 0, i] = value
            if value == 0 and tx_I[i] == 0:
                for t in range(1, steps + 1):
                    history[k, t, i] = 0
                continue
            for t in range(1, steps + 1):
                whole = int(kept_2V[k, value])
                value = whole + (decay_random < kept_2V[k, value] - whole)
                if tx_I[i] == t:
                    value = min(value + added, TRACE_MAX)
                history[k, t, i] = value
            x_2I[k, i] = value


@njit(cache=True)
def post_history(y_2N: Array, kept_V: Array, decay_random: float, history: Array) -> None:
    """(2, T+1, N) of y1, y2, which a neuron has set; they do not change themselves."""
    for k in range(2):
        for n in range(y_2N.shape[1]):
            value = y_2N[k, n]
            history[k, 0, n] = value
            for t in range(1, history.shape[1]):
                if value:
                    whole = int(kept_V[value])
                    value = whole + (decay_random < kept_V[value] - whole)
                history[k, t, n] = value


@njit(cache=True)
def factor_products(
    factors_F: Array, spiked: Array, history: Array, first: int, spike_kind: int, trace_kind: int, out: Array
) -> bool:
    """The factors of a product that belong to one side, multiplied: (T+1, I) from step `first`; whether any is not 0.

    `spike_kind` and `trace_kind` are X0 and X1 for the inputs, Y0 and Y1 for the neurons.
    """
    alive = False
    for t in range(first, out.shape[0]):
        out[t] = 1
        for f in range(factors_F.shape[0]):
            kind, constant, bits = factors_F[f]
            low, high = -(1 << bits), (1 << bits) - 1
            if kind == spike_kind:
                for i in range(out.shape[1]):
                    out[t, i] *= min(max((spiked[i] > 0) + constant, low), high)
            elif kind == trace_kind or kind == trace_kind + 1:
                values = history[kind - trace_kind, t]
                for i in range(out.shape[1]):
                    out[t, i] *= min(max(values[i] + constant, low), high)
        if not alive:
            alive = bool(np.any(out[t]))
    return alive


@njit(cache=True)
def weight_factor(factors_F: Array, weight: int) -> int:
    """The factors of a product that read the weight, multiplied."""
    value = 1
    for f in range(factors_F.shape[0]):
        kind, constant, bits = factors_F[f]
        if kind in (W, SIGN_W):
            one = weight + constant
            if kind == SIGN_W:
                one = (one > 0) - (one < 0)
            value *= min(max(one, -(1 << bits)), (1 << bits) - 1)
    return value


@njit(cache=True)
def accumulate(value: int, right: int, left: int, accumulator: int) -> int:
    """``clip16(acc + clip16((value >> right) << left))``"""
    term = min(max((value >> right) << left, ACCUMULATOR_MIN), ACCUMULATOR_MAX)
    return min(max(accumulator + term, ACCUMULATOR_MIN), ACCUMULATOR_MAX)


@njit(cache=True)
def add_product_row(scale: int, y_N: Array, right: int, left: int, acc_N: Array) -> None:
    """A product without the weight, of one input: `scale` is its mantissa times the factors of the input."""
    for n in range(acc_N.shape[0]):
        acc_N[n] = accumulate(np.int32(scale) * y_N[n], right, left, acc_N[n])


@njit(cache=True)
def update_weights(
    weight_IN: Array, tx_I: Array, ty_N: Array, x_history: Array, y_history: Array, epoch: int, engine: Engine,
    random: int, seed: int, layer: int, x_PTI: Array, y_PTN: Array, acc_N: Array,
) -> int:  # fmt: skip
    """Apply the rule at the end of epoch number `epoch` (from 1); return how many weights changed.

    `random` rounds all weights where `seed` is negative, else each has its own. `x_PTI`, `y_PTN`, `acc_N`: scratch.
    A synapse for which every product is zero keeps its weight: ``w << 7`` has no fraction to round.
    """
    products, steps = engine.products.shape[0], x_PTI.shape[1] - 1
    inputs, neurons = weight_IN.shape
    alive_P = np.zeros(products, np.bool_)
    for p in range(products):
        dependency = engine.products[p, 0]
        if dependency == OF_U and epoch % engine.period:
            continue
        first = steps if dependency == OF_U else 1
        if factor_products(engine.factors[p], ty_N, y_history, first, Y0, Y1, y_PTN[p]):
            alive_P[p] = factor_products(engine.factors[p], tx_I, x_history, first, X0, X1, x_PTI[p])
    if not np.any(alive_P):
        return 0
    changed = 0
    for i in range(inputs):
        touched = False
        for p in range(products):
            dependency, mantissa, right, left, of_weight = engine.products[p]
            at = tx_I[i] if dependency == OF_X0 else steps
            if not alive_P[p] or at == 0 or (dependency != OF_Y0 and x_PTI[p, at, i] == 0):
                continue
            if not touched:
                touched = True
                for n in range(neurons):
                    acc_N[n] = np.int32(weight_IN[i, n]) << WEIGHT_SHIFT
            if dependency != OF_Y0 and not of_weight:
                add_product_row(mantissa * x_PTI[p, at, i], y_PTN[p, at], right, left, acc_N)
                continue
            for n in range(neurons):
                then = ty_N[n] if dependency == OF_Y0 else at
                if then == 0:
                    continue
                value = mantissa * x_PTI[p, then, i] * y_PTN[p, then, n]
                if of_weight:
                    value *= weight_factor(engine.factors[p], weight_IN[i, n])
                acc_N[n] = accumulate(value, right, left, acc_N[n])
        if touched:
            changed += round_row(weight_IN[i], acc_N, engine, random, seed, layer, epoch, i)
    return changed


@njit(cache=True)
def round_row(
    weight_N: Array, acc_N: Array, engine: Engine, random: int, seed: int, layer: int, epoch: int, i: int
) -> int:
    """Stochastic rounding of a row of accumulators to weights; returns how many changed."""
    changed = 0
    for n in range(weight_N.shape[0]):
        value = min(max(acc_N[n], engine.least), engine.most)
        own = random if seed < 0 else synapse_bits(seed, layer, epoch, i * weight_N.shape[0] + n)
        rounded = (value >> WEIGHT_SHIFT) + ((value & FRACTION) > own)
        rounded = min(max(rounded, engine.low), engine.high)
        changed += rounded != weight_N[n]
        weight_N[n] = rounded
    return changed
