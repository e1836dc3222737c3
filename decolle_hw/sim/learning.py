"""The reference of on-chip learning: every weight, trace, register and spike that Lava has, of many runs at once.

Runs differ in their seed and in the order of the recordings that they are shown; each learns for itself, one
recording after another. Layers below the first plastic one are simulated once per recording, whatever the runs are.
"""

# B runs, K recordings shown, R recordings, S steps of a slot, I inputs, N neurons, E epochs

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.compiler.learning_program import LearningProgram, PlasticLayer
from decolle_hw.errors import UsageError
from decolle_hw.sim.frozen import chip_sequence, frozen_frames
from decolle_hw.sim.learning_engine import Engine, engine
from decolle_hw.sim.learning_kernels import Outputs, Registers, learning_layer
from decolle_hw.sim.learning_randoms import EpochRandoms, epoch_randoms
from decolle_hw.sim.learning_state import LearningState
from decolle_hw.sim.reference import whole_words

Progress = Callable[[int, int], None]

NO_TARGET = -1
CHUNK_BYTES = 32_000_000  # of spikes between layers


@dataclass(frozen=True)
class LayerRecord:
    """What one layer did, step by step on chip, and after each of its epochs; empty where it was not asked for."""

    spikes: NDArray[np.uint8]  # (B, K*S, N)
    registers: dict[str, NDArray[np.int32]] = field(default_factory=dict)  # (B, K*S, N)
    weight: NDArray[np.int16] | None = None  # (B, E, N, I); None: the layer is frozen
    x: NDArray[np.int16] | None = None  # (B, E, 2, I)
    y: NDArray[np.int16] | None = None  # (B, E, 2, N)


@dataclass(frozen=True)
class Learned:
    """Result of `learn`."""

    counts: NDArray[np.int32]  # (B, K, N) spikes of the last layer in the steps that count
    decisions: NDArray[np.int64]  # (B, K) class decided on, with the weights as they were then
    changed: dict[int, NDArray[np.int64]]  # by layer, (B,) weights that an update changed, over all updates
    records: tuple[LayerRecord, ...] = ()  # from the first plastic layer on, where recorded


def check_targets(
    learning: LearningProgram, recordings: int, order: NDArray[Any], targets: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """(B, K) recordings and (B, K, S) classes or -1, from what `learn` takes.

    Raises: UsageError for a recording or a class that there is not, or arrays that do not fit each other.
    """
    order_BK = np.atleast_2d(np.asarray(order))
    given = np.asarray(targets)
    if order_BK.ndim != 2 or (order_BK.dtype.kind not in "iu" and order_BK.size):
        raise UsageError(f"order: expected (runs, shown) indices of recordings, got {order_BK.dtype} {order_BK.shape}")
    if order_BK.size and not 0 <= order_BK.min() <= order_BK.max() < recordings:
        raise UsageError(f"order: {order_BK.min()}..{order_BK.max()}, there are recordings 0..{recordings - 1}")
    runs, shown = order_BK.shape
    given = np.broadcast_to(given, (runs, shown)) if given.ndim == 1 and given.shape == (shown,) else given
    if given.shape not in ((runs, shown), (runs, shown, learning.slot)):
        expected = f"{(runs, shown)}, or with a class for each of {learning.slot} steps"
        raise UsageError(f"targets: {given.shape}, expected {expected}")
    classes = len(learning.program.classes)
    if given.dtype.kind not in "iu" and given.size:
        raise UsageError(f"targets: {given.dtype}, expected whole numbers of classes")
    if given.size and not NO_TARGET <= given.min() <= given.max() < classes:
        raise UsageError(f"targets: {given.min()}..{given.max()}, there are classes 0..{classes - 1} (-1: no target)")
    targets_BKS = np.full((runs, shown, learning.slot), NO_TARGET, np.int16)
    start, stop = learning.teach
    targets_BKS[:, :, start:stop] = given[..., None] if given.ndim == 2 else given[:, :, start:stop]
    return order_BK.astype(np.int64), targets_BKS


class Runs(Protocol):
    """A state, of integers or real numbers."""

    @property
    def digest(self) -> str: ...

    @property
    def runs(self) -> int: ...


def check_state(learning: LearningProgram, state: Runs, runs: int) -> None:
    """Raise UsageError unless the state is of so many runs of this network."""
    if runs != state.runs:
        raise UsageError(f"order: of {runs} runs, the state has {state.runs}")
    if state.digest != learning.digest():
        raise UsageError("the state belongs to another network")


def learn(
    learning: LearningProgram,
    state: LearningState,
    recordings: NDArray[Any],
    order: NDArray[Any],
    targets: NDArray[Any],
    *,
    record: bool = False,
    frames: NDArray[np.uint8] | None = None,
    frozen: bool = False,
    progress: Progress | None = None,
) -> tuple[Learned, LearningState]:
    """Show recordings one after another to every run, which learns whenever there is a target.

    Args:
        learning: the network.
        state: where the runs stand; `start_state` makes the first one. It is not changed.
        recordings: (R, T, I) binary input.
        order: (B, K) which recordings each run is shown.
        targets: (B, K) class of each, -1 for none (nothing is learned); or (B, K, S), step by step on chip. They are
            sent in the steps `LearningProgram.teach`.
        record: keep every register, trace and weight. Memory: E*N*I*2 bytes a run and plastic layer, and more.
        frames: `frozen_frames` of the recordings, if they are at hand.
        frozen: no layer learns, whatever its rule; the state is returned as it was.
        progress: called with (recordings shown, recordings in all).

    Returns: what came of it, and where the runs stand then.
    Raises: UsageError, ValueError for input that does not fit the network.
    """
    order_BK, targets_BKS = check_targets(learning, len(recordings), order, targets)
    check_state(learning, state, len(order_BK))
    if frames is None:
        frames = frozen_frames(learning.program, recordings, learning.first)
    shown = order_BK.shape[1]
    at_once = max(1, CHUNK_BYTES // max(1, state.runs * learning.slot * _widest(learning)))
    before, state, parts = state, state.copy(), []
    for start in range(0, shown, at_once):
        chunk = slice(start, min(start + at_once, shown))
        part, state = _learn_chunk(learning, state, frames[order_BK[:, chunk]], targets_BKS[:, chunk], record, frozen)
        parts.append(part)
        if progress is not None:
            progress(chunk.stop, shown)
    return _join(learning, state.runs, parts), before if frozen else state


def learned_from_records(learning: LearningProgram, records: tuple[LayerRecord, ...], shown: int) -> Learned:
    """What a recorded run came to; how many weights changed is known where weights were recorded."""
    last = records[-1].spikes
    counts = _counts(learning, last.reshape(len(last), shown, learning.slot, -1))
    return Learned(counts, _decide(learning, counts), {}, records)


def _widest(learning: LearningProgram) -> int:
    layers = learning.program.layers[learning.first :]
    return max(layers[0].num_inputs, *(layer.num_neurons for layer in layers))


def _learn_chunk(
    learning: LearningProgram, state: LearningState, frames: NDArray[np.uint8], targets_BKS: NDArray[np.int16],
    record: bool, frozen: bool,
) -> tuple[Learned, LearningState]:  # fmt: skip
    """`frames` (B, K, S, I); the layers of `state` change in place."""
    program, slot = learning.program, learning.slot
    runs, shown = targets_BKS.shape[:2]
    pre, tail = chip_sequence(state.tail, frames)
    target_BS = np.ascontiguousarray(targets_BKS.reshape(runs, shown * slot))  # of one layout: else compiled twice
    start = state.presented * slot
    seeds_B = state.seeds if state.rounding == "per-synapse" else np.full(runs, -1, np.int64)
    changed, records = {}, []
    for index, layer_state in zip(range(learning.first, len(program.layers)), state.layers, strict=True):
        plastic = None if frozen else learning.plasticity(index)
        code = _frozen_engine() if plastic is None else engine(_dense(learning, index), plastic)
        first, last = start // code.epoch + 1, (start + shown * slot) // code.epoch
        out = _outputs(runs, shown * slot, layer_state, last - first + 1, record, plastic is not None)
        if plastic is None:
            randoms = EpochRandoms(*(np.zeros((runs, 0), kind) for kind in (float, np.int64, float, np.int64)))
        else:
            randoms = epoch_randoms(state.seeds, first, last - first + 1, code.epoch)
        learning_layer(
            whole_words(pre), target_BS, start, _registers(learning, index, plastic), code, randoms, seeds_B,
            layer_state, out,
        )  # fmt: skip
        if plastic is not None:
            changed[index] = out.changed
        if record:
            records.append(_record(out, plastic is not None, layer=_dense(learning, index)))
        pre = out.spikes
    counts = _counts(learning, pre.reshape(runs, shown, slot, -1))
    part = Learned(counts, _decide(learning, counts), changed, tuple(records))
    return part, replace(state, presented=state.presented + shown, tail=tail)


def _dense(learning: LearningProgram, index: int) -> DenseLayer:
    layer = learning.program.layers[index]
    assert isinstance(layer, DenseLayer), "LearningProgram allows no other"
    return layer


def _registers(learning: LearningProgram, index: int, plastic: PlasticLayer | None) -> Registers:
    layer, classes = _dense(learning, index), len(learning.program.classes)
    common: dict[str, Any] = {
        "is_decolle": layer.neuron == "decolle", "weight_exp": layer.weight_exp, "du": layer.du, "dv": layer.dv,
        "dr": layer.dr, "rho": layer.rho, "vth": layer.vth, "bias": layer.bias, "slot": learning.slot,
        "reset": learning.program.reset_steps[index], "learns": plastic is not None, "layer": index,
    }  # fmt: skip
    if plastic is None:
        nothing = np.zeros((0, classes), np.int32), np.zeros(classes, np.int32)
        return Registers(**common, readout_NC=nothing[0], readout_bias=nothing[1], on=0, off=0, decay=0, shift=0,
                         dead_zone=0, feedback_shift=0, gate_width=0)  # fmt: skip
    error = plastic.error
    return Registers(
        **common, readout_NC=np.ascontiguousarray(plastic.readout_weight.T, np.int32),
        readout_bias=plastic.readout_bias.astype(np.int32), on=error.on, off=error.off, decay=error.decay,
        shift=error.shift, dead_zone=error.dead_zone, feedback_shift=plastic.feedback_shift,
        gate_width=plastic.gate_width,
    )  # fmt: skip


def _frozen_engine() -> Engine:
    """Of a layer that does not learn; only its types are looked at."""
    return Engine(
        1, 1, np.zeros((0, 5), np.int64), np.zeros((0, 0, 3), np.int64), np.zeros((3, 0)), np.zeros((2, 2), np.int64),
        0, 0, 0, 0, True,
    )  # fmt: skip


def _outputs(runs: int, steps: int, state: Any, epochs: int, record: bool, plastic: bool) -> Outputs:
    inputs, neurons = state.weight.shape[1:]
    registers = (runs, steps, neurons) if record else (0, 0, 0)
    kept = runs if record and plastic else 0
    return Outputs(
        spikes=np.zeros((runs, steps, neurons), np.uint8),
        u=np.zeros(registers, np.int32),
        v=np.zeros(registers, np.int32),
        r=np.zeros(registers, np.int32),
        weight=np.zeros((kept, epochs, inputs, neurons), np.int16),
        x=np.zeros((kept, epochs, 2, inputs), np.int16),
        y=np.zeros((kept, epochs, 2, neurons), np.int16),
        changed=np.zeros(runs, np.int64),
    )


def _record(out: Outputs, plastic: bool, layer: DenseLayer) -> LayerRecord:
    registers = {"u": out.u, "v": out.v} | ({"r": out.r} if layer.neuron == "decolle" else {})
    if not plastic:
        return LayerRecord(out.spikes, registers)
    return LayerRecord(out.spikes, registers, out.weight.transpose(0, 1, 3, 2), out.x, out.y)


def _counts(learning: LearningProgram, spikes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(B, K, N) of (B, K, S, N) spikes of the last layer."""
    program = learning.program
    late = program.delays[-1]
    counts: NDArray[np.int32] = spikes[:, :, late + program.burnin_steps : late + program.steps].sum(2, np.int32)
    return counts


def _decide(learning: LearningProgram, counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """By the summed readout of the last layer; the lowest class wins a tie."""
    program = learning.program
    last = program.layers[-1]
    scores = counts.astype(np.int64) @ last.readout_weight.T.astype(np.int64)
    scores += (program.steps - program.burnin_steps) * last.readout_bias.astype(np.int64)
    decisions: NDArray[np.int64] = scores.argmax(-1)
    return decisions


def _join(learning: LearningProgram, runs: int, parts: list[Learned]) -> Learned:
    neurons = learning.program.layers[-1].num_neurons
    if not parts:
        changed = {plastic.layer: np.zeros(runs, np.int64) for plastic in learning.plastic}
        return Learned(np.zeros((runs, 0, neurons), np.int32), np.zeros((runs, 0), np.int64), changed)
    records = tuple(_join_records(list(of_layer)) for of_layer in zip(*(part.records for part in parts), strict=True))
    return Learned(
        np.concatenate([part.counts for part in parts], 1),
        np.concatenate([part.decisions for part in parts], 1),
        {index: sum((part.changed[index] for part in parts), np.zeros(runs, np.int64)) for index in parts[0].changed},
        records,
    )


def _join_records(parts: list[LayerRecord]) -> LayerRecord:
    def joined(name: str) -> NDArray[Any] | None:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays, 1)

    registers = {name: np.concatenate([part.registers[name] for part in parts], 1) for name in parts[0].registers}
    spikes = np.concatenate([part.spikes for part in parts], 1)
    return LayerRecord(spikes, registers, joined("weight"), joined("x"), joined("y"))
