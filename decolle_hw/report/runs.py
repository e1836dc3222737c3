"""Tables of `runs`: the list, one run, and several side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from decolle_hw.browsing.artifacts import FoundArtifact, made_from
from decolle_hw.browsing.compare import ComparedRuns
from decolle_hw.browsing.runs import FoundRun, Unusable
from decolle_hw.progress import percent
from decolle_hw.report.tables import new_table, with_interval

SHOWN_EPOCHS = 20  # of a longer history every n-th, the best and the last
NOTHING = "-"  # not known yet, or not there
LONG_VALUE = 40  # characters


def print_runs(
    root: Path, runs: Sequence[FoundRun], names: dict[Path, str], artifacts: Sequence[FoundArtifact], console: Console
) -> None:
    """The list. `names`: `last`, `last-1`, ... by folder."""
    console.print(f"{len(runs)} run{'' if len(runs) == 1 else 's'} below {root}", style="bold")
    if not runs:
        console.print("`decolle-hw train` makes the first")
        return
    table = new_table("run", "name", "epochs", "state", "best", "last epoch", "time", "data", "compiled to", "changed")
    for column in table.columns[7:]:
        column.justify = "left"
    for run in runs:
        table.add_row(
            run.name, names[run.folder], f"{len(run.history)} of {run.planned}", run.state,
            _share(run.best_accuracy), _share(run.last_accuracy), duration(run.seconds), _short_data(run),
            "\n".join(str(one.path) for one in made_from(run, artifacts)) or NOTHING, changes(run),
        )  # fmt: skip
    console.print(table)
    console.print("accuracy of the last layer on the test recordings; changed: against the model of that name")


def print_artifacts(runs: Sequence[FoundRun], artifacts: Sequence[FoundArtifact], console: Console) -> None:
    """What was compiled, and from which run."""
    if not artifacts:
        return
    table = new_table("compiled network", "target", "from", "cores", "learns on chip", "float", "integers")
    table.columns[2].justify = "left"
    for one in artifacts:
        run = next((run for run in runs if made_from(run, [one])), None)
        table.add_row(
            str(one.path), one.head.target, "none of these runs" if run is None else run.name,
            NOTHING if one.cores is None else str(one.cores), "yes" if one.head.learns else "no",
            NOTHING if run is None else _share(run.best_accuracy), _share(one.integer_accuracy),
        )  # fmt: skip
    console.print(table)
    if any(one.cores is None for one in artifacts):
        console.print(f"{NOTHING}: NAME.report.json is not beside the network, or does not say it")


def print_unusable(unusable: Sequence[Unusable], console: Console) -> None:
    """What lies among runs and networks and is neither."""
    for one in unusable:
        console.print(f"not usable: {one.path}: {one.reason}", style="yellow", soft_wrap=True)


def print_run(run: FoundRun, artifacts: Sequence[FoundArtifact], console: Console) -> None:
    """All about one."""
    console.print(f"{run.name}: {run.state}, {len(run.history)} of {run.planned} epochs", style="bold")
    console.print(f"data {run.data}", soft_wrap=True)
    if run.metrics.get("diverged"):
        console.print(f"diverged: in {run.metrics['diverged']}", soft_wrap=True)
    changed = "another YAML than those of the zoo" if run.changed is None else changes(run, "; ") or "as in the zoo"
    console.print(f"{run.spec.name}: {changed}", soft_wrap=True)
    if run.history:
        _print_history(run, console)
        tested = run.metrics["test_recordings"]
        assert run.best_accuracy is not None
        console.print(
            f"best epoch {run.best_epoch}: test accuracy {with_interval(round(run.best_accuracy * tested), tested)} "
            f"on {tested} recordings, chosen on them; {duration(run.seconds)} on {run.metrics['device']}"
        )
    else:
        console.print("no epoch was tested yet")
    print_artifacts([run], made_from(run, artifacts), console)
    if not made_from(run, artifacts):
        console.print(f"nothing here was compiled from it: decolle-hw compile {run.folder}", soft_wrap=True)


def print_compared(compared: ComparedRuns, artifacts: Sequence[FoundArtifact], console: Console) -> None:
    """One column per run: what differs, then the figures."""
    runs = compared.runs
    table = new_table("", *(run.name for run in runs))
    for key, values in compared.differing.items():
        table.add_row(key, *(shown(value) for value in values))
    table.add_section()
    for name, row in _figures(runs, artifacts):
        table.add_row(name, *row)
    console.print(table)
    if not compared.differing:
        console.print("the descriptions are the same")
    if not compared.same_test:
        console.print("note: not tested on the same recordings in the same steps; accuracies cannot be compared")


def _figures(runs: Sequence[FoundRun], artifacts: Sequence[FoundArtifact]) -> list[tuple[str, list[str]]]:
    made = [made_from(run, artifacts) for run in runs]
    return [
        ("state", [run.state for run in runs]),
        ("epochs", [f"{len(run.history)} of {run.planned}" for run in runs]),
        ("best epoch", [str(run.best_epoch or NOTHING) for run in runs]),
        ("test accuracy, best epoch", [_share(run.best_accuracy) for run in runs]),
        ("  95 % interval", [_interval(run) for run in runs]),
        ("test accuracy, last epoch", [_share(run.last_accuracy) for run in runs]),
        ("loss, last epoch", [_of_last(run, "loss", 4) for run in runs]),
        ("firing rates, last epoch", [_of_last(run, "test_firing_rate", 3) for run in runs]),
        ("time", [duration(run.seconds) for run in runs]),
        ("device", [str(run.metrics.get("device", NOTHING)) for run in runs]),
        ("compiled to", ["\n".join(str(one.path) for one in found) or NOTHING for found in made]),
        ("  cores", ["\n".join(str(one.cores or NOTHING) for one in found) or NOTHING for found in made]),
        ("  integer accuracy", ["\n".join(_share(one.integer_accuracy) for one in found) or NOTHING for found in made]),
    ]


def _print_history(run: FoundRun, console: Console) -> None:
    """Figures of a row stand for the layers, from input to output."""
    table = new_table("epoch", "test accuracy", "firing rate", "loss", "learning rate", "seconds")
    history = run.history
    every = -(-len(history) // SHOWN_EPOCHS)
    for record in history:
        if record["epoch"] % every and record["epoch"] not in (1, run.best_epoch, len(history)):
            continue
        table.add_row(
            f"{record['epoch']}{' best' if record['epoch'] == run.best_epoch else ''}",
            " ".join(f"{100 * share:.1f}" for share in record["test_accuracy"]) + " %",
            _row(record["test_firing_rate"], 3), _row(record["loss"], 4),
            " ".join(f"{rate:.3g}" for rate in dict.fromkeys(record.get("learning_rate", []))) or NOTHING,
            f"{record['seconds']:.1f}",
        )  # fmt: skip
    console.print(table)


def changes(run: FoundRun, between: str = "\n") -> str:
    """``key=value`` of what was changed, in the words of --set."""
    if run.changed is None:
        return "own YAML"
    return between.join(f"{key}={shown(now)}" for key, now, _ in run.changed)


def shown(value: Any) -> str:
    """A value of a description, on one line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONG_VALUE else text[: LONG_VALUE - 3] + "..."


def duration(seconds: float) -> str:
    """``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _short_data(run: FoundRun) -> str:
    dataset = run.spec.dataset
    return dataset.name if dataset.path is None else f"{dataset.name} {Path(dataset.path).name}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else percent(value)


def _row(values: Sequence[float], digits: int) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def _of_last(run: FoundRun, key: str, digits: int) -> str:
    return _row(run.history[-1][key], digits) if run.history else NOTHING


def _interval(run: FoundRun) -> str:
    if run.best_accuracy is None:
        return NOTHING
    tested = run.metrics["test_recordings"]
    return with_interval(round(run.best_accuracy * tested), tested).partition("95 %: ")[2].rstrip(")")
