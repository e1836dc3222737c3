"""`config`: what a description comes to, and a schema of descriptions."""

from __future__ import annotations

from pathlib import Path

import click

from decolle_hw.commands.completing import complete_described
from decolle_hw.commands.options import (
    check_outputs,
    data_option,
    json_option,
    open_console,
    set_option,
    write_result,
)

SECTIONS = ("dataset", "network", "training", "on_chip")  # of configuring.keys, which --help must not import


@click.group(invoke_without_command=True)
@click.pass_context
def config(context: click.Context) -> None:
    """The description of a model: every value and where it comes from; a schema for editors."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@config.command()
@click.argument("model", required=False, shell_complete=complete_described)
@set_option
@data_option
@click.option("--only", type=click.Choice(SECTIONS), help="Only this section.")
@json_option
def show(
    model: str | None, overrides: tuple[str, ...], dataset: str | None, only: str | None, json_path: Path | None
) -> None:
    """Every value that `train MODEL` would use, where it comes from, and what it means.

    MODEL is a name from models/, a path to a YAML, or the folder of a training run; default: as in train.
    """
    from decolle_hw.configuring.origins import explain
    from decolle_hw.configuring.tables import print_explanation
    from decolle_hw.described import model_of_here

    check_outputs(json=json_path)
    console = open_console()
    explanation = explain(model_of_here(model, console), overrides, dataset, console)
    print_explanation(explanation, only, console)
    write_result(explanation.to_json(only), json_path, console)


@config.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: standard output.")
def schema(output: Path | None) -> None:
    """Write a JSON schema of the YAML, with which editors complete keys, explain them and underline what is wrong."""
    from decolle_hw.atomic import json_text, write_json
    from decolle_hw.configuring.schema import HINT, json_schema

    if output is None:
        click.echo(json_text(json_schema()), nl=False)
        return
    check_outputs(output=output)
    write_json(json_schema(), output)
    console = open_console()
    console.print(f"wrote {output}", soft_wrap=True)
    console.print(f"first line of a YAML beside it: {HINT.format(file=output.name)}", soft_wrap=True)
