"""Splits of one population that keep every core within its limits, the fewest cores first.

For each number of channel groups and row parts, `Site.largest_columns` says how wide a block may be at most, so how
many column parts there must be at least: combinations are tried in the order of the cores that they take at least,
and the search ends where that exceeds what was found. Cost: a few dozen splits looked at, each in the time of its
number of cores, whatever the number of neurons and synapses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decolle_hw.compiler.placement.model import ceil_div
from decolle_hw.compiler.placement.outputs import Load
from decolle_hw.compiler.placement.site import BlockLimits, Forms, Site, Use
from decolle_hw.compiler.placement.split import Split, near_equal, pack, useful_parts

SLACK = 2  # times the fewest cores: splits up to there are kept, as they may ask less of the population before
PER_CHANNELS = 2  # splits kept for each number of channel groups
TRIES = 128  # combinations of channel groups and row parts looked at, once something was found
TIES = 6  # splits with equally many cores that are compared by in-axons
MOST_KEPT = 16


@dataclass(frozen=True)
class Candidate:
    """A split and how its synapses are stored."""

    split: Split
    forms: Forms
    cores: int
    in_axons: int  # of all cores: what is duplicated, and halos
    border: int  # rows and columns of all blocks: squares have least, and fewest neighbours

    @property
    def cost(self) -> tuple[int, int, int]:
        """What is compared: cores, then duplicated axons, then borders."""
        return self.cores, self.in_axons, self.border


def candidate(split: Split, forms: Forms, use: Use) -> Candidate:
    channels, rows, columns = split.parts
    border = channels * (columns * split.rows[-1] + rows * split.columns[-1])
    return Candidate(split, forms, split.cores, int(use.used["in-axons"].sum()), border)


def candidates(site: Site, limits: BlockLimits, loads: Sequence[Load] = ()) -> list[Candidate]:
    """The cheapest splits, best first; several for different numbers of channel groups. Empty if none was found."""
    found: list[Candidate] = []
    for forms in site.forms:
        found += _of_forms(site, limits, forms, loads)
    distinct = {(one.split, one.forms): one for one in sorted(found, key=lambda one: one.cost)}
    return list(distinct.values())[:MOST_KEPT]


def _of_forms(site: Site, limits: BlockLimits, forms: Forms, loads: Sequence[Load]) -> list[Candidate]:
    if "sparse" in forms and site.shape[1:] == (1, 1):
        return list(_packed(site, limits, forms, loads))
    by_channels: dict[int, list[Candidate]] = {}
    fewest = None
    tried: dict[int, int] = {}
    for least, _, c, r, x in _combinations(site, limits, forms, loads):
        if fewest is not None and least > SLACK * fewest + 2:
            break
        kept = by_channels.setdefault(c, [])
        best = min((one.cores for one in kept), default=None)
        if best is not None and (least > best or (least == best and tried[c] >= TIES)):
            continue
        if fewest is not None and sum(tried.values()) >= TRIES:
            break
        tried[c] = tried.get(c, 0) + 1
        one = _narrow_enough(site, limits, forms, loads, (c, r, x), best)
        if one is not None:
            kept.append(one)
            fewest = one.cores if fewest is None else min(fewest, one.cores)
    return [one for kept in by_channels.values() for one in sorted(kept, key=lambda one: one.cost)[:PER_CHANNELS]]


def _combinations(
    site: Site, limits: BlockLimits, forms: Forms, loads: Sequence[Load]
) -> list[tuple[int, int, int, int, int]]:
    """(cores at least, border, channel groups, row parts, column parts at least), the fewest cores first."""
    c, h, w = site.shape
    widest = site.largest_columns(limits, forms, loads)
    found = []
    for groups in useful_parts(c):
        for rows in useful_parts(h):
            columns = int(widest[ceil_div(c, groups) - 1, ceil_div(h, rows) - 1])
            if columns:
                parts = ceil_div(w, columns)
                border = groups * (parts * h + rows * w)
                found.append((groups * rows * parts, border, groups, rows, parts))
    return sorted(found)


def _narrow_enough(
    site: Site, limits: BlockLimits, forms: Forms, loads: Sequence[Load], parts: tuple[int, int, int], best: int | None
) -> Candidate | None:
    """With these channel groups and row parts, the fewest column parts that fit; None if that is no better."""
    c, r, first = parts
    most = site.shape[2] if best is None else min(site.shape[2], best // (c * r))

    def at(columns: int) -> Candidate | None:
        split = near_equal(site.shape, (c, r, columns))
        use = site.use(split, forms, loads)
        return candidate(split, forms, use) if use.fits(limits) else None

    found = None
    step = 0
    low = first  # more parts fit, as a rule, wherever fewer do: gallop, then halve
    while low + step <= most and found is None:
        reach = low + step
        found = at(reach)
        if found is None:
            low, step = reach + 1, max(1, 2 * step)
    if found is None and low <= most:
        reach, found = most, at(most)
    if found is None:
        return None
    low, high = low, found.split.parts[2]
    while low < high:
        middle = (low + high) // 2
        narrower = at(middle)
        if narrower is None:
            low = middle + 1
        else:
            found, high = narrower, middle
    return found


def _packed(site: Site, limits: BlockLimits, forms: Forms, loads: Sequence[Load]) -> Iterator[Candidate]:
    """Ranges of neurons filled one after the other, the fewest there can be; of equal length where those fit too."""

    def fits(split: Split) -> bool:
        return site.use(split, forms, loads).fits(limits)

    edges = pack(site.shape[0], limits["neurons"], fits)
    if edges is None:
        return
    packed = Split(edges)
    for split in (near_equal(site.shape, packed.parts), packed):
        use = site.use(split, forms, loads)
        if use.fits(limits):
            yield candidate(split, forms, use)
            return
