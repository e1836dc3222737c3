"""The same recordings in every representation of a network, float to integers, and how much survives each step.

    float              the trained network
    quantized          what the integers stand for, in real numbers: see `decolle_hw.fidelity.unrounded`
    integer reference  `decolle_hw.sim`
    Lava               or whatever else is said to equal the reference

Batches are gathered with `+`, so that memory depends on their size and not on the number of recordings.
"""

# R recordings, T steps, B batch, I inputs, N neurons, C classes

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from decolle_hw.compiler.layers import Layer
from decolle_hw.compiler.program import Program
from decolle_hw.errors import UsageError
from decolle_hw.fidelity.agreement import PotentialCorrelation, SpikeAgreement
from decolle_hw.fidelity.unrounded import run_unrounded
from decolle_hw.fixedpoint import ALIGN_SHIFT, STATE_LIMIT
from decolle_hw.nn.layer import DecolleLayer, LayerOutput
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.nn.network import decide as decide_float
from decolle_hw.sim.compare import Comparison, compare
from decolle_hw.sim.reference import run_reference
from decolle_hw.sim.trace import LayerTrace, Trace, decide, register_names

FLOAT, QUANTIZED, REFERENCE, LAVA = "float", "quantized", "integer reference", "Lava"
PAIRS = ((FLOAT, QUANTIZED), (QUANTIZED, REFERENCE), (FLOAT, REFERENCE))
BATCH_BYTES = 500_000_000  # of traces
LARGEST_BATCH = 64

RunOther = Callable[[NDArray[Any]], Trace]


class FloatLayer(NamedTuple):
    """What the float network did in one layer of the program."""

    spikes_RTN: NDArray[np.uint8]
    potential_RTN: NDArray[np.floating] | None  # as `integer_potential`, in the float network's units; None if pooled


class FloatRun(NamedTuple):
    """The float network on a batch."""

    decisions_R: NDArray[np.int64]
    layers: dict[int, FloatLayer]  # by layer of the program; the map before a pooling stage is not kept


@dataclass(frozen=True)
class LayerFigures:
    """One layer of the program along the chain."""

    agreement: dict[tuple[str, str], SpikeAgreement] = field(default_factory=dict)  # by pair of stages
    potential: PotentialCorrelation = field(default_factory=PotentialCorrelation)  # float against integer reference
    peak: dict[str, int] = field(default_factory=dict)  # largest |u|, |v|, |r| of the reference
    needed: dict[str, float] = field(default_factory=dict)  # the same of registers without limits

    @property
    def rates(self) -> dict[str, float]:
        """Spikes per neuron and step at each stage, in the order of the chain."""
        found: dict[str, float] = {}
        for (left, right), pair in self.agreement.items():
            found[left], found[right] = pair.left_rate, pair.right_rate
        return {stage: found[stage] for stage in (FLOAT, QUANTIZED, REFERENCE) if stage in found}

    def __add__(self, other: LayerFigures) -> LayerFigures:
        return LayerFigures(
            {pair: own + other.agreement[pair] for pair, own in self.agreement.items()},
            self.potential + other.potential,
            {name: max(peak, other.peak[name]) for name, peak in self.peak.items()},
            {name: max(peak, other.needed[name]) for name, peak in self.needed.items()},
        )


@dataclass(frozen=True)
class Chain:
    """Result of `run_chain`."""

    labels: NDArray[np.int64]  # (R,)
    decisions: dict[str, NDArray[np.int64]]  # by stage, in order: (R,)
    layers: tuple[LayerFigures, ...]
    comparison: Comparison | None  # the reference (left) against the last stage; None where there is none

    def followed_by(self, later: Chain) -> Chain:
        """Together with that of later recordings."""
        comparison = self.comparison
        if comparison is not None:
            assert later.comparison is not None
            comparison = comparison.followed_by(later.comparison, len(self.labels))
        return replace(
            self,
            labels=np.concatenate([self.labels, later.labels]),
            decisions={name: np.concatenate([own, later.decisions[name]]) for name, own in self.decisions.items()},
            layers=tuple(mine + theirs for mine, theirs in zip(self.layers, later.layers, strict=True)),
            comparison=comparison,
        )

    def hits(self, stage: str) -> int:
        """Recordings that a stage decides rightly."""
        return int((self.decisions[stage] == self.labels).sum())


def run_chain(
    network: DecolleNetwork | None,
    program: Program,
    recordings: NDArray[Any],
    labels_R: NDArray[np.int64],
    other: RunOther | None = None,
    other_name: str = LAVA,
) -> Chain:
    """One batch through all stages.

    Args:
        network: the float network; None: the chain begins with the quantized stage.
        recordings: binary input, (R, T, I); of a network with an input block, its bias mantissas, (R, I).
        other: what is compared with the reference, with all registers recorded; None: nothing is.
    """
    reference = run_reference(program, recordings, record=True)
    comparison, decisions_other = None, None
    if other is not None:
        trace = other(recordings)
        comparison, decisions_other = compare(program, reference, trace), decide(program, trace)
        del trace
    unrounded = run_unrounded(program, recordings)
    floats = None if network is None else run_float(network, program, recordings)
    decisions = {} if floats is None else {FLOAT: floats.decisions_R}
    decisions |= {QUANTIZED: decide(program, unrounded.trace), REFERENCE: decide(program, reference)}
    if decisions_other is not None:
        decisions[other_name] = decisions_other
    layers = []
    for index, layer in enumerate(program.layers):
        of_reference = reference.layers[index]
        spikes = {QUANTIZED: unrounded.trace.layers[index].spikes, REFERENCE: of_reference.spikes}
        potential = PotentialCorrelation()
        if floats is not None and index in floats.layers:
            spikes[FLOAT], potential_RTN = floats.layers[index]
            if potential_RTN is not None:
                integers_RTN = integer_potential(layer, of_reference)
                potential = PotentialCorrelation.of(potential_RTN, integers_RTN, STATE_LIMIT)
        agreement = {
            (left, right): SpikeAgreement.of(spikes[left], spikes[right])
            for left, right in PAIRS
            if left in spikes and right in spikes
        }
        layers.append(LayerFigures(agreement, potential, peaks(of_reference), dict(unrounded.peaks[index])))
    return Chain(labels_R, decisions, tuple(layers), comparison)


@torch.no_grad()
def run_float(network: DecolleNetwork, program: Program, spikes_RTI: NDArray[np.uint8]) -> FloatRun:
    """Recordings through the float network, each from the reset state, seen as layers of the program."""
    spikes_TBI = torch.from_numpy(np.ascontiguousarray(spikes_RTI.transpose(1, 0, 2)))
    spikes_TBI = spikes_TBI.to(next(iter(network)).weight.dtype)
    layers = {}
    for layer, indices in zip(network, stages_of(network, program), strict=True):
        output, _ = layer(spikes_TBI, layer.zero_state(spikes_TBI.shape[1]))
        spikes_TBI = output.spikes_TBN
        pooled = len(indices) > 1
        layers[indices[-1]] = FloatLayer(
            _batch_first(spikes_TBI).astype(np.uint8), None if pooled else _batch_first(_potential(layer, output))
        )
    decisions_B = decide_float(output.readout_TBC, program.burnin_steps, network.prediction)
    return FloatRun(decisions_B.numpy().astype(np.int64), layers)


def stages_of(network: DecolleNetwork, program: Program) -> list[list[int]]:
    """The layers of the program that each float layer became: one, and a pooling stage where it pools.

    Raises `UsageError` that names the first layer that is not the same in both.
    """
    found: list[list[int]] = []
    for index, integers in enumerate(program.layers):
        if integers.is_pooling:
            found[-1].append(index)
        else:
            found.append([index])
    expected = [
        [layer.shape.neurons, *([layer.shape.outputs] if layer.shape.pool_size > 1 else [])] for layer in network
    ]
    neurons = [[program.layers[index].num_neurons for index in indices] for indices in found]
    for number, (of_network, of_program) in enumerate(zip(expected, neurons, strict=False)):
        if of_network != of_program:
            raise UsageError(
                f"float layer {number} has {of_network} neurons (map, then pooled), the artifact {of_program}: they "
                f"are not of the same network; name the training run that was compiled with --run"
            )
    if len(expected) != len(neurons):
        raise UsageError(
            f"the training run has {len(expected)} layers, the artifact {len(neurons)}: they are not of the same "
            f"network; name the training run that was compiled with --run"
        )
    return found


def integer_potential(layer: Layer, trace: LayerTrace) -> NDArray[np.int64]:
    """(R, T, N) decolle: v + r - 64 vth, which spikes above zero; cuba: v, after the reset."""
    v_RTN = trace.registers["v"].astype(np.int64)
    if layer.neuron == "cuba":
        return v_RTN
    threshold_N = layer.vth.astype(np.int64) << ALIGN_SHIFT
    potential: NDArray[np.int64] = v_RTN + trace.registers["r"] - threshold_N
    return potential


def _potential(layer: DecolleLayer, output: LayerOutput) -> torch.Tensor:
    if layer.dynamics.neuron == "decolle":
        return output.potential_TBN
    return (output.potential_TBN + layer.dynamics.vth).masked_fill(output.spikes_TBN > 0, 0.0)


def _batch_first(values_TBN: torch.Tensor) -> NDArray[np.floating]:
    return np.ascontiguousarray(values_TBN.numpy().transpose(1, 0, 2))


def peaks(trace: LayerTrace) -> dict[str, int]:
    """Largest magnitude of each register of a layer."""
    return {
        name: max(int(values.max(initial=0)), -int(values.min(initial=0))) for name, values in trace.registers.items()
    }


def recordings_at_once(program: Program, steps: int) -> int:
    """Recordings whose traces fit in `BATCH_BYTES`: spikes and registers of two runs, and potentials."""
    each = program.num_inputs + sum(
        layer.num_neurons * (2 * (1 + 4 * len(register_names(layer))) + 8) for layer in program.layers
    )
    return int(min(LARGEST_BATCH, max(1, BATCH_BYTES // (steps * each))))
