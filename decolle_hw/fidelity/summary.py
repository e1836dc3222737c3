"""Accuracy and spikes of the float network against the integer reference on the same recordings, as `compile` shows."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from decolle_hw.compiler.program import Program
from decolle_hw.data import BinnedRecordings
from decolle_hw.fidelity.agreement import SpikeAgreement
from decolle_hw.fidelity.chain import peaks, recordings_at_once, run_float, stages_of
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import decide


@dataclass(frozen=True)
class Fidelity:
    """How well the integers stand for the float network."""

    recordings: int
    float_hits: int
    integer_hits: int
    same_decision: int
    # Per float layer, after pooling where it pools:
    spike_agreement: list[float]  # share of (recording, step, neuron) with the same spike
    float_rate: list[float]  # spikes per neuron and step
    integer_rate: list[float]
    register_peak: list[dict[str, float]] = field(default_factory=list)  # per program layer: |u|, |v|, |r| / 2**23
    compared_layers: list[int] = field(default_factory=list)  # layer of the program that each float layer became

    @property
    def float_accuracy(self) -> float:
        return self.float_hits / self.recordings

    @property
    def integer_accuracy(self) -> float:
        return self.integer_hits / self.recordings


def batches(count: int, size: int) -> Iterator[np.ndarray]:
    """Indices 0..count-1 in consecutive pieces of `size`."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def to_batch_first(spikes_TBI: np.ndarray) -> np.ndarray:
    """(T, B, I) of the float side as the contiguous (R, T, I) of the integer side."""
    return np.ascontiguousarray(spikes_TBI.transpose(1, 0, 2))


def float_against_integer(network: DecolleNetwork, program: Program, recordings: BinnedRecordings) -> Fidelity:
    """Run recordings through both and count. Both start each recording from the reset state."""
    compared = [indices[-1] for indices in stages_of(network, program)]
    float_hits = integer_hits = same_decision = 0
    spikes = dict.fromkeys(compared, SpikeAgreement())
    highest: list[dict[str, float]] = [{} for _ in program.layers]
    for which in batches(len(recordings), recordings_at_once(program, recordings.window)):
        spikes_RTI = to_batch_first(recordings.dense(which))
        floats = run_float(network, program, spikes_RTI)
        trace = run_reference(program, spikes_RTI, record=True)
        integer_decision = decide(program, trace)
        labels = recordings.labels[which]
        float_hits += int((floats.decisions_R == labels).sum())
        integer_hits += int((integer_decision == labels).sum())
        same_decision += int((floats.decisions_R == integer_decision).sum())
        for index in compared:
            spikes[index] += SpikeAgreement.of(floats.layers[index].spikes_RTN, trace.layers[index].spikes)
        for so_far, layer in zip(highest, trace.layers, strict=True):
            for name, peak in peaks(layer).items():
                so_far[name] = max(so_far.get(name, 0.0), peak / STATE_LIMIT)
    return Fidelity(
        len(recordings), float_hits, integer_hits, same_decision,
        [one.agreement for one in spikes.values()],
        [one.left_rate for one in spikes.values()], [one.right_rate for one in spikes.values()],
        highest, compared,
    )  # fmt: skip
