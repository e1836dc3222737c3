"""`compile`, `export` and `targets`."""

from __future__ import annotations

from pathlib import Path

import click

from decolle_hw.commands.completing import complete_artifacts, complete_sources, complete_targets
from decolle_hw.commands.options import (
    check_outputs,
    data_option,
    given_options,
    json_option,
    not_nan,
    open_console,
    runs_option,
    set_option,
    write_result,
)
from decolle_hw.errors import UsageError


@click.command(name="compile")
@click.argument("source", required=False, shell_complete=complete_sources)
@click.option(
    "--target", default="loihi2", show_default=True, shell_complete=complete_targets,
    help="A name from deploy/ or a path to a YAML.",
)  # fmt: skip
@click.option("--board", help="System to fit, see `targets`; default: the smallest that is large enough.")
@click.option("--cores", type=click.IntRange(min=1), help="Use at most so many cores.")
@click.option(
    "--utilisation", type=click.FloatRange(0.0, 1.0, min_open=True), default=1.0, show_default=True,
    callback=not_nan, help="Share of each limit of a core that may be used.",
)  # fmt: skip
@click.option(
    "--plastic", metavar="LAYERS",
    help="Layers that learn on chip: 1 or 0,2 (pooling is not counted), or output, a new one on top; default: "
    "on_chip.plastic of the model.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Artifact to write; default: NAME.net here.")
@click.option(
    "--weight-bits", type=click.IntRange(2, 8), help="Bits of a synaptic weight; default: as trained, else 8."
)
@click.option("--dry-run", is_flag=True, help="Only say whether it fits and on what; MODEL need not be trained.")
@click.option("--stages", is_flag=True, help="List the stages of lowering.")
@click.option(
    "--save-stages", type=click.Path(path_type=Path), metavar="FOLDER", help="Write the result of each stage, as JSON."
)
@click.option("--approximate", is_flag=True, help="Import what cannot be represented exactly, and say what changed.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of a recording of an imported network.")
@click.option("--dt", type=click.FloatRange(min=0.0, min_open=True), callback=not_nan, help="Seconds per step of NIR.")
@json_option
@set_option
@data_option
@runs_option
def compile_(
    source: str | None, target: str, board: str | None, cores: int | None, utilisation: float, plastic: str | None,
    output: Path | None, weight_bits: int | None, dry_run: bool, stages: bool, save_stages: Path | None,
    approximate: bool, steps: int | None, dt: float | None, json_path: Path | None, overrides: tuple[str, ...],
    dataset: str | None, runs: Path,
) -> None:  # fmt: skip
    """Turn SOURCE into integers placed on the cores of a target.

    SOURCE is a training run (default: the newest one), a network of lava-dl (.net) or in NIR (.nir), an artifact to
    be placed again, or, with --dry-run, a MODEL as in train. Writes NAME.net, NAME.report.json and NAME.report.html.
    """
    if stages:
        from decolle_hw.compiler.lowering.stages import stage_names
        from decolle_hw.report.targets import print_stages

        others = given_options() - {"--stages", "--json"}
        if others:
            raise UsageError(f"--stages only lists the stages of lowering; leave {', '.join(sorted(others))} out")
        check_outputs(json=json_path)
        console = open_console()
        print_stages(console)
        listed = [{"stage": name, "what": text} for name, text in stage_names()]
        write_result({"stages": listed}, json_path, console)
        return
    from decolle_hw.compiler.rules import does_not_fit
    from decolle_hw.compiling.pipeline import compile_network
    from decolle_hw.compiling.request import Request, Wanted, layers_of
    from decolle_hw.report.compiled import print_compiled
    from decolle_hw.targets import load_target

    check_outputs(json=json_path)
    console = open_console()
    wanted = Wanted(load_target(target), board, cores, utilisation)
    request = Request(
        wanted, source, runs, output, dataset, weight_bits, overrides, approximate, steps, dt, dry_run, save_stages,
        layers_of(plastic),
    )  # fmt: skip
    compiled = compile_network(request, console)
    print_compiled(compiled, console)
    write_result(compiled.to_json() | {"written": list(map(str, compiled.written))}, json_path, console)
    if compiled.mapped.violations:  # of a dry run; else nothing comes so far
        raise does_not_fit(compiled.mapped.violations, compiled.mapped.graph.name, wanted.target)


@click.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path), shell_complete=complete_artifacts)
@click.option("--format", "format_", type=click.Choice(["nir"]), required=True, help="What to write.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: ARTIFACT.nir here.")
@click.option("--dt", type=click.FloatRange(min=0.0, min_open=True), callback=not_nan, help="Seconds per step.")
@json_option
def export(artifact: Path | None, format_: str, output: Path | None, dt: float | None, json_path: Path | None) -> None:
    """Write a compiled network (ARTIFACT; default: the newest .net here) for other tools.

    nir: a graph in real numbers for tools that read NIR, such as snnTorch, and beside it the exact integers, from
    which `decolle-hw compile FILE.nir` makes the same network again.
    """
    from decolle_hw.workflow import export_artifact

    check_outputs(json=json_path, output=output)
    console = open_console()
    written, notes = export_artifact(artifact, output, dt)
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)
    write_result({"written": [str(path) for path in written], "notes": list(notes)}, json_path, console)


@click.command()
@click.argument("target", required=False, shell_complete=complete_targets)
@json_option
def targets(target: str | None, json_path: Path | None) -> None:
    """What there is to compile for; with TARGET (a name or a path to a YAML) every limit, its source and confidence."""
    from decolle_hw.report.targets import print_target, print_targets
    from decolle_hw.targets import load_target, shipped_targets

    check_outputs(json=json_path)
    if json_path is not None and target is not None and json_path.resolve() == Path(target).resolve():
        raise UsageError(f"--json {json_path}: is the target file itself; give another name")
    console = open_console()
    found = shipped_targets() if target is None else [load_target(target)]
    if target is None:
        print_targets(found, console)
    else:
        print_target(found[0], console)
    write_result({one.name: one.model_dump() for one in found}, json_path, console)
