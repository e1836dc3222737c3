"""Small networks with a plastic output layer, and recordings that are easy to tell apart: no training."""

# R recordings, T steps, I inputs

from __future__ import annotations

from typing import Any

import numpy as np
from quantize_tools import CLASSES, make_spec
from test_lower_rule import patterns

from decolle_hw.compiler.program import Program
from decolle_hw.online.material import Material, Recorded, dense
from decolle_hw.quantization.untrained import untrained_program
from decolle_hw.sim.output_layer import with_output_layer

FEW = 30  # recordings


def untaught(neuron: str) -> tuple[Program, np.ndarray]:
    """A network of random weights, and (R, T, I) recordings to calibrate it on."""
    recordings = patterns(1, FEW)
    program, _ = untrained_program(make_spec(neuron), CLASSES, 3, recordings, "loihi2")
    return program, dense(recordings)


def recorded(train: int = 45, test: int = 18) -> Recorded:
    """Training and test recordings of three classes, evenly many of each."""
    shown, tested = patterns(2, train), patterns(3, test)
    labels = np.concatenate([shown.labels, tested.labels]).astype(np.int64)
    return Recorded(np.concatenate([dense(shown), dense(tested)]), labels, CLASSES, train)


def material(neuron: str = "decolle", known: tuple[int, ...] = (0, 1), **sizes: int) -> Material:
    """What `decolle_hw.online.material.prepare` makes, without a training run: its features are random."""
    program, usual = untaught(neuron)
    no_run: Any = None
    return Material(recorded(**sizes), with_output_layer(program, CLASSES, usual), no_run, known)
