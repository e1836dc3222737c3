"""Tables of `targets` and of `compile --stages`: what there is to compile for, in which steps. They import little."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from decolle_hw.report.tables import new_table
from decolle_hw.targets import Target, shown

UNITS = {"energy": " pJ", "time": " ns", "static_power_mw": " mW"}


def print_targets(targets: Sequence[Target], console: Console) -> None:
    """One line per target."""
    table = new_table("target", "description", "cores per chip", "neurons per core", "neurons", "boards (chips)")
    for target in targets:
        boards = ", ".join(f"{name} ({chips})" for name, chips in target.board_chips.items())
        table.add_row(
            target.name, target.description, f"{target.usable_cores.value} of {target.cores_per_chip.value}",
            f"{target.neurons_per_core.value:,}", ", ".join(target.neuron_models.value), boards,
        )  # fmt: skip
    console.print(table)
    console.print("`decolle-hw targets NAME` prints every limit with its source; a path to a YAML works as a NAME")


def print_target(target: Target, console: Console) -> None:
    """Every limit, and how sure one can be of it."""
    console.print(f"{target.name}: {target.description}", style="bold")
    table = new_table("limit", "value", "confidence", "source")
    table.columns[-1].justify = "left"
    for name, limit in target.limits:
        note = f"\n{limit.note}" if limit.note else ""
        unit = UNITS.get(name.partition(".")[0], "")
        table.add_row(name, f"{shown(limit.value)}{unit}", limit.confidence, f"{limit.source}{note}")
    for name, board in target.boards.items():
        chips = f"{board.value:,} chip{'s' if board.value > 1 else ''}"
        table.add_row(f"board {name}", chips, board.confidence, board.source)
    for name in ("energy", "time", "static_power_mw"):
        if getattr(target, name) is None:
            table.add_row(name, "not known", "", "")
    console.print(table)


def print_stages(console: Console) -> None:
    """`compile --stages`."""
    from decolle_hw.compiler.lowering.stages import stage_names

    table = new_table("stage", "what it does")
    table.columns[1].justify = "left"
    for number, (name, text) in enumerate(stage_names(), 1):
        table.add_row(f"{number} {name}", text)
    console.print(table)
    console.print("`decolle-hw compile --save-stages FOLDER` writes the result of each as JSON")
