"""`data inspect`: what lies in a folder of recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.options import check_outputs, json_option, open_console, write_result
from decolle_hw.errors import UsageError


@click.group(invoke_without_command=True)
@click.pass_context
def data(context: click.Context) -> None:
    """Look at recordings before anything is learned from them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@data.command()
@click.argument("path")
@json_option
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path), metavar="FILE.png",
    help="Where to draw each class; default: NAME.inspect.png in this folder.",
)  # fmt: skip
@click.option("--no-plot", is_flag=True, help="Draw nothing.")
@click.option("--strict", is_flag=True, help="End with exit code 1 where a recording cannot be read.")
@click.option("--workers", type=click.IntRange(0, 256), default=0, show_default=True, help="Processes that read files.")
def inspect(path: str, json_path: Path | None, picture: Path | None, no_plot: bool, strict: bool, workers: int) -> None:
    """Count, measure and draw recordings, and suggest what their description should say.

    PATH is a folder (a subfolder for each class, train/ and test/, or not sorted at all), one recording, an .npz of
    images, or a model or YAML, of which the data set is meant. Recordings that cannot be read are listed; that is exit
    code 1 with --strict, and 2 where not one can be read.
    """
    from decolle_hw.errors import CheckError
    from decolle_hw.inspecting.figure import draw_classes, picture_of
    from decolle_hw.inspecting.inspect import inspect as look
    from decolle_hw.inspecting.table import print_inspection
    from decolle_hw.progress import counting

    if no_plot and picture is not None:
        raise UsageError(f"--plot {picture} and --no-plot exclude each other; give one")
    target = None if no_plot else picture or picture_of(path)
    _check_picture(target)
    check_outputs(json=json_path, plot=target)
    console: Any = open_console()
    with counting(console, f"reading {path}") as progress:
        found = look(path, workers, progress)
    print_inspection(found, console)
    if target is not None:
        draw_classes(found, target)
        console.print(f"wrote {target}", soft_wrap=True)
    write_result(found.to_json(), json_path, console)
    if strict and found.broken:
        total = len(found.broken) + len(found.recordings)
        raise CheckError(f"--strict: {len(found.broken)} of {total} recordings cannot be read; they are listed above")


def _check_picture(target: Path | None) -> None:
    if target is not None and target.suffix.lower() != ".png":
        raise UsageError(f"--plot {target}: the picture is a PNG; end its name in .png")
