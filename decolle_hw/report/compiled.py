"""Tables of `compile`: resources against limits, estimates, numerics, accuracy."""

from __future__ import annotations

from rich.console import Console

from decolle_hw.fidelity.summary import Fidelity
from decolle_hw.progress import percent
from decolle_hw.report.tables import new_table, with_interval
from decolle_hw.workflow import Compiled


def print_compiled(compiled: Compiled, console: Console) -> None:
    """Summary of `compile`: resources against limits, numerics, accuracy."""
    _print_resources(compiled, console)
    _print_numerics(compiled, console)
    _print_fidelity(compiled.fidelity, console)
    console.print(f"wrote {compiled.path}\nwrote {compiled.report_path}", soft_wrap=True)


def _print_resources(compiled: Compiled, console: Console) -> None:
    report = compiled.resources
    console.print(f"{compiled.program.name} on {compiled.target.name}: resources", style="bold")
    table = new_table("layer", "neurons", "synapses", "memory [KiB]", "format", "cores", "limited by")  # fmt: skip
    for layer in report.layers:
        table.add_row(
            str(layer.layer), f"{layer.neurons:,}", f"{layer.synapses:,}", f"{layer.memory_bits / 8192:.1f}",
            layer.memory_format, str(layer.cores), layer.limited_by,
        )  # fmt: skip
    console.print(table)
    console.print(
        f"at least {report.cores} of {report.usable_cores} usable cores of one chip; smallest board: {report.board}",
    )
    console.print("limits of the target", style="bold")
    for limit in report.limits_used:
        console.print(f"  {limit.name} = {limit.value} ({limit.confidence}: {limit.source})")
    for note in report.notes:
        console.print(f"note: {note}")


def _print_numerics(compiled: Compiled, console: Console) -> None:
    compilation = compiled.compilation
    console.print("integers", style="bold")
    table = new_table(
        "layer", "weight bits", "weight_exp", "weight rms error", "same spikes (calibration)", "du", "dv", "vth",
        "u", "v", "r",
    )  # fmt: skip
    rows = zip(compiled.program.layers, compiled.program.quantization, compilation.ranges, strict=True)
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
    errors = [figures for figures in compiled.program.quantization if figures]
    console.print(
        "largest error of a decay factor per step: "
        + ", ".join(
            f"{name} {max((figures[name + '_error'] for figures in errors), key=abs):+.1e}"
            for name in ("alpha", "beta", "alpharp")
        )
    )
    for warning in compilation.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


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
