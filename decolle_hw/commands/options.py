"""Options and checks that commands share."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import click

from decolle_hw.errors import UsageError

runs_option = click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of training runs."
)
data_option = click.option(
    "--data",
    "dataset",
    type=str,
    help="Folder of recordings: FOLDER/<class>/<recording>.bin, or with train/ and test/.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the YAML, e.g. training.num_epochs=5.",
)
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


def open_console() -> Any:
    from rich.console import Console

    # Names and paths are printed as they are. A pipe has no width: tables keep their columns there.
    width = None if sys.stdout.isatty() else 140
    return Console(width=width, markup=False, highlight=False, emoji=False)


def check_outputs(**outputs: Path | None) -> None:
    """Raise `UsageError` before the work where a file (given by option) could not be written after it."""
    from decolle_hw.atomic import check_writable

    options: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.suffix == ".net":
            raise UsageError(
                f"--{option} {path}: .net is for compiled networks, which it would replace; name it otherwise"
            )
        check_writable(path)
        other = options.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(f"--{other} {outputs[other]} and --{option} {path} are the same file; give two names")


def not_nan(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """FloatRange lets nan pass, to which nothing is ever more or less."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number", context, parameter)
    return value


def given_options() -> set[str]:
    """Options and arguments of the command that were written on the command line, as their help names them."""
    context = click.get_current_context()
    return {
        parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
        for parameter in context.command.params
        if parameter.name is not None
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    }
