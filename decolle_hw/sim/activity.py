"""From a run to what estimates need: how often each neuron spiked, took a spike, and changed its potential."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.estimates.activity import Activity, LayerActivity
from decolle_hw.compiler.layers import POOL_WEIGHT, Layer
from decolle_hw.compiler.program import Program
from decolle_hw.fixedpoint import ALIGN_SHIFT, DECAY_UNITY, STATE_LIMIT
from decolle_hw.sim.reference import run_layer, run_reference
from decolle_hw.sim.trace import LayerTrace, Trace

# Inputs of a neuron whose spikes of one step, all together, do not yet overflow u in `takes_spikes`.
MOST_INPUTS = (STATE_LIMIT >> ALIGN_SHIFT) // POOL_WEIGHT


def measure(program: Program, recordings: NDArray[Any], *, recordings_at_once: int = 8) -> Activity:
    """Run recordings in the reference simulator and count what happens.

    Args:
        recordings: as `run_reference` takes them.
        recordings_at_once: bounds the memory, which is that of a recorded trace of so many.

    Raises: ValueError as `run_reference`, or if there is no recording.
    """
    parts = []
    for start in range(0, max(1, len(recordings)), recordings_at_once):
        part = recordings[start : start + recordings_at_once]
        parts.append(activity_of(program, part, run_reference(program, part, record=True)))
    return Activity.join(parts)


def activity_of(program: Program, recordings: NDArray[Any], trace: Trace) -> Activity:
    """Count what happened in a run of the reference simulator or of Lava.

    Changes of the potential are counted where registers were recorded. Index t of a trace is step t of the float
    network in every layer, so the silent steps that pooling adds at the end of a recording are not in here.

    Args: recordings that the trace came from; the input of a network with an input block is what its neurons send.
    """
    layers: list[LayerActivity] = []
    input_RTI = recordings if trace.input is None else trace.input.spikes
    source_RTI = input_RTI
    for layer, run in zip(program.layers, trace.layers, strict=True):
        active_N = _active(layer, source_RTI, run)
        layers.append(LayerActivity(_counts(run.spikes), active_N, _membrane_updates(run)))
        source_RTI = run.spikes
    return Activity(input_RTI.shape[0], input_RTI.shape[1], _counts(input_RTI), tuple(layers))


def takes_spikes(layer: Layer, spikes_RTI: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(R, T, N) 1 in each step in which a spike reaches the neuron through a weight other than zero.

    It is the layer itself, delays and all, that says so, with every neuron replaced by the OR of its inputs.
    """
    nothing_N = np.zeros(layer.num_neurons, np.int32)
    listening = replace(
        layer, neuron="cuba", weight=POOL_WEIGHT * (layer.weight != 0).astype(np.int32), weight_exp=0, weight_bits=8,
        sign_mode="mixed", du=DECAY_UNITY - 1, dv=DECAY_UNITY - 1, vth=nothing_N, bias_mant=nothing_N, bias_exp=0,
        dr=0, rho=0,
    )  # fmt: skip
    return run_layer(listening, spikes_RTI, first=0, record=False).spikes


def _active(layer: Layer, source_RTI: NDArray[np.uint8], run: LayerTrace) -> NDArray[np.int64] | None:
    """(N,) steps in which a neuron takes a spike or sends one; None where a sum could overflow."""
    if layer.num_synapses // layer.num_neurons >= MOST_INPUTS:
        return None
    return _counts(takes_spikes(layer, source_RTI) | run.spikes)


def _membrane_updates(run: LayerTrace) -> int | None:
    """Changes of the potential, which is v, or v + r of the decolle neuron; all neurons change in the first step."""
    if "v" not in run.registers:
        return None
    potential_RTN = run.registers["v"].astype(np.int64)
    if "r" in run.registers:
        potential_RTN += run.registers["r"]
    recordings, _, neurons = potential_RTN.shape
    return recordings * neurons + int(np.count_nonzero(np.diff(potential_RTN, axis=1)))


def _counts(spikes_RTN: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N,) spikes of each neuron."""
    counts: NDArray[np.int64] = spikes_RTN.sum((0, 1), dtype=np.int64)
    return counts
