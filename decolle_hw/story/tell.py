"""The steps in their order: learn, compile, certify, run, meet a new class; then draw what came of it."""

# R recordings, T steps, I inputs

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from decolle_hw import data
from decolle_hw.compiler.program import Program
from decolle_hw.compiling.pipeline import Compiled, compile_network
from decolle_hw.compiling.request import Request, Wanted
from decolle_hw.console import shows_bars
from decolle_hw.errors import CheckError, CompileError, DataError
from decolle_hw.execution import lava_runner
from decolle_hw.report.training import print_training
from decolle_hw.sim.trace import decide
from decolle_hw.spec import ModelSpec
from decolle_hw.spec_on_chip import OUTPUT
from decolle_hw.story import table
from decolle_hw.story.cast import Cast, cast_of
from decolle_hw.story.draw import draw_pictures, write_page
from decolle_hw.story.new_class import OnChip, learn_new_class
from decolle_hw.story.request import Files, StoryRequest, Tested, as_yaml
from decolle_hw.story.result import InLava, Story
from decolle_hw.targets import load_target
from decolle_hw.training.runs import Run
from decolle_hw.verify.tables import print_verification
from decolle_hw.verify.verification import Verification, verify_artifact
from decolle_hw.workflow import load_test_recordings, recordings_for_lava, run_both, spread, train_model

TARGET = "loihi2"
CERTIFIED = 20  # recordings of which every register is compared, as `verify` does by default


class Clock:
    """Says what comes and why, and how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, title: str, why: str) -> Iterator[None]:
        """A rule on a terminal, a line elsewhere."""
        heading = f"{len(self.seconds) + 1}  {title}"
        if shows_bars(self.console):
            self.console.print()
            self.console.rule(heading, align="left")
            self.console.print(why, style="italic")
        else:
            self.console.print(f"{heading}: {why}", soft_wrap=True)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def tell_story(request: StoryRequest, console: Console) -> Story:
    """`decolle-hw demo MODEL`.

    Raises: `UsageError` or one of its kind before any long work; `CheckError` if Lava and the integer reference differ
    anywhere.
    """
    spec = request.read(console)
    files = request.files(spec.name)
    lava_runner()  # fail now where Lava cannot be imported, not after training
    all_classes = data.dataset_classes(spec.dataset.model_copy(update={"classes": None}))
    cast = cast_of(all_classes, spec.dataset.classes, request.new_class)
    known = ", ".join(cast.known)
    clock = Clock(console)
    without = "" if cast.new is None else f"; class {cast.new} is kept from it"
    with clock.step("learn", "learn", f"a float network learns classes {known} by DECOLLE's local rule{without}"):
        run = train_model(_of_classes(spec, cast, all_classes), request.runs, "auto", console)
        print_training(run, console)
    with clock.step(
        "compile", f"compile for {TARGET}",
        "weights, decays and thresholds become integers and get cores, as the chip has nothing else",
    ):  # fmt: skip
        compiled = _compile(run, files.artifact, request, console)
        table.print_placed(compiled, console)
    program = compiled.program
    assert program is not None
    samples = recordings_for_lava(program)
    with clock.step(
        "certify", "certify",
        "the same recordings as floats, in quantized numbers, as integers and in Lava: what does each step cost, and "
        "is any register of Lava another one?",
    ):  # fmt: skip
        verification = _certify(run, files.artifact, min(CERTIFIED, samples), request, console)
        table.print_certified(verification, console)
    with clock.step(
        "run", "run in Lava", "the compiled network decides on test recordings in Lava's simulator, as it would on chip"
    ):
        in_lava = _run_in_lava(program, samples, console)
        table.print_executed(in_lava, console)
    about = f"class {cast.new}" if cast.new is not None else "a new class"
    with clock.step(
        "new class", f"learn {about} on chip",
        "what the network has never seen it learns from some examples, by spikes, traces and one local rule that "
        "changes the weights of an output layer: no gradient, and the host computes nothing",
    ):  # fmt: skip
        learner, on_chip, why_none = _meet_new_class(run, cast, files, request, console)
        table.print_new_class(on_chip, cast, why_none, console)
    chosen = run.spec.dataset.classes
    tested = Tested(None if chosen is None else tuple(chosen), len(verification.names), samples)
    commands = request.commands(run.folder, files, tested, cast, on_chip is not None)
    story = Story(
        cast, run, compiled, verification, in_lava, learner, on_chip, why_none, dict(clock.seconds), files, commands
    )
    with clock.step("draw", "look at it", "one table, one page that opens anywhere, one picture that moves"):
        drawn = draw_pictures(story, console)
    story = replace(story, seconds=dict(clock.seconds))
    write_page(story, drawn)
    table.print_story(story, console)
    return story


def _of_classes(spec: ModelSpec, cast: Cast, everything: tuple[str, ...]) -> ModelSpec:
    chosen = None if cast.known == everything else list(cast.known)
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"classes": chosen})})


def _compile(
    run: Run, output: Path, request: StoryRequest, console: Console, overrides: tuple[str, ...] = (),
    plastic: tuple[int | str, ...] = (),
) -> Compiled:  # fmt: skip
    """Whatever the model says of learning on chip: that is a step of its own here."""
    useless = [key for key in ("learning_rate", "gate", "classes") if getattr(run.spec.on_chip, key) is not None]
    overrides = (*(f"on_chip.{key}=null" for key in useless), *overrides)
    wanted = Request(
        Wanted(load_target(TARGET)), str(run.folder), request.runs, output, overrides=overrides, plastic=plastic
    )
    compiled = compile_network(wanted, console)
    table.print_warnings(compiled.warnings, console)
    return compiled


def _certify(run: Run, artifact: Path, samples: int, request: StoryRequest, console: Console) -> Verification:
    verification = verify_artifact(artifact, samples, None, console, runs=request.runs, run_folder=run.folder)
    if verification.failures:
        print_verification(verification, console)
        raise CheckError("; ".join(verification.failures))
    table.print_warnings(tuple(verification.warnings), console)
    return verification


def _run_in_lava(program: Program, samples: int, console: Console) -> InLava:
    recordings = spread(load_test_recordings(program, None), samples)
    trace, comparison = run_both(program, recordings, record=False, console=console)
    if comparison.first is not None:
        where = comparison.first.between("the integer reference", "Lava")
        raise CheckError(f"Lava and the integer reference differ: {where}")
    return InLava(recordings, decide(program, trace), trace, comparison)


def _meet_new_class(
    run: Run, cast: Cast, files: Files, request: StoryRequest, console: Console
) -> tuple[Compiled | None, OnChip | None, str]:
    """What was compiled, what it learned, and, where there is neither, why."""
    if cast.new is None:
        return None, None, cast.why_none
    overrides = (f"on_chip.classes={as_yaml(cast.everything)}",)
    try:
        learner = _compile(run, files.learner, request, console, overrides, (OUTPUT,))
        assert learner.lowered is not None
        found = learn_new_class(learner.lowered.learning, cast.new_label, files.learned, console)
    except (CompileError, DataError) as error:  # silent features, no test recording: the rest of the story stands
        return None, None, str(error)
    return learner, found, ""
