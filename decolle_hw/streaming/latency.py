"""How many steps on chip lie between an event and the first spike of the last layer that it can change."""

# N neurons, I inputs

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import DenseLayer, Layer
from decolle_hw.compiler.program import Program

NEVER = 1 << 40


def latency_steps(program: Program) -> int | None:
    """The shortest way from any input: a step per layer, pooling stages included, and the delays on it.

    An event of step t on chip can change a spike of the last layer at step t + latency, none before. None: there is no
    way, as all weights of a layer are zero.
    """
    arrival_N = np.zeros(program.num_inputs, np.int64)
    for layer in program.layers:
        arrival_N = _after(layer, arrival_N)
    shortest = int(arrival_N.min())
    return None if shortest >= NEVER else shortest


def _after(layer: Layer, arrival_I: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the earliest step at which each neuron can be changed."""
    if not isinstance(layer, DenseLayer):
        return np.full(layer.num_neurons, arrival_I.min() + 1)  # of a map the nearest neuron, for all
    delay_NI = layer.delay if layer.max_delay else 0
    through_NI = np.where(layer.weight != 0, arrival_I + delay_NI, NEVER)
    earliest_N: NDArray[np.int64] = np.minimum(through_NI.min(1), NEVER) + 1
    return earliest_N
