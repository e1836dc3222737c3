"""What the tables of all commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from decolle_hw.fidelity.intervals import wilson_interval
from decolle_hw.progress import percent

if TYPE_CHECKING:  # tables of targets and stages need no simulator
    from decolle_hw.sim.compare import Comparison


def with_interval(hits: int, count: int) -> str:
    """A share with its 95 % Wilson interval."""
    low, high = wilson_interval(hits, count)
    return f"{percent(hits / count)}  (95 %: {100 * low:.1f}-{100 * high:.1f})"


def new_table(*columns: str) -> Table:
    """A table with its first column flush left, the figures flush right."""
    table = Table()
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    return table


def print_comparison(comparison: Comparison, console: Console, stage: str = "Lava") -> None:
    """One line on equality, one on the first divergence if there is one."""
    parts = ", ".join(f"{name} {count:,}" for name, (count, _) in comparison.per_quantity.items())
    console.print(
        f"{stage} against the integer reference: {comparison.compared:,} values compared ({parts}), "
        f"{comparison.mismatches:,} mismatches", soft_wrap=True,
    )  # fmt: skip
    if comparison.first is not None:
        console.print(f"first divergence: {comparison.first.between('the integer reference', stage)}", soft_wrap=True)
