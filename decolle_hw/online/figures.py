"""What an experiment found, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from decolle_hw.atomic import new_file
from decolle_hw.online.continual import Continual
from decolle_hw.online.drift import Drift
from decolle_hw.online.few_shot import FewShot
from decolle_hw.online.from_scratch import FromScratch
from decolle_hw.palette import LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe-Ito, readable with colour-blind eyes; markers differ, too
GREY = "#777777"
MARKERS = "os^Dv"
SHORT_WORD = 12  # characters of a class name that fit below an axis


def draw_few_shot(result: FewShot, path: Path) -> None:
    """Accuracy against shots: the new classes alone, and all classes."""
    with _figure(path, 2) as (alone, joint):
        shots = [row.shots for row in result.rows]
        for index, passes in enumerate(result.settings.passes):
            label = f"on chip, {passes} {'pass' if passes == 1 else 'passes'}"
            _curve(alone, shots, [row.alone[passes] for row in result.rows], label, index)
        last = result.settings.passes[-1]
        _dashed(
            alone, shots, [row.alone_float[last] for row in result.rows], f"same rule in float, {last} passes", GREY
        )
        _dashed(alone, shots, [row.ridge for row in result.rows], "ridge regression, offline", "black")
        alone.axhline(100 / len(result.new), color=GREY, linewidth=0.8, linestyle=":", label="chance")
        _finish(alone, "shots per new class", f"new classes alone ({', '.join(result.new)})"[:60])
        for index, (name, which) in enumerate(
            (name, which) for name in result.rows[0].joint for which in ("new", "old")
        ):
            values = [row.joint[name][which] for row in result.rows]
            _curve(joint, shots, values, f"{which} classes, {name}", index)
        _finish(joint, "shots per new class", f"all classes, after {last} passes")
        for axes in (alone, joint):
            axes.set_xscale("log")
            axes.set_xticks(shots, [str(value) for value in shots])
            axes.minorticks_off()


def draw_drift(result: Drift, path: Path) -> None:
    """Accuracy over time: before the change, at it, and pass after pass."""
    with _figure(path, 1) as (axes,):
        for index, one in enumerate(result.changes):
            lessons = [0, *one.relearned]
            _curve(axes, lessons, [one.after, *one.relearned.values()], one.change, index)
        before = [value for one in result.changes for value in one.before]
        axes.axhline(100 * float(np.mean(before)), color="black", linestyle="--", label="before the change")
        _finish(axes, "lessons since the sensor changed", "the sensor changes, learning on chip recovers")


def draw_continual(result: Continual, path: Path) -> None:
    """Accuracy over the classes so far."""
    with _figure(path, 1) as (axes,):
        places = range(1, len(result.classes) + 1)
        for index, one in enumerate(result.sequences):
            label = f"{one.name}, forgetting {100 * one.forgetting:.0f} points"
            _curve(axes, places, [[value] for value in one.average], label, index)
        axes.set_xticks(list(places), [name[:SHORT_WORD] for name in result.classes])
        if result.known < len(result.classes):
            axes.axvline(result.known + 0.5, color=GREY, linewidth=0.8, linestyle=":", label="new to the features")
        _finish(axes, "class that was taught last", "classes one after the other: accuracy over those so far")


def draw_from_scratch(result: FromScratch, path: Path) -> None:
    """Accuracy after every pass."""
    with _figure(path, 1) as (axes,):
        passes = [0, *result.after]
        _curve(axes, passes, [result.before, *result.after.values()], "test recordings", 0)
        axes.set_xticks(passes)
        _finish(axes, f"passes over {result.trained} recordings", "random weights, all learning on chip")


@contextmanager
def _figure(path: Path, columns: int) -> Iterator[Sequence[Axes]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    # Class names are folder names: a $ in one is not mathematics.
    with matplotlib.rc_context({"text.parse_math": False}):
        figure, axes = plt.subplots(
            1, columns, figsize=(1.5 + 5.5 * columns, 5.6), layout="constrained", sharey=True, squeeze=False
        )
        yield axes[0]
        axes[0][0].set_ylabel("test accuracy, %")
        with new_file(path) as partial:
            figure.savefig(partial, format="png", dpi=120)
        plt.close(figure)


def _curve(axes: Axes, places: Sequence[int], values: Sequence[Sequence[float]], label: str, index: int) -> None:
    """Mean over seeds, and from the worst to the best of them."""
    percents = [100 * np.asarray(of_seeds) for of_seeds in values]
    colour = LINES[index % len(LINES)]
    mean = [float(of_seeds.mean()) for of_seeds in percents]
    axes.plot(places, mean, color=colour, marker=MARKERS[index % len(MARKERS)], label=label)
    low, high = [float(one.min()) for one in percents], [float(one.max()) for one in percents]
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def _dashed(axes: Axes, places: Sequence[int], values: Sequence[Sequence[float]], label: str, colour: str) -> None:
    axes.plot(places, [100 * float(np.mean(one)) for one in values], color=colour, linestyle="--", label=label)


def _finish(axes: Axes, below: str, title: str) -> None:
    axes.set_xlabel(below)
    axes.set_title(title, fontsize=11)
    axes.set_ylim(0, 101)
    axes.grid(alpha=0.3)
    # Below the axes, where no curve can be.
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, frameon=False)
