"""How long a command takes before it does anything: import and --help, as multiples of `import numpy`.

    python benchmarks/startup.py [--runs 15] [--heavy] [--json FILE]

Every round starts each command once, in a fresh process and in another order, so that what else the machine does hits
all alike. Given are the median and the range of the rounds, and the median of the ratios to `import numpy` of the same
round. --heavy adds the commands that train and run, up to their first complaint that something does not exist.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASELINE = "import numpy"
CLI = "import sys; sys.argv[0] = 'decolle-hw'; from decolle_hw.cli import main; main()"
# What is worth naming where it is imported.
PACKAGES = (
    "click", "rich", "yaml", "pydantic", "numpy", "h5py", "numba", "scipy", "matplotlib", "sklearn", "torch", "tonic",
    "lava", "tensorboard",
)  # fmt: skip
HEAVY = {
    "train": "import decolle_hw.workflow, decolle_hw.report.training, decolle_hw.training.train",
    "compile": "import decolle_hw.compiling.pipeline, decolle_hw.report.compiled",
    "run --backend reference": "import decolle_hw.workflow, decolle_hw.report.executed, decolle_hw.sim.reference",
    "verify": "import decolle_hw.verify.verification, decolle_hw.verify.tables",
}


def steps(heavy: bool) -> dict[str, list[str]]:
    """Name -> arguments of Python."""
    sys.path.insert(0, str(ROOT))
    from decolle_hw.cli import COMMANDS

    commands = [name for section in COMMANDS.values() for name in section]
    found = {BASELINE: ["-c", BASELINE], "pass": ["-c", "pass"], "import decolle_hw": ["-c", "import decolle_hw"]}
    for words in ("--help", "--version", *(f"{name} --help" for name in commands), "targets", "runs"):
        found[f"decolle-hw {words}"] = ["-c", CLI, *words.split()]
    if "models" in commands:
        found["decolle-hw models"] = ["-c", CLI, "models"]
    if heavy:
        found |= {f"imports of {name}": ["-c", code] for name, code in HEAVY.items()}
    return found


def seconds(arguments: list[str], folder: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def imported(arguments: list[str], folder: str, environment: dict[str, str]) -> list[str]:
    """Which of `PACKAGES` the process imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    return [name for name in PACKAGES if name in modules]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--heavy", action="store_true")
    parser.add_argument("--json", type=Path)
    wishes = parser.parse_args()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    found = steps(wishes.heavy)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "runs").mkdir()
        modules = {name: imported(arguments, folder, environment) for name, arguments in found.items()}  # and warm up
        times: dict[str, list[float]] = {name: [] for name in found}
        order, rng = list(found), random.Random(0)
        for _ in range(wishes.runs):
            rng.shuffle(order)
            for name in order:
                times[name].append(seconds(found[name], folder, environment))
    rows = {}
    print(f"{'':32} {'median s':>9} {'range s':>13} {'x import numpy':>15}   imports")
    for name, measured in times.items():
        ratio = statistics.median(one / base for one, base in zip(measured, times[BASELINE], strict=True))
        rows[name] = {"seconds": measured, "ratio": ratio, "imports": modules[name]}
        print(
            f"{name:32} {statistics.median(measured):9.3f} {min(measured):6.3f}-{max(measured):.3f} {ratio:15.2f}   "
            f"{' '.join(modules[name])}"
        )
    if wishes.json is not None:
        wishes.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
