"""`runs`: what was trained, and what was compiled from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.completing import complete_runs
from decolle_hw.commands.options import check_outputs, json_option, open_console, runs_option, write_result
from decolle_hw.errors import UsageError

SORT_KEYS = ("time", "model", "best", "last", "epochs", "seconds")

artifacts_option = click.option(
    "--artifacts", "folders", type=click.Path(path_type=Path), multiple=True,
    help="Folder of compiled networks; default: this one. May be given several times.",
)  # fmt: skip


@click.group(invoke_without_command=True)
@runs_option
@artifacts_option
@click.option(
    "--sort", type=click.Choice(SORT_KEYS), default="time", show_default=True,
    help="Newest, best, longest first; models by name.",
)  # fmt: skip
@json_option
@click.pass_context
def runs(context: click.Context, runs: Path, folders: tuple[Path, ...], sort: str, json_path: Path | None) -> None:
    """List training runs: how far they came, how good they are, what was compiled from them.

    `last` is the newest run, `last-1` the one before; `runs show` and `runs compare` take these names, the name of
    a run's folder, or its path.
    """
    if context.invoked_subcommand is not None:
        given = [name for name in ("sort", "json_path") if _is_given(context, name)]
        if given:
            option = {"sort": "--sort", "json_path": "--json"}[given[0]]
            raise UsageError(f"{option}: stands after `{context.invoked_subcommand}`, or is for the list alone")
        return
    from decolle_hw.browsing.artifacts import find_artifacts
    from decolle_hw.browsing.runs import find_runs
    from decolle_hw.report.runs import print_artifacts, print_runs, print_unusable

    check_outputs(json=json_path)
    console = open_console()
    found, unusable = find_runs(runs)
    artifacts, others = find_artifacts(folders or (Path(),))
    names = {run.folder: "last" if not number else f"last-{number}" for number, run in enumerate(found)}
    ordered = sorted(found, key=lambda run: _sort_value(run, sort))
    print_runs(runs, ordered, names, artifacts, console)
    print_artifacts(found, artifacts, console)
    print_unusable([*unusable, *others], console)
    content = {
        "runs": [run.to_json() | {"name": names[run.folder]} for run in ordered],
        "artifacts": [one.to_json() for one in artifacts],
        "unusable": [one.to_json() for one in [*unusable, *others]],
    }
    write_result(content, json_path, console)


@runs.command()
@click.argument("run", default="last", shell_complete=complete_runs)
@runs_option
@artifacts_option
@json_option
def show(run: str, runs: Path, folders: tuple[Path, ...], json_path: Path | None) -> None:
    """All about one RUN (default: last): what was changed, each epoch, what was compiled from it."""
    from decolle_hw.browsing.artifacts import made_from
    from decolle_hw.report.runs import print_run

    check_outputs(json=json_path)
    console = open_console()
    (found,), artifacts = _choose((run,), runs, folders)
    print_run(found, artifacts, console)
    made = [one.to_json() for one in made_from(found, artifacts)]
    write_result(found.to_json() | {"history": found.history, "artifacts": made}, json_path, console)


@runs.command()
@click.argument("run", nargs=-1, required=True, shell_complete=complete_runs)
@runs_option
@artifacts_option
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Also draw the learning curves, as a PNG.")
@json_option
def compare(
    run: tuple[str, ...], runs: Path, folders: tuple[Path, ...], plot_path: Path | None, json_path: Path | None
) -> None:
    """Two RUNs or more in one table: in what their descriptions differ, and what came of it."""
    from decolle_hw.browsing.compare import compare_runs
    from decolle_hw.report.runs import print_compared

    if len(run) < 2:
        raise UsageError(f"compare {run[0]}: give two runs or more, for example `decolle-hw runs compare last last-1`")
    check_outputs(json=json_path, plot=plot_path)
    console = open_console()
    chosen, artifacts = _choose(run, runs, folders)
    if len({one.folder.resolve() for one in chosen}) < len(chosen):
        raise UsageError(f"compare {' '.join(run)}: names a run twice; give each once")
    compared = compare_runs(chosen)
    print_compared(compared, artifacts, console)
    write_result(compared.to_json(), json_path, console)
    if plot_path is not None:
        from decolle_hw.browsing.curves import draw_curves

        draw_curves(chosen, plot_path)
        console.print(f"wrote {plot_path}", soft_wrap=True)


def _choose(wanted: tuple[str, ...], root: Path, folders: tuple[Path, ...]) -> tuple[list[Any], list[Any]]:
    """Runs by what the user calls them, and all compiled networks."""
    from decolle_hw.browsing.artifacts import find_artifacts
    from decolle_hw.browsing.choose import choose_run
    from decolle_hw.browsing.runs import find_runs

    context = click.get_current_context()
    before = context.parent  # that of `runs`, where the same may have been said
    if before is not None and not _is_given(context, "runs"):
        root = before.params.get("runs", root)
    if before is not None and not folders:
        folders = before.params.get("folders", ())
    artifacts, _ = find_artifacts(folders or (Path(),))
    # Whoever gives paths need not have a folder of runs here, nor wait until all that is in it was read.
    are_paths = all(os.sep in text and Path(text).is_dir() for text in wanted)
    found, unusable = find_runs(root) if root.is_dir() and not are_paths else ([], [])
    return [choose_run(text, root, found, unusable) for text in wanted], artifacts


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _sort_value(run: Any, key: str) -> Any:
    """Largest first but for names; what is not known comes last."""
    figure = {
        "time": run.started, "best": run.best_accuracy, "last": run.last_accuracy, "epochs": len(run.history),
        "seconds": run.seconds, "model": None,
    }[key]  # fmt: skip
    return (run.name,) if key == "model" else (figure is None, -(figure or 0.0))
