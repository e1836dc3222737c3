"""`run`, `verify` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.learning_on_chip import LEARNING_ONLY, learn_in_session, learning_options
from decolle_hw.commands.options import (
    check_outputs,
    data_option,
    given_options,
    not_nan,
    open_console,
    runs_option,
)
from decolle_hw.errors import CheckError, UsageError


@click.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
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
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the result, recording by recording."
)
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path),
    help="Also write a line per recording: label, prediction, readouts.",
)  # fmt: skip
@learning_options
def run(
    artifact: Path | None, sim: bool, hw: bool, backend: Any, samples: int | None, batch: int | None,
    jobs: int | None, dataset: str | None, json_path: Path | None, csv_path: Path | None, learn: bool, **learning: Any,
) -> None:  # fmt: skip
    """Run a compiled network (ARTIFACT; default: the newest .net here) on its test recordings.

    In Lava every spike is compared with the integer reference; exit code 1 if one differs.

    With --learn a network that was compiled with --plastic is shown its training recordings, one after another, and
    learns; then every weight is compared as well.
    """
    if learn:
        learn_in_session(artifact, sim, hw, backend, samples, dataset, json_path, learning)
        return
    without = sorted(given_options() & LEARNING_ONLY)
    if without:
        raise UsageError(f"{', '.join(without)}: only where the network learns; add --learn")
    from decolle_hw.atomic import write_json
    from decolle_hw.workflow import require_simulator, run_artifact

    require_simulator(sim, hw)
    check_outputs(json=json_path, csv=csv_path)
    from decolle_hw.report.executed import print_executed

    console = open_console()
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


@click.command()
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option(
    "--samples", type=click.IntRange(min=1), default=20, show_default=True, help="Test recordings, evenly spread."
)
@data_option
@runs_option
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
    "--max-drop", type=click.FloatRange(min=0.0, max=100.0), metavar="POINTS", callback=not_nan,
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
    from decolle_hw.atomic import write_json
    from decolle_hw.verify.tables import print_random, print_verification
    from decolle_hw.verify.verification import verify_artifact, verify_random

    console = open_console()
    if networks is not None:
        wrong = given_options() - {"--random", "--seed"}
        if wrong:
            raise UsageError(f"--random compares networks of its own with Lava; leave {', '.join(sorted(wrong))} out")
        results = verify_random(networks, seed, console)
        print_random(results, console)
        if not all(comparison.equal for _, comparison in results):
            raise CheckError("Lava and the integer reference differ")
        return
    if "--seed" in given_options():
        raise UsageError(f"--seed {seed}: is for --random N, the rest of verify draws nothing; leave --seed out")
    check_outputs(json=json_path, plot=plot_path)
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
