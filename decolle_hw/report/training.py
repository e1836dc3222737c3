"""Tables of `train` and `evaluate`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from decolle_hw.progress import percent
from decolle_hw.report.tables import new_table, with_interval
from decolle_hw.training.evaluation import Evaluated
from decolle_hw.training.runs import Run

WORST_CLASSES = 5  # shown by `evaluate`


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
