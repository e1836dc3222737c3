"""A command that does what commands do, for tests of what is the same for all of them."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import click

from decolle_hw.commands.options import check_outputs, given_options, json_option, open_console, write_result
from decolle_hw.data.cache import CacheWarning
from decolle_hw.errors import CheckError
from decolle_hw.progress import counting, working


class OddError(RuntimeError):
    """What nobody has foreseen."""


@click.command()
@click.option("--fail", type=click.Choice(["odd", "check", "disk", "memory"]))
@json_option
def probe(fail: str | None, json_path: Path | None) -> None:
    """Show progress, print, warn, log, fail."""
    check_outputs(json=json_path)
    console = open_console()
    with counting(console, "counting sheep") as progress:
        progress(1, 1)
    with working(console, "sleeping"):
        logging.getLogger("decolle_hw.probe").debug("a detail")
    warnings.warn("nothing is kept", CacheWarning, stacklevel=1)
    warnings.warn("please use\n another function", FutureWarning, stacklevel=1)
    console.print(f"given: {' '.join(sorted(given_options()))}")
    click.echo("echoed")
    if fail == "odd":
        raise OddError("a tensor of\nno size")
    if fail == "check":
        raise CheckError("they differ")
    if fail == "disk":
        raise OSError(28, "No space left on device", "somewhere.npz")
    if fail == "memory":
        raise MemoryError("unable to allocate 9 TiB")
    write_result({"answer": 42, "unknown": float("nan"), "most": [float("inf"), 1.5]}, json_path, console)
