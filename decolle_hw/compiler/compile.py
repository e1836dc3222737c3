"""From a training run to a compiled network."""

from __future__ import annotations

import numpy as np

from decolle_hw import data
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.quantize import calibrate, quantize_layer
from decolle_hw.errors import CompileError
from decolle_hw.spec import ModelSpec, model_spec_to_yaml
from decolle_hw.training.runs import Run

CALIBRATION_RECORDINGS = 256


def calibration_set(run: Run) -> data.BinnedRecordings:
    """Training recordings, evenly spread over the split, on which register ranges are measured."""
    recordings = data.load_split(run.spec.dataset, "train", classes=run.classes)
    count = min(CALIBRATION_RECORDINGS, len(recordings))
    return recordings.take(np.linspace(0, len(recordings) - 1, count).round().astype(np.int64))


def require_compilable(spec: ModelSpec) -> None:
    """Raise `CompileError` that names what of a network has no integers yet."""
    network = spec.network
    if network.Nhid:
        raise CompileError(
            f"network.Nhid {network.Nhid}: convolutions and pooling are trained but not compiled by this version; "
            f"compile a network of dense layers (Mhid)"
        )
    if network.output_layer:
        raise CompileError(
            "network.output_layer true: reads potentials, which do not leave a core; the last hidden layer's readout "
            "classifies as well: train with output_layer: false"
        )
    if network.random_tau is not None:
        raise CompileError(
            "network.random_tau: draws decays per input, a core has them per neuron; train without random_tau"
        )
    if network.prediction != "sum":
        raise CompileError(
            f"network.prediction {network.prediction}: compiled networks decide by the summed readout; "
            f"train with prediction: sum"
        )


def compile_run(run: Run, target: str, calibration: data.BinnedRecordings) -> Program:
    """Quantize every layer of a trained network."""
    require_compilable(run.spec)
    network = run.network()
    layers, figures = [], []
    for index, (layer, ranges) in enumerate(zip(network.layers, calibrate(network, calibration), strict=True)):
        integers, quality = quantize_layer(layer, ranges, index)
        layers.append(integers)
        figures.append(quality)
    polarities, height, width = run.spec.dataset.input_shape
    return Program(
        name=run.spec.name,
        layers=tuple(layers),
        classes=run.classes,
        input_shape=(polarities, height, width),
        steps=run.spec.dataset.chunk_size_test,
        burnin_steps=run.spec.training.burnin_steps,
        target=target,
        spec_yaml=model_spec_to_yaml(run.spec),
        checkpoint_sha256=run.checkpoint_sha256(),
        quantization=tuple(figures),
    )
