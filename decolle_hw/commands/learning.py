"""`train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.completing import complete_models, complete_runs
from decolle_hw.commands.options import (
    check_outputs,
    data_option,
    device_option,
    json_option,
    open_console,
    runs_option,
    set_option,
    write_result,
)


@click.command()
@click.argument("model", required=False, shell_complete=complete_models)
@data_option
@set_option
@click.option("--epochs", type=click.IntRange(min=1), help="Shorthand for --set training.num_epochs=N.")
@click.option("--seed", type=click.IntRange(min=0), help="Shorthand for --set training.seed=N.")
@click.option(
    "--strict", is_flag=True,
    help="Stop at the first recording that cannot be read: shorthand for --set dataset.strict=true.",
)  # fmt: skip
@click.option(
    "--resume", "run", is_flag=False, flag_value="", metavar="[RUN]", shell_complete=complete_runs,
    help="Continue RUN, bit for bit; default: the newest unfinished one. A finished one needs more --epochs.",
)  # fmt: skip
@json_option
@device_option
@runs_option
def train(
    model: str | None, dataset: str | None, overrides: tuple[str, ...], epochs: int | None, seed: int | None,
    strict: bool, run: str | None, json_path: Path | None, device: str, runs: Path,
) -> None:  # fmt: skip
    """Train MODEL: a name from models/ or a path to a YAML; default: model.yaml of this folder, else digits.

    Ctrl-C finishes the step, saves, and says how to resume; a second Ctrl-C stops at once.
    """
    from decolle_hw.described import model_of_here, read_model
    from decolle_hw.report.training import print_training
    from decolle_hw.workflow import resume_training, train_model

    if epochs is not None:
        overrides += (f"training.num_epochs={epochs}",)
    if seed is not None:
        overrides += (f"training.seed={seed}",)
    if strict:
        overrides += ("dataset.strict=true",)
    check_outputs(json=json_path)
    console = open_console()
    if run is not None:
        folder = Path(run) if run else None
        trained = resume_training(folder, model, overrides, dataset, runs, device, console)
    else:
        spec = read_model(model_of_here(model, console), overrides, dataset, console)
        trained = train_model(spec, runs, device, console)
    print_training(trained, console)
    write_result(trained.to_json(), json_path, console)


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path), shell_complete=complete_runs)
@data_option
@click.option("--split", type=click.Choice(["train", "test"]), help="Default: test; with --data, all of FOLDER.")
@click.option(
    "--checkpoint", "weights", type=click.Choice(["best", "last"]), default="best", show_default=True,
    help="Weights of the best epoch, or after the last step.",
)  # fmt: skip
@json_option
@device_option
@runs_option
def evaluate(
    run: Path | None, dataset: str | None, split: Any, weights: Any, json_path: Path | None, device: str, runs: Path
) -> None:
    """Test the float network of a training RUN (default: the newest one)."""
    from decolle_hw.fidelity.intervals import wilson_interval
    from decolle_hw.report.training import print_evaluated
    from decolle_hw.workflow import evaluate_model

    check_outputs(json=json_path)
    console = open_console()
    evaluated = evaluate_model(run, runs, dataset, split, weights, device, console)
    print_evaluated(evaluated, console)
    write_result(evaluated.to_json(wilson_interval(evaluated.hits, len(evaluated.labels))), json_path, console)
