"""The commands: parse, call one function, print what was found.

Library modules are imported inside the commands, so that `--help` needs neither torch nor Lava.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from decolle_hw import __version__
from decolle_hw.errors import CheckError, DecolleHwError, UsageError

INTERRUPTED = 130  # what shells report after SIGINT
TERMINATED = 143  # and after SIGTERM
BROKEN_PIPE = 141  # and after SIGPIPE

_runs = click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of training runs."
)
_data = click.option(
    "--data",
    "dataset",
    type=str,
    help="Folder of recordings: FOLDER/<class>/<recording>.bin, or with train/ and test/.",
)
_set = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the YAML, e.g. training.num_epochs=5.",
)
_device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does, with an exit code of its own."""


def _console() -> Any:
    from rich.console import Console

    # Names and paths are printed as they are. A pipe has no width: tables keep their columns there.
    width = None if sys.stdout.isatty() else 140
    return Console(width=width, markup=False, highlight=False, emoji=False)


def _check_outputs(**outputs: Path | None) -> None:
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


def _not_nan(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """FloatRange lets nan pass, to which nothing is ever more or less."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number", context, parameter)
    return value


def _given() -> set[str]:
    """Options and arguments of the command that were written on the command line, as their help names them."""
    context = click.get_current_context()
    return {
        parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
        for parameter in context.command.params
        if parameter.name is not None
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    }


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="decolle-hw")
def cli() -> None:
    """Train spiking networks with DECOLLE, compile them to Loihi 2 integers, prove them equal in Lava.

    \b
    decolle-hw train
    decolle-hw compile --target loihi2
    decolle-hw run --sim
    decolle-hw verify

    Each command continues from the newest result of the one before. Exit codes: 0 done, 1 a check did not hold,
    2 the input cannot be used, 130 and 143 interrupted.
    """


@cli.command()
@click.argument("model", required=False)
@_data
@_set
@click.option("--epochs", type=click.IntRange(min=1), help="Shorthand for --set training.num_epochs=N.")
@click.option("--seed", type=click.IntRange(min=0), help="Shorthand for --set training.seed=N.")
@click.option(
    "--resume", "run", is_flag=False, flag_value="", metavar="[RUN]",
    help="Continue RUN, bit for bit; default: the newest unfinished one. A finished one needs more --epochs.",
)  # fmt: skip
@_device
@_runs
def train(
    model: str | None, dataset: str | None, overrides: tuple[str, ...], epochs: int | None, seed: int | None,
    run: str | None, device: str, runs: Path,
) -> None:  # fmt: skip
    """Train MODEL (a name from models/ or a path to a YAML; default: digits).

    Ctrl-C finishes the step, saves, and says how to resume; a second Ctrl-C stops at once.
    """
    from decolle_hw.report.training import print_training
    from decolle_hw.spec import load_model_spec, with_folder
    from decolle_hw.workflow import resume_training, train_model

    if epochs is not None:
        overrides += (f"training.num_epochs={epochs}",)
    if seed is not None:
        overrides += (f"training.seed={seed}",)
    console = _console()
    if run is not None:
        folder = Path(run) if run else None
        print_training(resume_training(folder, model, overrides, dataset, runs, device, console), console)
        return
    spec = load_model_spec(model or "digits", overrides)
    if dataset is not None:
        spec = with_folder(spec, dataset)
    print_training(train_model(spec, runs, device, console), console)


@cli.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@_data
@click.option("--split", type=click.Choice(["train", "test"]), help="Default: test; with --data, all of FOLDER.")
@click.option(
    "--checkpoint", "weights", type=click.Choice(["best", "last"]), default="best", show_default=True,
    help="Weights of the best epoch, or after the last step.",
)  # fmt: skip
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the result, recording by recording."
)
@_device
@_runs
def evaluate(
    run: Path | None, dataset: str | None, split: Any, weights: Any, json_path: Path | None, device: str, runs: Path
) -> None:
    """Test the float network of a training RUN (default: the newest one)."""
    from decolle_hw.fidelity.intervals import wilson_interval
    from decolle_hw.report.training import print_evaluated
    from decolle_hw.workflow import evaluate_model, write_json

    _check_outputs(json=json_path)
    console = _console()
    evaluated = evaluate_model(run, runs, dataset, split, weights, device, console)
    print_evaluated(evaluated, console)
    if json_path is not None:
        write_json(evaluated.to_json(wilson_interval(evaluated.hits, len(evaluated.labels))), json_path)
        console.print(f"wrote {json_path}", soft_wrap=True)


@cli.command(name="compile")
@click.argument("source", required=False)
@click.option("--target", default="loihi2", show_default=True, help="A name from deploy/ or a path to a YAML.")
@click.option("--board", help="System to fit, see `targets`; default: the smallest that is large enough.")
@click.option("--cores", type=click.IntRange(min=1), help="Use at most so many cores.")
@click.option(
    "--utilisation", type=click.FloatRange(0.0, 1.0, min_open=True), default=1.0, show_default=True,
    callback=_not_nan, help="Share of each limit of a core that may be used.",
)  # fmt: skip
@click.option("--plastic", metavar="LAYERS", help="Layers that learn on chip, e.g. 1 or 0,2; pooling is not counted.")
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
@click.option("--dt", type=click.FloatRange(min=0.0, min_open=True), callback=_not_nan, help="Seconds per step of NIR.")
@_set
@_data
@_runs
def compile_(
    source: str | None, target: str, board: str | None, cores: int | None, utilisation: float, plastic: str | None,
    output: Path | None, weight_bits: int | None, dry_run: bool, stages: bool, save_stages: Path | None,
    approximate: bool, steps: int | None, dt: float | None, overrides: tuple[str, ...], dataset: str | None, runs: Path,
) -> None:  # fmt: skip
    """Turn SOURCE into integers placed on the cores of a target.

    SOURCE is a training run (default: the newest one), a network of lava-dl (.net) or in NIR (.nir), an artifact to
    be placed again, or, with --dry-run, a MODEL as in train. Writes NAME.net, NAME.report.json and NAME.report.html.
    """
    from decolle_hw.compiler.rules import does_not_fit
    from decolle_hw.compiling.pipeline import compile_network
    from decolle_hw.compiling.request import Request, Wanted, layers_of
    from decolle_hw.report.compiled import print_compiled, print_stages
    from decolle_hw.targets import load_target

    console = _console()
    if stages:
        print_stages(console)
        return
    wanted = Wanted(load_target(target), board, cores, utilisation, layers_of(plastic))
    request = Request(
        wanted, source, runs, output, dataset, weight_bits, overrides, approximate, steps, dt, dry_run, save_stages
    )
    compiled = compile_network(request, console)
    print_compiled(compiled, console)
    if compiled.mapped.violations:  # of a dry run; else nothing comes so far
        raise does_not_fit(compiled.mapped.violations, compiled.mapped.graph.name, wanted.target)


@cli.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option("--sim", is_flag=True, help="Run in the Lava CPU simulator, or as --backend says.")
@click.option("--hw", is_flag=True, help="Run on Loihi; needs Intel's closed Lava extension.")
@click.option("--backend", type=click.Choice(["lava", "reference"]), default="lava", show_default=True)
@click.option(
    "--samples", type=click.IntRange(min=1),
    help="Recordings to run, evenly spread over the test set; default: in Lava 100 (fewer of convolutions), else all.",
)  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), help="Recordings at a time; default: what memory of 256 MB holds.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Lava runs side by side, each a process of its own; default: 1."
)
@_data
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the result, recording by recording."
)
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path),
    help="Also write a line per recording: label, prediction, readouts.",
)  # fmt: skip
def run(
    artifact: Path | None, sim: bool, hw: bool, backend: Any, samples: int | None, batch: int | None,
    jobs: int | None, dataset: str | None, json_path: Path | None, csv_path: Path | None,
) -> None:  # fmt: skip
    """Run a compiled network (ARTIFACT; default: the newest .net here) on its test recordings.

    In Lava every spike is compared with the integer reference; exit code 1 if one differs.
    """
    from decolle_hw.workflow import require_simulator, run_artifact, write_json

    require_simulator(sim, hw)
    _check_outputs(json=json_path, csv=csv_path)
    from decolle_hw.report.executed import print_executed

    console = _console()
    executed = run_artifact(artifact, backend, samples, dataset, console, batch=batch, jobs=jobs)
    print_executed(executed, console)
    if json_path is not None:
        write_json(executed.to_json(), json_path)
        console.print(f"wrote {json_path}", soft_wrap=True)
    if csv_path is not None:
        executed.write_csv(csv_path)
        console.print(f"wrote {csv_path}", soft_wrap=True)
    if executed.comparison is not None and not executed.comparison.equal:
        raise CheckError("Lava and the integer reference differ; run `decolle-hw verify` for the registers")


@cli.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option(
    "--samples", type=click.IntRange(min=1), default=20, show_default=True, help="Test recordings, evenly spread."
)
@_data
@_runs
@click.option(
    "--run", "run_folder", type=click.Path(path_type=Path),
    help="Training run of the float stage; default: the one below --runs that ARTIFACT was compiled from.",
)  # fmt: skip
@click.option(
    "--backend", type=click.Choice(["lava", "reference"]), default="lava", show_default=True,
    help="What is compared with the integer reference; `reference`: nothing, or the reference itself on --against.",
)  # fmt: skip
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="OTHER",
    help="Another artifact of the same shape for that side: says where the two part.",
)  # fmt: skip
@click.option(
    "--max-drop", type=click.FloatRange(min=0.0, max=100.0), metavar="POINTS", callback=_not_nan,
    help="Exit code 1 if accuracy falls by more percentage points from float to integers.",
)  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write every figure.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Also draw the chain, as a PNG.")
@click.option("--random", "networks", type=click.IntRange(min=1), help="Instead: compare so many random networks.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of --random.")
def verify(
    artifact: Path | None, samples: int, dataset: str | None, runs: Path, run_folder: Path | None, backend: Any,
    against: Path | None, max_drop: float | None, json_path: Path | None, plot_path: Path | None,
    networks: int | None, seed: int,
) -> None:  # fmt: skip
    """Run recordings through the chain float, quantized, integer reference, Lava, and say what each step costs.

    Lava is compared with the reference in every spike, u, v (and r) of every layer at every step. Exit code 1 if one
    differs, or if accuracy falls by more than --max-drop.
    """
    from decolle_hw.verify.tables import print_random, print_verification
    from decolle_hw.verify.verification import verify_artifact, verify_random
    from decolle_hw.workflow import write_json

    console = _console()
    if networks is not None:
        wrong = _given() - {"--random", "--seed"}
        if wrong:
            raise UsageError(f"--random compares networks of its own with Lava; leave {', '.join(sorted(wrong))} out")
        results = verify_random(networks, seed, console)
        print_random(results, console)
        if not all(comparison.equal for _, comparison in results):
            raise CheckError("Lava and the integer reference differ")
        return
    if "--seed" in _given():
        raise UsageError(f"--seed {seed}: is for --random N, the rest of verify draws nothing; leave --seed out")
    _check_outputs(json=json_path, plot=plot_path)
    verification = verify_artifact(
        artifact, samples, dataset, console,
        runs=runs, run_folder=run_folder, backend=backend, against=against, max_drop=max_drop,
    )  # fmt: skip
    print_verification(verification, console)
    if json_path is not None:
        write_json(verification.to_json(), json_path)
        console.print(f"wrote {json_path}", soft_wrap=True)
    if plot_path is not None:
        from decolle_hw.verify.figures import draw_chain

        draw_chain(verification, plot_path)
        console.print(f"wrote {plot_path}", soft_wrap=True)
    if verification.failures:
        raise CheckError("; ".join(verification.failures))


@cli.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(["nir"]), required=True, help="What to write.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: ARTIFACT.nir here.")
@click.option("--dt", type=click.FloatRange(min=0.0, min_open=True), callback=_not_nan, help="Seconds per step.")
def export(artifact: Path | None, format_: str, output: Path | None, dt: float | None) -> None:
    """Write a compiled network (ARTIFACT; default: the newest .net here) for other tools.

    nir: a graph in real numbers that snnTorch, Norse, sinabs and others read, and beside it the exact integers, from
    which `decolle-hw compile FILE.nir` makes the same network again.
    """
    from decolle_hw.workflow import export_artifact

    console = _console()
    written, notes = export_artifact(artifact, output, dt)
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)


@cli.command()
@click.argument("target", required=False)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write every limit.")
def targets(target: str | None, json_path: Path | None) -> None:
    """What there is to compile for; with TARGET (a name or a path to a YAML) every limit, its source and confidence."""
    from decolle_hw.report.targets import print_target, print_targets
    from decolle_hw.targets import load_target, shipped_targets
    from decolle_hw.workflow import write_json

    _check_outputs(json=json_path)
    console = _console()
    found = shipped_targets() if target is None else [load_target(target)]
    if target is None:
        print_targets(found, console)
    else:
        print_target(found[0], console)
    if json_path is not None:
        write_json({one.name: one.model_dump() for one in found}, json_path)
        console.print(f"wrote {json_path}", soft_wrap=True)


@cli.command()
@click.argument("model", default="digits")
@_set
@_runs
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Folder for artifact and picture."
)
def demo(model: str, overrides: tuple[str, ...], runs: Path, output: Path) -> None:
    """Learn, compile, run in Lava and compare every register, then draw it; MODEL as in train."""
    from decolle_hw.demo import run_demo

    run_demo(model, overrides, runs, output, _console())


def main() -> None:
    """Entry point: turns our errors into one line and an exit code, never a traceback."""
    parent = os.getpid()

    def terminated(*_: object) -> None:
        if os.getpid() != parent:
            os._exit(TERMINATED)  # a worker of Lava, forked with this handler: nothing of ours to clean up
        raise Terminated

    signal.signal(signal.SIGTERM, terminated)  # so that temporary files go, as they do on Ctrl-C
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort as abort:  # click's word for KeyboardInterrupt
        _interrupted(abort.__cause__)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DecolleHwError as error:
        if error.exit_code in (INTERRUPTED, TERMINATED):  # saved and stopped as asked: not an error
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        _interrupted(interrupt)
    except BrokenPipeError:
        # The reader left (| head); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def _interrupted(cause: BaseException | None) -> None:
    at_once = getattr(cause, "exit_code", None)  # training.interruption.TrainingAborted
    if at_once is not None:
        click.echo("stopped at once; what was saved before is intact", err=True)
        sys.stdout.flush()
        os._exit(at_once)  # not sys.exit, which would wait for the threads that are still learning
    _fail("interrupted", TERMINATED if isinstance(cause, Terminated) else INTERRUPTED)


def _fail(message: str, code: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
