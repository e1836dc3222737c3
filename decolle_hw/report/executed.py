"""Tables of `run --sim`."""

from __future__ import annotations

from rich.console import Console

from decolle_hw.execution import Executed
from decolle_hw.report.tables import new_table, print_comparison, with_interval


def print_executed(executed: Executed, console: Console) -> None:
    """Summary of `run --sim`."""
    count = len(executed.labels)
    console.print(f"{executed.program.name} in {executed.backend}", style="bold")
    table = new_table("figure", "value")
    table.add_row("recordings", str(count))
    table.add_row("accuracy", with_interval(executed.hits, count))
    for index, rate in enumerate(executed.firing_rates):
        table.add_row(f"firing rate, layer {index}", f"{rate:.4f}")
    table.add_row("time", f"{executed.seconds:.1f} s, {count / executed.seconds:.1f} recordings/s")
    side_by_side = f", {executed.jobs} jobs" if executed.jobs > 1 else ""
    table.add_row("recordings at a time", f"{executed.batch}{side_by_side}")
    console.print(table)
    if executed.comparison is not None:
        print_comparison(executed.comparison, console)
        if executed.comparison.first is not None:
            console.print(f"the recording is {executed.names[executed.comparison.first.recording]}", soft_wrap=True)
