"""From the float rule of DECOLLE to the numbers of Loihi's learning engine, for dense layers with local readouts.

::

    float    dW = -eta sum_t delta P,   delta = (G^T dL/dy) sigma'(U)
    chip     dw = c sum_t (y1 - y2) (x1 - x2)                          w = W weight_scale / 2**weight_exp

Every number is chosen for the layer by what it does on calibration recordings (`lower_rule_choice`), in this order:

==============  =========================================================================================
gate width      of the boxcar |U| < width for sigma': the largest cosine with the float update
x1, x2          ``double``: the decays of the neuron, so that x1 - x2 is P but for a factor; ``single``: the time
                constant with the largest cosine. The largest impulse that leaves nearly all below 127
error.shift     seven bits for target - readout: the largest cosine with -dL/dy
learning rate   the feedback's shift (bits of y), exponent and impulses together: nearest to what was asked for,
                with as many bits of y as that leaves. Not asked: a recording corrects `CORRECTED` of its own error
epoch           the longest, up to `LONGEST_CHOSEN` steps, that leaves the learning rate within reach at a full y
==============  =========================================================================================

What has no counterpart on chip is left out and said: biases and regularizers do not learn, a random feedback matrix
is replaced by the readout, the error of cross entropy by target - readout. Weights of fewer than 8 bits lie on the grid
of 8 too, which a plastic layer takes.
"""

# N neurons, I inputs, C classes

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from decolle_hw.compiler.layers import READOUT_MAX, DenseLayer
from decolle_hw.compiler.learning_program import GATE_OPEN, SHIFT_MAX, ErrorNeurons, LearningProgram, PlasticLayer
from decolle_hw.compiler.plasticity import EXPONENT_MIN, TraceFilter, three_factor_rule
from decolle_hw.compiler.program import Program
from decolle_hw.data import BinnedRecordings
from decolle_hw.errors import CompileError, listed
from decolle_hw.fixedpoint import CURRENT_DECAY_OFFSET, VOLTAGE_DECAY_OFFSET, WEIGHT_BITS, realised_factor
from decolle_hw.nn.layer import DecolleLayer
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.quantization.lower_rule_choice import (
    MANTISSA,
    Gain,
    Response,
    choose_gate,
    choose_shift,
    double_trace,
    error_values,
    gain,
    near_best,
    opened,
    responses,
    single_trace,
    smallest_gain,
    subsampled,
    trace_values,
)
from decolle_hw.quantization.lower_rule_observed import Observed, correction, observe, relabelled, spread
from decolle_hw.spec import ModelSpec, model_spec_from_yaml
from decolle_hw.spec_on_chip import OnChipSpec

# Without a learning rate: the share of its readout's error that a recording takes away from itself (`correction`). With
# more, random weights learn faster, and a trained network loses more of what it knows.
CORRECTED = 0.05
# Steps of an epoch that is not asked for: at a learning rate that shorter ones reach, and at a lower one.
LONGEST_CHOSEN, LONGEST_NEEDED = 4, 32
LEAST_IMPULSE = 0.5  # of the largest one
# Of a stored weight in a recording: with less, nothing is learned in thousands of them; with more, a few end at the
# limits of the synapse.
LEAST_CHANGE, MOST_CHANGE = 1e-3, 16.0
SHIFTS = range(SHIFT_MAX + 1)


@dataclass(frozen=True)
class LoweredLayer:
    """What was chosen for one plastic layer, and what it stands for."""

    layer: int  # of the program
    asked_learning_rate: float | None
    learning_rate: float  # of the float rule that makes the same change on the whole
    correction: float  # share of its readout's error that a recording takes away from itself, to first order
    change: float  # of a stored weight in a recording, on average, up and down added
    gate: float  # half width on the float U
    gate_cosine: float  # of updates through the gate and through the surrogate, on calibration recordings
    modelled_cosine: float  # of the update with all chosen widths and the float update, likewise
    trace: str  # single or double
    x1: TraceFilter
    x2: TraceFilter
    error_shift: int
    feedback_shift: int
    exponent: int
    epoch: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class LoweredRule:
    """Result of `lower_rule`."""

    learning: LearningProgram
    layers: tuple[LoweredLayer, ...]
    warnings: tuple[str, ...]


def float_layers(program: Program) -> dict[int, int]:
    """The float layer of each layer of a program; pooling stages have none of their own."""
    indices = [index for index, layer in enumerate(program.layers) if not layer.is_pooling]
    return {index: place for place, index in enumerate(indices)}


def lower_rule(
    program: Program, network: DecolleNetwork, settings: OnChipSpec, recordings: BinnedRecordings,
    plastic: tuple[int, ...], *, corrected: float = CORRECTED,
) -> LoweredRule:  # fmt: skip
    """Numbers of the learning engine for some layers of a compiled network.

    Args:
        program: compiled from `network`, with its description.
        settings: what the user wants; None of it: chosen here.
        recordings: for calibration, with labels.
        plastic: layers of the program (pooling stages counted).
        corrected: share of its error that a recording takes away from itself, where no learning rate is asked for.

    Raises: `CompileError` that lists everything that keeps these layers from learning, or a learning rate that the
    engine has no numbers for.
    """
    spec = model_spec_from_yaml(program.spec_yaml, f"the description in {program.name}")
    chosen = tuple(sorted(set(plastic)))
    _require(_layer_problems(program, chosen), program)
    widened = [index for index in chosen if program.layers[index].weight_bits != WEIGHT_BITS]
    warnings = [
        f"layer {index}: its weights have {program.layers[index].weight_bits} bits; as it learns it takes all 8"
        for index in widened
    ]
    layers = (
        replace(layer, weight_bits=WEIGHT_BITS) if index in widened else layer
        for index, layer in enumerate(program.layers)
    )
    program = replace(program, layers=tuple(layers))
    of = float_layers(program)
    observed = observe(network, spec, relabelled(spread(recordings, network)), {of[index] for index in chosen})
    problems: list[str] = []
    found: list[tuple[PlasticLayer, LoweredLayer]] = []
    for index in chosen:
        float_layer: DecolleLayer = network.layers[of[index]]  # type: ignore[assignment]
        try:
            found.append(_lower(program, index, float_layer, settings, observed[of[index]], spec, corrected))
        except CompileError as error:
            problems.append(str(error))
    _require(iter(problems), program)
    learning = LearningProgram(program, tuple(layer for layer, _ in found))
    warnings += [text for index in chosen for text in _left_out(spec, index, of[index])]
    return LoweredRule(learning, tuple(lowered for _, lowered in found), tuple(warnings))


def _require(problems: Iterator[str], program: Program) -> None:
    found = list(problems)
    if found:
        raise CompileError(listed(f"{program.name} cannot learn on chip as described", found))


def _layer_problems(program: Program, plastic: tuple[int, ...]) -> Iterator[str]:
    """What `PlasticLayer` would refuse too, before any work."""
    if not plastic:
        yield "no layer is plastic; name some, as in --plastic 1,2"
    for index in plastic:
        if not 0 <= index < len(program.layers):
            yield f"layer {index}: {program.name} has layers 0..{len(program.layers) - 1}; count pooling stages too"
            continue
        layer = program.layers[index]
        if not isinstance(layer, DenseLayer):
            yield (
                f"layer {index}: is a {layer.kind}: each synapse learns by itself, so a shared kernel would have to be "
                f"unrolled into {layer.num_synapses:,} synapses in place of {layer.weight.size:,} weights; "
                f"make a dense layer plastic"
            )
        elif layer.max_delay:
            yield f"layer {index}: has synaptic delays; make a layer without delays plastic"
        elif not layer.has_readout:
            yield f"layer {index}: has no readout to learn from"


def _left_out(spec: ModelSpec, index: int, float_layer: int) -> Iterator[str]:
    """What of the float rule has no counterpart on chip."""
    if spec.training.feedback == "random":
        yield f"layer {index}: errors come back through the readout, not through a random matrix of their own"
    loss = spec.of_layers("loss")[float_layer]
    if loss == "cross_entropy":
        yield f"layer {index}: the error is target - readout; that of cross_entropy needs a softmax"
    if loss == "none":
        yield f"layer {index}: had no loss in training; on chip it learns from its readout, as with smooth_l1"
    if spec.of_layers("reg_l")[float_layer]:
        yield f"layer {index}: the regularizers of training (reg_l) do not act on chip"


def _lower(
    program: Program, index: int, float_layer: DecolleLayer, settings: OnChipSpec, everything: Observed,
    spec: ModelSpec, corrected: float,
) -> tuple[PlasticLayer, LoweredLayer]:  # fmt: skip
    layer, figures = program.layers[index], program.quantization[index]
    observed = subsampled(everything)
    if not observed.spikes_TBI.any() or not np.any(observed.update()):
        raise CompileError(
            f"layer {index}: nothing reaches its synapses on {observed.spikes_TBI.shape[1]} calibration recordings "
            f"(no input, no error, or no neuron near its threshold), so that no learning rate can be chosen"
        )
    scale = READOUT_MAX / max(float(float_layer.readout_weight.abs().max()), 1e-30)
    widths = None if settings.gate is None else np.array([settings.gate])
    gate, gate_cosine = choose_gate(observed, widths)
    if settings.gate is not None and not opened(observed, gate).any():
        raise CompileError(
            f"layer {index}: on_chip.gate {gate:g}: no neuron comes as near to its threshold, so that nothing would be "
            f"learned; give about {choose_gate(observed)[0]:.2g}, or leave it out"
        )
    alpha = realised_factor(layer.dv, VOLTAGE_DECAY_OFFSET)
    beta = realised_factor(layer.du, CURRENT_DECAY_OFFSET)
    # Without two time constants there is no difference.
    double = settings.trace == "double" and alpha != beta
    x1, x2 = (
        double_trace(alpha, beta, observed) if double else (single_trace(alpha, beta, observed), TraceFilter())
    )  # fmt: skip
    shift = choose_shift(observed, scale)
    dead_zone = round(spec.of_layers("error_threshold")[float_layer.index] * scale)
    error_TBC = error_values(observed, scale, shift, dead_zone)
    open_TBN = opened(observed, gate)

    def respond(slow: TraceFilter, fast: TraceFilter, shifts: Iterable[int] = SHIFTS) -> list[Response]:
        trace_TBI = trace_values(observed, slow, fast)
        return responses(observed, error_TBC, layer.readout_weight, open_TBN, trace_TBI, shifts)

    share = correction(everything)
    if settings.learning_rate is None and share <= 0.0:
        raise CompileError(f"layer {index}: its updates do not lower its error; give on_chip.learning_rate")
    learning_rate = corrected / share if settings.learning_rate is None else settings.learning_rate
    weight_unit = 2.0**layer.weight_exp / figures["weight_scale"]
    chosen = _gain(index, settings, learning_rate / weight_unit, respond(x1, x2))
    # The impulse makes up for the rest: gains come in powers of two.
    rest = min(1.0, learning_rate / weight_unit / chosen.slope)
    impulse = float(max(1, round(x1.impulse * rest)))
    x1, x2 = replace(x1, impulse=impulse), replace(x2, impulse=impulse if double else 0.0)
    chosen = gain(respond(x1, x2, [chosen.response.feedback_shift])[0], chosen.exponent, chosen.epoch)
    plastic = PlasticLayer(
        layer=index,
        rule=three_factor_rule(chosen.exponent, mantissa=MANTISSA, double_exponential=double),
        x1=x1,
        x2=x2,
        epoch=chosen.epoch,
        error=ErrorNeurons(on=round(scale), off=0, shift=shift, dead_zone=dead_zone),
        readout_weight=layer.readout_weight,
        readout_bias=layer.readout_bias,
        feedback_shift=chosen.response.feedback_shift,
        gate_width=min(GATE_OPEN, max(1, round(gate * figures["register_units_per_potential"]))),
    )
    learning_rate = chosen.slope * weight_unit
    lowered = LoweredLayer(
        layer=index, asked_learning_rate=settings.learning_rate, learning_rate=learning_rate,
        correction=share * learning_rate, change=chosen.change, gate=gate, gate_cosine=gate_cosine,
        modelled_cosine=chosen.response.cosine, trace="double" if double else "single", x1=x1, x2=x2,
        error_shift=shift, feedback_shift=chosen.response.feedback_shift, exponent=chosen.exponent,
        epoch=chosen.epoch,
    )  # fmt: skip
    return plastic, lowered


def _gain(index: int, settings: OnChipSpec, wanted: float, found: list[Response]) -> Gain:
    """The smallest that reaches a slope of `wanted`: the learning rate in units of the stored weight."""
    aligned = [response for response in found if response.slope > 0.0]
    if not aligned:
        remedy = "make another layer plastic" if settings.gate is None else f"leave on_chip.gate {settings.gate:g} out"
        raise CompileError(
            f"layer {index}: what is left of its error in 7 bits teaches nothing, or the wrong way; {remedy}"
        )
    asked, best = settings.learning_rate, max(aligned, key=lambda response: response.cosine)
    change = wanted * best.change / best.slope
    if asked is not None and not LEAST_CHANGE <= change <= MOST_CHANGE:
        per_change = asked / change
        what = "rounds to nothing" if change < LEAST_CHANGE else "saturates"
        raise CompileError(
            f"layer {index}: learning_rate {asked:g} {what}: a recording would change a weight by {change:.2g} of its "
            f"255 steps, on average; give {per_change * LEAST_CHANGE:.2g}..{per_change * MOST_CHANGE:.2g}, or leave "
            f"it out"
        )
    epoch = settings.epoch or _epoch(aligned, wanted)
    return smallest_gain(aligned, wanted, epoch)


def _epoch(found: list[Response], wanted: float) -> int:
    """Steps that leave a slope of `wanted` within reach of the smallest gain at the largest y; more of them if need be.

    Few large updates are better than many small ones, as each loses the same to the bits that the engine cuts off; but
    those of a neuron in the steps between are lost.
    """
    near = near_best(found)
    epoch = 1
    while 2 * epoch <= LONGEST_CHOSEN and gain(near[0], EXPONENT_MIN, 2 * epoch).slope >= wanted:
        epoch *= 2
    while 2 * epoch <= LONGEST_NEEDED and smallest_gain(near, wanted, epoch).slope * LEAST_IMPULSE > wanted:
        epoch *= 2
    return epoch
