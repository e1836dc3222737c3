"""`demo`: the whole story, or an experiment of learning on chip."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click

from decolle_hw.commands.completing import complete_models
from decolle_hw.commands.options import (
    check_outputs,
    data_option,
    given_options,
    json_option,
    open_console,
    runs_option,
    set_option,
    write_result,
)
from decolle_hw.errors import UsageError

# Those of online.experiments, which --help must not import.
EXPERIMENTS = ("few-shot", "drift", "from-scratch", "continual")
OF_EXPERIMENTS = {"--model", "--backend", "--known", "--shots", "--passes", "--seeds", "--samples"}
OF_STORIES = {"--new-class"}


class Numbers(click.ParamType):
    """``1,5,20``: positive whole numbers."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isascii() and part.strip().isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r}: expected positive whole numbers, as 1,5,20", param, ctx)
        return tuple(int(part) for part in parts)


def _require_no_typo(name: str) -> None:
    """An experiment that is nearly named is not looked for among the models."""
    from decolle_hw.library import shipped_names

    near = difflib.get_close_matches(name, EXPERIMENTS, 1, 0.75)
    if near and name not in shipped_names("models") and not Path(name).exists():
        raise UsageError(f"unknown experiment or model {name!r}; did you mean {near[0]!r}?")


@click.command()
@click.argument("name", required=False, shell_complete=complete_models)
@set_option
@runs_option
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Folder for what is written.")
@click.option(
    "--model", default="digits", show_default=True, shell_complete=complete_models,
    help="Model of an experiment, as in train.",
)  # fmt: skip
@data_option
@json_option
@click.option("--new-class", metavar="NAME", help="Class that a model first meets on chip; default: the last one.")
@click.option(
    "--backend", type=click.Choice(["reference", "lava"]), default="reference", show_default=True,
    help="Of an experiment; in Lava it is a small one unless you say more, compared with the reference.",
)  # fmt: skip
@click.option("--known", metavar="A,B,...", help="Classes that the features are trained on; default: the first half.")
@click.option("--shots", type=Numbers(), help="Examples per class.")
@click.option("--passes", type=Numbers(), help="How often they are shown; few-shot tests after each of several.")
@click.option("--seeds", type=click.IntRange(1, 100), help="Independent repetitions.")
@click.option("--samples", type=click.IntRange(min=1), help="Test recordings, of each class in turn; default: all.")
def demo(
    name: str | None, overrides: tuple[str, ...], runs: Path, output: Path, model: str, dataset: str | None,
    json_path: Path | None, new_class: str | None, backend: Any, known: str | None, shots: tuple[int, ...] | None,
    passes: tuple[int, ...] | None, seeds: int | None, samples: int | None,
) -> None:  # fmt: skip
    """The whole story of a model, or an experiment of learning on chip.

    NAME is a model, as in train (default: model.yaml of this folder, else digits): learn, compile, certify, run in
    Lava, learn a new class on chip; then a table, a page and a moving picture of it. Or one of few-shot (new classes
    from some examples), drift (the sensor changes), from-scratch (random weights), continual (classes one after the
    other).
    """
    check_outputs(json=json_path)
    console = open_console()
    if name is None or name not in EXPERIMENTS:
        wrong = given_options() & OF_EXPERIMENTS
        if wrong:
            raise UsageError(
                f"{', '.join(sorted(wrong))}: for an experiment ({', '.join(EXPERIMENTS)}), and {name or 'this'} is a "
                "model; leave out"
            )
        if name is not None:
            _require_no_typo(name)
        from decolle_hw.described import model_of_here
        from decolle_hw.story.request import StoryRequest
        from decolle_hw.story.tell import tell_story

        given = model_of_here(name, console)
        story = tell_story(StoryRequest(given, overrides, dataset, runs, output, new_class, json_path), console)
        write_result(story.to_json(), json_path, console)
        return
    wrong = given_options() & OF_STORIES
    if wrong:
        raise UsageError(
            f"{', '.join(sorted(wrong))}: for a model, and {name} is an experiment; leave out, see --known"
        )
    from decolle_hw.described import read_model
    from decolle_hw.online.experiments import Request, run_experiment

    spec = read_model(model, overrides, dataset, console)
    classes = None if known is None else tuple(part.strip() for part in known.split(","))
    request = Request(name, spec, runs, output, backend, classes, shots, passes, seeds, samples)
    write_result(run_experiment(request, console), json_path, console)
