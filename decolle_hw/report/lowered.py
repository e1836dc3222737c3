"""What `compile` says of a network that learns on chip."""

from __future__ import annotations

from rich.console import Console

from decolle_hw.compiler.learning_program import GATE_OPEN, PlasticLayer
from decolle_hw.compiler.plasticity import TraceFilter
from decolle_hw.compiling.lowered import Lowered
from decolle_hw.progress import percent
from decolle_hw.report.tables import new_table


def print_lowered(lowered: Lowered, console: Console) -> None:
    """One row per plastic layer, its rule, and how faithful it is."""
    learning = lowered.learning
    console.print("learning on chip", style="bold")
    table = new_table("layer", "synapses", "epoch", "x1", "x2", "error shift", "feedback shift", "gate")
    for plastic in learning.plastic:
        synapses = learning.program.layers[plastic.layer].num_synapses
        gate = "open" if plastic.gate_width >= GATE_OPEN else f"{plastic.gate_width:,}"
        table.add_row(
            str(plastic.layer), f"{synapses:,}", _steps(plastic.epoch), _trace(plastic, plastic.x1, "x1"),
            _trace(plastic, plastic.x2, "x2"), str(plastic.error.shift), str(plastic.feedback_shift), gate,
        )  # fmt: skip
    console.print(table)
    for line in lowered.notes:
        console.print(line, soft_wrap=True)
    start, stop = learning.teach
    console.print(f"targets are sent in steps {start} to {stop - 1} of {learning.slot} on chip")
    if lowered.faithfulness is not None:
        from decolle_hw.report.faithful import print_faithfulness

        print_faithfulness(lowered.faithfulness, console)
    if lowered.output is not None:
        output = lowered.output
        console.print(
            f"update of layer {output.layer} on chip against the same rule in real numbers, {output.recordings} "
            f"recordings: cosine {output.cosine:.3f}, length {output.magnitude:.2f}; {percent(output.changed)} of the "
            "weights changed by a recording", soft_wrap=True,
        )  # fmt: skip


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def _trace(plastic: PlasticLayer, trace: TraceFilter, name: str) -> str:
    return f"+{trace.impulse:g}, tau {trace.tau:g}" if plastic.rule.uses(name) else "unused"
