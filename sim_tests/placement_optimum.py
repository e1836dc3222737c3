"""The fewest cores of a tiny network, by trying every way to cut every population into blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from placement_checker import Block, Neuron, Wiring, allowed_forms, neurons_of, whole, wirings

from decolle_hw.compiler.lowering.graph import INPUT, Graph
from decolle_hw.targets import Target

Cut = tuple[Block, ...]


def cuts(shape: Neuron) -> Iterator[Cut]:
    """Every partition of a map into blocks, those included that no row of straight cuts makes."""

    def fill(left: frozenset[Neuron]) -> Iterator[Cut]:
        if not left:
            yield ()
            return
        corner = min(left)
        for sizes in itertools.product(*(range(1, size - at + 1) for at, size in zip(corner, shape, strict=True))):
            block = tuple((at, at + size) for at, size in zip(corner, sizes, strict=True))
            here = frozenset(neurons_of(block))
            if here <= left:
                yield from ((block, *rest) for rest in fill(left - here))

    yield from fill(frozenset(neurons_of(whole(shape))))


def fewest_cores(graph: Graph, target: Target) -> int | None:
    """None: no cut of any kind keeps every core within its limits."""
    into: dict[str, list[Wiring]] = {population.name: [] for population in graph.populations}
    for wiring in wirings(graph, target):
        into[wiring.connection.target].append(wiring)
    ways = {
        population.name: [
            (cut, forms)
            for forms in itertools.product(*(allowed_forms(one.connection, target) for one in into[population.name]))
            for cut in _fitting_cuts(population.shape, into[population.name], forms, target)
        ]
        for population in graph.populations
    }
    best = None
    sends = _Sends(target)
    for chosen in itertools.product(*ways.values()):
        cores = sum(len(cut) for cut, _ in chosen)
        if best is not None and cores >= best:
            continue
        of = dict(zip(ways, chosen, strict=True))
        if all(sends.within(name, of, into) for name in of):
            best = cores
    return best


def _fitting_cuts(shape: Neuron, into: list[Wiring], forms: tuple[str, ...], target: Target) -> list[Cut]:
    known: dict[Block, bool] = {}

    def fits(block: Block) -> bool:
        if block not in known:
            counts = [wiring.synapses(block, form) for wiring, form in zip(into, forms, strict=True)]
            axons = sum(wiring.axons(set(count)) for wiring, count in zip(into, counts, strict=True))
            bits = sum(
                wiring.memory(block, form, count)[0] for wiring, form, count in zip(into, forms, counts, strict=True)
            )
            known[block] = (
                sum(1 for _ in neurons_of(block)) <= target.neurons_per_core.value
                and axons <= target.in_axons.value
                and bits <= target.synaptic_memory_bits.value
            )
        return known[block]

    return [cut for cut in cuts(shape) if all(map(fits, cut))]


class _Sends:
    """Out-axons of a population for a cut of it and of all behind it; remembers pairs of blocks."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.known: dict[object, int] = {}

    def within(self, name: str, of: dict[str, tuple[Cut, tuple[str, ...]]], into: dict[str, list[Wiring]]) -> bool:
        for block in of[name][0]:
            total = 0
            for destination, all_wirings in into.items():
                cut, forms = of[destination]
                for wiring, form in zip(all_wirings, forms, strict=True):
                    if wiring.connection.source == name and name != INPUT:
                        total += sum(self._pair(wiring, form, block, other) for other in cut)
            if total > self.target.out_axons.value:
                return False
        return True

    def _pair(self, wiring: Wiring, form: str, block: Block, destination: Block) -> int:
        key = (id(wiring), form, block, destination)
        if key not in self.known:
            common = set(wiring.synapses(destination, form)) & set(neurons_of(block))
            slots = self.target.shared_axon_slots.value if wiring.shared else 1
            self.known[key] = wiring.axons(common) * slots
        return self.known[key]
