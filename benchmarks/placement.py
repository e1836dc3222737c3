"""Seconds and memory of placement by the number of neurons, against n log n.

    python benchmarks/placement.py [--plot placement.png] [--target loihi1] [--neurons 1000 1000000 ...]

Two synthetic networks. `conv`: four convolutions of 16 channels, 3x3, on a square map (113 synapses per neuron).
`dense`: matrices of 1000 and 100 neurons in turn (182 synapses per neuron), as many as it takes. Each cell is a
process of its own that builds the graph, places it and reports the seconds of `place` alone (by the clock, and of the
processor, which other work on the machine disturbs less) and its peak resident memory,
`getrusage(RUSAGE_SELF).ru_maxrss`, with Python and all libraries. The exponent p of seconds ~ n^p is fitted to the
processor's seconds of the cells of FITTED_FROM neurons and more, and stands beside that of n log n over the same cells.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from decolle_hw.compiler.lowering.graph import INPUT, Connection, Geometry, Graph, Population, Shape
from decolle_hw.compiler.placement import place
from decolle_hw.targets import load_target

CONV_LAYERS, CHANNELS, KERNEL = 4, 16, 3
DENSE_WIDTHS = (1000, 100)
FITTED_FROM = 100_000
KINDS = ("conv", "dense")


def chain(name: str, input_shape: Shape, shapes: list[Shape], geometry: Geometry | None) -> Graph:
    populations = [Population(f"p{i}", "hidden", "cuba", shape, None) for i, shape in enumerate(shapes)]
    sources = [(INPUT, input_shape), *((one.name, one.shape) for one in populations[:-1])]
    connections = [
        Connection(source, one.name, shape, geometry)
        for one, (source, shape) in zip(populations, sources, strict=True)
    ]  # fmt: skip
    return Graph(name, input_shape, tuple(populations), tuple(connections))


def network(kind: str, neurons: int) -> Graph:
    """About as many neurons as asked for."""
    if kind == "conv":
        side = max(KERNEL, round(math.sqrt(neurons / (CONV_LAYERS * CHANNELS))))
        shapes: list[Shape] = [(CHANNELS, side, side)] * CONV_LAYERS
        return chain(kind, (2, side, side), shapes, Geometry((KERNEL, KERNEL), padding=(KERNEL // 2, KERNEL // 2)))
    pairs = max(1, round(neurons / sum(DENSE_WIDTHS)))
    return chain(kind, (DENSE_WIDTHS[1], 1, 1), [(width, 1, 1) for width in DENSE_WIDTHS] * pairs, None)


def cell(kind: str, neurons: int, target: str) -> dict[str, float]:
    """Place one network; in a process of its own."""
    import resource

    graph, limits = network(kind, neurons), load_target(target)
    start, start_cpu = time.perf_counter(), time.process_time()
    placement = place(graph, limits)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return {
        "neurons": graph.neurons,
        "synapses": sum(graph.synapses(connection) for connection in graph.connections),
        "cores": len(placement.cores),
        "bound": placement.bound,
        "chips": placement.chips,
        "problems": len(placement.problems),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
    }


def measured(kind: str, neurons: int, target: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", json.dumps([kind, neurons, target])]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{kind}, {neurons} neurons ended with exit code {result.returncode}:\n{result.stderr}")
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


def exponents(rows: list[dict[str, float]]) -> tuple[float, float] | None:
    """(p of the seconds, p of n log n) over the large cells; None where there are fewer than two."""
    large = [row for row in rows if row["neurons"] >= 0.9 * FITTED_FROM]
    if len(large) < 2:
        return None
    n = np.array([row["neurons"] for row in large])
    seconds = np.array([row["cpu_seconds"] for row in large])
    fitted, reference = (np.polyfit(np.log(n), np.log(values), 1)[0] for values in (seconds, n * np.log(n)))
    return float(fitted), float(reference)


def print_table(kind: str, rows: list[dict[str, float]]) -> None:
    header = ["neurons", "synapses", "cores", "lower bound", "chips", "seconds", "CPU s", "peak MB"]
    print(f"\n{kind}\n| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for row in rows:
        cells = [f"{row[key]:,.0f}" for key in ("neurons", "synapses", "cores", "bound", "chips")]
        cells += [f"{row[key]:.2f}" for key in ("seconds", "cpu_seconds")]
        print("| " + " | ".join([*cells, f"{row['megabytes']:.0f}"]) + " |", flush=True)
    found = exponents(rows)
    if found is not None:
        print(f"CPU seconds ~ n^{found[0]:.2f} from {FITTED_FROM:,} neurons on; n log n there: n^{found[1]:.2f}")


def draw(tables: dict[str, list[dict[str, float]]], target: str, path: Path) -> None:
    """Seconds over neurons on logarithmic axes, with n log n through the last point of each, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for kind, rows in tables.items():
        n, seconds = (np.array([row[key] for row in rows]) for key in ("neurons", "cpu_seconds"))
        (line,) = axes.loglog(n, seconds, marker="o", markersize=4, label=kind)
        grows = n * np.log(n)
        axes.loglog(n, grows * seconds[-1] / grows[-1], linestyle=":", color=line.get_color(), label="n log n")
    axes.set_xlabel("neurons")
    axes.set_ylabel("CPU seconds of placement")
    axes.set_title(f"placement on {target}")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="loihi1", help="default: loihi1, where a core holds fewest neurons")
    parser.add_argument(
        "--neurons", type=int, nargs="+", default=[1000, 10_000, 100_000, 300_000, 1_000_000, 2_000_000, 4_000_000]
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the table as a PNG")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process of a cell is told
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(cell(*json.loads(options.one))))
        return
    tables = {}
    for kind in KINDS:
        tables[kind] = [measured(kind, neurons, options.target) for neurons in sorted(set(options.neurons))]
        print_table(kind, tables[kind])
    if options.plot is not None:
        draw(tables, options.target, options.plot)


if __name__ == "__main__":
    main()
