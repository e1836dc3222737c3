"""Pieces of inline SVG. Every text goes through an escaping format, so that a name is never markup.

Colours that change with the paper are classes of `style.css` (ink, muted, rule); those of data are given here. A figure
is drawn about 400 units wide, so that it is readable on a telephone without scrolling, and scales up from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from decolle_hw.page.colours import PATTERNS
from decolle_hw.page.words import fit, printable, text_width

WIDTH = 400  # of a figure
TEXT, SMALL = 11.5, 10.0  # font sizes
AXIS_MARGIN = 12  # that the last label of an axis may take to the right of it
STRIPES = "M-1,1l2,-2M0,4l4,-4M3,5l2,-2"


class Swatch(NamedTuple):
    """One entry of a legend."""

    label: str
    fill: str
    pattern: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure of the page: drawing, caption and legend. `name` is its id."""

    name: str
    title: str
    drawing: Markup
    caption: str = ""
    legend: tuple[Swatch, ...] = ()
    wide: bool = False


def drawing(name: str, width: float, height: float, described: str, parts: Iterable[Markup]) -> Markup:
    """A complete <svg>; `name` keeps the ids of its patterns apart from those of others on the page."""
    body = Markup("").join(parts)
    patterns = [pattern for pattern in PATTERNS[1:] if f"url(#{name}-{pattern})" in body]
    return Markup(
        '<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}" data-picture="{}">{}{}</svg>'
    ).format(_short(width), _short(height), _short(width), _short(height), described, name,
             pattern_definitions(name, patterns), body)  # fmt: skip


def pattern_definitions(name: str, patterns: Iterable[str]) -> Markup:
    """<defs> of the patterns in use."""
    shapes = {
        "stripes": Markup('<path d="{}" stroke="#000" stroke-width="1.1" fill="none"/>').format(STRIPES),
        "dots": Markup('<circle cx="1" cy="1" r="0.9"/><circle cx="3" cy="3" r="0.9"/>'),
    }
    entries = [
        Markup('<pattern id="{}-{}" width="4" height="4" patternUnits="userSpaceOnUse">{}</pattern>').format(
            name, pattern, shapes[pattern]
        )
        for pattern in patterns
    ]
    return Markup("<defs>{}</defs>").format(Markup("").join(entries)) if entries else Markup("")


def rect(
    x: float, y: float, width: float, height: float, fill: str = "", css: str = "", title: str = "", radius: float = 0
) -> Markup:
    """A rectangle; `title` is shown when the pointer rests on it."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}"{}{}{}').format(
        _short(x), _short(y), _short(width), _short(height),
        Markup(' rx="{}"').format(_short(radius)) if radius else "", _attribute("fill", fill), _attribute("class", css),
    ) + (Markup("><title>{}</title></rect>").format(title) if title else Markup("/>"))  # fmt: skip


def text(
    x: float, y: float, words: str, css: str = "ink", size: float = TEXT, anchor: str = "start", fill: str = "",
    halo: str = "", room: float | None = None,
) -> Markup:  # fmt: skip
    """Text on the baseline y; where it is wider than `room` it is shortened, and a title holds all of it.

    A halo of the colour below keeps it readable on a pattern.
    """
    words = printable(words)
    shown = words if room is None else fit(words, room, size)
    title = Markup("<title>{}</title>").format(words) if shown != words else ""
    return Markup('<text x="{}" y="{}" font-size="{}"{}{}{}{}>{}{}</text>').format(
        _short(x), _short(y), _short(size), _attribute("class", css),
        _attribute("text-anchor", "" if anchor == "start" else anchor), _attribute("fill", fill),
        _attribute("stroke", halo), title, shown,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, css: str = "rule") -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(*map(_short, (x1, y1, x2, y2)), css)


def path(commands: str, fill: str = "", css: str = "", stroke: str = "") -> Markup:
    """A path; `commands` hold numbers and letters only."""
    return Markup('<path d="{}"{}{}{}/>').format(
        commands, _attribute("fill", fill), _attribute("stroke", stroke), _attribute("class", css)
    )


def group(parts: Iterable[Markup], title: str = "") -> Markup:
    """Parts that share a title."""
    return Markup("<g>{}{}</g>").format(
        Markup("<title>{}</title>").format(title) if title else "", Markup("").join(parts)
    )


def axis(left: float, right: float, y: float, ticks: Iterable[tuple[float, str]]) -> Markup:
    """A horizontal axis; `ticks` are (share of its length, label).

    A label that would touch the one before it is left out.
    """
    parts = [line(left, y, right, y)]
    occupied = float("-inf")
    for share, label in ticks:
        x, width = left + share * (right - left), text_width(label, SMALL)
        start = min(max(x - width / 2, 0), right + AXIS_MARGIN - width)
        parts.append(line(x, y, x, y + 3))
        if start > occupied:
            parts.append(text(start + width / 2, y + 13, label, "muted", SMALL, "middle"))
            occupied = start + width + 3
    return Markup("").join(parts)


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in low..high, at most `most` of them."""
    spread = high - low
    if not (math.isfinite(spread) and spread > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(spread / most))
    spacing = next(power * factor for factor in (1, 2, 5, 10, 20) if spread / (power * factor) <= most - 1)
    first, last = math.ceil(low / spacing - 1e-9), math.floor(high / spacing + 1e-9)
    return [index * spacing for index in range(first, last + 1)]


def pattern_fill(name: str, pattern: str) -> str:
    """The `fill` of a pattern that `drawing` defines."""
    return f"url(#{name}-{pattern})"


def _attribute(name: str, value: str) -> Markup:
    return Markup(' {}="{}"').format(Markup(name), value) if value else Markup("")


def _short(value: float) -> str:
    """At most two digits after the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
