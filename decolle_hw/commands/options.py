"""Options and checks that commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.group import ReportingOption
from decolle_hw.commands.reporting import Reporting
from decolle_hw.errors import UsageError

STANDARD_OUTPUT = Path("-")

runs_option = click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of training runs."
)
data_option = click.option(
    "--data",
    "dataset",
    type=str,
    help="Folder of recordings (.bin .aedat .aedat4 .dat .raw .npy .npz .h5): FOLDER/<class>/<recording>, or with "
    "train/ and test/.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the YAML, e.g. training.num_epochs=5.",
)
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


def _json_destination(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path == STANDARD_OUTPUT:
        _reporting().json_on_standard_output()
    return path


json_option = click.option(
    "--json", "json_path", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE|-",
    callback=_json_destination,
    help="Also write the result, with all figures; - writes it to standard output, and all else to standard error.",
)  # fmt: skip


def _reporting() -> Reporting:
    """What -v, -q and the like say; nothing, where a command is called without the group."""
    context = click.get_current_context(silent=True)
    return (context and context.find_object(Reporting)) or Reporting()


def open_console() -> Any:
    """Where the results of a command are printed: a `decolle_hw.console.Output`."""
    from decolle_hw.console import Output

    return Output(shows_progress=not _reporting().quiet)


def write_result(content: dict[str, Any], path: Path | None, console: Any) -> None:
    """What `json_option` asks for: nothing, a file, or standard output."""
    if path is None:
        return
    if path == STANDARD_OUTPUT:
        from decolle_hw.atomic import json_text

        out = _reporting().out
        out.write(json_text(content))
        out.flush()
        return
    from decolle_hw.atomic import write_json

    write_json(content, path)
    console.print(f"wrote {path}", soft_wrap=True)


def check_outputs(**outputs: Path | None) -> None:
    """Raise `UsageError` before the work where a file (given by option) could not be written after it."""
    from decolle_hw.atomic import check_writable

    log = _reporting().log_file
    options = {} if log is None else {log.resolve(): "log-file"}
    for option, path in outputs.items():
        if path is None or (path == STANDARD_OUTPUT and option == "json"):
            continue
        if path.suffix == ".net":
            raise UsageError(
                f"--{option} {path}: .net is for compiled networks, which it would replace; name it otherwise"
            )
        check_writable(path)
        other = options.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(f"--{other} and --{option} are the same file, {path}; give two names")


def not_nan(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """FloatRange lets nan pass, to which nothing is ever more or less."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number", context, parameter)
    return value


def given_options() -> set[str]:
    """Options and arguments of the command that were written on the command line, as their help names them.

    Without those that every command has.
    """
    context = click.get_current_context()
    return {
        parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
        for parameter in context.command.params
        if parameter.name is not None
        and not isinstance(parameter, ReportingOption)
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    }
