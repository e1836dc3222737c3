"""`run --sim --learn`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.options import check_outputs, given_options, open_console, runs_option, write_result
from decolle_hw.errors import CheckError, UsageError

# The seeds of Lava's engine: sim.learning_randoms.SEED_MAX, which this module must not import for --help.
SEED_MAX = (1 << 31) - 4
LEARNING_ONLY = {
    "--labels", "--passes", "--seed", "--rounding", "--load-state", "--save-state", "--save-learned",
    "--save-checkpoint", "--runs",
}  # fmt: skip
NOT_LEARNING = {"--batch", "--jobs", "--csv"}

_file = click.Path(path_type=Path)


def learning_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of `run` that go with --learn."""
    options = (
        click.option("--learn", is_flag=True, help="Learn on chip from the training recordings, or those of --data."),
        click.option(
            "--labels", type=_file, metavar="FILE",
            help="With --learn: one class per line, in the order of the recordings, instead of their own.",
        ),
        click.option(
            "--passes", type=click.IntRange(min=1), default=1, show_default=True,
            help="With --learn: how often all recordings are shown, each time in another order.",
        ),
        click.option(
            "--seed", type=click.IntRange(0, SEED_MAX),
            help="With --learn: of the order and of the learning engine's rounding; default: 1.",
        ),
        click.option(
            "--rounding", type=click.Choice(["lava", "per-synapse"]),
            help="With --learn: one random number per epoch, as Lava has it (default), or one per synapse.",
        ),
        click.option("--load-state", type=_file, metavar="FILE", help="With --learn: go on from a saved state."),
        click.option("--save-state", type=_file, metavar="FILE", help="With --learn: where it stood at the end."),
        click.option(
            "--save-learned", type=_file, metavar="OUT.net", help="With --learn: an artifact with the learned weights."
        ),
        click.option(
            "--save-checkpoint", type=_file, metavar="RUN",
            help="With --learn: a run folder with the learned weights as floats, for `evaluate` and `compile`.",
        ),
        runs_option,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def learn_in_session(
    artifact: Path | None, sim: bool, hw: bool, backend: Any, samples: int | None, dataset: str | None,
    json_path: Path | None, options: dict[str, Any],
) -> None:  # fmt: skip
    """The command itself."""
    from decolle_hw.workflow import require_simulator

    require_simulator(sim, hw)
    useless = sorted(given_options() & NOT_LEARNING)
    if useless:
        raise UsageError(f"{', '.join(useless)}: a network that learns takes one recording after another; leave out")
    check_outputs(json=json_path)
    from decolle_hw.learning.request import LearnRequest
    from decolle_hw.learning.session import learn_on_chip
    from decolle_hw.report.learned import print_session

    console = open_console()
    if options["load_state"] is not None and "--backend" not in given_options():
        console.print("going on in the integer reference, as Lava cannot start in the middle of a run")
        backend = "reference"
    request = LearnRequest(artifact, backend, dataset, samples=samples, report=json_path, **options)
    session = learn_on_chip(request, console)
    print_session(session, console)
    write_result(session.to_json(), json_path, console)
    if session.comparison is not None and not session.comparison.equal:
        raise CheckError("Lava and the integer reference differ; nothing was saved")
