"""Tables at the end of each command."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from decolle_hw.execution import Executed
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.fidelity.summary import Fidelity
from decolle_hw.progress import percent
from decolle_hw.sim.compare import Comparison
from decolle_hw.training.evaluation import Evaluated
from decolle_hw.training.runs import Run
from decolle_hw.workflow import Compiled

WORST_CLASSES = 5  # shown by `evaluate`


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
    """Summary of `train`: the best epoch, whose weights are compiled."""
    metrics, spec, best = run.metrics, run.spec, run.best
    console.print(
        f"{spec.name}: trained on {metrics['train_recordings']} recordings, {metrics['device']}", style="bold"
    )
    console.print(_of_layers(run, best["test_accuracy"], best["test_firing_rate"], best["loss"]))
    epochs = len(metrics["history"])
    hits = round(metrics["test_accuracy"][-1] * metrics["test_recordings"])
    console.print(
        f"test accuracy {with_interval(hits, metrics['test_recordings'])} on {metrics['test_recordings']} recordings, "
        f"{metrics['seconds']:.0f} s"
    )
    early = ", stopped early" if metrics.get("stopped_early") else ""
    last = metrics["history"][-1]["test_accuracy"][-1]
    if best["epoch"] == epochs:
        console.print(f"best epoch: the last of {epochs}{early}")
    else:
        console.print(
            f"best epoch: {best['epoch']} of {epochs}{early}, chosen on the test recordings "
            f"(last epoch: {percent(last)})"
        )
    console.print(f"wrote {run.folder}", soft_wrap=True)


def print_evaluated(evaluated: Evaluated, console: Console) -> None:
    """Summary of `evaluate`, with the classes that are recognised worst."""
    run, count = evaluated.run, len(evaluated.labels)
    console.print(
        f"{run.spec.name}: {evaluated.weights} checkpoint (epoch {evaluated.epoch}) on {count} recordings", style="bold"
    )
    console.print(_of_layers(run, evaluated.accuracy, evaluated.firing_rate, None))
    console.print(f"accuracy {with_interval(evaluated.hits, count)}")
    confusion = evaluated.confusion()
    present = [label for label in range(len(run.classes)) if confusion[label].sum() > confusion[label, label]]
    worst = sorted(present, key=lambda label: confusion[label, label] / confusion[label].sum())[:WORST_CLASSES]
    if not worst:
        return
    table = new_table("class", "recordings", "recognised", "most often taken for")
    for label in worst:
        row = confusion[label].copy()
        recordings, right, row[label] = int(row.sum()), int(row[label]), 0
        table.add_row(
            run.classes[label], str(recordings), percent(right / recordings),
            f"{run.classes[int(row.argmax())]} ({row.max()})",
        )  # fmt: skip
    console.print(table)


def _of_layers(run: Run, accuracy: list[float], firing_rate: list[float], loss: list[float] | None) -> Table:
    table = new_table("layer", "neurons", "accuracy", "firing rate", *(["loss"] if loss else []))
    for index, shape in enumerate(run.spec.shapes(len(run.classes))):
        figures = [percent(accuracy[index]), f"{firing_rate[index]:.3f}", *([f"{loss[index]:.4f}"] if loss else [])]
        table.add_row(str(index), "x".join(map(str, shape.map_shape)), *figures)
    return table


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
    side_by_side = f", {executed.jobs} jobs" if executed.jobs > 1 else ""
    table.add_row("recordings at a time", f"{executed.batch}{side_by_side}")
    console.print(table)
    if executed.comparison is not None:
        print_comparison(executed.comparison, console)
        if executed.comparison.first is not None:
            console.print(f"the recording is {executed.names[executed.comparison.first.recording]}", soft_wrap=True)


def print_comparison(comparison: Comparison, console: Console, stage: str = "Lava") -> None:
    """One line on equality, one on the first divergence if there is one."""
    parts = ", ".join(f"{name} {count:,}" for name, (count, _) in comparison.per_quantity.items())
    console.print(
        f"{stage} against the integer reference: {comparison.compared:,} values compared ({parts}), "
        f"{comparison.mismatches:,} mismatches", soft_wrap=True,
    )  # fmt: skip
    if comparison.first is not None:
        console.print(f"first divergence: {comparison.first.between('the integer reference', stage)}", soft_wrap=True)
