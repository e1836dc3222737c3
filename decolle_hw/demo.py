"""The whole story in one command: learn, become integers, run in Lava spike for spike, see it."""

# R recordings, T steps, I inputs

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from decolle_hw.atomic import check_writable
from decolle_hw.compiling.pipeline import compile_trained
from decolle_hw.errors import CheckError
from decolle_hw.fidelity.summary import Fidelity, float_against_integer
from decolle_hw.figures import draw_decision
from decolle_hw.progress import percent
from decolle_hw.report.compiled import print_compiled
from decolle_hw.report.tables import new_table, print_comparison
from decolle_hw.report.training import print_training
from decolle_hw.sim.compare import Comparison
from decolle_hw.sim.trace import decide
from decolle_hw.spec import load_model_spec
from decolle_hw.workflow import (
    lava_runner,
    load_test_recordings,
    recordings_for_lava,
    run_both,
    spread,
    train_model,
)


@dataclass(frozen=True)
class DemoResult:
    """Accuracy of each representation on the same test recordings, and the proof that two of them are one."""

    fidelity: Fidelity
    lava_hits: int
    comparison: Comparison
    picture: Path


def run_demo(model: str, overrides: tuple[str, ...], runs: Path, output: Path, console: Console) -> DemoResult:
    """Train, compile, run test recordings in Lava, 100 or fewer of convolutions, compare every register, draw one.

    Raises `CheckError` if Lava and the integer reference differ anywhere.
    """
    spec = load_model_spec(model, overrides)
    lava_runner()  # fail now where Lava cannot be imported, not after training
    picture = output / f"{spec.name}.demo.png"
    check_writable(picture)
    console.rule("1  learn (float, DECOLLE)")
    run = train_model(spec, runs, "auto", console)
    print_training(run, console)

    console.rule("2  compile to Loihi 2 integers")
    compiled = compile_trained(run.folder, output / f"{run.spec.name}.net", console)
    print_compiled(compiled, console)
    program = compiled.program
    assert program is not None

    console.rule("3  run in the Lava CPU simulator")
    recordings = spread(load_test_recordings(program, None), recordings_for_lava(program))
    trace, comparison = run_both(program, recordings, record=True, console=console)
    print_comparison(comparison, console)
    fidelity = float_against_integer(run.network(), program, recordings)
    decisions = decide(program, trace)

    # The first recording that the network gets right: a typical one, as most are.
    chosen = int(np.argmax(decisions == recordings.labels))
    draw_decision(
        program, recordings.dense([chosen])[:, 0], trace.take(chosen, chosen + 1), int(recordings.labels[chosen]),
        run.metrics["history"], picture,
    )  # fmt: skip
    result = DemoResult(fidelity, int((decisions == recordings.labels).sum()), comparison, picture)
    _print_chain(result, console)
    if not comparison.equal:
        assert comparison.first is not None
        where = comparison.first.between("the integer reference", "Lava")
        raise CheckError(f"Lava and the integer reference differ: {where}")
    return result


def _print_chain(result: DemoResult, console: Console) -> None:
    fidelity = result.fidelity
    console.print(f"the same {fidelity.recordings} test recordings along the chain", style="bold")
    table = new_table("stage", "accuracy")
    table.add_row("float network (PyTorch)", percent(fidelity.float_accuracy))
    table.add_row("integer reference", percent(fidelity.integer_accuracy))
    table.add_row("Lava CPU simulator", percent(result.lava_hits / fidelity.recordings))
    console.print(table)
    console.print(f"wrote {result.picture}", soft_wrap=True)
