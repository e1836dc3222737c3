"""Cores to chips, so that few spikes cross from chip to chip.

Cores are put in a row, and the row is cut into chips. Three rows are compared: population by population; by height
in the map (parts of all populations that look at the same rows lie together); and by breadth-first search along the
traffic. Where all of them take more chips than the sums over cores ask for, a fourth is tried: the largest cores
first, each on the first chip with room for it. Where a row is cut is free as far as no chip more is needed, and is
chosen by a dynamic programme over the messages that a cut separates. The best is then refined by moving and swapping
cores between chips, as Kernighan and Lin do, as long as messages between chips fall; a chip that this empties is not
counted.
"""

# K cores, H chips, M pairs of cores with messages

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.placement.model import IntArray, ceil_div
from decolle_hw.compiler.placement.split import Split
from decolle_hw.compiler.placement.traffic import Traffic

FloatArray = NDArray[np.float64]
Edges = tuple[IntArray, IntArray, FloatArray]  # of each core: where its neighbours begin; neighbours; messages
TABLE_MAX = 2**23  # entries of the table (core, chip) that refinement keeps: beyond, the row alone decides
PAIRS_MAX = 2**20  # pairs of cores with messages, likewise
PASSES = 12  # of refinement
CUT_SLACK = 64  # free places of a chip that the search for a good cut makes use of; fewer for many messages
CUT_WORK = 2**23  # pairs of cores looked at in the search for a good cut
MOVE_WORK = 2**22  # pairs of cores that refinement may follow


@dataclass(frozen=True)
class ChipLimits:
    """Of one chip."""

    cores: int
    neurons: int
    synapses: int


@dataclass(frozen=True)
class Assignment:
    """Where each core goes."""

    chip: IntArray  # (K,)
    row: IntArray  # (K,) the order of the cores within and between chips
    crossings: dict[str, float]  # messages between chips by how cores were put in a row; the last is what was taken


def assign(
    splits: dict[str, Split], traffic: Traffic, neurons: IntArray, synapses: IntArray, limits: ChipLimits
) -> Assignment:
    """The fewest chips that a row needs, then the fewest messages between them."""
    cores = len(neurons)
    rows = {"population by population": np.arange(cores), "by height in the map": _by_height(splits)}
    room = Room(neurons, synapses, limits)
    edges = _neighbours(traffic, cores) if len(traffic.messages) <= PAIRS_MAX else None
    if edges is not None:
        rows["along the traffic"] = _along_traffic(edges, cores)
    if len(room.filled(rows["population by population"])) == 1:
        return Assignment(np.zeros(cores, np.int64), list(rows.values())[-1], {})
    if min(len(room.filled(row)) for row in rows.values()) > room.fewest_chips:
        rows["largest cores first"] = room.largest_first()
    found: dict[str, IntArray] = {name: _cut(row, traffic, room) for name, row in rows.items()}
    crossings = {name: between_chips(traffic, chip) for name, chip in found.items()}
    best = min(found, key=lambda name: (int(found[name].max()), crossings[name]))
    chip = found[best]
    if edges is not None and cores * (int(chip.max()) + 1) <= TABLE_MAX:
        chip = _numbered(_refined(chip, edges, room))
    taken = {**crossings, f"{best}, refined": between_chips(traffic, chip)}
    return Assignment(chip, rows[best], taken)


def between_chips(traffic: Traffic, chip: IntArray) -> float:
    """Messages per step from one chip to another."""
    return float(traffic.messages[chip[traffic.source] != chip[traffic.destination]].sum())


@dataclass(frozen=True)
class Room:
    """What cores need of a chip, and what a chip has."""

    neurons: IntArray  # (K,)
    synapses: IntArray  # (K,) stored
    limits: ChipLimits

    def chips_of(self, row: IntArray) -> IntArray:
        """(K,) chip of each core when chips are filled one after the other."""
        chip = np.zeros(len(row), np.int64)
        for index, (start, end) in enumerate(self.filled(row)):
            chip[row[start:end]] = index
        return chip

    def filled(self, row: IntArray) -> list[tuple[int, int]]:
        """Places of the row on each chip, every chip as full as it goes; a core too large for a chip has one alone."""
        found, start = [], 0
        while start < len(row):
            end = self.reach(row, start)
            found.append((start, end))
            start = end
        return found

    def reach(self, row: IntArray, start: int) -> int:
        """One behind the last core that a chip holds whose first is at this place of the row; it holds that one."""
        end = min(len(row), start + self.limits.cores)
        here = row[start:end]
        fits = (self.neurons[here].cumsum() <= self.limits.neurons) & (
            self.synapses[here].cumsum() <= self.limits.synapses
        )
        return end if bool(fits.all()) else start + max(1, int(np.argmin(fits)))

    @property
    def fewest_chips(self) -> int:
        """That hold as many cores, neurons and synapses as there are, were they free to be parted."""
        needs = (len(self.neurons), int(self.neurons.sum()), int(self.synapses.sum()))
        limits = (self.limits.cores, self.limits.neurons, self.limits.synapses)
        return max(ceil_div(need, limit) for need, limit in zip(needs, limits, strict=True))

    def largest_first(self) -> IntArray:
        """(K,) a row that takes no more chips than first fit decreasing does.

        Cores chip by chip: filling chips along this row reaches at least as far with each of them.
        """
        shares = np.stack([self.neurons / self.limits.neurons, self.synapses / self.limits.synapses], axis=1)
        chip = np.zeros(len(shares), np.int64)
        most = (self.limits.cores, self.limits.neurons, self.limits.synapses)
        free = np.tile(np.array(most, np.int64), (len(shares), 1))  # never more chips than cores
        begun = 0
        for core in np.argsort(-shares.max(axis=1), kind="stable"):
            need = np.array((1, self.neurons[core], self.synapses[core]))
            fits = (free[:begun] >= need).all(axis=1)
            chip[core] = np.argmax(fits) if fits.any() else begun  # too large for a chip: one alone, as in `filled`
            begun = max(begun, int(chip[core]) + 1)
            free[chip[core]] -= need
        row: IntArray = np.argsort(chip, kind="stable").astype(np.int64)
        return row


def _numbered(chip: IntArray) -> IntArray:
    """The same chips without those that hold nothing."""
    numbers: IntArray = np.unique(chip, return_inverse=True)[1].astype(np.int64)
    return numbers


def _by_height(splits: dict[str, Split]) -> IntArray:
    """Middle of the rows, then of the columns, as a share of the map; a dense population's by its neurons."""
    heights: list[tuple[float, float, int]] = []
    for order, split in enumerate(splits.values()):
        axes = (split.channels, split.rows, split.columns)
        middles = [(np.array(edges[1:]) + np.array(edges[:-1])) / (2 * edges[-1]) for edges in axes]
        channels, rows, columns = (grid.ravel() for grid in np.meshgrid(*middles, indexing="ij"))
        first = rows if len(split.rows) > 2 or len(split.columns) > 2 else channels
        heights += zip(first.tolist(), columns.tolist(), [order] * len(rows), strict=True)
    return np.array(sorted(range(len(heights)), key=lambda core: heights[core]), np.int64)


def _along_traffic(edges: Edges, cores: int) -> IntArray:
    """Breadth first from the first core, the neighbour with the most messages first."""
    start, neighbour, weight = edges
    seen = np.zeros(cores, bool)
    row: list[int] = []
    for root in range(cores):
        if seen[root]:
            continue
        seen[root] = True
        row.append(root)
        done = len(row) - 1
        while done < len(row):
            core = row[done]
            done += 1
            here = slice(start[core], start[core + 1])
            fresh = ~seen[neighbour[here]]
            new = neighbour[here][fresh][np.argsort(-weight[here][fresh], kind="stable")]
            seen[new] = True
            row.extend(dict.fromkeys(new.tolist()))
    return np.array(row, np.int64)


def _neighbours(traffic: Traffic, cores: int) -> Edges:
    """Messages in both directions, core by core; a neighbour stands there twice if messages go both ways."""
    other = traffic.source != traffic.destination
    source, destination = traffic.source[other], traffic.destination[other]
    one, two = np.concatenate([source, destination]), np.concatenate([destination, source])
    order = np.argsort(one, kind="stable")
    start = np.searchsorted(one[order], np.arange(cores + 1))
    return start.astype(np.int64), two[order], np.tile(traffic.messages[other], 2)[order]


def _cut(row: IntArray, traffic: Traffic, room: Room) -> IntArray:
    """(K,) chip of each core: the row cut where few messages are separated, into no more chips than it needs.

    Best of all ways in which every chip ends within CUT_SLACK places, or fewer, of where it may end at most; by the
    messages whose both ends lie on one chip.
    """
    filled = room.filled(row)
    place = np.empty(len(row), np.int64)
    place[row] = np.arange(len(row))
    one, two = place[traffic.source], place[traffic.destination]
    low, high = np.minimum(one, two), np.maximum(one, two)
    order = np.argsort(high, kind="stable")
    low, high, weight = low[order], high[order], traffic.messages[order]
    latest = [end for _, end in filled]
    slack = max(1, min(CUT_SLACK, CUT_WORK // max(1, len(weight))))
    begins, inside = np.zeros(1, np.int64), np.zeros(1)  # where the chips so far may end; messages that stay on one
    came_from: list[dict[int, int]] = []
    for last, end in enumerate(latest):
        ends = np.arange(max(1, end - slack), end + 1) if last < len(latest) - 1 else np.array([len(row)])
        better, source = np.full(len(ends), -1.0), np.zeros(len(ends), np.int64)
        for begin, before in zip(begins.tolist(), inside.tolist(), strict=True):
            reach = room.reach(row, begin)
            first, behind = np.searchsorted(high, (begin, reach))
            within = low[first:behind] >= begin
            kept = np.concatenate([[0.0], np.cumsum(weight[first:behind][within])])
            value = before + kept[np.searchsorted(high[first:behind][within], ends)]
            value[(ends <= begin) | (ends > reach)] = -1.0
            source[value > better] = begin
            better = np.maximum(better, value)
        possible = better >= 0
        begins, inside = ends[possible], better[possible]
        came_from.append(dict(zip(begins.tolist(), source[possible].tolist(), strict=True)))
    chip = np.zeros(len(row), np.int64)
    end = len(row)
    for index in reversed(range(len(latest))):
        begin = came_from[index][end]  # chips filled to the brim are always among what was looked at
        chip[row[begin:end]] = index
        end = begin
    return chip


def _refined(chip: IntArray, edges: Edges, room: Room) -> IntArray:
    """Move and swap cores as long as messages between chips fall, at most PASSES times over all cores."""
    cores, chips = len(chip), int(chip.max()) + 1
    start, neighbour, weight = edges
    chip = chip.copy()
    of_edge = np.repeat(np.arange(cores), np.diff(start))
    pull = np.zeros((cores, chips))  # messages of a core with those of each chip
    np.add.at(pull, (of_edge, chip[neighbour]), weight)
    used = [np.bincount(chip, values, chips) for values in (np.ones(cores), room.neurons, room.synapses)]
    needs = [np.ones(cores), room.neurons.astype(float), room.synapses.astype(float)]
    most = (room.limits.cores, room.limits.neurons, room.limits.synapses)

    def move(core: int, to: int) -> None:
        here = slice(start[core], start[core + 1])
        arriving = np.full(len(neighbour[here]), to)
        np.subtract.at(pull, (neighbour[here], chip[core]), weight[here])
        np.add.at(pull, (neighbour[here], arriving), weight[here])
        for total, need in zip(used, needs, strict=True):
            total[chip[core]] -= need[core]
            total[to] += need[core]
        chip[core] = to

    def fits(to: int, arriving: int, leaving: int | None) -> bool:
        return all(
            total[to] + need[arriving] - (0 if leaving is None else need[leaving]) <= limit
            for total, need, limit in zip(used, needs, most, strict=True)
        )

    work = MOVE_WORK
    for _ in range(PASSES):
        gain = pull - pull[np.arange(cores), chip][:, None]
        wishes = gain.max(axis=1)
        moved = False
        for core in np.argsort(-wishes, kind="stable")[: int((wishes > 0).sum())]:
            home, gains = int(chip[core]), pull[core] - pull[core, chip[core]]
            to = int(np.argmax(gains))
            if gains[to] <= 0 or work <= 0:
                continue
            work -= int(start[core + 1] - start[core])
            if fits(to, core, None):
                move(core, to)
                moved = True
                continue
            partner = _partner(core, to, chip, pull, (start, neighbour, weight))
            work -= len(chip) // chips
            if partner is not None and fits(to, core, partner) and fits(home, partner, core):
                move(core, to)
                move(partner, home)
                moved = True
        if not moved:
            break
    return chip


def _partner(core: int, to: int, chip: IntArray, pull: FloatArray, edges: Edges) -> int | None:
    """The core of chip `to` with which a swap saves most; None if none saves anything."""
    start, neighbour, weight = edges
    home = chip[core]
    there = np.flatnonzero(chip == to)
    saved = pull[there, home] - pull[there, to] + pull[core, to] - pull[core, home]
    here = slice(start[core], start[core + 1])
    between = np.zeros(len(chip))
    np.add.at(between, neighbour[here], weight[here])
    saved -= 2 * between[there]  # these stay apart
    best = int(np.argmax(saved))
    return int(there[best]) if saved[best] > 1e-9 else None
