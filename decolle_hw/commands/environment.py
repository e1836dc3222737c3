"""`doctor`, `models` and `completion`: what there is, and whether it works."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from decolle_hw.commands.completing import complete_models, script_of
from decolle_hw.commands.options import (
    STANDARD_OUTPUT,
    check_outputs,
    json_option,
    open_console,
    write_result,
)
from decolle_hw.errors import CheckError

if TYPE_CHECKING:
    from decolle_hw.doctor.finding import Finding


@click.command()
@click.option(
    "--self-test/--no-self-test", default=True, show_default=True, help="Also let each backend work for some seconds."
)
@json_option
def doctor(self_test: bool, json_path: Path | None) -> None:
    """Look at Python, packages, Lava, CUDA, folders and this installation: what works, what does not, and the remedy.

    Each finding is ok, limited (the rest works without it) or broken; exit code 1 if one is broken.
    """
    from decolle_hw.atomic import write_json
    from decolle_hw.doctor.examination import examine
    from decolle_hw.doctor.printed import COLOURS, lines_of, verdict

    check_outputs(json=json_path)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    colour = False if os.environ.get("NO_COLOR") else None  # None: as click sees fit

    def show(group: str, findings: Sequence[Finding]) -> None:
        click.secho(group, bold=True, color=colour)
        for state, column, text in lines_of(findings, width):
            click.echo(click.style(column, fg=COLOURS[state]) + text, color=colour)

    examination = examine(self_test, show)
    click.echo(verdict(examination))
    # Not by a console: rich may be what is broken.
    if json_path == STANDARD_OUTPUT:
        write_result(examination.to_json(), json_path, None)
    elif json_path is not None:
        write_json(examination.to_json(), json_path)
        click.echo(f"wrote {json_path}")
    broken = examination.of_state("broken")
    if broken:
        first = next((finding.remedy for finding in broken if finding.remedy), None)
        remedy = f"begin with `{first}`" if first else "see above"
        raise CheckError(f"this environment is broken: {len(broken)} findings; {remedy}")


@click.command()
@click.argument("model", required=False, shell_complete=complete_models)
@json_option
def models(model: str | None, json_path: Path | None) -> None:
    """The model zoo, with what was measured of it; with MODEL (a name or a path to a YAML) all about that one."""
    from decolle_hw.zoo.entries import read_entries, read_entry
    from decolle_hw.zoo.tables import print_model, print_models

    check_outputs(json=json_path)
    console = open_console()
    entries = read_entries() if model is None else [read_entry(model)]
    if model is None:
        print_models(entries, console)
    else:
        print_model(entries[0], console)
    write_result({entry.name: entry.to_json() for entry in entries}, json_path, console)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, models, targets, runs and .net files.

    \b
    bash: decolle-hw completion bash > ~/.decolle-hw.bash; add `. ~/.decolle-hw.bash` to ~/.bashrc
    zsh:  decolle-hw completion zsh > ~/.decolle-hw.zsh; add `. ~/.decolle-hw.zsh` to ~/.zshrc, after compinit
    fish: decolle-hw completion fish > ~/.config/fish/completions/decolle-hw.fish
    """
    click.echo(script_of(shell, click.get_current_context().find_root().command))
