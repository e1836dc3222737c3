"""The same learning in real numbers: what the rule could do if the engine had no bits to save.

The float twin of `decolle_hw.sim.learning`: the same network, spikes of the frozen layers, recordings, order, targets,
steps, resets, epochs, error loop, gate and rule, but

* registers u, v, r, traces x1, x2, y1, y2, products and weights are real numbers, never rounded,
* a trace has no largest value and a weight no limits, and every spike of an epoch counts in x, each at its step,
* a product is its true gain (`Product.gain`) times its factors, without the bits that the engine cuts off,
* y does not decay within an epoch (on chip by 1 part in 65535 a step).

The error is clipped at 127 as on chip, as that is the loss (smooth_l1) and no want of precision. Weights are on the
scale of the stored integers. Nothing is random: a run is decided by its order alone.
"""

# B runs, K recordings shown, R recordings, S steps of a slot, I inputs, N neurons, T steps of an epoch

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.layers import DenseLayer
from decolle_hw.compiler.learning_program import LearningProgram, PlasticLayer
from decolle_hw.errors import UsageError
from decolle_hw.fixedpoint import (
    ALIGN_SHIFT,
    CURRENT_DECAY_OFFSET,
    VOLTAGE_DECAY_OFFSET,
    realised_factor,
)
from decolle_hw.sim.float_learning_kernels import (
    FloatLayerState,
    FloatRegisters,
    FloatRule,
    float_learning_layer,
)
from decolle_hw.sim.frozen import chip_sequence, frozen_frames, lead_in
from decolle_hw.sim.learning import (
    CHUNK_BYTES,
    LayerRecord,
    Learned,
    Progress,
    check_state,
    check_targets,
    learned_from_records,
)
from decolle_hw.sim.learning_engine import KINDS, OF_U, OF_X0, OF_Y0, W
from decolle_hw.sim.learning_state import copied
from decolle_hw.sim.reference import whole_words

DEPENDENCIES = {"x0": OF_X0, "y0": OF_Y0}


@dataclass(frozen=True)
class FloatState:
    """Where B runs in real numbers stand; the twin of `LearningState`."""

    digest: str  # of the network
    runs: int
    presented: int  # recordings so far, of each run
    tail: NDArray[np.uint8]  # (B, steps, I)
    layers: tuple[FloatLayerState, ...]  # from the first plastic one on

    def weights(self, learning: LearningProgram, layer: int) -> NDArray[np.float32]:
        """(B, N, I) of a plastic layer, as they are now, on the scale of the stored integers."""
        weight_BNI: NDArray[np.float32] = self.layers[layer - learning.first].weight.transpose(0, 2, 1)
        return weight_BNI

    def copy(self) -> FloatState:
        return replace(self, tail=self.tail.copy(), layers=tuple(map(copied, self.layers)))


def start_float_state(learning: LearningProgram, runs: int = 1) -> FloatState:
    """So many runs, all with the weights of the program; raises `UsageError` for fewer than one."""
    if runs < 1:
        raise UsageError(f"runs {runs}: expected one or more")
    layers, classes = [], len(learning.program.classes)
    for index in range(learning.first, len(learning.program.layers)):
        layer, plastic = learning.program.layers[index], learning.plasticity(index)
        inputs, neurons = layer.num_inputs, layer.num_neurons
        epoch = 1 if plastic is None else plastic.epoch
        layers.append(
            FloatLayerState(
                weight=np.repeat(np.ascontiguousarray(layer.weight.T, np.float32)[None], runs, 0),
                sum=np.zeros((runs, neurons)),
                u=np.zeros((runs, neurons)),
                v=np.zeros((runs, neurons)),
                r=np.zeros((runs, neurons)),
                spikes=np.zeros((runs, neurons), np.uint8),
                ring=np.zeros((runs, epoch, 2, inputs), np.float32),
                tx=np.zeros((runs, inputs), np.uint8),
                ty=np.zeros((runs, neurons), np.uint8),
                y=np.zeros((runs, 2, neurons), np.float32),
                readout=np.zeros((runs, classes)),
                z=np.zeros((runs, classes)),
                feedback=np.zeros((runs, neurons)),
            )
        )
    tail = np.repeat(lead_in(learning.program, learning.first)[None], runs, 0)
    return FloatState(learning.digest(), runs, 0, tail, tuple(layers))


def learn_float(
    learning: LearningProgram,
    state: FloatState,
    recordings: NDArray[Any],
    order: NDArray[Any],
    targets: NDArray[Any],
    *,
    frames: NDArray[np.uint8] | None = None,
    frozen: bool = False,
    progress: Progress | None = None,
) -> tuple[Learned, FloatState]:
    """Show recordings one after another to every run, which learns whenever there is a target.

    Args, Raises: as `decolle_hw.sim.learning.learn`; `state` is of `start_float_state`.
    Returns: what came of it (`Learned.changed` is empty: there is always some change), and where the runs stand then.
    """
    order_BK, targets_BKS = check_targets(learning, len(recordings), order, targets)
    check_state(learning, state, len(order_BK))
    if frames is None:
        frames = frozen_frames(learning.program, recordings, learning.first)
    shown, slot, before = order_BK.shape[1], learning.slot, state
    widest = max(max(layer.num_inputs, layer.num_neurons) for layer in learning.program.layers[learning.first :])
    at_once = max(1, CHUNK_BYTES // (state.runs * slot * widest))
    state, parts = state.copy(), [_nothing(learning, state.runs)]
    for start in range(0, shown, at_once):
        chunk = slice(start, min(start + at_once, shown))
        pre, tail = chip_sequence(state.tail, frames[order_BK[:, chunk]])
        target_BS = np.ascontiguousarray(targets_BKS[:, chunk].reshape(state.runs, -1))  # see learning
        for index, layer_state in zip(range(learning.first, len(learning.program.layers)), state.layers, strict=True):
            plastic = None if frozen else learning.plasticity(index)
            out_BSN = np.zeros((state.runs, target_BS.shape[1], learning.program.layers[index].num_neurons), np.uint8)
            float_learning_layer(
                whole_words(pre), target_BS, state.presented * slot, _registers(learning, index, plastic),
                _rule(plastic), layer_state, out_BSN,
            )  # fmt: skip
            pre = out_BSN
        parts.append(learned_from_records(learning, (LayerRecord(pre),), chunk.stop - start))
        state = replace(state, presented=state.presented + chunk.stop - start, tail=tail)
        if progress is not None:
            progress(chunk.stop, shown)
    learned = Learned(
        np.concatenate([part.counts for part in parts], 1), np.concatenate([part.decisions for part in parts], 1), {}
    )
    return learned, before if frozen else state


def _nothing(learning: LearningProgram, runs: int) -> Learned:
    counts = np.zeros((runs, 0, learning.program.layers[-1].num_neurons), np.int32)
    return Learned(counts, np.zeros((runs, 0), np.int64), {})


def _registers(learning: LearningProgram, index: int, plastic: PlasticLayer | None) -> FloatRegisters:
    layer, classes = learning.program.layers[index], len(learning.program.classes)
    assert isinstance(layer, DenseLayer), "LearningProgram allows no other"
    nothing = np.zeros((layer.num_neurons, classes))
    error = None if plastic is None else plastic.error
    return FloatRegisters(
        is_decolle=layer.neuron == "decolle",
        unit=2.0 ** (ALIGN_SHIFT + layer.weight_exp),
        keep_u=realised_factor(layer.du, CURRENT_DECAY_OFFSET),
        keep_v=realised_factor(layer.dv, VOLTAGE_DECAY_OFFSET),
        keep_r=realised_factor(layer.dr, VOLTAGE_DECAY_OFFSET),
        rho=float(layer.rho),
        threshold=layer.vth.astype(np.float64) * (1 << ALIGN_SHIFT),
        bias=layer.bias.astype(np.float64),
        slot=learning.slot,
        reset=learning.program.reset_steps[index],
        learns=plastic is not None,
        readout_NC=nothing if plastic is None else np.ascontiguousarray(plastic.readout_weight.T, np.float64),
        readout_bias=np.zeros(classes) if plastic is None else plastic.readout_bias.astype(np.float64),
        on=0.0 if error is None else float(error.on),
        off=0.0 if error is None else float(error.off),
        keep_z=0.0 if error is None else realised_factor(error.decay, 0),
        error_unit=1.0 if error is None else 2.0**error.shift,
        dead_zone=0.0 if error is None else float(error.dead_zone),
        feedback_unit=1.0 if plastic is None else 2.0**plastic.feedback_shift,
        gate_width=0.0 if plastic is None else float(plastic.gate_width),
    )


def _rule(plastic: PlasticLayer | None) -> FloatRule:
    products = () if plastic is None else plastic.rule.products
    most = max((len(product.factors) for product in products), default=0)
    factors = np.full((len(products), most, 2), -1, np.int64)
    for p, product in enumerate(products):
        for f, factor in enumerate(product.factors):
            factors[p, f] = KINDS[factor.name], factor.constant
    filters = () if plastic is None else (plastic.x1, plastic.x2)
    return FloatRule(
        epoch=1 if plastic is None else plastic.epoch,
        period=1 if plastic is None else 1 << plastic.rule.decimation,
        dependency=np.array([DEPENDENCIES.get(product.dependency, OF_U) for product in products], np.int64),
        gain=np.array([product.gain for product in products], np.float64),
        of_weight=np.array([any(KINDS[f.name] >= W for f in product.factors) for product in products], np.bool_),
        factors=factors,
        kept=np.array([np.exp(-1 / trace.tau) if trace.tau else 0.0 for trace in filters], np.float32),
        impulse=np.array([trace.impulse for trace in filters], np.float32),
    )
