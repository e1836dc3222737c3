"""What shells offer for models, targets, runs and artifacts. A key press waits for it: nothing heavy is imported."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

PROGRAM = "decolle-hw"
VARIABLE = "_DECOLLE_HW_COMPLETE"
SPEC = "spec.yaml"  # of a run folder: training.runs.SPEC, which imports torch
MOST_RUNS = 50  # the newest; more than a screen helps nobody
HOW = {
    "bash": "add the line `. FILE` to ~/.bashrc",
    "zsh": "add the line `. FILE` to ~/.zshrc, after compinit",
    "fish": "save it as ~/.config/fish/completions/decolle-hw.fish",
}


def script_of(shell: str, root: click.Command) -> str:
    """The script that click makes for a shell, with a line that says where it belongs."""
    completion = get_completion_class(shell)
    assert completion is not None, "commands offer only the shells that click knows"
    source = completion(root, {}, PROGRAM, VARIABLE).source()
    return f"# Completion of {PROGRAM} for {shell}: {HOW[shell]}\n{source}"


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of shipped models, and YAML files."""
    return _shipped("models", incomplete) + _files(incomplete, (".yaml", ".yml"))


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of shipped targets, and YAML files."""
    return _shipped("deploy", incomplete) + _files(incomplete, (".yaml", ".yml"))


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Folders of training runs below --runs, the newest first."""
    folder = Path(ctx.params.get("runs") or "runs")
    runs = sorted((path.parent for path in folder.glob(f"*/*/{SPEC}")), key=lambda run: run.name, reverse=True)
    names = [str(run) for run in runs if str(run).startswith(incomplete)]
    return [CompletionItem(name) for name in names[:MOST_RUNS]]


def complete_artifacts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Compiled networks."""
    return _files(incomplete, (".net",))


def complete_sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """All that `compile` takes: runs, networks, models."""
    return complete_runs(ctx, param, incomplete) + _shipped("models", incomplete) + _files(
        incomplete, (".net", ".nir", ".yaml", ".yml")
    )  # fmt: skip


def complete_described(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models and runs."""
    return complete_models(ctx, param, incomplete) + complete_runs(ctx, param, incomplete)


def _shipped(kind: str, incomplete: str) -> list[CompletionItem]:
    from decolle_hw.library import shipped_names

    return [CompletionItem(name) for name in shipped_names(kind) if name.startswith(incomplete)]


def _files(incomplete: str, suffixes: tuple[str, ...]) -> list[CompletionItem]:
    """Files with these suffixes whose names begin like this, and those right inside folders that do.

    Folders themselves are not offered: shells would put a space behind them.
    """
    begun, sep, _ = incomplete.rpartition(os.sep)
    found: list[str] = []
    for path, is_folder in _entries(begun + sep):
        if not path.startswith(incomplete):
            continue
        inside = [below for below, _ in _entries(path + os.sep)] if is_folder else [path]
        # The description of a run is offered as the run.
        found += [one for one in inside if one.endswith(suffixes) and os.path.basename(one) != SPEC]
    return [CompletionItem(path) for path in found]


def _entries(folder: str) -> list[tuple[str, bool]]:
    """(path, whether it is a folder) of what is in a folder, "" being the working one; hidden ones left out."""
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:  # no such folder, or not ours to read: nothing to offer
        return []
    return [(folder + entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
