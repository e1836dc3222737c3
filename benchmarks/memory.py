"""Peak memory of learning by the number of time steps: the local rule against back-propagation through time.

    python benchmarks/memory.py [--plot memory.png] [--steps 100 300 1000] [--network dense|conv]

Each cell is a process of its own that presents two batches of synthetic recordings (0.6 % of inputs active in a step,
as in N-MNIST at 1 ms; they stay lists of events, and only a chunk of steps at a time goes through the network) and
reports its peak resident memory, `getrusage(RUSAGE_SELF).ru_maxrss`: with Python, torch and compiled kernels. Beside
each stands what it is above the same process with BASE_STEPS steps. What still grows is the events themselves.
"""

# T steps, B batch, I inputs, C classes

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 10
DENSITY = 0.006
BASE_STEPS = 10
MODES: dict[str, dict[str, Any]] = {
    "online": {"update_every": 1},
    "every 10 steps": {"update_every": 10},
    "sequence": {"update_every": "sequence"},
    "bptt": {"method": "bptt"},
}
NETWORKS: dict[str, tuple[dict[str, Any], list[int], int]] = {
    "dense": ({"Mhid": [512, 512]}, [2, 34, 34], 64),
    "conv": ({"Nhid": [16, 32, 32], "kernel_size": 7, "pool_size": [2, 1, 2]}, [2, 32, 32], 8),
}


def learn(network_name: str, mode: str, steps: int) -> None:
    """Present two batches; in a process of its own."""
    import torch

    from decolle_hw.data import BinnedRecordings
    from decolle_hw.nn.network import DecolleNetwork
    from decolle_hw.spec import parse_model_spec
    from decolle_hw.training.learner import Learner

    network, input_shape, batch = NETWORKS[network_name]
    values = {
        "name": "memory",
        "dataset": {"input_shape": input_shape, "chunk_size_train": steps, "chunk_size_test": steps},
        "network": network,
        "training": {"batch_size": batch, "burnin_steps": 0, **MODES[mode]},
    }
    spec = parse_model_spec(values, "memory")
    rng = np.random.default_rng(0)
    recordings, inputs = 2 * batch, spec.num_inputs
    entries = steps * inputs
    events = [np.unique(rng.integers(0, entries, int(DENSITY * entries), np.int32)) for _ in range(2)]
    data = BinnedRecordings(
        indptr=np.cumsum([0] + [len(events[r % 2]) for r in range(recordings)]),
        active=np.concatenate([events[r % 2] for r in range(recordings)]),
        labels=rng.integers(0, CLASSES, recordings),
        names=tuple(map(str, range(recordings))),
        classes=tuple(map(str, range(CLASSES))),
        steps=steps,
        input_shape=(input_shape[0], input_shape[1], input_shape[2]),
    )
    learner = Learner(
        DecolleNetwork(spec, CLASSES, torch.Generator().manual_seed(0)), spec.training, torch.device("cpu")
    )
    for _ in learner.learn_epoch(data, 0, rng):
        pass


def peak_megabytes(network: str, mode: str, steps: int) -> float:
    """Peak resident memory of a process that learns, in 10**6 bytes."""
    command = [sys.executable, __file__, "--one", json.dumps([network, mode, steps])]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{network}, {mode}, {steps} steps ended with exit code {result.returncode}:\n{result.stderr}")
    return float(result.stdout.split()[-1])


def own_peak() -> float:
    """Peak resident memory of this process so far, in 10**6 bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def print_table(peaks: dict[str, dict[int, float]], steps: list[int]) -> None:
    columns = [f"{count} steps, MB" for count in steps]
    header = ["mode", *columns, f"{steps[-1]} over {steps[0]} steps", "growth per step, kB"]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for mode, of_steps in peaks.items():
        cells = [f"{of_steps[count]:.0f} (+{of_steps[count] - of_steps[BASE_STEPS]:.0f})" for count in steps]
        growth = (of_steps[steps[-1]] - of_steps[steps[0]]) / (steps[-1] - steps[0]) * 1e3
        print(
            "| " + " | ".join([mode, *cells, f"{of_steps[steps[-1]] / of_steps[steps[0]]:.2f}", f"{growth:.1f}"]) + " |"
        )
    print(f"(+n): above {BASE_STEPS} steps in the same mode")


def draw(peaks: dict[str, dict[int, float]], title: str, path: Path) -> None:
    """Peak memory over steps, a line per mode, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for mode, of_steps in peaks.items():
        counts = sorted(of_steps)
        axes.plot(counts, [of_steps[count] for count in counts], marker="o", markersize=4, label=mode)
    axes.set_xlabel("time steps of a recording")
    axes.set_ylabel("peak resident memory (MB)")
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(NETWORKS), default="dense")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the table as a PNG")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process of a cell is told
    options = parser.parse_args()
    if options.one is not None:
        learn(*json.loads(options.one))
        print(own_peak())
        return
    steps = sorted(set(options.steps))
    if len(steps) < 2 or steps[0] <= BASE_STEPS:
        parser.error(f"--steps needs two or more numbers above {BASE_STEPS}")
    batch = NETWORKS[options.network][2]
    print(f"{options.network} network, batch {batch}, peak resident memory of a process", flush=True)
    peaks = {
        mode: {count: peak_megabytes(options.network, mode, count) for count in (BASE_STEPS, *steps)} for mode in MODES
    }
    print_table(peaks, steps)
    if options.plot is not None:
        draw(peaks, f"{options.network} network, batch {batch}", options.plot)


if __name__ == "__main__":
    main()
