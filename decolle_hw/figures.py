"""Pictures: what the network sees, how it spikes, how it decides, how it learned."""

# T steps, I inputs, N neurons, C classes

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decolle_hw.atomic import new_file
from decolle_hw.compiler.program import Program
from decolle_hw.palette import BLUE, GREEN, LINES, VERMILION
from decolle_hw.sim.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ON, OFF, DECIDED, OTHERS, BURN_IN = VERMILION, BLUE, GREEN, "#BBBBBB", "#F0F0F0"
LAYER_MARKERS = "os^Dv"
MAX_DOT_ROWS = 128  # neurons of a layer that get a row of dots; more would be a grey area
SHORT_WORD = 40  # characters of a class name that fit beside a curve


def draw_decision(
    program: Program,
    spikes_TI: np.ndarray,
    trace: Trace,
    label: int,
    history: list[dict[str, Any]],
    path: Path,
) -> None:
    """One recording on its way through the compiled network, and the learning curve, as a PNG.

    Args:
        spikes_TI: binary input of the recording.
        trace: what Lava did with it; recording 0 is drawn.
        label: index of the true class.
        history: epochs of the training run (metrics.json), may be empty.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    # Class names are folder names: a $ in one is not mathematics.
    with matplotlib.rc_context({"text.parse_math": False}):
        layers = len(program.layers)
        rows = layers + 2
        figure = plt.figure(figsize=(12, 2.0 * rows + 1), layout="constrained")
        grid = figure.add_gridspec(rows, 2, width_ratios=[1, 2.4])
        split = rows // 2
        _events(figure.add_subplot(grid[:split, 0]), program, spikes_TI, program.classes[label])
        if history:
            _learning_curve(figure.add_subplot(grid[split:, 0]), history)
        first = figure.add_subplot(grid[0, 1])
        _raster(first, spikes_TI, "input", by_polarity=program.input_shape[0] == 2)
        for index, layer in enumerate(program.layers):
            axes = figure.add_subplot(grid[index + 1, 1], sharex=first)
            _raster(axes, trace.layers[index].spikes[0], f"layer {index}{' (pooling)' if layer.is_pooling else ''}")
        _readout(figure.add_subplot(grid[rows - 1, 1], sharex=first), program, trace, label)
        figure.suptitle(f"{program.name}: {program.layers[0].neuron} neurons in Lava, one test recording")
        with new_file(path) as partial:
            figure.savefig(partial, format="png", dpi=110)
        plt.close(figure)


def _events(axes: Axes, program: Program, spikes_TI: np.ndarray, name: str) -> None:
    polarities, height, width = program.input_shape
    # Sums, not differences: a saccade that returns to its start takes back every polarity it gave.
    counts_HW = spikes_TI.sum(0, dtype=np.int64).reshape(polarities, height, width).sum(0)
    axes.imshow(counts_HW, cmap="magma")
    axes.set_title(f"what the camera saw, events per pixel (class {name[:SHORT_WORD]})", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def _raster(axes: Axes, spikes_TN: np.ndarray, title: str, by_polarity: bool = False) -> None:
    units = spikes_TN.shape[1]
    every = 1 if by_polarity else max(1, units // MAX_DOT_ROWS)
    steps, neurons = np.nonzero(spikes_TN[:, ::every])
    if by_polarity:
        is_on = neurons >= units // 2
        axes.scatter(steps[is_on], neurons[is_on], s=2, color=ON, label="ON", linewidths=0)
        axes.scatter(steps[~is_on], neurons[~is_on], s=2, color=OFF, label="OFF", linewidths=0)
        axes.legend(loc="upper right", fontsize=7, markerscale=3)
    else:
        axes.scatter(steps, neurons * every, s=2, color="black", linewidths=0)
    shown = "" if every == 1 else f", every {every}th shown"
    axes.set_title(f"{title}: {units} {'inputs' if title == 'input' else 'neurons'}{shown}, "
                   f"{spikes_TN.mean():.1%} active", fontsize=9, loc="left")  # fmt: skip
    axes.set_ylim(-0.5, units - 0.5)
    axes.tick_params(labelbottom=False)


def _readout(axes: Axes, program: Program, trace: Trace, label: int) -> None:
    integers = program.layers[-1]
    spikes_TN = trace.layers[-1].spikes[0].astype(np.int64)
    per_step_TC = spikes_TN @ integers.readout_weight.T + integers.readout_bias
    per_step_TC[: program.burnin_steps] = 0
    sums_TC = per_step_TC.cumsum(0)
    decided = int(sums_TC[-1].argmax())
    axes.axvspan(-0.5, program.burnin_steps - 0.5, color=BURN_IN, label="burn-in")
    for c in range(sums_TC.shape[1]):
        colour = DECIDED if c == decided else OTHERS
        axes.plot(sums_TC[:, c], color=colour, linewidth=2 if c == decided else 1)
        if c == label and c != decided:
            axes.plot(sums_TC[:, c], color=ON, linewidth=1.5, linestyle="--")
    axes.text(
        len(sums_TC) - 1, sums_TC[-1, decided], f" {program.classes[decided][:SHORT_WORD]}", color=DECIDED,
        va="center", fontweight="bold",
    )  # fmt: skip
    verdict = "right" if decided == label else f"wrong, it is {program.classes[label][:SHORT_WORD]} (dashed)"
    axes.set_title(f"summed integer readout: {program.classes[decided][:SHORT_WORD]} ({verdict})",
                   fontsize=9, loc="left")  # fmt: skip
    axes.legend(loc="upper left", fontsize=7)
    axes.set_xlabel("time step")


def _learning_curve(axes: Axes, history: list[dict[str, Any]]) -> None:
    epochs = [record["epoch"] for record in history]
    for index in range(len(history[0]["test_accuracy"])):
        accuracy = [100 * record["test_accuracy"][index] for record in history]
        colour, marker = LINES[index % len(LINES)], LAYER_MARKERS[index % len(LAYER_MARKERS)]
        axes.plot(epochs, accuracy, color=colour, marker=marker, markersize=4, label=f"float layer {index}")
    axes.set_title("test accuracy of each layer's readout [%]", fontsize=10)
    axes.set_xlabel("epoch")
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)
