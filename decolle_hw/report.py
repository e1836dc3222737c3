"""Tables at the end of each command."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from decolle_hw.compiler.program import Program
from decolle_hw.fidelity import Fidelity, wilson_interval
from decolle_hw.progress import percent
from decolle_hw.sim.compare import Comparison
from decolle_hw.training.runs import Run
from decolle_hw.workflow import Compiled, Executed


def with_interval(hits: int, count: int) -> str:
    """A share with its 95 % Wilson interval."""
    low, high = wilson_interval(hits, count)
    return f"{percent(hits / count)}  (95 %: {100 * low:.1f}-{100 * high:.1f})"


def new_table(*columns: str) -> Table:
    """A table with its first column flush left, the figures flush right."""
    table = Table()
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    return table


def print_training(run: Run, console: Console) -> None:
    """Summary of `train`."""
    metrics, spec = run.metrics, run.spec
    last = metrics["history"][-1]
    console.print(
        f"{spec.name}: trained on {metrics['train_recordings']} recordings, {metrics['device']}", style="bold"
    )
    table = new_table("layer", "units", "test accuracy", "firing rate", "loss")  # fmt: skip
    for index, units in enumerate(spec.network.Mhid):
        table.add_row(
            str(index), str(units), percent(last["test_accuracy"][index]),
            f"{last['test_firing_rate'][index]:.3f}", f"{last['loss'][index]:.4f}",
        )  # fmt: skip
    console.print(table)
    hits = round(metrics["test_accuracy"][-1] * metrics["test_recordings"])
    console.print(
        f"test accuracy {with_interval(hits, metrics['test_recordings'])} on {metrics['test_recordings']} "
        f"recordings, {metrics['seconds']:.0f} s",
    )  # fmt: skip
    console.print(f"wrote {run.folder}", soft_wrap=True)


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
    console.print("integers", style="bold")
    table = new_table("layer", "du", "dv", "vth", "weight_exp", "weight rms error", "alpha error", "beta error",
        "|u| peak", "|v| peak",
    )  # fmt: skip
    rows = zip(compiled.program.layers, compiled.program.quantization, compiled.fidelity.register_peak, strict=True)
    for index, (layer, figures, peak) in enumerate(rows):
        low, high = int(layer.vth.min()), int(layer.vth.max())
        table.add_row(
            str(index), str(layer.du), str(layer.dv), str(low) if low == high else f"{low}..{high}",
            str(layer.weight_exp), percent(figures["weight_error_rms"]),
            f"{figures['alpha_error']:+.1e}", f"{figures['beta_error']:+.1e}", percent(peak["u"]), percent(peak["v"]),
        )  # fmt: skip
    console.print(table)
    console.print("peaks are shares of the 24-bit register, over the recordings below")


def _print_fidelity(fidelity: Fidelity, console: Console) -> None:
    console.print(f"float against integer, {fidelity.recordings} test recordings", style="bold")
    table = new_table("layer", "same spikes", "rate float", "rate integer")  # fmt: skip
    rows = zip(fidelity.spike_agreement, fidelity.float_rate, fidelity.integer_rate, strict=True)
    for index, (agreement, float_rate, integer_rate) in enumerate(rows):
        table.add_row(str(index), f"{100 * agreement:.2f} %", f"{float_rate:.4f}", f"{integer_rate:.4f}")
    console.print(table)
    console.print(
        f"accuracy float   {with_interval(fidelity.float_hits, fidelity.recordings)}\n"
        f"accuracy integer {with_interval(fidelity.integer_hits, fidelity.recordings)}, "
        f"same decision on {fidelity.same_decision} of {fidelity.recordings}",
    )


def print_executed(executed: Executed, console: Console) -> None:
    """Summary of `run --sim`."""
    count = len(executed.labels)
    console.print(f"{executed.program.name} in {executed.backend}", style="bold")
    table = new_table("figure", "value")
    table.add_row("recordings", str(count))
    table.add_row("accuracy", with_interval(executed.hits, count))
    for index, rate in enumerate(executed.firing_rates):
        table.add_row(f"firing rate, layer {index}", f"{rate:.4f}")
    table.add_row("time", f"{executed.seconds:.1f} s, {count / executed.seconds:.1f} recordings/s")
    console.print(table)
    if executed.comparison is not None:
        print_comparison(executed.comparison, console)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """One line on equality, one on the first divergence if there is one."""
    parts = ", ".join(f"{name} {count:,}" for name, (count, _) in comparison.per_quantity.items())
    console.print(
        f"Lava against the integer reference: {comparison.compared:,} values compared ({parts}), "
        f"{comparison.mismatches:,} mismatches", soft_wrap=True,
    )  # fmt: skip
    if comparison.first is not None:
        console.print(f"first divergence (left is the reference): {comparison.first}")


def print_random(results: list[tuple[Program, Comparison]], console: Console) -> None:
    """Summary of `verify --random`."""
    console.print("random networks, Lava against the integer reference", style="bold")
    table = new_table("network", "neuron", "layers", "values compared", "mismatches")  # fmt: skip
    for program, comparison in results:
        sizes = "-".join(str(n) for n in (program.num_inputs, *(layer.num_neurons for layer in program.layers)))
        table.add_row(
            program.name, program.layers[0].neuron, sizes, f"{comparison.compared:,}", f"{comparison.mismatches:,}"
        )
    console.print(table)
    compared = sum(comparison.compared for _, comparison in results)
    mismatches = sum(comparison.mismatches for _, comparison in results)
    console.print(f"{compared:,} values compared, {mismatches:,} mismatches")
    for program, comparison in results:
        if comparison.first is not None:
            console.print(f"{program.name}: first divergence: {comparison.first}")
