"""Peak memory of `run --sim` by the number of recordings: it must not grow with them.

    python benchmarks/run_memory.py [--backend reference|lava] [--recordings 100 1000 10000] [--batch N] [--jobs N]

Each row is a folder of its own with so many recordings in N-MNIST's format, random events on a sensor of 16x16 pixels,
and a random network of two dense layers. The command runs on it twice, as a user would call it: first it reads and
bins the recordings, then it finds them in the cache. Peak memory is `ru_maxrss` of the command's process as the
kernel reports it at its end (and of the largest of its children, if that is larger), with Python, torch, and compiled
kernels. Everything lies in a temporary folder.
"""

# R recordings, T steps, I inputs

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from decolle_hw.compiler.artifact import save_artifact
from decolle_hw.sim.random_program import random_program

CLASSES = ("left", "middle", "right")
PIXELS = 16  # along an edge
STEPS = 50
DELTAT = 5_000  # microseconds
EVENTS = 400  # of a recording
COUNTS = {"reference": [100, 1000, 10_000], "lava": [20, 100, 400]}
ALLOWED = 1.10  # of the largest number of recordings over the smallest
SPEC = f"""
name: random-decolle
dataset: {{name: folder, input_shape: [2, {PIXELS}, {PIXELS}], deltat: {DELTAT}, chunk_size_test: {STEPS}}}
network: {{Mhid: [64, 32]}}
training: {{burnin_steps: 10}}
"""


class Used(NamedTuple):
    """What one call of the command took."""

    megabytes: float
    seconds: float


def write_recordings(folder: Path, count: int) -> None:
    """Random recordings, the classes in turn."""
    rng = np.random.default_rng(count)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for index in range(count):
        t = np.sort(rng.integers(0, STEPS * DELTAT, EVENTS))
        x, y, p = rng.integers(0, PIXELS, EVENTS), rng.integers(0, PIXELS, EVENTS), rng.integers(0, 2, EVENTS)
        content = np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8)
        (folder / CLASSES[index % len(CLASSES)] / f"{index:05}.bin").write_bytes(content.tobytes())


def write_network(path: Path) -> None:
    """A network that runs, not one that has learned."""
    sizes = (2 * PIXELS * PIXELS, 64, 32)
    program = random_program(np.random.default_rng(0), "decolle", sizes=sizes, steps=STEPS, like_quantizer=True)
    save_artifact(replace(program, input_shape=(2, PIXELS, PIXELS), classes=CLASSES, spec_yaml=SPEC), path)


def measure(arguments: list[str], cache: Path) -> Used:
    """Run the command and wait for it; its own peak is that of its process, as the kernel counted it."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "decolle_hw.cli", "run", *arguments],
        env={**os.environ, "DECOLLE_HW_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"decolle-hw run {' '.join(arguments)}: exit code {process.returncode}")
    return Used(in_megabytes(usage), time.perf_counter() - began)


def in_megabytes(usage: resource.struct_rusage) -> float:
    """Peak resident memory in 10**6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return usage.ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=list(COUNTS), default="reference")
    parser.add_argument("--recordings", type=int, nargs="+", metavar="N", help="default: as many as makes sense")
    parser.add_argument("--batch", type=int, help="recordings at a time; default: that of the command, or 20 in Lava")
    parser.add_argument("--jobs", type=int, help="Lava runs side by side")
    options = parser.parse_args()
    counts = sorted(options.recordings or COUNTS[options.backend])
    batch = options.batch or (20 if options.backend == "lava" else None)
    print(f"`run --sim --backend {options.backend}`, {2 * PIXELS * PIXELS}-64-32 network, {STEPS} steps, ", end="")
    print(f"batch {batch or 'by default'}, {options.jobs or 1} job(s); peak resident memory of the command", flush=True)
    print("| recordings | reading, MB | again, MB | over the first | reading, s | again, s |\n" + "|---" * 6 + "|")
    first: list[float] = []
    largest = 1.0
    with tempfile.TemporaryDirectory(prefix="decolle-") as name:
        folder = Path(name)
        write_network(folder / "random.net")
        for count in counts:
            write_recordings(folder / str(count), count)
            arguments = [str(folder / "random.net"), "--sim", "--backend", options.backend]
            arguments += ["--data", str(folder / str(count)), "--samples", str(count)]
            arguments += ["--csv", str(folder / "out.csv"), "--json", str(folder / "out.json")]
            arguments += ["--batch", str(batch)] if batch else []
            arguments += ["--jobs", str(options.jobs)] if options.jobs else []
            used = [measure(arguments, folder / "cache") for _ in range(2)]
            first = first or [each.megabytes for each in used]
            ratios = [each.megabytes / base for each, base in zip(used, first, strict=True)]
            largest = max(largest, *ratios)
            print(
                f"| {count} | {used[0].megabytes:.0f} | {used[1].megabytes:.0f} "
                f"| {ratios[0]:.3f}, {ratios[1]:.3f} | {used[0].seconds:.1f} | {used[1].seconds:.1f} |",
                flush=True,
            )
    print(f"largest ratio {largest:.3f}, allowed {ALLOWED}")
    if largest > ALLOWED:
        sys.exit(1)


if __name__ == "__main__":
    main()
