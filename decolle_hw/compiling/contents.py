"""What the report page says of a compiled network: figures of all stages, as plain values."""

# T steps, N neurons

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decolle_hw import __version__
from decolle_hw.compiler.estimates.result import Estimate
from decolle_hw.compiler.lowering.graph import Graph, Population
from decolle_hw.compiler.lowering.read import graph_of_program
from decolle_hw.compiler.lowering.stages import lower
from decolle_hw.compiler.placement import Core, Tiling
from decolle_hw.compiling.pipeline import Compiled
from decolle_hw.compiling.plastic import neuron_layers
from decolle_hw.fidelity.summary import Fidelity
from decolle_hw.fixedpoint import weight_limits
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.page import content as page
from decolle_hw.sim.reference import run_reference
from decolle_hw.targets import Target, shown


def page_content(compiled: Compiled) -> page.PageContent:
    """Everything that is known, in the words and units of the page."""
    target = compiled.request.wanted.target
    program, fidelity, estimate = compiled.program, compiled.fidelity, compiled.estimate
    names = _layer_names(compiled)
    return page.PageContent(
        name=compiled.mapped.graph.name,
        target=target.name,
        placement=_placement(compiled, target),
        target_description=target.description,
        problems=tuple(
            page.Problem(one.where, one.what, str(one.value), one.limit, one.remedy)
            for one in compiled.mapped.violations
        ),
        rasters=() if compiled.recording is None else tuple(_rasters(compiled, names)),
        raster_of="" if compiled.recording is None else "the first of the recordings that were measured",
        rates=() if fidelity is None else tuple(_rates(fidelity, _compared_names(compiled))),
        weights=() if program is None else tuple(_weights(compiled, names)),
        accuracy=() if fidelity is None else _accuracy(fidelity),
        costs=None if estimate is None else _costs(estimate),
        limits=tuple(_limits(target)),
        warnings=compiled.warnings,
        notes=compiled.source.notes + (() if compiled.lowered is None else compiled.lowered.notes),
        made=tuple(_made(compiled)),
    )


def _layer_names(compiled: Compiled) -> dict[int, str]:
    """Population of each layer of the program."""
    return _names_of(compiled.mapped.graph)


def _compared_names(compiled: Compiled) -> dict[int, str]:
    """The same of the network that was compared with its floats: as it was before an output layer was added."""
    assert compiled.compilation is not None
    return _names_of(lower(graph_of_program(compiled.compilation.program))[-1][1])


def _names_of(graph: Graph) -> dict[int, str]:
    return {population.layer: population.name for population in graph.populations if population.layer is not None}


def _placement(compiled: Compiled, target: Target) -> page.PlacementFigures:
    placement = compiled.mapped.placement
    messages = placement.traffic
    measured = compiled.estimate is not None
    assumed = "" if measured else "; nothing was measured: every neuron is taken to spike at every step"
    traffic = (
        page.Figure(
            "messages", messages.total, "per step", f"one for each spike and each core that it goes to{assumed}"
        ),
        page.Figure("within a core", messages.within_core, "per step"),
        page.Figure("within a tile", messages.within_tile, "per step"),
        page.Figure("between tiles", messages.between_tiles, "per step"),
        page.Figure("between chips", messages.between_chips, "per step"),
        page.Figure("hops east-west", messages.hops_east_west, "per step", "from tile to tile inside a chip"),
        page.Figure("hops north-south", messages.hops_north_south, "per step"),
    )
    return page.PlacementFigures(
        cores=tuple(_core(core) for core in placement.cores),
        populations=tuple(
            _population(compiled, population, tiling)
            for population, tiling in zip(compiled.mapped.graph.populations, placement.tilings, strict=True)
        ),
        limits={str(name): limit for name, limit in placement.limits.by_resource().items()},
        mesh=(target.mesh.value[0], target.mesh.value[1]),
        cores_per_tile=target.cores_per_tile.value,
        usable_cores=target.usable_cores.value,
        utilisation=placement.utilisation,
        board=placement.board,
        board_chips=placement.board_chips,
        traffic=traffic,
        notes=placement.notes,
    )


def _core(core: Core) -> page.CoreUse:
    is_map = not core.rows == core.columns == (0, 1)
    ranges = [("channels" if is_map else "neurons", core.channels)]
    if is_map:
        ranges += [("rows", core.rows), ("columns", core.columns)]
    block = ", ".join(f"{name} {low}-{high - 1}" for name, (low, high) in ranges)
    return page.CoreUse(
        core.index, core.chip, core.x, core.y, core.population, core.neurons, core.memory_bits, core.in_axons,
        core.out_axons, block,
    )  # fmt: skip


def _population(compiled: Compiled, population: Population, tiling: Tiling) -> page.PopulationUse:
    graph = compiled.mapped.graph
    synapses = sum(graph.synapses(connection) for connection in graph.into(population.name))
    shape = population.shape if population.shape[1:] != (1, 1) else population.shape[:1]
    return page.PopulationUse(
        population.name, shape, population.neuron, population.role, synapses, ", ".join(dict.fromkeys(tiling.forms)),
        tiling.bound.cores, tiling.limited_by,
    )  # fmt: skip


def _rasters(compiled: Compiled, names: dict[int, str]) -> Iterator[page.Raster]:
    assert compiled.program is not None and compiled.recording is not None
    trace = run_reference(compiled.program, compiled.recording)
    incoming = compiled.recording if trace.input is None else trace.input.spikes
    yield page.Raster("input", incoming[0])
    for index, layer in enumerate(trace.layers):
        yield page.Raster(names[index], layer.spikes[0])


def _rates(fidelity: Fidelity, names: dict[int, str]) -> Iterator[page.Rate]:
    rates = zip(fidelity.compared_layers, fidelity.float_rate, fidelity.integer_rate, strict=True)
    return (page.Rate(names[layer], of_float, of_integer) for layer, of_float, of_integer in rates)


def _weights(compiled: Compiled, names: dict[int, str]) -> Iterator[page.Weights]:
    """Integers times their scale, beside what they came from; of an imported network the integers alone."""
    program = compiled.program
    assert program is not None
    network = None if compiled.source.run is None else compiled.source.run.network()
    before = iter(()) if network is None else iter(_float_weights(network))
    if compiled.source.plan.output:  # nothing float stands behind the centring and the output layer
        before = islice(before, len(neuron_layers(program)) - 2)
    # Nothing is known of the grid of an imported network, or of an output layer that was added to learn.
    figures_of = program.quantization + ({},) * (len(program.layers) - len(program.quantization))
    for index, (layer, figures) in enumerate(zip(program.layers, figures_of, strict=True)):
        if layer.is_pooling:
            continue
        # `weight_scale` counts integers after `weight_exp`.
        scale = float(2.0**layer.weight_exp / figures["weight_scale"]) if figures.get("weight_scale") else 1.0
        _, _, step = weight_limits(layer.weight_bits, layer.sign_mode)
        yield page.Weights(
            names[index], layer.weight * scale, scale * step,
            next(before, None), layer.weight_bits, figures.get("weight_error_rms"),
        )  # fmt: skip


def _float_weights(network: DecolleNetwork) -> Iterator[NDArray[np.floating]]:
    for layer in network:
        yield layer.weight.detach().numpy()


def _accuracy(fidelity: Fidelity) -> tuple[page.AccuracyStage, ...]:
    return (
        page.AccuracyStage("float network", fidelity.float_hits, fidelity.recordings),
        page.AccuracyStage("integers", fidelity.integer_hits, fidelity.recordings),
    )


def _costs(estimate: Estimate) -> page.Costs:
    steps = estimate.all_steps
    layers = tuple(
        page.LayerCost(
            row.name, row.events.synaptic_ops / steps, row.events.updates / steps, row.events.spikes / steps,
            row.events.messages / steps,
            {} if row.energy is None else {kind: value / steps for kind, value in asdict(row.energy).items()},
        )
        for row in estimate.layers
    )  # fmt: skip
    time = estimate.time
    times = () if time is None else (
        page.Figure("time step", time.step_ns, "ns", time.label),
        page.Figure("of it the barrier", time.barrier_ns, "ns"),
        page.Figure("steps", time.steps_per_second, "per second"),
        page.Figure("busiest core", f"{time.core} ({time.population})", "", time.limited_by.replace("_", " ")),
    )  # fmt: skip
    static = page.Figure("static power", estimate.static_power_mw, "mW", "of all chips")
    return page.Costs(
        layers, estimate.energy_label, static, times, tuple(_neurobench(estimate)), estimate.notes,
        f"{estimate.recordings} recordings of {estimate.steps} steps",
    )  # fmt: skip


def _neurobench(estimate: Estimate) -> Iterator[page.Figure]:
    metrics = estimate.neurobench
    if metrics is None:
        return
    yield page.Figure("footprint", metrics.footprint, "bytes")
    yield page.Figure("connection_sparsity", metrics.connection_sparsity)
    yield page.Figure("activation_sparsity", metrics.activation_sparsity)
    for name, value in asdict(metrics.synaptic_operations).items():
        yield page.Figure(f"synaptic_operations: {name}", value, "per recording")
    yield page.Figure("membrane_updates", metrics.membrane_updates, "per recording")


def _limits(target: Target) -> Iterator[page.LimitLine]:
    for name, limit in target.limits:
        yield page.LimitLine(name, shown(limit.value), limit.source, limit.confidence, limit.note)
    for name, board in target.boards.items():
        yield page.LimitLine(f"board {name}", f"{board.value:,} chips", board.source, board.confidence, board.note)


def _made(compiled: Compiled) -> Iterator[page.Figure]:
    yield page.Figure("from", compiled.source.described)
    yield page.Figure("command", " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    yield page.Figure("version", f"decolle-hw {__version__}")
    if compiled.program is not None and compiled.program.checkpoint_sha256:
        yield page.Figure("SHA-256 of what it was made from", compiled.program.checkpoint_sha256)
