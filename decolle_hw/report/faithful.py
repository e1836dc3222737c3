"""Table and warnings of how faithful learning on chip is to the float rule."""

from __future__ import annotations

from rich.console import Console

from decolle_hw.fidelity.faithfulness import Faithfulness
from decolle_hw.progress import percent
from decolle_hw.report.tables import new_table


def print_faithfulness(result: Faithfulness, console: Console) -> None:
    """What is learned on chip, against what DECOLLE would learn in float from the same recordings."""
    console.print(
        f"learning on chip against the float rule, {result.recordings} recordings with "
        f"{'new' if result.new_labels else 'their own'} labels, each shown {result.shown} times",
        style="bold", soft_wrap=True,
    )  # fmt: skip
    columns = [name for layer in result.layers[:1] for name in layer.chain]
    table = new_table(
        "layer", "cosine", "length", "learning rate", *(f"with {name}" for name in columns), "in real numbers",
        "weights changed by a recording",
    )  # fmt: skip
    for layer in result.layers:
        table.add_row(
            str(layer.layer), f"{layer.cosine:.3f}", f"{layer.magnitude:.2f}", f"{layer.learning_rate:.3g}",
            *(f"{layer.chain[name]:.3f}" for name in columns), f"{layer.real_numbers:.3f}", percent(layer.changed),
        )  # fmt: skip
    console.print(table)
    console.print(
        "cosine, length: of the update on chip, of that in float at the learning rate achieved; `with ...`: the cosine "
        "after one thing more is as on chip, from left to right", soft_wrap=True,
    )  # fmt: skip
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
