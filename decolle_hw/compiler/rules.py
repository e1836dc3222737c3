"""Rules of a target: what a network may not do there, each a small function.

A rule yields one `Violation` for everything that breaks it, so that a user sees all of them at once: `violations`
runs `RULES` in order. Rules about space read the placement and work for a network that is not compiled yet; those
about widths read the registers of a compiled one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from decolle_hw.compiler.layers import DenseLayer, Layer
from decolle_hw.compiler.lowering.graph import Graph
from decolle_hw.compiler.placement import Placement, lower_bounds
from decolle_hw.compiler.program import Program
from decolle_hw.errors import CompileError, listed
from decolle_hw.targets import Target


@dataclass(frozen=True)
class Subject:
    """What the rules look at."""

    graph: Graph  # lowered
    placement: Placement
    target: Target
    program: Program | None = None  # None: not compiled


@dataclass(frozen=True)
class Violation:
    """One rule of the target that the network breaks."""

    where: str  # "layer 2", "conv2", or "network"
    what: str
    value: int | str
    limit: str  # what is allowed
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} {self.value}, allowed: {self.limit} ({self.remedy})"


def violations(subject: Subject) -> list[Violation]:
    """Everything that keeps a network off its target, layer by layer within each rule of `RULES`."""
    return [violation for rule in RULES for violation in rule(subject)]


def does_not_fit(found: Sequence[Violation], network: str, target: Target) -> CompileError:
    """One error with all violations, a line each."""
    return CompileError(listed(f"{network} does not fit {target.name}", found))


def require_none(found: Sequence[Violation], network: str, target: Target) -> None:
    """Raise `CompileError` with all violations if there are any."""
    if found:
        raise does_not_fit(found, network, target)


def _neuron_model(subject: Subject) -> Iterator[Violation]:
    known = subject.target.neuron_models.value
    for population in subject.graph.populations:
        if population.role == "hidden" and population.neuron not in known:
            remedy = f"train with network.neuron: {known[0]}, or choose another target"
            yield Violation(population.name, "neuron", population.neuron, " or ".join(known), remedy)


def _plastic_convolution(subject: Subject) -> Iterator[Violation]:
    """Learning changes each synapse by itself: a kernel that many positions share cannot."""
    graph, target = subject.graph, subject.target
    wrong = [connection for connection in graph.connections if connection.plastic and connection.geometry is not None]
    if not wrong:
        return
    connections = tuple(replace(connection, plastic=False) for connection in graph.connections)
    used = subject.placement.utilisation
    fixed = replace(graph, connections=connections)
    shared = {bound.population: bound.cores for bound in lower_bounds(fixed, target, used)}
    unshared = {bound.population: bound.cores for bound in lower_bounds(graph, target, used)}
    for connection in wrong:
        name = connection.target
        remedy = (
            f"learning needs unshared synapses: {graph.synapses(connection):,} of them on at least {unshared[name]} "
            f"cores instead of {shared[name]}; make a dense layer plastic, or leave {name} out of --plastic"
        )
        yield Violation(name, "plastic", "convolution", "dense layers", remedy)


def _graded_spikes(subject: Subject) -> Iterator[Violation]:
    bits = subject.target.graded_payload_bits.value
    for connection in subject.graph.connections:
        if connection.graded and not bits:
            remedy = "the error of a plastic layer is a graded spike: choose another target, or leave --plastic out"
            yield Violation(connection.source, "spikes", "graded", "binary spikes", remedy)


def _weight_width(subject: Subject) -> Iterator[Violation]:
    bits = subject.target.weight_bits.value
    for connection in subject.graph.connections:
        if connection.weight_bits > bits:
            remedy = f"compile with --weight-bits {bits}"
            yield Violation(connection.target, "weight bits", connection.weight_bits, f"at most {bits}", remedy)


def _delay(subject: Subject) -> Iterator[Violation]:
    longest = subject.target.max_delay.value
    for index, layer in _layers(subject):
        if isinstance(layer, DenseLayer) and layer.max_delay > longest:
            yield Violation(
                f"layer {index}", "delay", layer.max_delay, f"at most {longest} steps", "use shorter delays"
            )


def _weight_exponent(subject: Subject) -> Iterator[Violation]:
    low, high = subject.target.weight_exp.value
    for index, layer in _layers(subject):
        if not low <= layer.weight_exp <= high:
            yield Violation(
                f"layer {index}", "weight_exp", layer.weight_exp, f"{low}..{high}", "scale weights and vth together"
            )


def _register_widths(subject: Subject) -> Iterator[Violation]:
    decay_max = (1 << subject.target.decay_bits.value) - 1
    vth_max = (1 << subject.target.vth_bits.value) - 1
    mant_max = (1 << (subject.target.bias_mant_bits.value - 1)) - 1
    exp_max = (1 << subject.target.bias_exp_bits.value) - 1
    for index, layer in _layers(subject):
        # A negative threshold exists on microcode neurons only, as Layer sees to.
        vth = int(np.abs(layer.vth).max())
        mant_low, mant_high = int(layer.bias_mant.min()), int(layer.bias_mant.max())
        mant = mant_high if mant_high > mant_max else mant_low
        for what, value, low, high, remedy in (
            ("du", layer.du, 0, decay_max, "choose a slower decay"),
            ("dv", layer.dv, 0, decay_max, "choose a slower decay"),
            ("dr", layer.dr, 0, decay_max, "choose a slower decay"),
            ("vth", vth, 0, vth_max, "lower weight_exp by one and halve vth"),
            ("bias_mant", mant, -mant_max - 1, mant_max, "use a larger bias_exp"),
            ("bias_exp", layer.bias_exp, 0, exp_max, "scale weights, vth and bias down together"),
        ):
            if not low <= value <= high:
                yield Violation(f"layer {index}", what, value, f"{low}..{high}", remedy)


def _space(subject: Subject) -> Iterator[Violation]:
    """What no split over cores, no number of them that was asked for, and no board can hold."""
    for problem in subject.placement.problems:
        where, limit = problem.population or "network", f"at most {problem.limit:,}"
        yield Violation(where, problem.resource, f"{problem.needed:,}", limit, problem.remedy)


def _layers(subject: Subject) -> Iterator[tuple[int, Layer]]:
    if subject.program is not None:
        yield from enumerate(subject.program.layers)


Rule = Callable[[Subject], Iterator[Violation]]
RULES: tuple[Rule, ...] = (
    _neuron_model,
    _plastic_convolution,
    _graded_spikes,
    _weight_width,
    _delay,
    _weight_exponent,
    _register_widths,
    _space,
)
