"""From a NIR file to a program: the integers of a sidecar that belongs to it, else those made of its real numbers.

Each layer gets the grid of `decolle_hw.interchange.float_grid`. Where recordings are given, several grids are tried,
and the one is kept whose integer layer spikes most like the float layer; layers are quantized in order, each with the
integer spikes of those before it at its input. The network decides by counting the spikes of its last layer: one class
for each of its neurons.
"""

# R recordings, T steps, N neurons

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import ConvLayer, DenseLayer, Layer, pooling_stage
from decolle_hw.compiler.netx import NETX_BIAS_EXP
from decolle_hw.compiler.program import Program
from decolle_hw.compiler.ranges import RegisterRange, proven_ranges
from decolle_hw.errors import CompileError, UsageError, listed
from decolle_hw.fixedpoint import (
    BIAS_MANT_MAX,
    BIAS_MANT_MIN,
    CURRENT_DECAY_OFFSET,
    VOLTAGE_DECAY_OFFSET,
    VTH_MAX,
    nearest_decay,
    realised_factor,
)
from decolle_hw.interchange.float_grid import WORTH_A_PROOF, FloatGrid, exact_grid, grids, scale_limits
from decolle_hw.interchange.float_network import ALIGN, FloatLayer, FloatNetwork, simulate
from decolle_hw.interchange.float_synapse import Convolution, Matrix, Shape
from decolle_hw.interchange.nir_import import read_nir
from decolle_hw.interchange.nir_sidecar import read_sidecar
from decolle_hw.sim.reference import run_layer
from decolle_hw.weightgrid import BITS_MAX, BITS_MIN

DEFAULT_STEPS = 100
MOST_CLASSES = 8192  # the readout is one 32-bit integer per class and neuron
COARSE = 0.01  # thresholds that rounding moves by more are warned of


@dataclass(frozen=True)
class Imported:
    """What a file became.

    Attributes:
        notes: what was approximated, or is good to know.
        warnings: what may make the network on chip another one.
        network: in real numbers; None where the integers were restored from a sidecar.
    """

    program: Program
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    network: FloatNetwork | None


def import_nir(
    path: Path,
    *,
    approximate: bool = False,
    dt: float | None = None,
    weight_bits: int = 8,
    steps: int | None = None,
    target: str | None = None,
    calibration: NDArray[np.uint8] | None = None,
) -> Imported:
    """The program of a NIR file.

    Args:
        approximate, dt: see `nir_import.read_nir`.
        weight_bits: 2..8, of a stored weight.
        steps: of a recording; default: those of the sidecar, else `DEFAULT_STEPS`.
        target: name; default: that of the sidecar, else loihi2.
        calibration: (R, T, I) binary recordings to choose the grids by.

    Where a sidecar has the integers, they are what they are: dt, weight_bits and calibration change nothing.

    Raises: `ArtifactError`, `CompileError`, `UsageError`: exit code 2, one line with all that is wrong.
    """
    program, warnings = read_sidecar(path)
    if program is not None:
        changes: dict[str, Any] = {"steps": steps, "target": target}
        changes = {name: value for name, value in changes.items() if value not in (None, getattr(program, name))}
        note = f"{path}: integers restored from its sidecar"
        return Imported(dataclasses.replace(program, **changes), (note,), warnings, None)
    reading = read_nir(path, approximate=approximate, dt=dt)
    program, more = quantize(
        reading.network, weight_bits=weight_bits, steps=steps or DEFAULT_STEPS, target=target or "loihi2",
        calibration=calibration,
    )  # fmt: skip
    return Imported(program, reading.notes, (*warnings, *more), reading.network)


def quantize(
    network: FloatNetwork,
    *,
    weight_bits: int = 8,
    steps: int,
    target: str,
    calibration: NDArray[np.uint8] | None = None,
) -> tuple[Program, tuple[str, ...]]:
    """(program, warnings). See `import_nir`. Raises `CompileError` with all layers that cannot be represented."""
    if not BITS_MIN <= weight_bits <= BITS_MAX:
        raise CompileError(f"weight_bits {weight_bits}: a synapse has {BITS_MIN} to {BITS_MAX} bits")
    classes = network.layers[-1].num_neurons
    if classes > MOST_CLASSES:
        raise CompileError(
            f"{network.name}: its output layer has {classes} neurons, one class each, and at most {MOST_CLASSES} are "
            "decided between; end it with a smaller layer"
        )
    inputs = math.prod(network.input_shape)
    if calibration is not None and (calibration.ndim != 3 or calibration.shape[2] != inputs or not calibration.size):
        raise UsageError(
            f"calibration: is of shape {calibration.shape}; recordings (R, T, I) of {network.name} have {inputs} inputs"
        )
    spikes_RTI = calibration
    floats = () if calibration is None else simulate(network, calibration)
    layers: list[Layer] = []
    figures: list[dict[str, Any]] = []
    problems: list[str] = []
    warnings: list[str] = []
    for index, layer in enumerate(network.layers):
        first = network.first_step(index)
        readout = classes if index == len(network.layers) - 1 else 0
        where = f"layer {index} ({layer.name})"
        try:
            found = [(grid, integer_layer(layer, grid, readout)) for grid in _candidates(layer, weight_bits)]
        except CompileError as error:
            problems.append(f"{where}: {error}")
            continue
        if not found:
            problems.append(f"{where}: no scale leaves any weight; {_binding(layer)} fills its register beside them")
            continue
        grid, integers = found[0]
        agreement: dict[str, Any] = {}
        if spikes_RTI is not None:
            grid, integers, spikes_RTI, agreement = _closest(found, spikes_RTI, floats[index].spikes, first)
        ranges = proven_ranges(integers, first=first, steps=max(steps, first + 1))
        warnings += [f"{where}: {warning}" for warning in _layer_warnings(layer, grid, integers, ranges)]
        layers.append(integers)
        figures.append(_figures(layer, grid, integers, ranges) | agreement)
    if problems:
        raise CompileError(listed(f"{network.name}: cannot be compiled", problems))
    program = Program(
        name=network.name, layers=tuple(layers), classes=tuple(str(index) for index in range(classes)),
        input_shape=network.input_shape, steps=steps, burnin_steps=0, target=target, spec_yaml="",
        checkpoint_sha256="", quantization=tuple(figures),
    )  # fmt: skip
    return program, tuple(warnings)


def _candidates(layer: FloatLayer, bits: int) -> Iterator[FloatGrid]:
    """Grids worth a run, the best one without recordings first."""
    if isinstance(layer.synapse, Matrix) and not np.any(layer.synapse.weight):
        raise CompileError("all its weights are zero, which netx cannot load; leave the layer out")
    if layer.is_pooling:
        yield FloatGrid(bits, "mixed", 1.0, 1)
        return
    exact = exact_grid(layer, bits)
    if exact is not None:
        yield exact
        return
    limits = scale_limits(layer)
    limit = min(limits["vth"], limits["bias"])
    found = grids(layer, bits, limit)
    if found and limits["u"] < found[0].scale <= limits["u"] * WORTH_A_PROOF:
        found = grids(layer, bits, limits["u"])
    yield from found


def integer_layer(layer: FloatLayer, grid: FloatGrid, readout: int) -> Layer:
    """The layer on a grid. readout: rows of its readout, one per neuron, or 0."""
    neurons = layer.num_neurons
    weight_CM = np.eye(readout, neurons, dtype=np.int32) if readout else np.zeros((0, neurons), np.int32)
    bias_C = np.zeros(readout, np.int32)
    synapse = layer.synapse
    if layer.is_pooling:
        assert isinstance(synapse, Convolution)
        return pooling_stage(_map(layer.input_shape), synapse.stride[0], weight_CM, bias_C)
    stored, weight_exp, bits = grid.stored(grid.integers(synapse.weight))
    registers: dict[str, Any] = {
        "neuron": "cuba", "weight": stored, "weight_exp": weight_exp, "weight_bits": bits, "sign_mode": grid.sign_mode,
        "du": nearest_decay(layer.current_keep, CURRENT_DECAY_OFFSET),
        "dv": nearest_decay(layer.voltage_keep, VOLTAGE_DECAY_OFFSET),
        "vth": np.full(neurons, min(round(grid.scale * layer.vth), VTH_MAX), np.int32),
        "bias_mant": np.clip(np.rint(grid.scale * layer.bias), BIAS_MANT_MIN, BIAS_MANT_MAX).astype(np.int32),
        "bias_exp": NETX_BIAS_EXP, "dr": 0, "rho": 0, "readout_weight": weight_CM, "readout_bias": bias_C,
    }  # fmt: skip
    if isinstance(synapse, Matrix):
        return DenseLayer(**registers, delay=layer.delay)
    return ConvLayer(
        **registers, input_shape=_map(layer.input_shape), stride=synapse.stride, padding=synapse.padding,
        dilation=synapse.dilation, groups=synapse.groups,
    )  # fmt: skip


def _closest(
    found: Sequence[tuple[FloatGrid, Layer]], inputs_RTI: NDArray[np.uint8], float_RTN: NDArray[np.uint8], first: int
) -> tuple[FloatGrid, Layer, NDArray[np.uint8], dict[str, Any]]:
    """Of the integer layers the one that spikes most like the float layer, what it spikes, and how alike they are."""
    spikes = [run_layer(layer, inputs_RTI, first=first, record=False).spikes for _, layer in found]
    agreements = [float((spikes_RTN == float_RTN).mean()) for spikes_RTN in spikes]
    best = int(np.argmax(agreements))
    figures = {
        "spike_agreement": agreements[best], "spike_agreement_analytic": agreements[0], "candidates": len(found),
        "calibration_recordings": len(inputs_RTI),
    }  # fmt: skip
    return *found[best], spikes[best], figures


def _figures(layer: FloatLayer, grid: FloatGrid, integers: Layer, ranges: tuple[RegisterRange, ...]) -> dict[str, Any]:
    """Scales and errors, by the names of `quantization.integers.figures`; a pooling stage has none."""
    if layer.is_pooling:
        return {}
    limits = scale_limits(layer)
    return {
        "weight_scale": grid.scale,
        "register_units_per_potential": ALIGN * grid.scale,
        "weight_step": grid.step,
        "largest_effective_weight": float(np.abs(integers.plain_weight).max()),
        "weight_error_rms": grid.error(layer.synapse.weight),
        "alpha_error": realised_factor(integers.dv, VOLTAGE_DECAY_OFFSET) - layer.voltage_keep,
        "beta_error": realised_factor(integers.du, CURRENT_DECAY_OFFSET) - layer.current_keep,
        "alpharp_error": 0.0,
        "vth_error": _vth_error(layer, grid, integers),
        "bias_error": float(np.abs(integers.bias_mant / grid.scale - layer.bias).max()),
        "readout_error_rms": 0.0,
        "limit": min(limits, key=lambda name: limits[name]),
        "ranges": [register.to_json() for register in ranges],
    } | {f"limit_{name}": float(value) for name, value in limits.items()}  # fmt: skip


def _layer_warnings(
    layer: FloatLayer, grid: FloatGrid, integers: Layer, ranges: tuple[RegisterRange, ...]
) -> Iterator[str]:
    if layer.is_pooling:
        return
    for register in ranges:
        if register.name == "u" and not register.proven:
            reach = max(-register.proven_low, register.proven_high) / register.limit
            yield (
                f"u may turn over: with all inputs of one sign at once it reaches {reach:.2g} times its 24 bits; "
                "check it with `decolle-hw verify` on recordings, or use fewer weight bits"
            )
    error = _vth_error(layer, grid, integers)
    if abs(error) > COARSE:
        yield (
            f"vth {layer.vth:.4g} becomes {int(integers.vth[0])} / {grid.scale:.4g}, {100 * error:+.1f} %: it is small "
            f"beside the largest weight, {np.abs(layer.synapse.weight).max():.4g}"
        )


def _vth_error(layer: FloatLayer, grid: FloatGrid, integers: Layer) -> float:
    return float(integers.vth[0]) / grid.scale / layer.vth - 1.0 if layer.vth else 0.0


def _binding(layer: FloatLayer) -> str:
    limits = scale_limits(layer)
    name = min(("vth", "bias"), key=lambda limit: limits[limit])
    return f"vth {layer.vth:.4g}" if name == "vth" else f"a bias of {np.abs(layer.bias).max():.4g}"


def _map(shape: Shape) -> tuple[int, int, int]:
    channels, height, width = shape
    return channels, height, width
