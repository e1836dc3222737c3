"""Counts a placement again, neuron by neuron and synapse by synapse, from its JSON and the graph alone.

Written from the text of `decolle_hw.compiler.placement.model`; none of the code of that package is used. Slow on
purpose: sets and loops in place of arithmetic along axes.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from decolle_hw.compiler.lowering.graph import INPUT, Connection, Graph
from decolle_hw.targets import Target

Neuron = tuple[int, int, int]
Block = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
WORD = 64


def floor_share(limit: int, utilisation: float) -> int:
    return math.floor(round(limit * utilisation, 6))


def neurons_of(block: Block) -> Iterator[Neuron]:
    return itertools.product(*(range(low, high) for low, high in block))


def whole(shape: Neuron) -> Block:
    c, h, w = shape
    return (0, c), (0, h), (0, w)


def flat(neuron: Neuron, shape: Neuron) -> int:
    return (neuron[0] * shape[1] + neuron[1]) * shape[2] + neuron[2]


class Wiring:
    """One connection, every synapse of it."""

    def __init__(self, connection: Connection, shape: Neuron, source_shape: Neuron, target: Target) -> None:
        self.connection, self.shape, self.source_shape, self.target = connection, shape, source_shape, target
        self.atoms = target.axon_atoms.value
        self.shared = connection.geometry is not None and self.atoms > 1 and not connection.plastic

    def synapses(self, block: Block, form: str) -> Counter[Neuron]:
        """How many synapses each source neuron has to the block: those that the form stores."""
        found: Counter[Neuron] = Counter()
        for neuron in neurons_of(block):
            found.update(self._sources(neuron, form))
        return found

    def _sources(self, neuron: Neuron, form: str) -> Iterator[Neuron]:
        connection, geometry = self.connection, self.connection.geometry
        if geometry is None:
            for source in neurons_of(whole(self.source_shape)):
                if form == "dense" or connection.nonzero[flat(neuron, self.shape), flat(source, self.source_shape)]:
                    yield source
            return
        channel, row, column = neuron
        sources = self.source_shape[0] // geometry.groups
        group = channel // (self.shape[0] // geometry.groups)
        for ky in range(geometry.kernel[0]):
            for kx in range(geometry.kernel[1]):
                y = row * geometry.stride[0] - geometry.padding[0] + ky * geometry.dilation[0]
                x = column * geometry.stride[1] - geometry.padding[1] + kx * geometry.dilation[1]
                if 0 <= y < self.source_shape[1] and 0 <= x < self.source_shape[2]:
                    for c in range(group * sources, (group + 1) * sources):
                        yield c, y, x

    def axons(self, sources: set[Neuron]) -> int:
        """Axons that carry the spikes of these source neurons to one core."""
        if not self.shared:
            return len(sources)
        pixels = {(y, x) for _, y, x in sources}
        channels = {c for c, _, _ in sources}
        assert len(pixels) * len(channels) == len(sources), "a receptive block is a product"
        return len(pixels) * math.ceil(len(channels) / self.atoms)

    def memory(self, block: Block, form: str, counts: Counter[Neuron]) -> tuple[int, int]:
        """(bits, stored synapses)"""
        connection = self.connection
        m = sum(1 for _ in neurons_of(block))
        idx = max(1, (m - 1).bit_length())
        b, extra = connection.weight_bits + connection.delay_bits, 0
        if connection.plastic:
            b, extra = b + 1 + self.target.tag_bits.value, self.target.trace_bits.value
        if form == "shared":
            geometry = connection.geometry
            channels = block[0][1] - block[0][0]
            values = channels * (self.source_shape[0] // geometry.groups) * geometry.kernel[0] * geometry.kernel[1]
            return WORD * (math.ceil(values * b / WORD) + self.axons(set(counts))), values
        bits = 0
        for n in counts.values():
            entry = 10 + n * b + (idx if form == "dense" else n * idx) + extra
            bits += WORD * math.ceil(entry / WORD)
        return bits, sum(counts.values())


def wirings(graph: Graph, target: Target) -> list[Wiring]:
    shapes = {population.name: population.shape for population in graph.populations}
    return [
        Wiring(
            connection, shapes[connection.target], shapes.get(connection.source, connection.source_shape), target
        )
        for connection in graph.connections
    ]  # fmt: skip


def allowed_forms(connection: Connection, target: Target) -> tuple[str, ...]:
    if connection.geometry is not None:
        return ("shared",) if target.shared_weights.value and not connection.plastic else ("unshared",)
    return ("dense",) if connection.plastic or connection.nonzero is None else ("dense", "sparse")


def differences(graph: Graph, placed: dict[str, Any], target: Target) -> list[str]:
    """Everything that is not as it should be: wrong counts, neurons not on one core, limits exceeded."""
    found = _partition(graph, placed["cores"])
    forms = {one["population"]: one["forms"] for one in placed["populations"]}
    used: dict[int, Counter[str]] = defaultdict(Counter)
    needs: dict[tuple[int, int], set[Neuron]] = {}  # (connection, core): source neurons with an in-axon there
    position: Counter[str] = Counter()
    all_wirings = wirings(graph, target)
    for number, wiring in enumerate(all_wirings):
        name = wiring.connection.target
        form = forms[name][position[name]]
        if form not in allowed_forms(wiring.connection, target):
            found.append(f"{name}: form {form}")
        for core in cores_of(placed, name):
            counts = wiring.synapses(block_of(core), form)
            bits, stored = wiring.memory(block_of(core), form, counts)
            needs[number, core["index"]] = set(counts)
            used[core["index"]].update(in_axons=wiring.axons(set(counts)), memory_bits=bits, synapses=stored)
            if core["memory"][position[name]] != bits:
                found.append(f"core {core['index']}: memory {core['memory']}, connection {number} has {bits}")
        position[name] += 1
    total, crossing, outside = 0, 0, 0
    for number, wiring in enumerate(all_wirings):
        for (of, destination), sources in needs.items():
            if of != number:
                continue
            if wiring.connection.source == INPUT:
                outside += len(sources)
                continue
            for core in cores_of(placed, wiring.connection.source):
                common = sources & set(neurons_of(block_of(core)))
                slots = target.shared_axon_slots.value if wiring.shared else 1
                used[core["index"]]["out_axons"] += wiring.axons(common) * slots
                total += len(common)
                crossing += len(common) * (core["chip"] != placed["cores"][destination]["chip"])
    traffic = placed["traffic"]
    for what, counted in (("total", total), ("between_chips", crossing), ("from_outside", outside)):
        if not math.isclose(traffic[what], counted, abs_tol=1e-6):
            found.append(f"traffic {what}: {traffic[what]}, counted {counted}")
    found += _core_figures(placed, used)
    return found + _limits(placed, target)


def block_of(core: dict[str, Any]) -> Block:
    return tuple(core["channels"]), tuple(core["rows"]), tuple(core["columns"])


def cores_of(placed: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [core for core in placed["cores"] if core["population"] == name]


def _partition(graph: Graph, cores: list[dict[str, Any]]) -> list[str]:
    found = [f"core {at} has index {core['index']}" for at, core in enumerate(cores) if core["index"] != at]
    for population in graph.populations:
        times: Counter[Neuron] = Counter()
        for core in cores:
            if core["population"] == population.name:
                times.update(neurons_of(block_of(core)))
        if times != Counter(neurons_of(whole(population.shape))):
            found.append(f"{population.name}: not every neuron is on exactly one core")
    return found


def _core_figures(placed: dict[str, Any], used: dict[int, Counter[str]]) -> list[str]:
    found = []
    for core in placed["cores"]:
        counted = {**used[core["index"]], "neurons": sum(1 for _ in neurons_of(block_of(core)))}
        for what in ("neurons", "in_axons", "out_axons", "memory_bits", "synapses"):
            if core[what] != counted.get(what, 0):
                found.append(f"core {core['index']} ({core['population']}): {what} {core[what]}, counted {counted}")
    return found


def _limits(placed: dict[str, Any], target: Target) -> list[str]:
    """Limits of cores, chips and tiles; those named by a problem may be exceeded, and with them all out-axons."""
    named = {(problem["population"], problem["resource"]) for problem in placed["problems"]}
    if any(resource in ("neurons", "synaptic memory", "in-axons") for _, resource in named):
        named |= {(one["population"], "out-axons") for one in placed["populations"]}
    found = []
    share = placed["utilisation"]
    for what, resource, limit in (
        ("neurons", "neurons", target.neurons_per_core.value),
        ("memory_bits", "synaptic memory", target.synaptic_memory_bits.value),
        ("in_axons", "in-axons", target.in_axons.value),
        ("out_axons", "out-axons", target.out_axons.value),
    ):
        for core in placed["cores"]:
            if core[what] > floor_share(limit, share) and (core["population"], resource) not in named:
                found.append(f"core {core['index']} ({core['population']}): {what} {core[what]} of {limit}")
    chips: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for core in placed["cores"]:
        chips[core["chip"]].append(core)
    if sorted(chips) != list(range(placed["chips"])):
        found.append(f"chips {sorted(chips)}, {placed['chips']} are named")
    for chip, cores in chips.items():
        tiles = Counter((core["x"], core["y"]) for core in cores)
        columns, rows = target.mesh.value
        if max(tiles.values()) > target.cores_per_tile.value:
            found.append(f"chip {chip}: more cores on a tile than it has")
        if any(not (0 <= x < columns and 0 <= y < rows) for x, y in tiles):
            found.append(f"chip {chip}: a tile outside of the mesh")
        for what, number, limit in (
            ("cores", len(cores), target.usable_cores.value),
            ("neurons per chip", sum(core["neurons"] for core in cores), target.neurons_per_chip.value),
            ("synapses per chip", sum(core["synapses"] for core in cores), target.synapses_per_chip.value),
        ):
            if number > limit and (None, what) not in named:
                found.append(f"chip {chip}: {what} {number} of {limit}")
    over = any("chips of" in resource for _, resource in named)
    if placed["board_chips"] is not None and placed["chips"] > placed["board_chips"] and not over:
        found.append(f"{placed['chips']} chips on {placed['board']}")
    return found
