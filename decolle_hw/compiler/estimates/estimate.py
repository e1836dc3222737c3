"""What a placed network does and costs on a target, from measured activity: per layer, per core and in all.

Numbers of events are exact. Energies and times are those times the target's figures per event, which are named with
their sources; what has no published figure has no price here (`NOT_PRICED`, `NOT_TIMED`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from decolle_hw.compiler.estimates.activity import Activity
from decolle_hw.compiler.estimates.cores import Core, core_events
from decolle_hw.compiler.estimates.events import (
    NOT_PRICED,
    NOT_TIMED,
    EnergySplit,
    Events,
    busy_ns,
    constants_of,
    energy_of,
    figures_label,
)
from decolle_hw.compiler.estimates.layers import Work, work_of
from decolle_hw.compiler.estimates.neurobench import neurobench_metrics
from decolle_hw.compiler.estimates.result import CoreEstimate, Estimate, LayerEstimate, TimeStep
from decolle_hw.compiler.lowering.graph import INPUT, Graph
from decolle_hw.compiler.placement import Placement, traffic
from decolle_hw.compiler.program import Program
from decolle_hw.targets import Target


def estimate(
    program: Program | None, graph: Graph, placement: Placement, target: Target, activity: Activity
) -> Estimate:
    """What the network does and costs where it was placed, with the activity that was measured.

    Args:
        program: the compiled network, for NeuroBench's metrics; None: there is none yet.
        graph: that was placed.
        activity: of the layers of the compiled network, as `Population.layer` numbers them.
    """
    assert graph == placement.graph, "an estimate is of the graph that was placed"
    # Connections are stored as the tiling of their target says, in the order in which they enter it.
    sparse = tuple(
        connection
        for tiling in placement.tilings
        for connection, form in zip(graph.into(tiling.population), tiling.forms, strict=True)
        if form == "sparse"
    )
    works = {population.name: work_of(graph, population, activity, sparse) for population in graph.populations}
    # Whole numbers of spikes go in, so whole numbers of messages come out. Those of the input are counted here.
    messages = traffic(placement, {**activity.spike_counts(graph), INPUT: 0.0})
    pairs = (messages.source, messages.destination, messages.messages)
    events_K = core_events(graph, placement.cores, works, pairs, activity, sparse)
    cores = tuple(_core(core, events, target, activity) for core, events in zip(placement.cores, events_K, strict=True))
    layers = tuple(_layer(works[population.name], cores, target) for population in graph.populations)
    total = sum((row.events for row in layers), Events())
    static = target.static_power_mw
    return Estimate(
        target=target.name,
        recordings=activity.recordings,
        steps=activity.steps,
        chips=placement.chips,
        layers=layers,
        cores=cores,
        total=total,
        energy=_energy(total, target),
        energy_label=figures_label(target, "energy"),
        static_power_mw=None if static is None else static.value * placement.chips,
        time=_time_step(cores, target),
        neurobench=None if program is None else neurobench_metrics(program, activity),
        constants=constants_of(target),
        notes=_notes(graph, works, target),
    )


def _layer(work: Work, cores: tuple[CoreEstimate, ...], target: Target) -> LayerEstimate:
    """Its neurons' own events, and the messages of its cores."""
    population = work.population
    own = [core for core in cores if core.population == population.name]
    of_neurons = {
        "synaptic_ops": int(work.synaptic_ops.sum()),
        "updates_active": int(work.active.sum()),
        "updates_idle": int(work.idle.sum()),
        "spikes": int(work.spikes.sum()),
    }
    events = replace(sum((core.events for core in own), Events()), **of_neurons)
    return LayerEstimate(population.name, population.layer, population.size, len(own), events, _energy(events, target))


def _core(core: Core, events: Events, target: Target, activity: Activity) -> CoreEstimate:
    busy = None
    if target.time is not None:
        busy = {kind: duration / activity.all_steps for kind, duration in busy_ns(events, target.time).items()}
    return CoreEstimate(core.index, core.chip, core.population, core.neurons, events, _energy(events, target), busy)


def _energy(events: Events, target: Target) -> EnergySplit | None:
    return None if target.energy is None else energy_of(events, target.energy)


def _time_step(cores: tuple[CoreEstimate, ...], target: Target) -> TimeStep | None:
    """The first of the busiest cores, and the barrier; None where the target has no figures or nothing is placed."""
    timed = [(core, core.busy_ns) for core in cores if core.busy_ns is not None]
    if target.time is None or not timed:
        return None
    core, busy = max(timed, key=lambda pair: sum(pair[1].values()))
    barrier = target.time.barrier.value
    longest = max(busy, key=lambda kind: busy[kind])
    label = figures_label(target, "time")
    return TimeStep(sum(busy.values()) + barrier, barrier, core.core, core.population, longest, label)


def _notes(graph: Graph, works: Mapping[str, Work], target: Target) -> tuple[str, ...]:
    """What is not in the figures."""
    notes = [f"not counted: {note}" for work in works.values() for note in work.missing]
    notes += [note for work in works.values() for note in work.notes]
    late = max(population.latency for population in graph.populations)
    if late:
        steps = "step" if late == 1 else "steps"
        notes.append(f"pooling lengthens a recording by {late} {steps} on chip, almost silent ones: not counted")
    notes += NOT_PRICED if target.energy is not None else ()
    notes += NOT_TIMED if target.time is not None else ()
    return tuple(notes)
