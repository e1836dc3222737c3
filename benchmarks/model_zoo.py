"""Accuracy of the model zoo along the chain: float, integer reference, Lava. Fills the tables of README and models/.

Each model is trained as its YAML says, compiled for loihi2, and run on the same test recordings in all three.

    python benchmarks/model_zoo.py digits digits-cuba
    python benchmarks/model_zoo.py nmnist nmnist-cuba --data FOLDER     # N-MNIST recordings
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console

from decolle_hw.compiling.pipeline import compile_trained
from decolle_hw.fidelity.summary import float_against_integer
from decolle_hw.sim.trace import decide
from decolle_hw.spec import load_model_spec, with_folder
from decolle_hw.workflow import load_test_recordings, run_both, spread, train_model


def measure(name: str, folder: Path, data: str | None, overrides: tuple[str, ...], samples: int) -> str:
    """One row of the table."""
    console = Console(quiet=True)
    spec = load_model_spec(name, overrides)
    if data is not None:
        spec = with_folder(spec, data)
    run = train_model(spec, folder / "runs", "cpu", console)
    compiled = compile_trained(run.folder, folder / f"{name}.net", console)
    fidelity, program = compiled.fidelity, compiled.program
    recordings = spread(load_test_recordings(program, None), samples)
    began = time.perf_counter()
    trace, comparison = run_both(program, recordings, record=True, console=console)
    seconds = time.perf_counter() - began
    hits = int((decide(program, trace) == recordings.labels).sum())
    same = float_against_integer(run.network(), program, recordings)
    agreement = " / ".join(f"{100 * share:.1f}" for share in fidelity.spike_agreement)
    rates = " / ".join(f"{rate:.3f}" for rate in fidelity.integer_rate)
    return (
        f"| `{name}` | {100 * fidelity.float_accuracy:.1f} % | {100 * fidelity.integer_accuracy:.1f} % "
        f"({fidelity.recordings}) | {same.float_hits} / {same.integer_hits} / {hits} of {same.recordings} "
        f"| {agreement} % | {rates} | {comparison.compared:,} / {comparison.mismatches} "
        f"| {len(compiled.mapped.placement.cores)} | {run.metrics['seconds']:.0f} s | {seconds:.0f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", help="folder of recordings for models that need one")
    parser.add_argument("--samples", type=int, default=100, help="test recordings that also run in Lava")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    print(
        "| model | float | integer (recordings) | float / reference / Lava, same recordings | same spikes per layer "
        "| firing rate per layer | values compared / mismatches | cores | training | Lava |\n" + "|---" * 10 + "|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            row = measure(name, Path(folder), arguments.data, tuple(arguments.overrides), arguments.samples)
            print(row, flush=True)


if __name__ == "__main__":
    main()
