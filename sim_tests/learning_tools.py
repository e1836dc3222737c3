"""Networks that learn, and what tests of learning compare."""

# B runs, K recordings shown, T steps, I inputs, N neurons

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from decolle_hw.compiler.layers import NeuronKind
from decolle_hw.compiler.learning_program import GATE_OPEN, ErrorNeurons, LearningProgram, PlasticLayer, output_readout
from decolle_hw.compiler.plasticity import TraceFilter, three_factor_rule
from decolle_hw.fixedpoint import WEIGHT_BITS
from decolle_hw.sim.learning import Learned, learn
from decolle_hw.sim.learning_state import LearningState, start_state
from decolle_hw.sim.random_learning import random_learning_program, random_targets
from decolle_hw.sim.random_program import random_program, random_spikes

TRIES = 200
QUANTITIES = ("spikes", "u", "v", "r", "weight", "x", "y")


class Case(NamedTuple):
    """A network, and what one run of it is shown."""

    learning: LearningProgram
    recordings: np.ndarray
    order: np.ndarray  # (K,)
    targets: np.ndarray  # (K,)
    seed: int

    def reference(self, **options: Any) -> tuple[Learned, LearningState]:
        state = start_state(self.learning, [self.seed])
        return learn(
            self.learning, state, self.recordings, self.order[None], self.targets[None], record=True, **options
        )  # fmt: skip


def random_case(seed: int, neuron: NeuronKind, plastic: Sequence[int], shown: int = 6, **network: Any) -> Case:
    """The first of many in which every plastic layer changes some of its weights."""
    for index in range(TRIES):
        rng = np.random.default_rng([seed, index])
        learning = random_learning_program(rng, neuron, plastic, **network)
        recordings = random_spikes(rng, learning.program, 5)
        case = Case(
            learning, recordings, rng.integers(0, 5, shown), random_targets(rng, learning, shown),
            int(rng.integers(1 << 30)),
        )  # fmt: skip
        learned, _ = case.reference()
        if all(count[0] > 0 for count in learned.changed.values()):
            return case
    raise AssertionError(f"no network that learns among {TRIES}")


def teaching_case(seed: int, neuron: NeuronKind, shown: int = 6, sizes: Sequence[int] = (50, 40, 30, 4)) -> Case:
    """The rule of the design on the two last layers of three, hidden with a readout and output; all of them spike."""
    for index in range(TRIES):
        rng = np.random.default_rng([seed, index])
        program = random_program(
            rng, neuron, sizes=sizes, classes=sizes[-1], steps=20, weight_kind="mixed", weight_exp=0
        )  # fmt: skip
        hidden = rng.integers(-40, 40, (sizes[-1], sizes[-2])).astype(np.int32)
        plastic = (
            PlasticLayer(
                layer=1, rule=three_factor_rule(-4, double_exponential=True), x1=TraceFilter(40, 9.0),
                x2=TraceFilter(30.25, 4), error=ErrorNeurons(on=300, off=-300, decay=800, shift=2, dead_zone=40),
                readout_weight=hidden, readout_bias=np.arange(sizes[-1], dtype=np.int32), feedback_shift=5,
                gate_width=max(1, int(np.abs(program.layers[1].vth).mean()) << 5),  # half of a threshold
            ),
            PlasticLayer(
                layer=2, rule=three_factor_rule(-3), x1=TraceFilter(60, 7), error=ErrorNeurons(on=60, off=0),
                gate_width=GATE_OPEN, epoch=2, **output_readout(sizes[-1], 40),
            ),
        )  # fmt: skip
        case = Case(
            LearningProgram(program, plastic), random_spikes(rng, program, 5), rng.integers(0, 5, shown),
            rng.integers(-1, sizes[-1], shown), 7 + seed,
        )  # fmt: skip
        learned, _ = case.reference()
        if learned.changed[1][0] > 40 * program.layers[1].num_neurons and learned.changed[2][0] > 30:
            return case
    raise AssertionError(f"no network that learns among {TRIES}")


def first_difference(left: Learned, right: Learned) -> str | None:
    """Where two recorded runs part, layer by layer; None where they are equal."""
    for index, (mine, theirs) in enumerate(zip(left.records, right.records, strict=True)):
        assert mine.registers.keys() == theirs.registers.keys()
        for quantity in QUANTITIES:
            a, b = (
                record.registers.get(quantity) if quantity in "uvr" else getattr(record, quantity)
                for record in (mine, theirs)
            )
            assert (a is None) == (b is None), (index, quantity)
            if a is None or b is None:
                continue
            assert a.shape == b.shape, (index, quantity, a.shape, b.shape)
            if not np.array_equal(a, b):
                place = tuple(int(i) for i in np.argwhere(a != b)[0])
                return f"layer {index} from the first plastic one, {quantity} {place}: {a[place]} and {b[place]}"
    return None


def compared(learned: Learned) -> Counter[str]:
    """How many synaptic updates a recorded run holds, how many changed a weight, and all other values."""
    counts: Counter[str] = Counter()
    for record in learned.records:
        counts["values of registers and spikes"] += record.spikes.size * (1 + len(record.registers))
        if record.weight is not None and record.x is not None and record.y is not None:
            counts["synaptic updates"] += record.weight.size
            counts["of them that changed a weight"] += int(np.count_nonzero(np.diff(record.weight, axis=1)))
            counts["traces"] += record.x.size + record.y.size
    return counts


def small_learning(rng: np.random.Generator) -> LearningProgram:
    """Two layers of stock neurons, of which the upper one learns by the rule of the design."""
    program = random_program(rng, "cuba", sizes=(12, 9, 7), like_quantizer=True, weight_kind="mixed")
    upper = replace(program.layers[1], weight_bits=WEIGHT_BITS)  # those of fewer bits lie on the finer grid too
    program = replace(program, layers=(program.layers[0], upper))
    plastic = PlasticLayer(
        layer=1, rule=three_factor_rule(-4), x1=TraceFilter(40, 9.5), x2=TraceFilter(1, 2), epoch=3,
        error=ErrorNeurons(on=300, off=-30, decay=800, shift=2, dead_zone=40), feedback_shift=5, gate_width=1 << 12,
        readout_weight=rng.integers(-40, 40, (3, 7)).astype(np.int32), readout_bias=np.arange(3, dtype=np.int32),
    )  # fmt: skip
    return LearningProgram(program, (plastic,), teach=(5, 15))


def with_plastic(learning: LearningProgram, place: int, **changes: Any) -> LearningProgram:
    """A copy with fields of its plastic layer number `place` changed."""
    plastic = list(learning.plastic)
    plastic[place] = replace(plastic[place], **changes)
    return replace(learning, plastic=tuple(plastic))
