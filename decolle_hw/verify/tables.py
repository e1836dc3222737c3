"""What `verify` prints: the chain stage by stage and layer by layer, and the verdict."""

from __future__ import annotations

from rich.console import Console

from decolle_hw.compiler.layers import DenseLayer, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.fidelity.agreement import SpikeAgreement
from decolle_hw.fidelity.chain import FLOAT, PAIRS, QUANTIZED, REFERENCE
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.report.tables import new_table, print_comparison, with_interval
from decolle_hw.sim.compare import Comparison
from decolle_hw.verify.verification import Verification, shape_of

UNDEFINED = "silent"  # no spike to correlate
SHORT = {REFERENCE: "integer"}
NOTHING = "-"  # not known, or not there
QUANTITIES = ("u", "v", "r", "spikes")


def print_verification(verification: Verification, console: Console) -> None:
    """Summary of `verify`."""
    program, chain = verification.program, verification.chain
    console.print(f"{program.name} along the chain, {len(chain.labels)} recordings", style="bold")
    if verification.run is None:
        console.print(
            f"the training run of {verification.artifact} is not below {verification.runs}: the chain begins with the "
            f"quantized network; name the run with --run",
            soft_wrap=True,
        )
    _print_stages(verification, console)
    _print_agreement(verification, console)
    _print_activity(verification, console)
    for warning in verification.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    if chain.comparison is None:
        console.print("nothing was compared with the integer reference (--backend reference)")
    else:
        assert verification.last_stage is not None
        _print_equality(verification, console)
        print_comparison(chain.comparison, console, verification.last_stage)
        if chain.comparison.first is not None:
            console.print(f"the recording is {verification.names[chain.comparison.first.recording]}", soft_wrap=True)
    checked = chain.comparison is not None or verification.max_drop is not None
    if checked and not verification.failures:
        console.print("verified", style="bold green")


def _print_stages(verification: Verification, console: Console) -> None:
    table = new_table("stage", "accuracy", "decisions changed")
    for stage in verification.to_json()["stages"]:
        changed = stage["decisions_changed"]
        table.add_row(
            stage["stage"], with_interval(stage["hits"], len(verification.chain.labels)),
            "" if changed is None else str(changed),
        )  # fmt: skip
    console.print(table)


def _print_agreement(verification: Verification, console: Console) -> None:
    has_float = FLOAT in verification.chain.decisions
    pairs = PAIRS if has_float else PAIRS[1:2]
    whole = pairs[-1]
    console.print("equal spikes", style="bold")
    table = new_table("layer", "neurons", *map(_named, pairs), "common", "over time", "potential")
    for index, (layer, figures) in enumerate(zip(verification.program.layers, verification.chain.layers, strict=True)):
        pair, potential = figures.agreement.get(whole), figures.potential
        cells = [_equal(figures.agreement.get(one)) for one in pairs]
        cells += [NOTHING, NOTHING] if pair is None else [_share(pair.overlap), _correlation(pair.time_correlation)]
        cells.append(_correlation(potential.value) if potential.count else NOTHING)
        table.add_row(f"{index} {layer.kind}", shape_of(layer), *cells)
    console.print(table)
    console.print(
        f"of {_named(whole)}: spikes in common (2 both / all), correlation over time of how many neurons spike, "
        f"correlation of potentials",
        soft_wrap=True,
    )


def _named(pair: tuple[str, str]) -> str:
    return " / ".join(SHORT.get(stage, stage) for stage in pair)


def _print_activity(verification: Verification, console: Console) -> None:
    program = verification.program
    console.print("firing rates, and the largest share of 24 bits that a register needs", style="bold")
    stages = [stage for stage in verification.chain.decisions if stage in (FLOAT, QUANTIZED, REFERENCE)]
    table = new_table("layer", *(SHORT.get(stage, stage) for stage in stages), "u", "v", "r")
    for index, (layer, figures) in enumerate(zip(program.layers, verification.chain.layers, strict=True)):
        rates = [f"{figures.rates[stage]:.4f}" if stage in figures.rates else NOTHING for stage in stages]
        table.add_row(f"{index} {layer.kind}", *rates, *_ranges(verification, index))
    console.print(table)
    if any("proven" in cell for index in range(len(program.layers)) for cell in _ranges(verification, index)):
        console.print("proven: no input whatever makes it wrap or saturate, as `compile` worked out", soft_wrap=True)


def _ranges(verification: Verification, index: int) -> list[str]:
    needed, compiled = verification.chain.layers[index].needed, verification.compiled_ranges(index)
    cells = []
    for name in "uvr":
        proven = ", proven" if compiled.get(name, {}).get("proven") else ""
        cells.append(f"{100 * needed[name] / STATE_LIMIT:.2f} %{proven}" if name in needed else NOTHING)
    return cells


def _print_equality(verification: Verification, console: Console) -> None:
    comparison = verification.chain.comparison
    assert comparison is not None
    console.print(f"integer reference against {verification.last_stage}: values compared, mismatches", style="bold")
    table = new_table("layer", "u", "v", "r", "spikes")
    for index, counts in enumerate(comparison.per_layer):
        cells = [f"{counts[name][0]:,} / {counts[name][1]:,}" if name in counts else "" for name in QUANTITIES]
        table.add_row(f"{index} {verification.program.layers[index].kind}", *cells)
    console.print(table)


def print_random(results: list[tuple[Program, Comparison]], console: Console) -> None:
    """Summary of `verify --random`."""
    console.print("random networks, Lava against the integer reference", style="bold")
    table = new_table("network", "neuron", "layers", "values compared", "mismatches")
    for program, comparison in results:
        inputs = "x".join(str(size) for size in program.input_shape if size > 1)
        sizes = ", ".join([inputs, *(_shortly(layer) for layer in program.layers)])
        table.add_row(
            program.name, program.layers[0].neuron, sizes, f"{comparison.compared:,}", f"{comparison.mismatches:,}"
        )
    console.print(table)
    compared = sum(comparison.compared for _, comparison in results)
    mismatches = sum(comparison.mismatches for _, comparison in results)
    console.print(f"{compared:,} values compared, {mismatches:,} mismatches")
    for number, (program, comparison) in enumerate(results):
        if comparison.first is not None:
            where = comparison.first.between("the integer reference", "Lava")
            console.print(f"network {number}, {program.name}: first divergence: {where}", soft_wrap=True)


def _shortly(layer: Layer) -> str:
    delayed = isinstance(layer, DenseLayer) and layer.max_delay
    return f"{'delayed' if delayed else layer.kind} {shape_of(layer)}"


def _equal(pair: SpikeAgreement | None) -> str:
    return "-" if pair is None else f"{100 * pair.agreement:.2f} %"


def _share(value: float | None) -> str:
    return UNDEFINED if value is None else f"{100 * value:.1f} %"


def _correlation(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.4f}"
