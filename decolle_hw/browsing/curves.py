"""Learning curves of runs in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from decolle_hw.atomic import new_file
from decolle_hw.browsing.runs import FoundRun
from decolle_hw.palette import LINES, SKY_BLUE

# Okabe-Ito, readable with colour-blind eyes; markers differ as well
COLOURS = (*LINES, SKY_BLUE, "#000000")
MARKERS = "osD^vPX"


def draw_curves(runs: Sequence[FoundRun], path: Path) -> None:
    """Test accuracy and loss of the last layer, epoch by epoch, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    # Names are those of folders: a $ in one is not mathematics.
    with matplotlib.rc_context({"text.parse_math": False}):
        figure, (accuracy, loss) = plt.subplots(1, 2, figsize=(11, 4.2 + 0.22 * len(runs)), layout="constrained")
        for index, run in enumerate(runs):
            epochs = [record["epoch"] for record in run.history]
            # Beyond seven runs the marker moves on before the colour does.
            style = {
                "color": COLOURS[index % len(COLOURS)],
                "marker": MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
                "markersize": 4,
                "linewidth": 1.5,
            }
            accuracy.plot(epochs, [100 * one["test_accuracy"][-1] for one in run.history], label=run.name, **style)
            loss.plot(epochs, [one["loss"][-1] for one in run.history], **style)
        accuracy.set_title("test accuracy of the last layer, %", fontsize=10)
        loss.set_title("training loss of the last layer", fontsize=10)
        for axes in (accuracy, loss):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
        with new_file(path) as partial:
            figure.savefig(partial, format="png", dpi=110)
        plt.close(figure)
