"""A network with random weights as integers, to learn everything on chip.

Layer after layer: weights and biases are drawn and scaled on recordings until the potential U of the float layer has a
mean and a variance that let neurons spike and have them near their threshold (`decolle_hw.nn.initialise.lsuv`, from
which `network.init` of the description is taken). Then each layer gets a grid of which the largest initial weight takes
a share, and registers with as much head room.
"""

# R recordings, T steps, N neurons

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.program import Program
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import CompileError
from decolle_hw.nn.initialise import lsuv
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.quantization.calibration import FloatRanges, calibrate
from decolle_hw.quantization.compile import DEFAULT_WEIGHT_BITS, require_compilable
from decolle_hw.quantization.integers import LayerPlan, build, figures, plan_layer
from decolle_hw.quantization.scale import Grid
from decolle_hw.spec import ModelSpec, model_spec_to_yaml
from decolle_hw.weightgrid import grid_limits, top_shift

# Of the weights: none is best. They grow by few of the 255 steps in a recording, and finer steps than the rounding's
# chance matter more than weights that end at their limits.
HEAD_ROOM = 1.0
POTENTIAL_MEAN, POTENTIAL_VARIANCE = -0.5, 0.5  # of the float U at the last step: some spike, many are near 0


def untrained_program(
    spec: ModelSpec, classes: tuple[str, ...], seed: int, recordings: BinnedRecordings, target: str,
    *, head_room: float = HEAD_ROOM, mean: float = POTENTIAL_MEAN, variance: float = POTENTIAL_VARIANCE,
) -> tuple[Program, DecolleNetwork]:  # fmt: skip
    """A network that has learned nothing, as integers and as the float network that they stand for.

    Args:
        spec: the network; how it would be trained does not matter.
        seed: of its weights and readouts.
        recordings: some dozens, for the scale of weights and registers; their labels are not looked at.
        target: name of the chip.
        head_room: factor by which weights and potentials may grow.
        mean, variance: of the potential U of each float layer at the last step.

    Raises: `CompileError` where the network has no integers; `UsageError` where its layers cannot be made to spike.
    """
    require_compilable(spec)
    if not head_room >= 1.0:
        raise CompileError(f"head_room {head_room}: expected 1 or more")
    generator = torch.Generator().manual_seed(seed)
    network = DecolleNetwork(spec, len(classes), generator)
    spikes_TBI = torch.from_numpy(recordings.dense(np.arange(len(recordings))))
    lsuv(network, spikes_TBI.float(), mean, variance, generator)
    calibration = calibrate(network, recordings)
    layers: tuple[Layer, ...] = ()
    quality: list[dict[str, object]] = []
    for layer, ranges in zip(network, calibration.ranges, strict=True):
        roomy = FloatRanges(ranges.voltage * head_room, ranges.current * head_room)
        plan = plan_layer(layer, roomy, DEFAULT_WEIGHT_BITS, "mixed")
        grid = _roomy_grid(plan, head_room)
        first, *pooling = build(plan, grid)
        # `build` takes no more bits than the initial weights need, at the top of the synapse: no room to grow into.
        shift = top_shift(DEFAULT_WEIGHT_BITS, "mixed")
        stored = grid.integers(plan.weight).reshape(first.weight.shape) << shift
        exponent = round(math.log2(grid.unit)) - shift
        first = replace(first, weight=stored, weight_exp=exponent, weight_bits=DEFAULT_WEIGHT_BITS)
        layers += (first, *pooling)
        quality += [figures(plan, grid), *({} for _ in pooling)]
    program = Program(
        name=spec.name, layers=layers, classes=classes, input_shape=tuple(spec.dataset.input_shape),  # type: ignore[arg-type]
        steps=spec.dataset.chunk_size_test, burnin_steps=spec.training.burnin_steps, target=target,
        spec_yaml=model_spec_to_yaml(spec), checkpoint_sha256="", quantization=tuple(quality),
        prediction=spec.network.prediction,
    )  # fmt: skip
    return program, network


def _roomy_grid(plan: LayerPlan, head_room: float) -> Grid:
    """Of which the largest weight takes one part in `head_room`."""
    _, high = grid_limits(DEFAULT_WEIGHT_BITS)
    step = head_room * float(np.abs(plan.weight).max()) / high
    grid = plan.space.grid(step)
    if grid is not None:
        return grid
    # Registers allow no weights as fine as that: coarser ones, with more head room still.
    unit = plan.space.smallest_unit
    return Grid(DEFAULT_WEIGHT_BITS, "mixed", unit / plan.space.limit, unit)
