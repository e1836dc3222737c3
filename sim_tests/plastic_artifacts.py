"""Artifacts that learn on chip, made of compiled networks by hand: what the tests of learning sessions start from."""

# C classes, N neurons

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from decolle_hw.compiler.artifact import load_artifact, save_artifact
from decolle_hw.compiler.layers import READOUT_MAX, DenseLayer
from decolle_hw.compiler.learning_program import GATE_OPEN, ErrorNeurons, LearningProgram, PlasticLayer, output_readout
from decolle_hw.compiler.plasticity import TraceFilter, three_factor_rule
from decolle_hw.compiler.program import Program
from decolle_hw.spec import model_spec_from_yaml, model_spec_to_yaml
from decolle_hw.spec_on_chip import OnChipSpec


def hidden_learning(program: Program, epoch: int = 2) -> LearningProgram:
    """The last layer learns from its own readout."""
    index = len(program.layers) - 1
    layer = replace(program.layers[index], weight_bits=8)
    program = replace(program, layers=(*program.layers[:-1], layer))
    plastic = PlasticLayer(
        layer=index, rule=three_factor_rule(-7, mantissa=1), x1=TraceFilter(20, 8), epoch=epoch,
        error=ErrorNeurons(on=2 * READOUT_MAX, off=-READOUT_MAX, shift=1), feedback_shift=7,
        readout_weight=layer.readout_weight, readout_bias=layer.readout_bias,
    )  # fmt: skip
    return LearningProgram(program, (plastic,))


def output_learning(program: Program, classes: tuple[str, ...], epoch: int = 2) -> LearningProgram:
    """A new layer of zeros, one neuron per class, on layers that stay as they are and are no longer read out."""
    count, below = len(classes), program.layers[-1]
    nothing = np.zeros((0, 1), np.int32)
    frozen = tuple(
        replace(layer, readout_weight=np.zeros((0, layer.num_neurons), np.int32), readout_bias=nothing[:, 0])
        for layer in program.layers
    )
    stock = below.neuron == "cuba"
    output = DenseLayer(
        neuron=below.neuron, weight=np.zeros((count, below.num_neurons), np.int32), weight_exp=0, du=2047, dv=1023,
        vth=np.full(count, 200, np.int32), bias_mant=np.zeros(count, np.int32), bias_exp=6, dr=0 if stock else 1023,
        rho=0 if stock else 1000, **output_readout(count),
    )  # fmt: skip
    spec_yaml = program.spec_yaml
    if spec_yaml:
        spec = model_spec_from_yaml(spec_yaml, "test")
        on_chip = OnChipSpec(plastic=["output"], classes=list(classes))
        spec_yaml = model_spec_to_yaml(spec.model_copy(update={"on_chip": on_chip}))
    whole = replace(program, layers=(*frozen, output), classes=classes, spec_yaml=spec_yaml)
    plastic = PlasticLayer(
        layer=len(program.layers), rule=three_factor_rule(-7, mantissa=1), x1=TraceFilter(40, 6), epoch=epoch,
        error=ErrorNeurons(on=240, off=0, decay=500), gate_width=GATE_OPEN, **output_readout(count, 40),
    )  # fmt: skip
    return LearningProgram(whole, (plastic,))


def make(artifact: Path, out: Path, classes: tuple[str, ...] | None = None) -> LearningProgram:
    """An artifact that learns, from one that does not."""
    program = load_artifact(artifact)
    learning = hidden_learning(program) if classes is None else output_learning(program, classes)
    save_artifact(learning.program, out, learning)
    return learning
