"""What `data inspect` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from decolle_hw.inspecting.analysis import Inspection, Measured, spread_of
from decolle_hw.inspecting.found import shown
from decolle_hw.inspecting.suggestions import seconds, suggestions
from decolle_hw.progress import percent
from decolle_hw.report.tables import new_table

MOST_ROWS = 100
LISTED = 10  # entries of a list, after which the others are counted


def print_inspection(found: Inspection, console: Console) -> None:
    """Figures, classes, hot pixels, what was mended, what cannot be read, suggestions."""
    console.print(f"{shown(found.what)}: {_count(len(found.recordings), 'recording')}, {found.layout}", style="bold")
    if found.recordings:
        _print_figures(found, console)
        _print_classes(found, console)
        _print_hot(found, console)
    _print_list("mended while reading", [f"{r.name}: {'; '.join(r.notes)}" for r in found.mended], console)
    # The reason names the file.
    _print_list("cannot be read", [str(recording.error) for recording in found.broken], console)
    _print_list("no recordings by their names", found.others, console)
    advice = suggestions(found)
    if advice:
        console.print("suggestions", style="bold")
    for entry in advice:
        console.print(f"- {entry.text}", soft_wrap=True)
        for line in entry.yaml.splitlines():
            console.print(f"    {line}", soft_wrap=True)


def _print_figures(found: Inspection, console: Console) -> None:
    height, width = found.sensor
    table = new_table("", "least", "median", "most")
    rows = (
        ("duration", [recording.duration_us for recording in found.recordings], seconds),
        ("events", [recording.events for recording in found.recordings], _whole),
        ("events per second", [recording.rate_hz for recording in found.recordings], _whole),
    )
    for name, values, text in rows:
        spread = spread_of(values)
        assert spread is not None
        table.add_row(name, *(text(spread[key]) for key in ("min", "median", "max")))
    formats = ", ".join(
        f"{name} ({count})" if len(found.formats) > 1 else name for name, count in found.formats.items()
    )
    console.print(f"format: {formats}", soft_wrap=True)
    console.print(f"sensor: {height}x{width} (height x width); {found.sensor_origin}", soft_wrap=True)
    console.print(table)
    console.print(f"{found.events:,} events, {percent(found.on_share)} of them ON")


def _print_classes(found: Inspection, console: Console) -> None:
    """A line for each class; without classes, for each recording."""
    figures = ("events", "ON", "duration", "events/s")
    if found.unsorted:
        table = new_table("recording", *figures)
        rows = [[recording.name, *_figures_of([recording])] for recording in found.recordings]
    else:
        parts = [part for part in ("train", "test") if any(recording.part == part for recording in found.recordings)]
        table = new_table("class", "recordings", *parts, *figures)
        rows = [
            [name, str(len(members)), *(str(sum(member.part == part for member in members)) for part in parts),
             *_figures_of(members)]
            for name, members in found.classes.items()
        ]  # fmt: skip
    for name, *cells in rows[:MOST_ROWS]:
        table.add_row(shown(name), *cells)
    console.print(table)
    if len(rows) > MOST_ROWS:
        console.print(f"and {len(rows) - MOST_ROWS} more; --json lists all")


def _figures_of(members: Sequence[Measured]) -> tuple[str, str, str, str]:
    if not members:
        return "", "", "", ""
    events = sum(member.events for member in members)
    duration, rate = spread_of([m.duration_us for m in members]), spread_of([m.rate_hz for m in members])
    assert duration is not None and rate is not None
    share = sum(member.on for member in members) / max(1, events)
    return f"{events:,}", percent(share), seconds(duration["median"]), _whole(rate["median"])


def _print_hot(found: Inspection, console: Console) -> None:
    if not found.hot:
        console.print("no hot pixels")
        return
    console.print(f"{_count(len(found.hot), 'hot pixel')}, with far more events than those around")
    table = new_table("y, x", "events", "events per second")
    for pixel in found.hot[:LISTED]:
        table.add_row(f"{pixel.y}, {pixel.x}", f"{pixel.events:,}", f"{pixel.rate_hz:,.1f}")
    console.print(table)


def _print_list(heading: str, entries: Sequence[str], console: Console) -> None:
    if not entries:
        return
    console.print(f"{heading}: {len(entries)}", style="bold")
    for entry in entries[:LISTED]:
        console.print(f"- {shown(entry)}", soft_wrap=True)
    if len(entries) > LISTED:
        console.print(f"  and {len(entries) - LISTED} more; --json lists all")


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"
