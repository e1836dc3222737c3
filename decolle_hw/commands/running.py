"""`run`, `verify` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.completing import complete_artifacts, complete_runs
from decolle_hw.commands.learning_on_chip import LEARNING_ONLY, learn_in_session, learning_options
from decolle_hw.commands.options import (
    check_outputs,
    data_option,
    given_options,
    json_option,
    not_nan,
    open_console,
    runs_option,
    write_result,
)
from decolle_hw.commands.streaming import refuse_streaming_options, run_stream, split_options, streaming_options
from decolle_hw.errors import CheckError, UsageError


@click.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path), shell_complete=complete_artifacts)
@click.option("--sim", is_flag=True, help="Run in the Lava CPU simulator, or as --backend says.")
@click.option("--hw", is_flag=True, help="Run on Loihi; needs Intel's closed Lava extension.")
@click.option("--backend", type=click.Choice(["lava", "reference"]), default="lava", show_default=True)
@click.option(
    "--samples", type=click.IntRange(min=1),
    help="Recordings, evenly spread over all; default: in Lava 100 (fewer of convolutions, or with --learn), else all.",
)  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), help="Recordings at a time; default: what memory of 256 MB holds.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Lava runs side by side, each a process of its own; default: 1."
)
@data_option
@json_option
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path),
    help="Also write a line per recording: label, prediction, readouts.",
)  # fmt: skip
@learning_options
@streaming_options
def run(
    artifact: Path | None, sim: bool, hw: bool, backend: Any, samples: int | None, batch: int | None,
    jobs: int | None, dataset: str | None, json_path: Path | None, csv_path: Path | None, learn: bool, **others: Any,
) -> None:  # fmt: skip
    """Run a compiled network (ARTIFACT; default: the newest .net here) on its test recordings.

    In Lava every spike is compared with the integer reference; exit code 1 if one differs.

    With --learn a network that was compiled with --plastic is shown its training recordings, one after another, and
    learns; then every weight is compared as well.

    With --stream the events of a file or a pipe flow through the network without labels and without an end; Lava is
    compared with the reference all the way. --json then gets a line for each decision, as it happens, and a summary.
    """
    streaming, learning = split_options(others)
    if streaming["stream"] is not None:
        run_stream(artifact, sim, hw, backend, json_path, LEARNING_ONLY, streaming)
        return
    refuse_streaming_options()
    if learn:
        learn_in_session(artifact, sim, hw, backend, samples, dataset, json_path, learning)
        return
    without = sorted(given_options() & LEARNING_ONLY)
    if without:
        raise UsageError(f"{', '.join(without)}: only where the network learns; add --learn")
    from decolle_hw.workflow import require_simulator, run_artifact

    require_simulator(sim, hw)
    check_outputs(json=json_path, csv=csv_path)
    from decolle_hw.report.executed import print_executed

    console = open_console()
    executed = run_artifact(artifact, backend, samples, dataset, console, batch=batch, jobs=jobs)
    print_executed(executed, console)
    write_result(executed.to_json(), json_path, console)
    if csv_path is not None:
        executed.write_csv(csv_path)
        console.print(f"wrote {csv_path}", soft_wrap=True)
    if executed.comparison is not None and not executed.comparison.equal:
        raise CheckError("Lava and the integer reference differ; run `decolle-hw verify` for the registers")


@click.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path), shell_complete=complete_artifacts)
@click.option(
    "--samples", type=click.IntRange(min=1), default=20, show_default=True, help="Test recordings, evenly spread."
)
@data_option
@runs_option
@click.option(
    "--run", "run_folder", type=click.Path(path_type=Path), shell_complete=complete_runs,
    help="Training run of the float stage; default: the one below --runs that ARTIFACT was compiled from.",
)  # fmt: skip
@click.option(
    "--backend", type=click.Choice(["lava", "reference"]), default="lava", show_default=True,
    help="What is compared with the integer reference; `reference`: nothing, or the reference itself on --against.",
)  # fmt: skip
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="OTHER", shell_complete=complete_artifacts,
    help="Another artifact of the same shape for that side: says where the two part.",
)  # fmt: skip
@click.option(
    "--max-drop", type=click.FloatRange(min=0.0, max=100.0), metavar="POINTS", callback=not_nan,
    help="Exit code 1 if accuracy falls by more percentage points from float to integers.",
)  # fmt: skip
@json_option
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
    from decolle_hw.verify.verification import random_to_json, verify_artifact, verify_random

    check_outputs(json=json_path, plot=plot_path)
    console = open_console()
    if networks is not None:
        wrong = given_options() - {"--random", "--seed", "--json"}
        if wrong:
            raise UsageError(f"--random compares networks of its own with Lava; leave {', '.join(sorted(wrong))} out")
        results = verify_random(networks, seed, console)
        print_random(results, console)
        write_result(random_to_json(results), json_path, console)
        if not all(comparison.equal for _, comparison in results):
            raise CheckError("Lava and the integer reference differ")
        return
    if "--seed" in given_options():
        raise UsageError(f"--seed {seed}: is for --random N, the rest of verify draws nothing; leave --seed out")
    verification = verify_artifact(
        artifact, samples, dataset, console,
        runs=runs, run_folder=run_folder, backend=backend, against=against, max_drop=max_drop,
    )  # fmt: skip
    print_verification(verification, console)
    write_result(verification.to_json(), json_path, console)
    if plot_path is not None:
        from decolle_hw.verify.figures import draw_chain

        draw_chain(verification, plot_path)
        console.print(f"wrote {plot_path}", soft_wrap=True)
    if verification.failures:
        raise CheckError("; ".join(verification.failures))
