"""Accuracy and spikes along the chain: float network against the integer reference on the same recordings."""

# R recordings, T steps, I inputs, N neurons

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from decolle_hw.compiler.program import Program
from decolle_hw.data import BinnedRecordings
from decolle_hw.fixedpoint import STATE_LIMIT
from decolle_hw.nn.network import DecolleNetwork, decide
from decolle_hw.sim import trace as integer
from decolle_hw.sim.reference import run_reference

BATCH = 32  # recordings at a time: bounds memory, whatever the data set


@dataclass(frozen=True)
class Fidelity:
    """How well the integers stand for the float network."""

    recordings: int
    float_hits: int
    integer_hits: int
    same_decision: int
    spike_agreement: list[float]  # per layer: share of (recording, step, neuron) with the same spike
    float_rate: list[float]  # per layer, spikes per neuron and step
    integer_rate: list[float]
    register_peak: list[dict[str, float]] = field(default_factory=list)  # per layer: largest |u|, |v|, |r| / 2**23

    @property
    def float_accuracy(self) -> float:
        return self.float_hits / self.recordings

    @property
    def integer_accuracy(self) -> float:
        return self.integer_hits / self.recordings


def batches(count: int, size: int = BATCH) -> Iterator[np.ndarray]:
    """Indices 0..count-1 in consecutive pieces."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def to_batch_first(spikes_TBI: np.ndarray) -> np.ndarray:
    """(T, B, I) of the float side as the contiguous (R, T, I) of the integer side."""
    return np.ascontiguousarray(spikes_TBI.transpose(1, 0, 2))


@torch.no_grad()
def float_against_integer(network: DecolleNetwork, program: Program, recordings: BinnedRecordings) -> Fidelity:
    """Run recordings through both and count. Both start each recording from the reset state."""
    layers = len(program.layers)
    float_hits = integer_hits = same_decision = 0
    agreement, float_spikes, integer_spikes = np.zeros(layers), np.zeros(layers), np.zeros(layers)
    peaks: list[dict[str, float]] = [{} for _ in range(layers)]
    for which in batches(len(recordings)):
        spikes_TBI = recordings.dense(which)
        outputs, _ = network(torch.from_numpy(spikes_TBI).float(), network.zero_state(len(which)))
        trace = run_reference(program, to_batch_first(spikes_TBI), record=True)
        float_decision = decide(outputs[-1].readout_TBC, program.burnin_steps).numpy()
        integer_decision = integer.decide(program, trace)
        labels = recordings.labels[which]
        float_hits += int((float_decision == labels).sum())
        integer_hits += int((integer_decision == labels).sum())
        same_decision += int((float_decision == integer_decision).sum())
        for index, (output, layer) in enumerate(zip(outputs, trace.layers, strict=True)):
            float_BTN = output.spikes_TBN.numpy().transpose(1, 0, 2)
            agreement[index] += (float_BTN == layer.spikes).mean() * len(which)
            float_spikes[index] += float_BTN.mean() * len(which)
            integer_spikes[index] += layer.spikes.mean() * len(which)
            for name, values in layer.registers.items():
                peak = float(np.abs(values).max()) / STATE_LIMIT
                peaks[index][name] = max(peaks[index].get(name, 0.0), peak)
    count = len(recordings)
    return Fidelity(
        count, float_hits, integer_hits, same_decision,
        (agreement / count).tolist(), (float_spikes / count).tolist(), (integer_spikes / count).tolist(), peaks,
    )  # fmt: skip


def wilson_interval(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a share ``hits/count``.

    ``(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)``. Source: Wilson 1927.
    """
    p = hits / count
    centre = p + z * z / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - half) / scale, (centre + half) / scale
