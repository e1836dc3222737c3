"""Tables of `compile`: cores against limits, estimates, numerics, accuracy."""

from __future__ import annotations

from rich.console import Console

from decolle_hw.compiler.estimates.result import Estimate
from decolle_hw.compiler.placement import RESOURCES, Placement
from decolle_hw.compiling.pipeline import Compiled
from decolle_hw.fidelity.summary import Fidelity
from decolle_hw.progress import percent
from decolle_hw.report.lowered import print_lowered
from decolle_hw.report.tables import new_table, with_interval


def print_compiled(compiled: Compiled, console: Console) -> None:
    """Summary of `compile`."""
    console.print(f"from {compiled.source.described}", soft_wrap=True)
    for note in compiled.source.notes:
        console.print(f"note: {note}", soft_wrap=True)
    _print_placement(compiled, console)
    if compiled.estimate is not None:
        _print_estimate(compiled.estimate, console)
    elif not compiled.request.dry_run:
        console.print("no estimates: give recordings with --data to measure spikes on")
    if compiled.compilation is not None:
        _print_numerics(compiled, console)
    if compiled.fidelity is not None:
        _print_fidelity(compiled.fidelity, console)
        if compiled.source.plan.output:
            console.print("these are of the network as it was trained, before it was given an output layer to learn")
    if compiled.lowered is not None:
        print_lowered(compiled.lowered, console)
    for warning in compiled.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    for path in compiled.written:
        console.print(f"wrote {path}", soft_wrap=True)


def _print_placement(compiled: Compiled, console: Console) -> None:
    graph, placement = compiled.mapped.graph, compiled.mapped.placement
    target = compiled.request.wanted.target
    console.print(f"{graph.name} on {target.name}: cores", style="bold")
    table = new_table("layer", "neurons", "synapses", "cores", "at least", "limited by", *RESOURCES)
    for tiling in placement.tilings:
        population = graph.population(tiling.population)
        synapses = sum(graph.synapses(connection) for connection in graph.into(population.name))
        limits = placement.limits.by_resource()
        shares = [percent(tiling.fullest[resource] / limits[resource]) for resource in RESOURCES]
        table.add_row(
            population.name, f"{population.size:,}", f"{synapses:,}", str(tiling.cores), str(tiling.bound.cores),
            tiling.limited_by, *shares,
        )  # fmt: skip
    console.print(table)
    console.print("shares are those of the fullest core of the layer; no placement by blocks has fewer than `at least`")
    console.print(_where(placement, target.usable_cores.value))
    uncertain = sorted({name for name, limit in target.limits if limit.confidence == "assumed"} & set(CORE_LIMITS))
    if uncertain:
        console.print(
            f"assumed, not published for {target.name}: {', '.join(uncertain)}; `decolle-hw targets {target.name}` "
            "has every limit and its source", soft_wrap=True,
        )  # fmt: skip
    for note in placement.notes:
        console.print(f"note: {note}", soft_wrap=True)


# Limits of a core that decide on how many there are.
CORE_LIMITS = ("neurons_per_core", "synaptic_memory_bits", "in_axons", "out_axons", "axon_atoms")


def _where(placement: Placement, usable: int) -> str:
    cores = len(placement.cores)
    chips = f"{placement.chips} chip{'s' if placement.chips > 1 else ''}"
    ratio = f"{cores / placement.bound:.2f} x the lower bound of {placement.bound}" if placement.bound else ""
    board = "no board is large enough" if placement.board is None else f"board: {placement.board}"
    return f"{cores} cores ({ratio}) on {chips} of {usable} usable cores; {board}"


def _print_estimate(estimate: Estimate, console: Console) -> None:
    steps = estimate.all_steps
    console.print(
        f"estimates per time step, measured on {estimate.recordings} recordings of {estimate.steps} steps", style="bold"
    )
    table = new_table("layer", "SynOps", "neuron updates", "spikes", "messages", "dynamic energy [nJ]")
    for row in (*estimate.layers, None):
        events = estimate.total if row is None else row.events
        energy = estimate.energy if row is None else row.energy
        table.add_row(
            "all" if row is None else row.name, f"{events.synaptic_ops / steps:,.0f}",
            f"{events.updates / steps:,.0f}", f"{events.spikes / steps:,.1f}", f"{events.messages / steps:,.1f}",
            "not known" if energy is None else f"{energy.total / steps / 1000:,.2f}",
        )  # fmt: skip
    console.print(table)
    console.print(f"energy: {estimate.energy_label}", soft_wrap=True)
    static = "not known" if estimate.static_power_mw is None else f"{estimate.static_power_mw} mW"
    console.print(f"static power: {static}; it comes on top")
    if estimate.time is not None:
        console.print(
            f"time step {estimate.time.step_ns / 1000:.2f} us, of it barrier {estimate.time.barrier_ns / 1000:.2f} us: "
            f"{estimate.time.steps_per_second:,.0f} steps per second; busiest is core {estimate.time.core} "
            f"({estimate.time.population}, {estimate.time.limited_by.replace('_', ' ')})", soft_wrap=True,
        )  # fmt: skip
    metrics = estimate.neurobench
    if metrics is not None:
        operations = metrics.synaptic_operations
        updates = "not measured" if metrics.membrane_updates is None else f"{metrics.membrane_updates:,.0f}"
        console.print(
            f"NeuroBench, per recording: footprint {metrics.footprint:,} bytes, "
            f"connection_sparsity {metrics.connection_sparsity:.3f}, "
            f"activation_sparsity {metrics.activation_sparsity:.3f}, "
            f"synaptic_operations Dense {operations.Dense:,.0f}, Effective_MACs {operations.Effective_MACs:,.0f}, "
            f"Effective_ACs {operations.Effective_ACs:,.0f}, membrane_updates {updates}", soft_wrap=True,
        )  # fmt: skip


def _print_numerics(compiled: Compiled, console: Console) -> None:
    compilation, program = compiled.compilation, compiled.program
    assert compilation is not None and program is not None
    console.print("integers", style="bold")
    table = new_table(
        "layer", "weight bits", "weight_exp", "weight rms error", "same spikes (calibration)", "du", "dv", "vth",
        "u", "v", "r",
    )  # fmt: skip
    # Without an output layer that was added to learn: it has no float weights that were rounded.
    rows = zip(compilation.program.layers, compilation.program.quantization, compilation.ranges, strict=True)
    for index, (layer, figures, ranges) in enumerate(rows):
        if layer.is_pooling:
            table.add_row(f"{index} pool", *[""] * 10)
            continue
        low, high = int(layer.vth.min()), int(layer.vth.max())
        signs = "" if layer.sign_mode == "mixed" else f" {layer.sign_mode}"
        described = {register.name: register.describe() for register in ranges}
        table.add_row(
            str(index), f"{layer.weight_bits}{signs}", str(layer.weight_exp), percent(figures["weight_error_rms"]),
            percent(figures["spike_agreement"]), str(layer.du), str(layer.dv),
            str(low) if low == high else f"{low}..{high}", *(described.get(name, "") for name in "uvr"),
        )  # fmt: skip
    console.print(table)
    console.print(
        f"u, v, r: proven where no input whatever overflows the register, else limit / peak measured on "
        f"{compilation.recordings} calibration recordings", soft_wrap=True,
    )  # fmt: skip
    errors = [figures for figures in compilation.program.quantization if figures]
    console.print(
        "largest error of a decay factor per step: "
        + ", ".join(
            f"{name} {max((figures[name + '_error'] for figures in errors), key=abs):+.1e}"
            for name in ("alpha", "beta", "alpharp")
        )
    )


def _print_fidelity(fidelity: Fidelity, console: Console) -> None:
    console.print(f"float against integer, {fidelity.recordings} test recordings", style="bold")
    table = new_table("layer", "same spikes", "rate float", "rate integer")  # fmt: skip
    rows = zip(
        fidelity.compared_layers, fidelity.spike_agreement, fidelity.float_rate, fidelity.integer_rate, strict=True
    )
    for index, agreement, float_rate, integer_rate in rows:
        table.add_row(str(index), f"{100 * agreement:.2f} %", f"{float_rate:.4f}", f"{integer_rate:.4f}")
    console.print(table)
    console.print(
        f"accuracy float   {with_interval(fidelity.float_hits, fidelity.recordings)}\n"
        f"accuracy integer {with_interval(fidelity.integer_hits, fidelity.recordings)}, "
        f"same decision on {fidelity.same_decision} of {fidelity.recordings}",
    )
