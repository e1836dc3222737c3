"""Tables of `run --sim --learn`."""

from __future__ import annotations

from rich.console import Console

from decolle_hw.learning.result import Accuracy, Session
from decolle_hw.progress import percent
from decolle_hw.report.tables import new_table, with_interval
from decolle_hw.sim.compare_learning import LearningComparison


def print_session(session: Session, console: Console) -> None:
    """Summary of `run --sim --learn`."""
    program, shown = session.learning.program, len(session.labels)
    where = "Lava" if session.backend == "lava" else "the integer reference"
    console.print(f"{program.name} learned on chip, in {where}", style="bold")
    table = new_table("figure", "value")
    table.add_row("recordings shown", f"{shown} in {session.passes} {'pass' if session.passes == 1 else 'passes'}")
    if session.presented_before:
        table.add_row("shown before", str(session.presented_before))
    for when, accuracy in (("before", session.before), ("after", session.after)):
        if accuracy is not None:
            table.add_row(f"test accuracy {when}, not learning", with_interval(accuracy.hits, accuracy.recordings))
    table.add_row("decided rightly while being taught", with_interval(session.hits, shown))
    table.add_row("time", f"{session.seconds:.1f} s, {shown / session.seconds:.1f} recordings/s")
    table.add_row("seed, rounding", f"{session.seed}, {session.rounding}")
    console.print(table)
    console.print(
        "while being taught the weights change with every step, so what the teacher has just said helps: no test",
        soft_wrap=True,
    )
    if session.note:
        console.print(f"note: {session.note}", soft_wrap=True)
    _print_layers(session, console)
    if session.before is not None and session.after is not None:
        _print_classes(session, session.before, session.after, console)
    if session.comparison is not None:
        print_learning_comparison(session.comparison, console)
    _print_saved(session, console)


def _print_layers(session: Session, console: Console) -> None:
    table = new_table(
        "plastic layer", "weights", "updates that changed one", "other than before", "rms change", "at limit"
    )
    for change in session.changes:
        table.add_row(
            str(change.layer), f"{change.weights:,}", f"{change.updates:,}", percent(change.different / change.weights),
            f"{change.rms:.2f}", percent(change.at_limit / change.weights),
        )  # fmt: skip
    console.print(table)


def _print_classes(session: Session, before: Accuracy, after: Accuracy, console: Console) -> None:
    table = new_table("class", "test recordings", "recognised before", "after")
    for label, name in enumerate(session.learning.program.classes):
        (was, count), (now, _) = before.of_class(label), after.of_class(label)
        if count:
            table.add_row(name, str(count), percent(was / count), percent(now / count))
    console.print(table)


def print_learning_comparison(comparison: LearningComparison, console: Console) -> None:
    """One line on equality, one on the first difference if there is one."""
    parts = ", ".join(f"{name} {count:,}" for name, (count, _) in comparison.per_quantity.items())
    console.print(
        f"Lava against the integer reference: {comparison.compared:,} values compared ({parts}), "
        f"{comparison.mismatches:,} mismatches; weights and traces after every epoch, all else at every step",
        soft_wrap=True,
    )
    if comparison.first is not None:
        console.print(f"first difference: {comparison.first.between('the integer reference', 'Lava')}", soft_wrap=True)


def _print_saved(session: Session, console: Console) -> None:
    saved = session.saved_artifact
    if saved is not None:
        accuracy = with_interval(saved.hits, saved.recordings)
        console.print(
            f"test accuracy of the saved artifact {accuracy}: a weight at rest is even, one that learns need not be",
            soft_wrap=True,
        )
    if session.checkpoint is not None:
        metrics = session.checkpoint.metrics
        hits = round(metrics["test_accuracy"][-1] * metrics["test_recordings"])
        console.print(
            f"accuracy of the float network with these weights {with_interval(hits, metrics['test_recordings'])}"
        )
    for path in session.written:
        console.print(f"wrote {path}", soft_wrap=True)
