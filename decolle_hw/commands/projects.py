"""`init`: a folder for a network of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.options import open_console


@click.command()
@click.argument("folder", metavar="MYPROJECT", type=click.Path(path_type=Path))
@click.option(
    "--data", metavar="FOLDER",
    help="Recordings: a folder for each class, train/ and test/, or not sorted; default: the embedded digits.",
)  # fmt: skip
@click.option("--network", type=click.Choice(["dense", "conv"]), default="dense", show_default=True)
@click.option(
    "--neuron", type=click.Choice(["decolle", "cuba"]), default="decolle", show_default=True,
    help="decolle: the paper's, Loihi 2 microcode; cuba: stock LIF, Loihi 1 and 2.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Write model.yaml, README.md and the like anew where they are already.")
def init(folder: Path, data: str | None, network: Any, neuron: Any, force: bool) -> None:
    """Make a folder MYPROJECT with a commented model.yaml for your own recordings.

    Sizes, windows and steps are found in the recordings. Then, in that folder: decolle-hw train, decolle-hw compile,
    decolle-hw run --sim. Recordings that are not sorted into class folders become a class each, until labels.csv says
    more.
    """
    from decolle_hw.project.init import init_project
    from decolle_hw.project.told import print_project

    console = open_console()
    print_project(init_project(folder, data, network, neuron, force, console), console)
