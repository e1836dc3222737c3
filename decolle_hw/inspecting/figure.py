"""A picture of each class: where its events are, of which polarity, and how many over time."""

# h w cells of a picture, B bins of time

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from decolle_hw.atomic import new_file
from decolle_hw.inspecting.analysis import Inspection, Panel
from decolle_hw.inspecting.found import shown
from decolle_hw.palette import BLUE, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ON, OFF = VERMILION, BLUE  # as in decolle_hw.figures; half of each gives grey
REPLACED = "\N{REPLACEMENT CHARACTER}"  # for what is not UTF-8 in a name
GREY = "#707173"
BRIGHTEST = 0.99  # quantile of the cells with events that has the full colour
SHORT_NAME = 24  # characters that fit above a picture
MOST_COLUMNS = 3

# Inches.
EDGE = 1.75  # longer edge of a picture
LEAST_HEIGHT = 0.6  # of the picture of a sensor with few rows
GAP = 0.1
TITLE, RATE, TICKS = 0.3, 0.5, 0.35
LEFT, COLUMN_GAP, TOP, BOTTOM = 0.65, 0.35, 0.45, 0.4
DOTS = 110  # per inch


@dataclass(frozen=True)
class _Layout:
    """Where everything stands, in inches from the lower left corner."""

    columns: int
    rows: int
    picture: tuple[float, float]  # width, height

    @property
    def panel(self) -> tuple[float, float]:
        """Width and height of a panel: two pictures above the rate."""
        return 2 * self.picture[0] + GAP, TITLE + self.picture[1] + GAP + RATE + TICKS

    @property
    def size(self) -> tuple[float, float]:
        width, height = self.panel
        return (
            max(LEFT + self.columns * (width + COLUMN_GAP), LEFT + 5.0),
            TOP + self.rows * height + BOTTOM,
        )

    def corner(self, index: int) -> tuple[float, float]:
        """Lower left of a panel."""
        row, column = divmod(index, self.columns)
        width, height = self.panel
        return LEFT + column * (width + COLUMN_GAP), BOTTOM + (self.rows - 1 - row) * height


def picture_of(what: str) -> Path:
    """Where the picture of a path or model goes unless told otherwise: ``NAME.inspect.png`` in the working folder."""
    path = Path(what)
    name = path.stem if path.suffix and not path.is_dir() else path.resolve().name
    return Path(f"{shown(name).replace(REPLACED, '_') or 'data'}.inspect.png")


def draw_classes(found: Inspection, path: Path) -> None:
    """Events of each class on the sensor and over time, as a PNG; at most `analysis.MOST_PANELS` of them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    h, w = found.panels[0].picture_2hw.shape[1:]
    picture = (EDGE * w / max(h, w), max(EDGE * h / max(h, w), LEAST_HEIGHT))
    columns = min(MOST_COLUMNS, len(found.panels))
    layout = _Layout(columns, ceil(len(found.panels) / columns), (max(picture[0], EDGE / 2), picture[1]))
    # Class names are folder names: a $ in one is not mathematics.
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = plt.figure(figsize=layout.size)
        figure.set_facecolor("white")
        highest = max(float(np.nanmax(panel.rate_hz_B)) for panel in found.panels)
        for index, panel in enumerate(found.panels):
            x, y = layout.corner(index)
            above = y + TICKS + RATE + GAP
            _picture(_axes(figure, layout, x, above, *layout.picture), panel.picture_2hw, _name(panel))
            beside = x + layout.picture[0] + GAP
            moment = f"{panel.moment_us // 1000} ms" + ("" if panel.recordings == 1 else " of one")
            _picture(_axes(figure, layout, beside, above, *layout.picture), panel.moment_2hw, moment)
            rate = _axes(figure, layout, x, y + TICKS, layout.panel[0], RATE)
            _rate(rate, panel, found.bin_us, highest, first=index % columns == 0)
        figure.text(0.5, 1 - 0.22 / layout.size[1], _title(found), ha="center", va="center", fontsize=11)
        both = "#" + "".join(f"{round(255 * part):02X}" for part in (_rgb(ON) + _rgb(OFF)) / 2)
        colours = {"ON events": ON, "as many of both": both, "OFF events": OFF}
        patches = [Patch(color=colour, label=name) for name, colour in colours.items()]
        figure.legend(handles=patches, loc="lower center", ncols=3, fontsize=8, frameon=False)
        with new_file(path) as partial:
            figure.savefig(partial, format="png", dpi=DOTS)
        plt.close(figure)


def mixed_colours(picture_2hw: NDArray[np.int64]) -> NDArray[np.float64]:
    """(h, w, 3) colours: the hue says the polarity, the strength how many events, white is none.

    With s the share of ON events and n their number, ``colour = s ON + (1 - s) OFF`` covers white paper by
    ``sqrt(n / q)``, q the 0.99 quantile of n > 0.
    """
    off_hw, on_hw = picture_2hw.astype(np.float64)
    events_hw = on_hw + off_hw
    if not events_hw.any():
        return np.ones((*events_hw.shape, 3))
    share_hw = on_hw / np.maximum(events_hw, 1)
    cover_hw = np.sqrt(np.minimum(events_hw / np.quantile(events_hw[events_hw > 0], BRIGHTEST), 1))
    colour_hw3 = share_hw[..., None] * _rgb(ON) + (1 - share_hw)[..., None] * _rgb(OFF)
    return 1 - cover_hw[..., None] * (1 - colour_hw3)


def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def _axes(figure: Figure, layout: _Layout, x: float, y: float, width: float, height: float) -> Axes:
    """Axes at a place in inches."""
    whole_width, whole_height = layout.size
    return figure.add_axes((x / whole_width, y / whole_height, width / whole_width, height / whole_height))


def _picture(axes: Axes, picture_2hw: NDArray[np.int64], title: str) -> None:
    axes.imshow(mixed_colours(picture_2hw), interpolation="nearest", aspect="auto")
    axes.set_title(title, fontsize=8.5, pad=3)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#A0A0A0")


def _rate(axes: Axes, panel: Panel, bin_us: int, highest: float, first: bool) -> None:
    """Thousands of events per second and recording, on the same axes for all classes."""
    ends_s = np.arange(1, len(panel.rate_hz_B) + 1) * bin_us / 1e6
    axes.fill_between(ends_s, panel.rate_hz_B / 1000, color=GREY, linewidth=0, step="pre")
    axes.set_xlim(0, ends_s[-1])
    axes.set_ylim(0, 1.05 * highest / 1000)
    axes.tick_params(labelsize=7, labelleft=first, pad=2)
    axes.locator_params(axis="y", nbins=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.text(1.0, -0.14, " s", transform=axes.transAxes, fontsize=7, va="top", ha="left")
    if first:
        axes.set_ylabel("events/ms", fontsize=7)


def _title(found: Inspection) -> str:
    what = "recordings, of no class" if found.unsorted else "classes"
    some = "" if len(found.panels) == found.panels_of else f"{len(found.panels)} of "
    height, width = found.sensor
    return f"{_short(Path(found.what).name, 40)}: {some}{found.panels_of} {what}, {height}x{width} pixels"


def _name(panel: Panel) -> str:
    return _short(panel.name) + ("" if panel.recordings == 1 else f" ({panel.recordings})")


def _short(name: str, longest: int = SHORT_NAME) -> str:
    name = shown(name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
