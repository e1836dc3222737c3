"""A population as placement sees it: its shape, what comes in, and what a split of it holds on each core."""

# C, R, X parts of each axis; q channels, a rows, b columns of a block

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from decolle_hw.compiler.lowering.graph import Connection, Shape
from decolle_hw.compiler.placement.inputs import Held, Incoming
from decolle_hw.compiler.placement.model import RESOURCES, UNLIMITED, Form, IntArray, Limits, Resource
from decolle_hw.compiler.placement.outputs import Load
from decolle_hw.compiler.placement.split import Split

Forms = tuple[Form, ...]  # one per connection into the population
BlockLimits = dict[Resource, int]
CHOICES = 16  # ways to choose a format for each masked matrix; beyond, all take the same one


@dataclass(frozen=True)
class Use:
    """Of each core, by resource: (C, R, X). Out-axons are zero where no loads were given."""

    used: dict[Resource, IntArray]
    held: tuple[Held, ...]  # by connection

    def fits(self, limits: BlockLimits) -> bool:
        return all(int(used.max()) <= limits[resource] for resource, used in self.used.items())


@dataclass(frozen=True, eq=False)  # masks have no cheap equality: a site is itself
class Site:
    """Neurons of this shape with these connections into them; names play no part, so alike layers are one site."""

    shape: Shape
    incoming: tuple[Incoming, ...]
    limits: Limits

    @classmethod
    def of(cls, shape: Shape, connections: Sequence[Connection], limits: Limits) -> Site:
        return cls(shape, tuple(Incoming(connection, shape, limits) for connection in connections), limits)

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def forms(self) -> list[Forms]:
        """Ways in which the synapses may be stored, connection by connection."""
        each = [incoming.forms for incoming in self.incoming]
        if np.prod([len(forms) for forms in each]) <= CHOICES:
            return list(itertools.product(*each))
        return [tuple(forms[min(choice, len(forms) - 1)] for forms in each) for choice in range(2)]

    def use(self, split: Split, forms: Forms, loads: Sequence[Load] = ()) -> Use:
        """What each block holds; the parts of `split` need not cover the population."""
        held = tuple(incoming.held(split, form) for incoming, form in zip(self.incoming, forms, strict=True))
        return _total(split, held, loads)

    def least_use(self, split: Split, loads: Sequence[Load] = ()) -> Use:
        """As `use`, but every block and connection in the format that takes the least of each resource."""
        held = tuple(incoming.least_held(split) for incoming in self.incoming)
        return _total(split, held, loads)

    def largest_columns(
        self, limits: BlockLimits, forms: Forms, loads: Sequence[Load] = (),
        resources: Collection[Resource] = RESOURCES,
    ) -> IntArray:  # fmt: skip
        """(c, h) columns of the widest block of q+1 channels and a+1 rows that could be within the limits.

        No block anywhere in the map is within them if it is wider; whether this one is, depends on where it lies.
        """
        c, h, w = self.shape
        q, a = np.arange(1, c + 1)[:, None], np.arange(1, h + 1)[None, :]
        low, high = np.zeros((c, h), np.int64), np.full((c, h), w, np.int64)
        while bool((low < high).any()):
            middle = (low + high + 1) // 2
            fits = np.ones((c, h), bool)
            for resource, used in self._fewest(q, a, np.maximum(middle, 1), forms, loads, resources).items():
                fits &= used <= limits[resource]
            low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
        return low

    def _fewest(
        self, q: IntArray, a: IntArray, b: IntArray, forms: Forms, loads: Sequence[Load],
        resources: Collection[Resource],
    ) -> dict[Resource, IntArray]:  # fmt: skip
        """What a block of q channels, a rows, b columns holds at least."""
        found: dict[Resource, IntArray] = {}
        if "neurons" in resources:
            found["neurons"] = q * a * b
        if "in-axons" in resources or "synaptic memory" in resources:
            least = [
                incoming.fewest(q, a, b, form) for incoming, form in zip(self.incoming, forms, strict=True)
            ]  # fmt: skip
            nothing = np.zeros_like(b)
            if "in-axons" in resources:
                found["in-axons"] = sum((in_axons for in_axons, _ in least), nothing)
            if "synaptic memory" in resources:
                found["synaptic memory"] = sum((memory for _, memory in least), nothing)
        if "out-axons" in resources and loads:
            found["out-axons"] = sum((load.fewest(q, a, b) for load in loads), np.zeros_like(b))
        return found

    @cached_property
    def optimistic_forms(self) -> Forms:
        """The form of each connection about which `fewest` knows the least, so that it holds for all of them."""
        return tuple(incoming.forms[-1] for incoming in self.incoming)

    @property
    def is_masked(self) -> bool:
        return any("sparse" in incoming.forms for incoming in self.incoming)

    def single_neurons(self, forms: Forms, loads: Sequence[Load] = ()) -> dict[Resource, int]:
        """What the most demanding neuron needs, were it alone on its core: no split asks for less of it."""
        c, h, w = (tuple(range(size + 1)) for size in self.shape)
        used = self.use(Split(c, h, w), forms, loads).used
        return {resource: int(of_core.max()) for resource, of_core in used.items()}


def without(limits: BlockLimits, resources: Collection[Resource]) -> BlockLimits:
    """The limits with some of them lifted."""
    return {resource: UNLIMITED if resource in resources else limit for resource, limit in limits.items()}


def _total(split: Split, held: tuple[Held, ...], loads: Sequence[Load]) -> Use:
    neurons = split.neurons
    nothing = np.zeros_like(neurons)
    used: dict[Resource, IntArray] = {
        "neurons": neurons,
        "synaptic memory": sum((one.memory_bits for one in held), nothing),
        "in-axons": sum((one.in_axons for one in held), nothing),
        "out-axons": sum((load.per_core(split) for load in loads), nothing),
    }
    return Use(used, held)
