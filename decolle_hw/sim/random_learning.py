"""Random networks that learn, on which the reference and Lava must agree.

As in `decolle_hw.sim.random_program`, numbers drawn blindly make networks in which nothing happens. So rules, traces
and error loops are drawn such that most networks learn fast, and the rest from the whole range of the engine.
"""

# K recordings shown, I inputs, N neurons, C classes

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import DenseLayer, NeuronKind
from decolle_hw.compiler.learning_program import GATE_OPEN, ErrorNeurons, LearningProgram, PlasticLayer
from decolle_hw.compiler.plasticity import (
    CONSTANT_MAX,
    CONSTANT_MIN,
    EPOCH_MAX,
    EXPONENT_MAX,
    EXPONENT_MIN,
    FACTOR_BITS,
    IMPULSE_PARTS,
    MOST_FACTOR_BITS,
    TRACE_MAX,
    Factor,
    Product,
    Rule,
    TraceFilter,
    three_factor_rule,
)
from decolle_hw.compiler.program import Program
from decolle_hw.fixedpoint import DECAY_UNITY, WEIGHT_BITS
from decolle_hw.sim.random_program import random_conv_program, random_program

DECOLLE_RULE = 0.35  # share of rules that are those of the design


def random_learning_program(
    rng: np.random.Generator,
    neuron: NeuronKind,
    plastic: Sequence[int],
    *,
    sizes: Sequence[int] = (60, 40, 30, 20),
    steps: int = 20,
    classes: int = 4,
    convolutional: bool = False,
) -> LearningProgram:
    """A network some of whose layers learn.

    Args:
        rng: where all numbers come from.
        neuron: 'decolle' or 'cuba', for all layers.
        plastic: dense layers that learn, counted from the last one back: 0 is the last.
        sizes, steps, classes: as `random_program`.
        convolutional: convolutions and pooling below the last layer, which alone may learn.
    """
    program: Program
    if convolutional:
        program = random_conv_program(rng, neuron, units=sizes[-1], steps=steps, classes=classes, weight_kind="mixed")
    else:
        program = random_program(rng, neuron, sizes=sizes, steps=steps, classes=classes)
    indices = sorted(len(program.layers) - 1 - back for back in plastic)
    layers = list(program.layers)
    for index in indices:
        layer = layers[index]
        assert isinstance(layer, DenseLayer)
        if layer.weight_bits != WEIGHT_BITS:  # learning needs all; those of fewer bits lie on the finer grid too
            layers[index] = replace(layer, weight_bits=WEIGHT_BITS)
    program = replace(program, layers=tuple(layers))
    start = int(rng.integers(0, steps - 1))
    return LearningProgram(
        program,
        tuple(_draw_plastic(rng, program, index) for index in indices),
        teach=(start, int(rng.integers(start + 1, program.slot_steps(), endpoint=True))),
    )


def random_targets(rng: np.random.Generator, learning: LearningProgram, shown: int) -> NDArray[np.int64]:
    """(K,) classes, some of them none."""
    return rng.integers(-1, len(learning.program.classes), shown)


def _draw_plastic(rng: np.random.Generator, program: Program, index: int) -> PlasticLayer:
    layer, classes = program.layers[index], len(program.classes)
    scale = int(rng.choice([1, 8, 127]))
    width = int(rng.choice([GATE_OPEN, 1 << 22, 1 << 18]))
    return PlasticLayer(
        layer=index,
        rule=draw_rule(rng),
        x1=draw_filter(rng),
        x2=draw_filter(rng),
        epoch=int(rng.choice([1, 1, 1, 2, 3, 7, EPOCH_MAX])),
        error=ErrorNeurons(
            on=int(rng.integers(-scale, 20 * scale)), off=int(rng.integers(-scale, scale, endpoint=True)),
            decay=int(rng.choice([DECAY_UNITY, 0, rng.integers(DECAY_UNITY)])), shift=int(rng.integers(0, 5)),
            dead_zone=int(rng.choice([0, 0, scale])),
        ),
        readout_weight=rng.integers(-scale, scale, (classes, layer.num_neurons), endpoint=True).astype(np.int32),
        readout_bias=rng.integers(-scale, scale, classes, endpoint=True).astype(np.int32),
        feedback_shift=int(rng.integers(0, 8)),
        gate_width=width,
    )  # fmt: skip


def draw_filter(rng: np.random.Generator) -> TraceFilter:
    """Of any impulse and time constant, the ends of both included."""
    impulse = float(
        rng.choice([0, TRACE_MAX, TRACE_MAX + 1 - 1 / IMPULSE_PARTS, rng.integers(1, 64), rng.integers(64)])
    )
    if rng.random() < 0.5:
        impulse = min(impulse, TRACE_MAX) + int(rng.integers(IMPULSE_PARTS)) / IMPULSE_PARTS
    return TraceFilter(impulse, float(rng.choice([0, 1, 65535, rng.integers(1, 40), round(rng.uniform(1, 30), 2)])))


def draw_rule(rng: np.random.Generator) -> Rule:
    """The rule of the design, or anything that the engine can do."""
    if rng.random() < DECOLLE_RULE:
        exponent = int(rng.integers(EXPONENT_MIN, 1))
        return three_factor_rule(exponent, mantissa=int(rng.integers(1, 8)), double_exponential=bool(rng.integers(2)))
    decimated = f"u{rng.choice([0, 0, 1, 3])}"
    products = tuple(_draw_product(rng, decimated) for _ in range(int(rng.integers(1, 6))))
    return Rule(products)


def _draw_product(rng: np.random.Generator, decimated: str) -> Product:
    names: list[Any] = ["x1", "x2", "y1", "y2", *FACTOR_BITS]  # traces more often
    factors: list[Factor] = []
    for _ in range(int(rng.integers(0, 5))):
        constant = int(rng.choice([0, 0, 0, CONSTANT_MIN, CONSTANT_MAX, rng.integers(-9, 9)]))
        factor = Factor(names[int(rng.integers(len(names)))], constant)
        if sum(other.bits for other in factors) + factor.bits <= MOST_FACTOR_BITS:
            factors.append(factor)
    return Product(
        dependency=str(rng.choice(["x0", "y0", decimated, decimated])),
        factors=tuple(factors),
        mantissa=int(rng.choice([-1, 1]) * rng.integers(1, 8)),
        exponent=int(rng.choice([EXPONENT_MAX, *rng.integers(EXPONENT_MIN, 0, 6)])),
    )
