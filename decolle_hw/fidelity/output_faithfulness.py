"""How near a new output layer comes to its own rule in real numbers; no trained layer stands behind it.

With one neuron per class and the identity as readout, DECOLLE's rule of the layer is ``dW = eta (target - y) P``. Its
float twin (`decolle_hw.sim.float_learning`) makes that update with the layer's time constants, error loop and weights
of zero; on chip it is made with 7-bit traces, cut products and rounded weights. Each recording is shown by itself, the
weights are put back after it, and what they had moved is added up.
"""

# N neurons, I inputs

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.data import BinnedRecordings
from decolle_hw.fidelity.faithfulness import updates_in_real_numbers, updates_on_chip
from decolle_hw.quantization.lower_rule_observed import cosine
from decolle_hw.sim.learning_randoms import Rounding

ENOUGH = 0.9  # cosine below which there is a warning


@dataclass(frozen=True)
class OutputFaithfulness:
    """Of the output layer."""

    layer: int
    recordings: int
    cosine: float  # of the updates on chip and in real numbers, each added up
    magnitude: float  # the length of the one over that of the other
    changed: float  # weights that changed in a recording, on average, as a share of all

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes learning doubtful."""
        if self.changed == 0.0:
            return (f"layer {self.layer}: its updates always round to zero: it will not learn; choose other features",)
        if self.cosine < ENOUGH:
            return (
                f"layer {self.layer}: the update on chip has a cosine of {self.cosine:.2f} with that in real numbers, "
                f"less than {ENOUGH}",
            )
        return ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def output_faithfulness(
    learning: LearningProgram, recordings: BinnedRecordings, *, seed: int = 1, rounding: Rounding = "lava"
) -> OutputFaithfulness:
    """Measure it on recordings whose labels are classes of the output layer."""
    layer = learning.plastic[-1].layer
    moved = updates_on_chip(learning, recordings, 1, seed, rounding)[layer]
    total, real = np.sum(moved, axis=0, dtype=np.float64), updates_in_real_numbers(learning, recordings)[layer]
    length = float(np.sqrt((real**2).sum()))
    return OutputFaithfulness(
        layer, len(recordings), cosine(total, real), float(np.sqrt((total**2).sum())) / max(length, 1e-300),
        float(np.mean([np.count_nonzero(one) / one.size for one in moved])),
    )  # fmt: skip
