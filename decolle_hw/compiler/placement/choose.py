"""One split for each population, chosen together: the fewest cores in all.

What couples them are out-axons: the cut of a population decides how many out-axons the populations before it need.
Each population has one *main* source, so the graph falls into trees, and a dynamic programme runs from the last
population to the first: for every split worth keeping of a population, the fewest cores of the populations behind
it with which its out-axons are within the limit. Other connections (feedback, a second source) count with the split
that their target had before; then everything is counted as it is, and a population whose out-axons exceed the limit
is split further, until none does.

Cost: populations x a few dozen splits, each in the time of its number of cores; alike populations are searched once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from decolle_hw.compiler.lowering.graph import INPUT
from decolle_hw.compiler.placement.candidates import Candidate, candidates
from decolle_hw.compiler.placement.model import RESOURCES
from decolle_hw.compiler.placement.outputs import Load, load_of
from decolle_hw.compiler.placement.site import BlockLimits, Site
from decolle_hw.compiler.placement.sites import Link, Sites

COMBINATIONS = 48  # of splits of the populations behind one that are looked at
KEPT = 16  # splits of a population that the one before it may choose from
WORTHWHILE = 1.25  # times the cores of the best so far: dearer splits of the populations behind are not looked at
REPAIRS = 8  # times that a population may be split further

Cost = tuple[int, int, int]
NOTHING: Cost = (0, 0, 0)


@dataclass(frozen=True)
class Option:
    """A split of a population, and the best that can be behind it."""

    candidate: Candidate
    cost: Cost  # of it and all behind it
    behind: dict[str, Option] = field(compare=False, repr=False)


@dataclass
class Chooser:
    """The search, and what it remembers: everything is worked out once for populations that are alike."""

    sites: Sites
    limits: dict[str, BlockLimits]  # by population
    _searched: dict[object, list[Candidate]] = field(default_factory=dict)
    _loads: dict[object, Load] = field(default_factory=dict)

    def choose(self) -> dict[str, Candidate]:
        """A split for each population. Those whose out-axons no split can bring within the limit keep their cheapest.

        Every population must have a split that is within its other limits.
        """
        assumed = {name: self.alone(name)[0] for name in self.sites.by_name}
        chosen = self._programme(assumed)
        if self.exceeding(chosen):
            again = self._programme(chosen)
            chosen = min((chosen, again), key=lambda one: (len(self.exceeding(one)), _total(one.values())))
        return self._repaired(chosen)

    def exceeding(self, chosen: dict[str, Candidate]) -> list[str]:
        """Populations with a core whose out-axons exceed the limit."""
        return [name for name in chosen if not self._sends(name, chosen[name], self.loads(name, chosen))]

    def loads(self, name: str, chosen: dict[str, Candidate]) -> list[Load]:
        """Out-axons of a population for these splits of those behind it."""
        return [self._load(link, chosen[link.target]) for link in self.sites.out_of[name]]

    def _programme(self, assumed: dict[str, Candidate]) -> dict[str, Candidate]:
        main = _main_links(self.sites)
        options: dict[str, list[Option]] = {}
        for name in reversed(self.sites.by_name):
            children = [link for link in self.sites.out_of[name] if main.get(link.target) == link]
            others = [link for link in self.sites.out_of[name] if main.get(link.target) != link]
            fixed = [self._load(link, assumed[link.target]) for link in others if link.target != name]
            itself = [link for link in others if link.target == name]
            options[name] = self._options(name, children, fixed, itself, options)
        chosen: dict[str, Candidate] = {}
        waiting = [
            (name, min(options[name], key=lambda one: one.cost)) for name in self.sites.by_name if name not in main
        ]
        while waiting:
            name, option = waiting.pop()
            chosen[name] = option.candidate
            waiting += option.behind.items()
        return {name: chosen[name] for name in self.sites.by_name}

    def _options(
        self, name: str, children: Sequence[Link], fixed: list[Load], itself: Sequence[Link],
        options: dict[str, list[Option]],
    ) -> list[Option]:  # fmt: skip
        local = self.alone(name)
        names = list(dict.fromkeys(link.target for link in children))
        best: dict[Candidate, Option] = {}
        cheapest_yet = None
        for behind in _combinations([options[target] for target in names]):
            of_target = dict(zip(names, behind, strict=True))
            cost = _total_cost(option.cost for option in behind)
            if cheapest_yet is not None and cost[0] + local[0].cores > WORTHWHILE * cheapest_yet:
                break
            loads = fixed + [self._load(link, of_target[link.target].candidate) for link in children]
            fitting = self._fitting(name, local, loads, itself)
            for one in fitting:
                total = _add(cost, one.cost)
                if one not in best or total < best[one].cost:
                    best[one] = Option(one, total, of_target)
            cheapest_yet = min((option.cost[0] for option in best.values()), default=None)
            if fitting == local:
                break  # nothing behind can ask for less than this costs
        if not best:  # no split brings its out-axons within the limit: those behind keep their cheapest
            cheapest = {target: min(options[target], key=lambda one: one.cost) for target in names}
            cost = _total_cost(option.cost for option in cheapest.values())
            best = {one: Option(one, _add(cost, one.cost), cheapest) for one in local}
        return sorted(best.values(), key=lambda one: one.cost)[:KEPT]

    def _fitting(self, name: str, local: list[Candidate], loads: list[Load], itself: Sequence[Link]) -> list[Candidate]:
        """Splits whose out-axons are within the limit: of those known, and if they cost more, of a search for them."""
        fitting = [one for one in local if self._sends(name, one, loads + self._own(itself, one))]
        if fitting and fitting[0] == local[0]:
            return fitting
        if loads:
            found = self._search(self.sites.by_name[name], self.limits[name], loads)
            fitting += [one for one in found if self._sends(name, one, loads + self._own(itself, one))]
        if itself and not fitting:
            fitting = self._for_itself(name, loads, itself)
        return sorted(dict.fromkeys(fitting), key=lambda one: one.cost)

    def _for_itself(self, name: str, loads: list[Load], itself: Sequence[Link]) -> list[Candidate]:
        """Where a population sends to itself, its own cut is the load: split again under the load of the last split."""
        current = self.alone(name)[0]
        for _ in range(REPAIRS):
            if self._sends(name, current, loads + self._own(itself, current)):
                return [current]
            found = self._search(self.sites.by_name[name], self.limits[name], loads + self._own(itself, current))
            if not found or found[0] == current:
                break
            current = found[0]
        return []

    def _own(self, itself: Sequence[Link], one: Candidate) -> list[Load]:
        return [self._load(link, one) for link in itself]

    def _repaired(self, chosen: dict[str, Candidate]) -> dict[str, Candidate]:
        """Split further what exceeds its out-axons; that may make populations before it exceed theirs."""
        times = dict.fromkeys(chosen, 0)
        waiting = self.exceeding(chosen)
        while waiting:
            name = waiting.pop()
            loads = self.loads(name, chosen)
            if self._sends(name, chosen[name], loads) or times[name] == REPAIRS:
                continue
            times[name] += 1
            others = [link for link in self.sites.out_of[name] if link.target != name]
            itself = [link for link in self.sites.out_of[name] if link.target == name]
            loads = [self._load(link, chosen[link.target]) for link in others]
            found = self._fitting(name, self.alone(name), loads, itself)
            if found:
                chosen = {**chosen, name: found[0]}
                waiting += [link.source for link in self.sites.into[name] if link.source != INPUT]
        return chosen

    def alone(self, name: str) -> list[Candidate]:
        """Splits of a population, out-axons left aside; none if one neuron alone exceeds a limit."""
        return self._search(self.sites.by_name[name], self.limits[name], [])

    def _search(self, site: Site, limits: BlockLimits, loads: list[Load]) -> list[Candidate]:
        key = (site, tuple(limits.values()), tuple(map(id, loads)))
        if key not in self._searched:
            self._searched[key] = candidates(site, limits, loads)
        return self._searched[key]

    def _load(self, link: Link, target: Candidate) -> Load:
        """The same object for the same load, so that a search can be found again by it."""
        site, shape = self.sites.by_name[link.target], self.sites.by_name[link.source].shape
        form = target.forms[link.position]
        key = (site, link.position, shape, target.split, form)
        if key not in self._loads:
            self._loads[key] = load_of(self.sites.incoming(link), shape, target.split, form)
        return self._loads[key]

    def _sends(self, name: str, one: Candidate, loads: Sequence[Load]) -> bool:
        """Whether the out-axons of every core are within the limit."""
        if not loads:
            return True
        total = sum((load.per_core(one.split) for load in loads), np.zeros(one.split.parts, np.int64))
        return int(total.max()) <= self.limits[name][OUT_AXONS]


OUT_AXONS = RESOURCES[3]


def _main_links(sites: Sites) -> dict[str, Link]:
    """The link through which a population is reached in its tree: from the largest population before it."""
    order = {name: position for position, name in enumerate(sites.by_name)}
    main: dict[str, Link] = {}
    for name, links in sites.into.items():
        before = [link for link in links if link.source != INPUT and order[link.source] < order[name]]
        if before:
            main[name] = max(before, key=lambda link: sites.by_name[link.source].size)
    return main


def _combinations(options: list[list[Option]]) -> list[tuple[Option, ...]]:
    """Of one option per population behind, the cheapest first; of several populations only the cheapest few of each."""
    each = max(1, int(COMBINATIONS ** (1 / max(1, len(options)))))
    if math.prod(len(one) for one in options) > COMBINATIONS:
        options = [one[:each] for one in options]
    return sorted(itertools.product(*options), key=lambda behind: _total_cost(one.cost for one in behind))


def _add(one: Cost, other: Cost) -> Cost:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _total_cost(costs: Iterable[Cost]) -> Cost:
    total = NOTHING
    for cost in costs:
        total = _add(total, cost)
    return total


def _total(chosen: Iterable[Candidate]) -> Cost:
    return _total_cost(one.cost for one in chosen)
