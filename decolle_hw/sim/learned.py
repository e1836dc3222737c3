"""What a network has learned: how it decides now, and the network with its weights."""

# B runs, R recordings, T steps, N neurons, I inputs

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import DenseLayer, Layer
from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.program import Program
from decolle_hw.fixedpoint import weight_limits
from decolle_hw.sim.learning import NO_TARGET, learn
from decolle_hw.sim.learning_state import LearningState


def classify(
    learning: LearningProgram,
    state: LearningState,
    recordings: NDArray[Any],
    *,
    frames: NDArray[np.uint8] | None = None,
) -> NDArray[np.int64]:
    """(B, R) classes that every run decides on for recordings (R, T, I), with its weights as they are.

    Nothing is learned. Args, Raises: as `decolle_hw.sim.learning.learn`.
    """
    order_BR = np.tile(np.arange(len(recordings)), (state.runs, 1))
    none_BR = np.full(order_BR.shape, NO_TARGET)
    learned, _ = learn(learning, state, recordings, order_BR, none_BR, frames=frames, frozen=True)
    return learned.decisions


def learned_program(learning: LearningProgram, state: LearningState, run: int = 0) -> Program:
    """The network with the weights of one run.

    Once a synapse of mixed signs learns it has 9 bits; in a network that does not learn it has 8, so odd weights lose
    their lowest bit (towards minus infinity), as in Lava's `Dense`. Decisions may differ from those of `classify`.
    """
    layers: list[Layer] = list(learning.program.layers)
    for plastic in learning.plastic:
        layer = layers[plastic.layer]
        assert isinstance(layer, DenseLayer)
        _, _, step = weight_limits(layer.weight_bits, layer.sign_mode)
        weight_NI = state.weights(learning, plastic.layer)[run] // step * step
        layers[plastic.layer] = replace(layer, weight=weight_NI)
    return replace(learning.program, layers=tuple(layers))
