"""Charts with one row per layer: resources, what fills the cores, firing rates, energy; and accuracy by stage."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.page import svg
from decolle_hw.page.colours import FLOAT_COLOUR, INTEGER_COLOUR, OVER, category
from decolle_hw.page.content import RESOURCES, AccuracyStage, CoreUse, Costs, PlacementFigures, Rate
from decolle_hw.page.core_map import fullest
from decolle_hw.page.svg import AXIS_MARGIN, SMALL, TEXT, WIDTH, Picture, Swatch
from decolle_hw.page.words import percent, quantity
from decolle_hw.palette import SKY_BLUE

LABEL = 84.0  # room for the name of a layer
BAR = 12.0
RESOURCE_COLOURS = dict(zip(RESOURCES, ("#56B4E9", "#E69F00", "#009E73", "#CC79A7"), strict=True))


def resource_bars(placed: PlacementFigures) -> Picture | None:
    """Per layer, each resource of its fullest core as a share of the limit, and a tick at the mean of its cores."""
    layers = [(population.name, cores) for population in placed.populations if (cores := _of(placed, population.name))]
    if not layers:
        return None
    row, column = 26.0, (WIDTH - LABEL) / len(RESOURCES)
    room = column - 8
    parts: list[Markup] = []
    for index, resource in enumerate(RESOURCES):
        parts.append(svg.text(LABEL + index * column, 12, resource.removeprefix("synaptic "), "muted", SMALL))
    for position, (name, cores) in enumerate(layers):
        top = 20 + position * row
        parts.append(svg.text(0, top + 15, name, size=TEXT, room=LABEL - 6))
        binding = Counter(fullest(core, placed)[0] for core in cores).most_common(1)[0][0]
        for index, resource in enumerate(RESOURCES):
            x, limit = LABEL + index * column, placed.limits[resource]
            uses = [core.used[resource] / limit for core in cores]
            most, mean = max(uses), math.fsum(uses) / len(uses)
            title = f"{name}, {resource}: {percent(most)} of the limit on its fullest core, {percent(mean)} on average"
            parts += [
                svg.rect(x, top + 14, room, 7, css="track", title=title),
                svg.rect(x, top + 14, room * min(most, 1.0), 7, RESOURCE_COLOURS[resource] if most <= 1 else OVER,
                         title=title),
                svg.line(x + room * min(mean, 1.0), top + 12, x + room * min(mean, 1.0), top + 23, "mark"),
                svg.text(x, top + 10, percent(most), "ink strong" if resource == binding else "muted", SMALL),
            ]  # fmt: skip
    height = 24 + len(layers) * row
    return Picture(
        "resources-of-layers", "What limits each layer",
        svg.drawing("resources-of-layers", WIDTH, height, "share of each limit that the layers use", parts),
        "bar: share of the limit on the fullest core; tick: mean of the layer's cores; bold: the resource that is the "
        "fullest on most of its cores",
    )  # fmt: skip


def filled_by(placed: PlacementFigures) -> Picture | None:
    """Per layer, its cores divided by the resource of which each uses the largest share."""
    layers = [(population.name, cores) for population in placed.populations if (cores := _of(placed, population.name))]
    rows = []
    for name, cores in layers:
        counts = Counter(fullest(core, placed)[0] for core in cores)
        pieces = [(resource, float(counts[resource]), f"{counts[resource]} cores") for resource in RESOURCES]
        rows.append((name, pieces, f"{len(cores):,}"))
    if not rows:
        return None
    present = {resource for _, pieces, _ in rows for resource, count, _ in pieces if count}
    legend = tuple(Swatch(name, colour) for name, colour in RESOURCE_COLOURS.items() if name in present)
    return Picture(
        "cores-filled-by", "Cores by their fullest resource",
        _stacked("cores-filled-by", "cores of each layer by their fullest resource", rows, RESOURCE_COLOURS,
                 each_to_full=True),
        "share of each layer's cores; right: how many cores it has", legend,
    )  # fmt: skip


def firing_rates(rates: Sequence[Rate]) -> Picture | None:
    """Spikes per neuron and step, float beside integer where both are known."""
    known = [rate for rate in rates if rate.float_rate is not None or rate.integer_rate is not None]
    if not known:
        return None
    both = any(rate.float_rate is not None for rate in known) and any(rate.integer_rate is not None for rate in known)
    top = max(max(rate.float_rate or 0.0, rate.integer_rate or 0.0) for rate in known) or 1.0
    right = WIDTH - 52
    parts, y = [], 4.0
    for rate in known:
        values = [(rate.float_rate, FLOAT_COLOUR, "float"), (rate.integer_rate, INTEGER_COLOUR, "integer")]
        shown = [entry for entry in values if entry[0] is not None]
        parts.append(svg.text(0, y + (len(shown) * BAR) / 2 + 4, rate.layer, room=LABEL - 6))
        for value, colour, which in shown:
            assert value is not None
            length = (right - LABEL) * value / top
            parts.append(svg.rect(LABEL, y, max(length, 0.5), BAR - 2, colour, title=f"{rate.layer}, {which}: {value}"))
            parts.append(svg.text(LABEL + length + 4, y + BAR - 3, f"{value:.4f}", "ink", SMALL))
            y += BAR
        y += 8
    legend = (Swatch("float network", FLOAT_COLOUR), Swatch("integers", INTEGER_COLOUR)) if both else ()
    which = "" if both else (" of the integers" if known[0].integer_rate is not None else " of the float network")
    return Picture(
        "firing-rates", "Firing rates", svg.drawing("firing-rates", WIDTH, y, "firing rate of each layer", parts),
        f"spikes per neuron and time step{which}", legend,
    )  # fmt: skip


def accuracy_chain(stages: Sequence[AccuracyStage]) -> Picture | None:
    """Accuracy of each stage with its 95 % Wilson interval."""
    if not stages:
        return None
    intervals = [wilson_interval(stage.hits, stage.recordings) for stage in stages]
    # Rounded outwards to 5 %, and never so narrow that noise looks like a trend.
    low = max(0.0, min(math.floor(20 * min(low for low, _ in intervals)) / 20, 0.95))
    high = min(1.0, math.ceil(20 * max(high for _, high in intervals)) / 20)
    left, right, row = 6.0, WIDTH - AXIS_MARGIN - 4, 36.0
    parts: list[Markup] = []
    bottom = 6 + row * len(stages)

    def at(share: float) -> float:
        return left + (right - left) * (share - low) / (high - low)

    for position, (stage, (lower, upper)) in enumerate(zip(stages, intervals, strict=True)):
        y, share = 6 + position * row, stage.hits / stage.recordings
        figures = f"{percent(share)} ({100 * lower:.1f}–{100 * upper:.1f})"
        title = f"{stage.name}: {stage.hits:,} of {stage.recordings:,} recordings"
        parts += [
            svg.text(left, y + 10, stage.name, room=WIDTH - 140),
            svg.text(right, y + 10, figures, "ink", TEXT, "end"),
            svg.line(at(low), y + 22, at(high), y + 22),
            svg.rect(at(lower), y + 19, max(at(upper) - at(lower), 1), 6, SKY_BLUE, title=title),
            svg.rect(at(share) - 1.5, y + 15, 3, 14, css="mark", title=title),
        ]
    parts.append(svg.axis(left, right, bottom, [(part, f"{100 * (low + part * (high - low)):.4g} %")
                                                for part in (0, 0.25, 0.5, 0.75, 1)]))  # fmt: skip
    recordings = sorted({stage.recordings for stage in stages})
    on = f"{recordings[0]:,}" if len(recordings) == 1 else f"{recordings[0]:,} to {recordings[-1]:,}"
    return Picture(
        "accuracy-chain", "Accuracy along the chain",
        svg.drawing("accuracy-chain", WIDTH, bottom + 18, "accuracy of each representation of the network", parts),
        f"on {on} recordings; bar: 95 % Wilson interval; mark: accuracy; the axis does not start at zero"
        if low > 0 else f"on {on} recordings; bar: 95 % Wilson interval; mark: accuracy",
    )  # fmt: skip


def energy_bars(costs: Costs) -> Picture | None:
    """Dynamic energy of each layer in a time step, stacked by kind of event."""
    kinds = list(dict.fromkeys(kind for layer in costs.layers for kind in layer.energy_pj))
    if not kinds or not any(value > 0 for layer in costs.layers for value in layer.energy_pj.values()):
        return None
    colours = {kind: category(index)[0] for index, kind in enumerate(kinds)}
    rows = []
    for layer in costs.layers:
        pieces = [(kind, max(layer.energy_pj.get(kind, 0.0), 0.0), quantity(layer.energy_pj.get(kind), "pJ"))
                  for kind in kinds]  # fmt: skip
        rows.append((layer.layer, pieces, quantity(math.fsum(layer.energy_pj.values()), "pJ")))
    return Picture(
        "energy-of-layers", "Dynamic energy per time step",
        _stacked("energy-of-layers", "dynamic energy of each layer by kind of event", rows, colours),
        f"figures per event: {costs.energy_label}" if costs.energy_label else "",
        tuple(Swatch(kind, colour) for kind, colour in colours.items()),
    )  # fmt: skip


def _stacked(
    name: str, described: str, rows: Sequence[tuple[str, Sequence[tuple[str, float, str]], str]],
    colours: dict[str, str], each_to_full: bool = False,
) -> Markup:  # fmt: skip
    """One bar per row of (label, pieces (kind, value, value in words), total in words)."""
    right, height = WIDTH - 62, 22.0
    longest = max(math.fsum(value for _, value, _ in pieces) for _, pieces, _ in rows)
    parts: list[Markup] = []
    for position, (label, pieces, total) in enumerate(rows):
        y, x = position * height, LABEL
        parts.append(svg.text(0, y + 14, label, room=LABEL - 6))
        whole = math.fsum(value for _, value, _ in pieces) if each_to_full else longest
        for kind, value, words in pieces:
            length = (right - LABEL) * value / whole if whole else 0.0
            if length > 0:
                parts.append(svg.rect(x, y + 3, length, 15, colours[kind], "piece", f"{label}, {kind}: {words}"))
            x += length
        parts.append(svg.text(x + 5, y + 14, total, "ink", SMALL, room=WIDTH - x - 5))
    return svg.drawing(name, WIDTH, len(rows) * height + 2, described, parts)


def _of(placed: PlacementFigures, population: str) -> list[CoreUse]:
    return [core for core in placed.cores if core.population == population]
