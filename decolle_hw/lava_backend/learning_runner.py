"""Run a network that learns in the Lava CPU simulator, with nothing from the host but input spikes and targets.

Per plastic layer::

    spikes below -> LearningDense -> neurons -> (spikes) -> layer above
                        ^  ^            |  ^
              s_in_bap, |  y1, y2       |  third factor
                        +--+------------+  +---- Dense G^T <-- error neurons <-- Dense G <-- spikes
                                                                    ^
                                              targets: one source for all layers

A signed weight g of readout and feedback is stored as 2 g with an exponent of -1, as Lava's Dense has even weights.
"""

# R recordings, K recordings shown, T steps of a recording, S of a slot, I inputs, N neurons, C classes, E epochs

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from lava.magma.core.learning.learning_rule import Loihi3FLearningRule
from lava.magma.core.process.process import AbstractProcess
from lava.proc.dense.process import Dense, LearningDense
from lava.utils.weightutils import SignMode

from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.compiler.learning_program import LearningProgram, PlasticLayer
from decolle_hw.lava_backend.learning_processes import (
    EpochTape,
    ErrorUnits,
    PlasticDecolle,
    PlasticLif,
    PyErrorUnits,
    PyPlasticDecolle,
    PyPlasticLif,
    TapedLearningDense,
)
from decolle_hw.lava_backend.processes import RecordedSpikes
from decolle_hw.lava_backend.runner import Models, Progress, connect_layer, run_network, temporary_folder
from decolle_hw.lava_backend.tape import Tape
from decolle_hw.sim.learning import LayerRecord, Learned, check_targets, learned_from_records
from decolle_hw.sim.trace import register_names

LEARNING_MODELS: Models = {
    LearningDense: TapedLearningDense,
    PlasticDecolle: PyPlasticDecolle,
    PlasticLif: PyPlasticLif,
    ErrorUnits: PyErrorUnits,
}


class _Tapes(NamedTuple):
    """Where a layer's processes write to."""

    steps: Tape
    epochs: EpochTape | None


def learn_in_lava(
    learning: LearningProgram,
    recordings: np.ndarray,
    order: np.ndarray,
    targets: np.ndarray,
    *,
    seed: int = 1,
    record: bool = False,
    progress: Progress | None = None,
) -> tuple[Learned, dict[int, np.ndarray]]:
    """One run of `decolle_hw.sim.learning.learn` from its start, in Lava's processes.

    Args: as `learn`, with order and targets of one run, (K,) and (K,) or (K, S).

    Returns: as `learn` (runs: 1), and the weights (N, I) of each plastic layer at the end.
    Raises: ValueError, UsageError for input that does not fit; DecolleHwError if a Lava process failed.
    """
    program, slot = learning.program, learning.slot
    program.check_input(recordings)
    order_BK, targets_BKS = check_targets(learning, len(recordings), order[None], targets[None])
    shown = order_BK.shape[1]
    if shown == 0:
        raise ValueError("no recording to show")
    with temporary_folder() as folder:
        source_tape = Tape.create(folder, "input", shown * slot, program.num_inputs, ())
        source_tape.open("spikes", "r+").reshape(shown, slot, -1)[:, : program.steps] = recordings[order_BK[0]]
        target_tape = Tape.create(folder, "target", shown * slot, len(program.classes), ())
        classes = np.arange(len(program.classes))
        target_tape.open("spikes", "r+")[:] = targets_BKS.reshape(-1, 1) == classes
        source = RecordedSpikes(tape=source_tape, width=program.num_inputs)
        source.name = "the input"
        teacher = RecordedSpikes(tape=target_tape, width=len(program.classes))
        teacher.name = "the target"
        tapes = [_create(folder, learning, index, shown * slot, record) for index in range(len(program.layers))]
        upstream = source.s_out
        for index in range(len(program.layers)):
            plastic = learning.plasticity(index)
            if plastic is None:
                upstream = connect_layer(program, index, upstream, tapes[index].steps, slot)
            else:
                upstream = _connect_plastic(learning, plastic, upstream, teacher.s_out, tapes[index], seed)
        run_network(source, shown, slot, progress, LEARNING_MODELS)
        records = tuple(_read(tapes[index]) for index in range(learning.first, len(program.layers)))
        weights = {plastic.layer: _last_weight(learning, plastic, tapes) for plastic in learning.plastic}
    return learned_from_records(learning, records, shown), weights


def _create(folder: Path, learning: LearningProgram, index: int, steps: int, record: bool) -> _Tapes:
    layer, plastic = learning.program.layers[index], learning.plasticity(index)
    names = register_names(layer) if record and index >= learning.first else ()
    tape = Tape.create(folder, f"layer{index}", steps, layer.num_neurons, names)
    if plastic is None:
        return _Tapes(tape, None)
    epochs = steps // plastic.epoch
    return _Tapes(tape, EpochTape.create(folder, f"layer{index}", epochs, layer.num_neurons, layer.num_inputs, record))


def _connect_plastic(
    learning: LearningProgram, plastic: PlasticLayer, upstream, target, tapes: _Tapes, seed: int
) -> AbstractProcess:
    """Synapses, neurons and the error loop of a layer; returns the port that its spikes leave by."""
    index, slot = plastic.layer, learning.slot
    layer, reset = learning.program.layers[index], learning.program.reset_steps[index]
    assert isinstance(layer, DenseLayer)
    rule = Loihi3FLearningRule(
        dw=str(plastic.rule), x1_impulse=plastic.x1.impulse, x1_tau=plastic.x1.tau, x2_impulse=plastic.x2.impulse,
        x2_tau=plastic.x2.tau, t_epoch=plastic.epoch, rng_seed=seed,
    )  # fmt: skip
    synapses = LearningDense(
        weights=layer.weight, weight_exp=layer.weight_exp, num_weight_bits=layer.weight_bits,
        sign_mode=SignMode[layer.sign_mode.upper()], learning_rule=rule,
    )  # fmt: skip
    synapses.proc_params["tape"] = tapes.epochs  # its constructor would make a Var's parameter of it
    neurons = _neurons(layer, plastic, rule, reset, slot, tapes.steps)
    readout = _signed(plastic.readout_weight, graded=False)
    feedback = _signed(plastic.readout_weight.T, graded=True)
    error = plastic.error
    errors = ErrorUnits(
        classes=len(plastic.readout_bias), on=error.on, off=error.off, bias=plastic.readout_bias.astype(np.int64),
        decay=error.decay, shift=error.shift, dead_zone=error.dead_zone, reset_interval=slot, reset_offset=reset,
    )  # fmt: skip
    named = {"synapses": synapses, "neurons": neurons, "readout": readout, "feedback": feedback, "errors": errors}
    for name, process in named.items():
        process.name = f"layer {index}'s {name}"
    upstream.connect(synapses.s_in)
    synapses.a_out.connect(neurons.a_in)
    neurons.s_out.connect(readout.s_in)
    readout.a_out.connect(errors.a_in)
    target.connect(errors.target_in)
    errors.s_out.connect(feedback.s_in)
    feedback.a_out.connect(neurons.a_third_factor_in)
    neurons.s_out_bap.connect(synapses.s_in_bap)
    for name in ("y1", "y2", "y3"):
        getattr(neurons, f"s_out_{name}").connect(getattr(synapses, f"s_in_{name}"))
    return neurons.s_out


def _neurons(
    layer: DenseLayer, plastic: PlasticLayer, rule: Loihi3FLearningRule, reset: int, slot: int, tape: Tape
) -> AbstractProcess:
    loop = {"learning_rule": rule, "gate_width": plastic.gate_width, "feedback_shift": plastic.feedback_shift}
    shape = (layer.num_neurons,)
    if layer.neuron == "decolle":
        return PlasticDecolle(
            shape=shape, du=layer.du, dv=layer.dv, dr=layer.dr, rho=layer.rho, vth=layer.vth, reset_interval=slot,
            reset_offset=reset, tape=tape, **loop,
        )  # fmt: skip
    return PlasticLif(
        shape=shape, du=layer.du, dv=layer.dv, vth=int(layer.vth[0]), bias_mant=layer.bias_mant,
        bias_exp=layer.bias_exp, reset_interval=slot, reset_offset=reset + 1, tape=tape, **loop,
    )  # fmt: skip


def _signed(weight: np.ndarray, graded: bool) -> Dense:
    return Dense(
        weights=2 * weight, weight_exp=-1, num_weight_bits=8, sign_mode=SignMode.MIXED,
        num_message_bits=8 if graded else 0,
    )  # fmt: skip


def _read(tapes: _Tapes) -> LayerRecord:
    steps = tapes.steps
    registers = {name: np.array(steps.open(name))[None] for name in steps.registers}
    spikes = np.array(steps.open("spikes"))[None]
    if tapes.epochs is None or not tapes.epochs.every:
        return LayerRecord(spikes, registers)
    return LayerRecord(spikes, registers, *(np.array(tapes.epochs.open(name))[None] for name in ("weight", "x", "y")))


def _last_weight(learning: LearningProgram, plastic: PlasticLayer, tapes: list[_Tapes]) -> np.ndarray:
    """(N, I); those of the program if there was no epoch."""
    epochs = tapes[plastic.layer].epochs
    assert epochs is not None
    written = epochs.open("weight")
    return np.array(written[-1], np.int32) if len(written) else learning.program.layers[plastic.layer].weight
