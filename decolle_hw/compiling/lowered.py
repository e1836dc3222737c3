"""The learning of a compiled network in integers: lowered as planned, and how faithful that is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from decolle_hw.compiler.learning_program import LearningProgram
from decolle_hw.compiler.program import Program
from decolle_hw.compiling.plastic import Plan, neuron_layers
from decolle_hw.data import BinnedRecordings
from decolle_hw.fidelity.summary import to_batch_first
from decolle_hw.progress import working
from decolle_hw.sim.output_layer import OutputSettings, with_output_layer
from decolle_hw.training.runs import Run
from decolle_hw.workflow import spread

if TYPE_CHECKING:
    from decolle_hw.fidelity.faithfulness import Faithfulness
    from decolle_hw.fidelity.output_faithfulness import OutputFaithfulness

# Each is learned by itself, in floats and on chip.
FAITHFULNESS_RECORDINGS = 64


@dataclass(frozen=True)
class Lowered:
    """How a network learns on chip."""

    learning: LearningProgram
    layers: tuple[Any, ...] = ()  # of each plastic layer what its rule became; empty: of a new output layer
    faithfulness: Faithfulness | None = None  # of trained layers
    output: OutputFaithfulness | None = None  # of a new output layer
    warnings: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The rule of each plastic layer."""
        return tuple(
            f"layer {one.layer} learns on chip, in epochs of {one.epoch} {'step' if one.epoch == 1 else 'steps'}: dw = "
            f"{one.rule}"
            for one in self.learning.plastic
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, ready for `json.dumps`."""
        return {
            "plastic": [
                {"layer": one.layer, "rule": str(one.rule), "epoch": one.epoch} for one in self.learning.plastic
            ],
            "teach": list(self.learning.teach),
            "classes": list(self.learning.program.classes),
            "lowered": [asdict(layer) for layer in self.layers],
            "faithfulness": None if self.faithfulness is None else self.faithfulness.to_json(),
            "output": None if self.output is None else self.output.to_json(),
        }


def lower_learning(program: Program, run: Run, plan: Plan, recordings: BinnedRecordings, console: Console) -> Lowered:
    """Integers for the rule of each plastic layer, or a new output layer.

    Args:
        program: as it was compiled. run: what it was made of. plan: that learns. recordings: of the calibration.
    """
    settings = run.spec.on_chip
    if plan.output:
        chosen = OutputSettings() if settings.epoch is None else OutputSettings(epoch=settings.epoch)
        with working(console, "putting an output layer on the features"):
            usual = to_batch_first(recordings.dense(np.arange(len(recordings))))
            learning = with_output_layer(program, plan.classes, usual, settings=chosen)
        output = _of_output(learning, recordings, console)
        warnings = tuple(_warnings(learning)) + (() if output is None else output.warnings)
        return Lowered(learning, output=output, warnings=warnings)
    from decolle_hw.fidelity.faithfulness import faithfulness
    from decolle_hw.quantization.lower_rule import lower_rule

    places = neuron_layers(program)
    network = run.network()
    with working(console, "lowering the learning rule"):
        lowered = lower_rule(program, network, settings, recordings, tuple(places[layer] for layer in plan.layers))
    with working(console, "comparing updates on chip with those of the float network"):
        faithful = faithfulness(lowered.learning, network, spread(recordings, FAITHFULNESS_RECORDINGS))
    return Lowered(lowered.learning, lowered.layers, faithful, warnings=lowered.warnings)


def _of_output(learning: LearningProgram, recordings: BinnedRecordings, console: Console) -> OutputFaithfulness | None:
    """On calibration recordings of its classes; None where it has classes that the features do not know alone."""
    from decolle_hw.fidelity.output_faithfulness import output_faithfulness

    classes = learning.program.classes
    known = [classes.index(name) if name in classes else -1 for name in recordings.classes]
    labels_R = np.array(known, np.int64)[recordings.labels]
    if not np.any(labels_R >= 0):
        return None
    shared = replace(recordings, labels=labels_R, classes=classes).take(np.flatnonzero(labels_R >= 0))
    with working(console, "comparing updates on chip with those in real numbers"):
        return output_faithfulness(learning, spread(shared, FAITHFULNESS_RECORDINGS))


def _warnings(learning: LearningProgram) -> Iterator[str]:
    """Of a new output layer."""
    start, stop = learning.teach
    for plastic in learning.plastic:
        if plastic.epoch > stop - start:
            yield (
                f"layer {plastic.layer}: an epoch of {plastic.epoch} steps is longer than the {stop - start} in which "
                f"a recording is taught, so that most of its error is never learned from; lower on_chip.epoch"
            )
