"""From a training run to a compiled network: calibrate, quantize layer after layer, prove or measure the ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from decolle_hw import data
from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.ranges import RegisterRange
from decolle_hw.errors import CompileError
from decolle_hw.nn.layer import DecolleLayer
from decolle_hw.quantization.calibration import Calibration, FloatRanges, calibrate
from decolle_hw.quantization.integers import LayerPlan, build, figures, plan_layer
from decolle_hw.quantization.measure import measured_ranges
from decolle_hw.quantization.scale import Grid
from decolle_hw.quantization.search import GIVE_BACK, choose, shortlist
from decolle_hw.spec import ModelSpec, model_spec_to_yaml
from decolle_hw.training.runs import Run

# As many as take this many multiplications in the float network, within these bounds.
CALIBRATION_RECORDINGS, FEWEST_RECORDINGS, CALIBRATION_PRODUCTS = 256, 16, 10**11
DEFAULT_WEIGHT_BITS = 8


@dataclass(frozen=True)
class Compilation:
    """Result of `compile_run`."""

    program: Program
    ranges: tuple[tuple[RegisterRange, ...], ...]  # of each layer, pooling stages included
    warnings: tuple[str, ...]
    recordings: int  # of the calibration


def calibration_set(run: Run) -> data.BinnedRecordings:
    """Training recordings, evenly spread over the split: 256, or fewer of a network that takes long."""
    recordings = data.load_split(run.spec.dataset, "train", classes=run.classes)
    products = recordings.window * sum(shape.neurons * shape.fan_in for shape in run.spec.shapes(len(run.classes)))
    affordable = max(FEWEST_RECORDINGS, CALIBRATION_PRODUCTS // products)
    count = min(CALIBRATION_RECORDINGS, affordable, len(recordings))
    return recordings.take(np.linspace(0, len(recordings) - 1, count).round().astype(np.int64))


def require_compilable(spec: ModelSpec) -> None:
    """Raise `CompileError` that names what of a network has no integers."""
    network = spec.network
    if network.output_layer:
        raise CompileError(
            "network.output_layer true: reads potentials, which do not leave a core; the last hidden layer's readout "
            "classifies as well: train with output_layer: false"
        )
    if network.random_tau is not None:
        raise CompileError(
            "network.random_tau: draws decays per input, a core has them per neuron; train without random_tau"
        )


def weight_bits_of(spec: ModelSpec, asked: int | None) -> int:
    """What was asked for, else what the network was trained with, else 8."""
    if asked is not None:
        return asked
    quantize = spec.training.quantize
    return DEFAULT_WEIGHT_BITS if quantize is None else quantize.weight_bits


def compile_run(
    run: Run, target: str, recordings: data.BinnedRecordings, weight_bits: int | None = None, *, search: bool = True
) -> Compilation:
    """Quantize every layer of a trained network.

    Args:
        recordings: for calibration, as `calibration_set` gives them.
        weight_bits: 2..8; default: those that the network was trained with, else 8.
        search: compare spikes on calibration recordings; else take the largest scale without clipped weights.

    A network trained with `training.quantize` and as many bits keeps exactly the integers it was trained with, unless
    its registers have no room for them, which is a warning.
    """
    require_compilable(run.spec)
    bits = weight_bits_of(run.spec, weight_bits)
    network = run.network()
    calibration = calibrate(network, recordings)
    polarities, height, width = run.spec.dataset.input_shape
    unfinished: dict[str, Any] = {
        "name": run.spec.name,
        "classes": run.classes,
        "input_shape": (polarities, height, width),
        "steps": run.spec.dataset.chunk_size_test,
        "burnin_steps": run.spec.training.burnin_steps,
        "target": target,
        "prediction": run.spec.network.prediction,
        "spec_yaml": model_spec_to_yaml(run.spec),
        "checkpoint_sha256": run.checkpoint_sha256(),
    }
    warnings: list[str] = []
    layers: tuple[Layer, ...] = ()
    quality: list[dict[str, Any]] = []
    spikes_RTI = calibration.inputs_RTI
    for layer, ranges, float_RTM in zip(network, calibration.ranges, calibration.spikes, strict=True):
        plan, grids = grids_of(layer, ranges, bits, warnings)
        if not search:
            grids = grids[:1]
        # When a layer starts follows from what kind it is, whatever its grid.
        so_far = Program(layers=layers + build(plan, grids[0]), **unfinished)
        starts = tuple(so_far.first_step(index) for index in range(len(layers), len(so_far.layers)))
        found = choose(plan, grids, spikes_RTI, float_RTM, starts)
        layers += found.layers
        quality += [figures(plan, found.grid) | found.figures, *({} for _ in found.layers[1:])]
        spikes_RTI = found.spikes_RTM
    program = Program(layers=layers, **unfinished)
    ranges_of_layers, spikes = measured_ranges(program, recordings)
    for entry, registers in zip(quality, ranges_of_layers, strict=True):
        if entry:
            entry["ranges"] = [register.to_json() for register in registers]
            entry["calibration_recordings"] = calibration.recordings
    warnings += range_warnings(program, ranges_of_layers, len(recordings))
    warnings += silence_warnings(program, calibration, spikes)
    program = replace(program, quantization=tuple(quality))
    return Compilation(program, ranges_of_layers, tuple(warnings), len(recordings))


def grids_of(layer: DecolleLayer, ranges: FloatRanges, bits: int, warnings: list[str]) -> tuple[LayerPlan, list[Grid]]:
    """The layer's plan and the grids to choose from, the first of which needs no data."""
    # Weights that are all zero are on every grid; one with a scale for the biases is wanted.
    if layer.weight_bits == bits and layer.weight_step is not None and torch.any(layer.weight):
        plan = plan_layer(layer, ranges, bits, "mixed")
        trained = plan.space.grid(layer.weight_step)
        if trained is not None:
            if trained.is_lossy:
                return plan, [replace(trained, give_back=share) for share in GIVE_BACK]
            # A smaller unit gives up resolution of the registers, for more head room.
            lower = replace(trained, unit=trained.unit / 2)
            return plan, [trained] if lower.is_lossy else [trained, lower]
        warnings.append(
            f"layer {layer.index}: {plan.binding} leaves no room for the weights it was trained with; they are "
            f"quantized again, more coarsely; train with shorter time constants (smaller alpha, beta)"
        )
    plan = plan_layer(layer, ranges, bits)
    grids = shortlist(plan)
    if not grids:  # netx takes no one-signed matrix with these weights: with a sign bit it may
        plan = plan_layer(layer, ranges, bits, "mixed")
        grids = shortlist(plan) or [plan.space.analytic(plan.weight)]
    return plan, grids


def range_warnings(program: Program, ranges: tuple[tuple[RegisterRange, ...], ...], recordings: int) -> Iterator[str]:
    """Registers that turned over or clipped on the calibration recordings."""
    remedies = {
        "u": "shorter synaptic time constants (smaller beta)",
        "v": "shorter time constants (smaller alpha)",
        "r": "a smaller wrp",
    }
    for index, registers in enumerate(ranges):
        for register in registers:
            if register.margin < 1.0:
                happened = "turned over" if register.name == "u" else "was clipped"
                yield (
                    f"layer {index}: register {register.name} {happened} on {recordings} calibration recordings "
                    f"(margin x{register.margin:.2f}); train with {remedies[register.name]}"
                )


def silence_warnings(program: Program, calibration: Calibration, spikes: tuple[int, ...]) -> Iterator[str]:
    """Layers without a single spike, as floats or only as integers."""
    positions = [index for index, layer in enumerate(program.layers) if not layer.is_pooling]
    lower = "lower vth" if program.layers[0].neuron == "cuba" else "raise its biases or weights (reg_l, init: lsuv)"
    for index, (position, rate) in enumerate(zip(positions, calibration.rates, strict=True)):
        if rate == 0.0:
            yield (
                f"layer {position}: never spikes on {calibration.recordings} calibration recordings, as the float "
                f"network does not either (its layer {index}): what comes after it sees nothing; {lower}, train "
                f"longer, or calibrate with other recordings (--data)"
            )
        elif spikes[position] == 0:
            yield (
                f"layer {position}: never spikes on {calibration.recordings} calibration recordings as integers, while "
                f"the float network does (layer {index}, rate {rate:.2g}): quantization has silenced it; use more "
                f"weight bits, or train with training.quantize"
            )
