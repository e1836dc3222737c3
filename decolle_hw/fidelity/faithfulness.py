"""How near learning on chip comes to the float rule: the update of each plastic layer, on the same recordings.

The recordings have new labels, unless asked otherwise (`lower_rule_observed.relabelled`): at those that a network was
trained with the rule has come to rest, so that its updates cancel each other but for chance (docs/on_chip_learning.md).

``on chip``: recordings are shown one after another to the exact reference (`decolle_hw.sim.learning.learn`), rounding,
saturation, error loop and traces of the recording before included; after each the weights are put back, and what they
had moved is added up, over a few presentations of each, as the rounding is random. ``float``: the update that DECOLLE
makes of the same recordings, from the float network's own trajectories, surrogate and loss, after burn-in, at the
learning rate that the lowering achieves.

Beside the two stands a chain of updates in real numbers, on the float network's trajectories, in which one thing after
another becomes that of the chip; what each step costs is the fall of the cosine:

=============  ==========================================================================
gate           a boxcar in place of the surrogate
delay          the error meets the traces of two steps later
trace          x1, or x1 - x2, in place of P
7 bits         of error, fed back error and traces (none of them rounded at random)
rounding       all else, and the integer network's own spikes: this is `on chip`
=============  ==========================================================================
"""

# R recordings, I inputs, N neurons

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.compiler.learning_program import LearningProgram, PlasticLayer
from decolle_hw.compiler.plasticity import LEARNED_WEIGHT_MAX, LEARNED_WEIGHT_MIN, TRACE_MAX
from decolle_hw.data import BinnedRecordings
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.quantization.lower_rule import float_layers
from decolle_hw.quantization.lower_rule_choice import (
    error_values,
    exponential_trace,
    met,
    opened,
    post_values,
    trace_values,
)
from decolle_hw.quantization.lower_rule_observed import Observed, accumulated, cosine, observe, relabelled, spread
from decolle_hw.sim.float_learning import learn_float, start_float_state
from decolle_hw.sim.frozen import frozen_frames
from decolle_hw.sim.learning import Progress, learn
from decolle_hw.sim.learning_randoms import Rounding
from decolle_hw.sim.learning_state import start_state
from decolle_hw.spec import model_spec_from_yaml

TIMES = 8  # each recording is shown
ENOUGH = 0.9  # cosine below which a layer is warned about
MANY_AT_LIMITS = 0.02  # share of weights
MANY_SATURATED = 0.1  # share of traces that are not zero
OFTEN = 0.5  # of recordings
REMEDIES = {
    "gate": "leave on_chip.gate out, so that it is chosen",
    "delay": "the error comes two steps late, which matters where errors are small and change fast",
    "trace": "use on_chip.trace double",
    "7 bits": "leave the shifts and impulses to the compiler",
    "rounding": "raise on_chip.learning_rate, or show more recordings",
}

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LayerFaithfulness:
    """One plastic layer."""

    layer: int  # of the program
    cosine: float  # of the updates on chip and in float, each added up over all recordings
    magnitude: float  # the length of the one over that of the other, at the learning rate achieved
    recording_cosine: float  # mean of the cosines of single recordings
    chain: dict[str, float]  # cosine with the float update, one thing after another becoming that of the chip
    real_numbers: float  # cosine of the float twin, `learn_float`: all of the chip but for its precision
    learning_rate: float  # of the float rule that makes the same change on the whole
    changed: float  # weights that changed in a recording, on average, as a share of all
    silent: float  # share of recordings after which no weight had changed
    at_limits: float  # share of weights that stand at the ends of their range, before learning
    saturated: float  # share of the traces that are not zero which are cut at 127: the worst of x1, x2, y

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Faithfulness:
    """Result of `faithfulness`."""

    recordings: int
    shown: int  # how often each
    new_labels: bool
    layers: tuple[LayerFaithfulness, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        layers = [layer.to_json() for layer in self.layers]
        return {
            "recordings": self.recordings,
            "shown": self.shown,
            "new_labels": self.new_labels,
            "layers": layers,
            "warnings": list(self.warnings),
        }


def faithfulness(
    learning: LearningProgram,
    network: DecolleNetwork,
    recordings: BinnedRecordings,
    *,
    seed: int = 1,
    rounding: Rounding = "lava",
    times: int = TIMES,
    new_labels: bool = True,
    progress: Progress | None = None,
) -> Faithfulness:
    """Measure it.

    Args:
        learning: lowered from `network` by `decolle_hw.quantization.lower_rule`.
        recordings: with labels; evenly spread ones are used, as many as fit `lower_rule_observed.spread`.
        seed, rounding: of the engine.
        times: how often each recording is shown: the chance in the rounding falls with the root of it.
        new_labels: the next class in place of each; else the recordings' own.
        progress: called with (recordings shown, recordings in all).
    """
    program = learning.program
    spec = model_spec_from_yaml(program.spec_yaml, f"the description in {program.name}")
    of = float_layers(program)
    shown = spread(recordings, network)
    if new_labels:
        shown = relabelled(shown)
    observed = observe(network, spec, shown, {of[plastic.layer] for plastic in learning.plastic})
    moved = updates_on_chip(learning, shown, times, seed, rounding, progress)
    real = updates_in_real_numbers(learning, shown)
    layers = tuple(
        _layer(learning, plastic, observed[of[plastic.layer]], moved[plastic.layer], real[plastic.layer])
        for plastic in learning.plastic
    )
    warnings = [text for layer in layers for text in _warnings(layer)]
    return Faithfulness(len(shown), times, new_labels, layers, tuple(warnings))


def updates_on_chip(
    learning: LearningProgram, recordings: BinnedRecordings, times: int, seed: int, rounding: Rounding,
    progress: Progress | None = None,
) -> dict[int, list[NDArray[np.int32]]]:  # fmt: skip
    """By layer, (N, I) what each presentation moved the stored weights by: all recordings in turn, so many times.

    Weights are put back after every presentation; all else, the random numbers too, goes on.
    """
    inputs_RTI, frames, labels = _shown(learning, recordings)
    begin = start_state(learning, [seed], rounding)
    state, moved = begin, {plastic.layer: [] for plastic in learning.plastic}  # type: ignore[var-annotated]
    for shown in range(times * len(recordings)):
        order = np.array([[shown % len(recordings)]])
        _, state = learn(learning, state, inputs_RTI, order, labels[order], frames=frames)
        for layer, parts in moved.items():
            parts.append(state.weights(learning, layer)[0] - begin.weights(learning, layer)[0])
        pairs = zip(state.layers, begin.layers, strict=True)
        state = replace(state, layers=tuple(now._replace(weight=then.weight.copy()) for now, then in pairs))
        if progress is not None:
            progress(shown + 1, times * len(recordings))
    return moved


def updates_in_real_numbers(learning: LearningProgram, recordings: BinnedRecordings) -> dict[int, FloatArray]:
    """By layer, (N, I) the same of the float twin, added up."""
    inputs_RTI, frames, labels = _shown(learning, recordings)
    begin = start_float_state(learning)
    state, moved = begin, {plastic.layer: np.zeros(1) for plastic in learning.plastic}
    for index in range(len(recordings)):
        order = np.array([[index]])
        _, state = learn_float(learning, state, inputs_RTI, order, labels[order], frames=frames)
        for layer in moved:
            moved[layer] = moved[layer] + state.weights(learning, layer)[0] - begin.weights(learning, layer)[0]
        pairs = zip(state.layers, begin.layers, strict=True)
        state = replace(state, layers=tuple(now._replace(weight=then.weight.copy()) for now, then in pairs))
    return moved


def _shown(
    learning: LearningProgram, recordings: BinnedRecordings
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    inputs_RTI = np.ascontiguousarray(recordings.dense(np.arange(len(recordings))).transpose(1, 0, 2))
    labels = np.asarray(recordings.labels, np.int64)
    return inputs_RTI, frozen_frames(learning.program, inputs_RTI, learning.first), labels


@dataclass(frozen=True)
class Modelled:
    """A plastic layer on the float network's own trajectories."""

    chain: dict[str, float]
    learning_rate: float  # of the float rule that makes the same change
    saturated: float  # share of x1, x2, y that are not zero and would be above 127


def modelled(plastic: PlasticLayer, observed: Observed, scale: float, gate: float, unit: float) -> Modelled:
    """One thing after another as on chip.

    Args: scale: units of the readout per float unit. gate: half width on the float U. unit: float weight of a stored 1.
    """
    reference = observed.update()
    third_TBN = observed.third_TBN
    boxcar_TBN = third_TBN * (np.abs(observed.potential_TBN) < gate)
    open_TBN = opened(observed, gate)
    late_TBN = third_TBN * open_TBN
    raw = [exponential_trace(observed.spikes_TBI, trace.tau) * trace.impulse for trace in (plastic.x1, plastic.x2)]
    error = plastic.error
    error_TBC = error_values(observed, scale, error.shift, error.dead_zone)
    post_TBN = post_values(error_TBC, plastic.readout_weight, open_TBN, plastic.feedback_shift)
    seven_bits = met(post_TBN, trace_values(observed, plastic.x1, plastic.x2))
    power = max(float((reference.astype(np.float64) ** 2).sum()), 1e-300)
    slope = float((seven_bits.astype(np.float64) * reference).sum()) / power
    gain = plastic.rule.products[0].gain / plastic.epoch
    cut = [float(np.mean(values[values > 0] >= TRACE_MAX)) for values in (*raw, np.abs(post_TBN)) if np.any(values)]
    return Modelled(
        {
            "gate": cosine(accumulated(boxcar_TBN, observed.trace_TBI), reference),
            "delay": cosine(met(late_TBN, observed.trace_TBI), reference),
            "trace": cosine(met(late_TBN, raw[0] - raw[1]), reference),
            "7 bits": cosine(seven_bits, reference),
        },
        slope * gain * unit,
        max(cut, default=0.0),
    )


def _layer(
    learning: LearningProgram, plastic: PlasticLayer, observed: Observed, moved: list[NDArray[np.int32]],
    real: FloatArray,
) -> LayerFaithfulness:  # fmt: skip
    layer = learning.program.layers[plastic.layer]
    figures = learning.program.quantization[plastic.layer]
    unit = 2.0**layer.weight_exp / figures["weight_scale"]
    gate = plastic.gate_width / figures["register_units_per_potential"]
    model = modelled(plastic, observed, plastic.error.on, gate, unit)
    reference = observed.update().astype(np.float64)
    total: FloatArray = np.sum(moved, axis=0, dtype=np.float64)
    recordings = observed.spikes_TBI.shape[1]
    shown = len(moved) / recordings
    expected = shown * abs(model.learning_rate) * float(np.sqrt((reference**2).sum()))
    updates = [observed.of_recording(index).update() for index in range(recordings)]
    each = [cosine(one, updates[index]) for index, one in enumerate(moved[:recordings]) if one.any()]
    near = cosine(total, reference)
    return LayerFaithfulness(
        layer=plastic.layer,
        cosine=near,
        magnitude=float(np.sqrt((total**2).sum())) * unit / max(expected, 1e-300),
        recording_cosine=float(np.mean(each)) if each else 0.0,
        chain=model.chain | {"rounding": near},
        real_numbers=cosine(real, reference),
        learning_rate=model.learning_rate,
        changed=float(np.mean([np.count_nonzero(one) / one.size for one in moved])),
        silent=float(np.mean([not one.any() for one in moved])),
        at_limits=float(np.mean((layer.weight <= LEARNED_WEIGHT_MIN) | (layer.weight >= LEARNED_WEIGHT_MAX - 1))),
        saturated=model.saturated,
    )


def _warnings(layer: LayerFaithfulness) -> Iterator[str]:
    where = f"layer {layer.layer}"
    if layer.silent >= 1.0:
        yield f"{where}: its updates always round to zero: it will not learn; raise on_chip.learning_rate"
        return
    if layer.cosine < ENOUGH:
        lost = max(layer.chain, key=lambda name: _fall(layer.chain, name))
        yield (
            f"{where}: the update on chip has a cosine of {layer.cosine:.2f} with the float one, less than {ENOUGH}; "
            f"most is lost to: {lost} ({REMEDIES[lost]})"
        )
    if layer.silent > OFTEN:
        yield (
            f"{where}: after {100 * layer.silent:.0f} % of the recordings no weight had changed; "
            f"raise on_chip.learning_rate if it learns too slowly"
        )
    if layer.at_limits > MANY_AT_LIMITS:
        yield (
            f"{where}: {100 * layer.at_limits:.1f} % of the weights stand at the ends of their range and can only go "
            f"back; train with smaller weights, or compile so that fewer are clipped"
        )
    if layer.saturated > MANY_SATURATED:
        yield f"{where}: {100 * layer.saturated:.1f} % of its traces are cut at {TRACE_MAX}; lower their impulse"


def _fall(chain: dict[str, float], name: str) -> float:
    """By how much the cosine falls at a step of the chain."""
    names = list(chain)
    before = 1.0 if name == names[0] else chain[names[names.index(name) - 1]]
    return before - chain[name]
