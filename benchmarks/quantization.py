"""What quantization costs: float, 8-bit and narrower integers after training, and quantization-aware training.

Each model is trained twice, as its YAML says and with `training.quantize: {weight_bits: N}`, and compiled for loihi2.
Accuracies are of the best epoch's weights on the same test recordings (at most 512 of them), with 95 % intervals;
integers are those of the reference simulator, which equals Lava.

    python benchmarks/quantization.py digits digits-cuba
    python benchmarks/quantization.py nmnist nmnist-cuba --data FOLDER     # N-MNIST recordings
    python benchmarks/quantization.py digits --bits 4 3 2 --set training.seed=1
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from decolle_hw.compiling.pipeline import compile_trained
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.fidelity.summary import Fidelity
from decolle_hw.spec import load_model_spec, with_folder
from decolle_hw.workflow import train_model

QUIET = Console(quiet=True)


def trained(name: str, runs: Path, data: str | None, overrides: tuple[str, ...]) -> Path:
    spec = load_model_spec(name, overrides)
    return train_model(spec if data is None else with_folder(spec, data), runs, "cpu", QUIET).folder


def compiled(run: Path, folder: Path, bits: int) -> Fidelity:
    path = folder / f"{bits}.net"
    return compile_trained(run, path, QUIET, weight_bits=bits).fidelity


def row(name: str, how: str, fidelity: Fidelity, base: float) -> str:
    low, high = wilson_interval(fidelity.integer_hits, fidelity.recordings)
    agreement = " / ".join(f"{100 * share:.1f}" for share in fidelity.spike_agreement)
    return (
        f"| `{name}` | {how} | {100 * fidelity.float_accuracy:.1f} % | {100 * fidelity.integer_accuracy:.1f} % "
        f"({100 * low:.1f}-{100 * high:.1f}) | {100 * (fidelity.integer_accuracy - base):+.1f} "
        f"| {fidelity.same_decision} of {fidelity.recordings} | {agreement} % |"
    )


def measure(name: str, folder: Path, data: str | None, overrides: tuple[str, ...], widths: list[int]) -> None:
    run = trained(name, folder / "runs", data, overrides)
    eight = compiled(run, folder, 8)
    base = eight.float_accuracy
    print(row(name, "8 bits after training", eight, base), flush=True)
    for bits in widths:
        print(row(name, f"{bits} bits after training", compiled(run, folder, bits), base), flush=True)
        aware = trained(name, folder / f"qat{bits}", data, (*overrides, f"training.quantize.weight_bits={bits}"))
        print(row(name, f"{bits} bits while training", compiled(aware, folder, bits), base), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", help="folder of recordings for models that need one")
    parser.add_argument("--bits", type=int, nargs="+", default=[4], help="narrower widths")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    print(
        "| model | weights | before integers (PyTorch) | integers (95 %) | points against the float network "
        "| same decision | same spikes per layer |\n" + "|---" * 7 + "|"
    )
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder), arguments.data, tuple(arguments.overrides), arguments.bits)


if __name__ == "__main__":
    main()
