"""A picture of the chain: what each stage decides rightly, and how many spikes of each layer it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from decolle_hw.atomic import new_file
from decolle_hw.fidelity.chain import FLOAT, PAIRS, QUANTIZED, REFERENCE
from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.palette import BLUE, GREEN, VERMILION
from decolle_hw.verify.verification import Verification

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe-Ito, readable with colour-blind eyes; markers differ as well
COLOURS = dict(zip(PAIRS, (BLUE, GREEN, VERMILION), strict=True))
MARKERS = dict(zip(PAIRS, ("o", "s", "D"), strict=True))
SMALLEST = 1e-5  # of the logarithmic axes: what is less, or zero, is drawn there


def draw_chain(verification: Verification, path: Path) -> None:
    """Accuracy of the stages, spikes lost per layer, and the range that registers need, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    width = max(10.0, 4.0 + 1.1 * len(verification.program.layers))
    figure, (accuracy, spikes, ranges) = plt.subplots(3, 1, figsize=(width, 10), layout="constrained")
    _accuracy(accuracy, verification)
    _spikes(spikes, verification)
    _ranges(ranges, verification)
    comparison = verification.chain.comparison
    title = f"{verification.program.name}: {len(verification.chain.labels)} recordings along the chain"
    if comparison is not None:
        title += (
            f"\n{verification.last_stage} against the integer reference: {comparison.compared:,} values, "
            f"{comparison.mismatches:,} mismatches"
        )
    figure.suptitle(title, parse_math=False)
    with new_file(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
    plt.close(figure)


def _accuracy(axes: Axes, verification: Verification) -> None:
    chain = verification.chain
    for place, (stage, decisions) in enumerate(chain.decisions.items()):
        count, hits = len(decisions), chain.hits(stage)
        share = hits / count
        low, high = wilson_interval(hits, count)
        axes.errorbar(
            place, 100 * share, yerr=[[100 * (share - low)], [100 * (high - share)]], fmt="o", color=BLUE, capsize=6
        )
        axes.annotate(
            f"{100 * share:.1f} %", (place, 100 * share), xytext=(10, 0), textcoords="offset points", va="center"
        )
    axes.set_xticks(range(len(chain.decisions)), list(chain.decisions), parse_math=False)  # a file name may have a $
    axes.set_xlim(-0.5, len(chain.decisions) - 0.4)
    axes.set_title("accuracy of each stage, with its 95 % interval [%]", loc="left", fontsize=10)
    axes.grid(axis="y", alpha=0.3)


def _spikes(axes: Axes, verification: Verification) -> None:
    """Differences on a logarithmic axis: 99.9 % and 99.99 % would look alike on the other."""
    layers = verification.chain.layers
    short = {FLOAT: "float", QUANTIZED: "quantized", REFERENCE: "integer"}
    for shift, pair in zip((-0.15, 0.0, 0.15), PAIRS, strict=True):
        places = [index for index, figures in enumerate(layers) if pair in figures.agreement]
        if not places:
            continue
        unequal = [max(SMALLEST, 1 - layers[index].agreement[pair].agreement) for index in places]
        axes.plot(
            np.array(places) + shift, [100 * share for share in unequal], linestyle="", marker=MARKERS[pair],
            color=COLOURS[pair], label=f"{short[pair[0]]} / {short[pair[1]]}",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(100 * SMALLEST / 2, 200)
    axes.set_title(
        f"spikes that differ between two stages [% of neurons and steps; {100 * SMALLEST:g} % or less at the bottom]",
        loc="left", fontsize=10,
    )  # fmt: skip
    _layer_axis(axes, verification)
    _legend(axes)


def _ranges(axes: Axes, verification: Verification) -> None:
    layers = verification.chain.layers
    for shift, name, colour, marker in ((-0.15, "u", BLUE, "o"), (0.0, "v", VERMILION, "D"), (0.15, "r", GREEN, "s")):
        places = [index for index, figures in enumerate(layers) if name in figures.needed]
        if not places:
            continue
        shares = [max(SMALLEST, layers[index].needed[name] / STATE_LIMIT) for index in places]
        axes.plot(
            np.array(places) + shift, [100 * share for share in shares], linestyle="", marker=marker, color=colour,
            label=name,
        )  # fmt: skip
    axes.axhline(100, color="black", linewidth=1, linestyle="--")
    axes.set_yscale("log")
    axes.set_title(
        "largest share of 24 bits that a register needs [%]; above the line it wraps or saturates",
        loc="left", fontsize=10,
    )  # fmt: skip
    _layer_axis(axes, verification)
    _legend(axes)


def _layer_axis(axes: Axes, verification: Verification) -> None:
    layers = verification.program.layers
    axes.set_xticks(range(len(layers)), [f"{index}\n{layer.kind}" for index, layer in enumerate(layers)])
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.grid(axis="y", alpha=0.3)


def _legend(axes: Axes) -> None:
    """Beside the axes, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
