"""Shares over a count: accuracy by epoch, or by the number of recordings that were shown."""

# P points

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from decolle_hw.page import svg
from decolle_hw.page.colours import category
from decolle_hw.page.svg import SMALL, TEXT, WIDTH, Picture
from decolle_hw.page.words import number, percent

LEFT, TOP, TALL = 40.0, 8.0, 150.0
LABELS = 126.0  # room to the right, where each line says what it is
RIGHT, BASE = WIDTH - LABELS, TOP + TALL + 4
APART = 14.0  # of two such labels
RADIUS = 2.6  # of a point


@dataclass(frozen=True)
class Line:
    """One curve; its points stand from left to right."""

    label: str
    points: tuple[tuple[float, float], ...]  # (P,) (count, share of 1)


@dataclass(frozen=True)
class _Scale:
    """What the corners of the chart are."""

    first: float
    last: float
    bottom: float  # shares
    top: float

    def along(self, count: float) -> float:
        """0 at the left, 1 at the right; a single count stands in the middle."""
        return (count - self.first) / (self.last - self.first) if self.last > self.first else 0.5

    def x(self, count: float) -> float:
        return LEFT + (RIGHT - LEFT) * self.along(count)

    def y(self, share: float) -> float:
        return TOP + TALL * (self.top - share) / (self.top - self.bottom)


def line_chart(
    name: str,
    title: str,
    lines: Sequence[Line],
    below: str,
    caption: str = "",
    *,
    ticks: Sequence[str] = (),
    shaded: tuple[float, float] | None = None,
) -> Picture | None:
    """Each line says at its end what it is; None without a point.

    Args:
        below: what is counted.
        ticks: names of the counts 0, 1, 2, ..., where these are places only.
        shaded: from one count to another, a part of the chart to be marked.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        return None
    scale = _scale(points)
    parts: list[Markup] = []
    if shaded is not None:
        start, stop = map(scale.x, shaded)
        parts.append(svg.rect(start, TOP, max(stop - start, 2), TALL, css="track"))
    for share in svg.round_ticks(100 * scale.bottom, 100 * scale.top):
        y = scale.y(share / 100)
        parts += [svg.line(LEFT, y, RIGHT, y), svg.text(LEFT - 5, y + 4, f"{share:.4g} %", "muted", SMALL, "end")]
    for index, line in enumerate(lines):
        parts += _curve(line, category(index)[0], scale, ticks)
    lowest = TOP
    for y, index in _labels(lines, scale):
        parts += [
            svg.rect(RIGHT + 8, y - 4, 8, 8, category(index)[0], radius=2),
            svg.text(RIGHT + 20, y + 4, lines[index].label, "ink", TEXT, room=LABELS - 22),
        ]
        lowest = y
    counts = [(float(place), words) for place, words in enumerate(ticks)] or [
        (count, number(count)) for count in svg.round_ticks(scale.first, scale.last) if float(count).is_integer()
    ]
    parts += [
        svg.axis(LEFT, RIGHT, BASE, [(scale.along(count), words) for count, words in counts]),
        svg.text((LEFT + RIGHT) / 2, BASE + 28, below, "muted", SMALL, "middle"),
    ]
    notes = [caption] if caption else []
    notes += ["the axis does not start at zero"] if scale.bottom > 0 else []
    drawn = svg.drawing(name, WIDTH, max(BASE + 34, lowest + 10), title, parts)
    return Picture(name, title, drawn, "; ".join(notes))


def _scale(points: Sequence[tuple[float, float]]) -> _Scale:
    """Shares rounded outwards to 10 %, and never so close that noise looks like a trend."""
    counts, shares = zip(*points, strict=True)
    bottom = min(max(0.0, math.floor(10 * min(shares)) / 10), 0.9)
    return _Scale(min(counts), max(counts), bottom, max(math.ceil(10 * max(shares)) / 10, bottom + 0.1))


def _labels(lines: Sequence[Line], scale: _Scale) -> Iterator[tuple[float, int]]:
    """(y, index) of what each line says at its end, from above to below, none on another."""
    ends = sorted((scale.y(line.points[-1][1]), index) for index, line in enumerate(lines) if line.points)
    y = -math.inf
    for own, index in ends:
        y = max(own, y + APART)
        yield y, index


def _curve(line: Line, colour: str, scale: _Scale, ticks: Sequence[str]) -> Iterator[Markup]:
    places = [(scale.x(count), scale.y(share)) for count, share in line.points]
    if places:
        yield svg.path("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places), "none", "outline", colour)
    for (x, y), (count, share) in zip(places, line.points, strict=True):
        title = f"{line.label}, {ticks[int(count)] if ticks else number(count)}: {percent(share)}"
        yield svg.rect(x - RADIUS, y - RADIUS, 2 * RADIUS, 2 * RADIUS, colour, title=title, radius=RADIUS)
