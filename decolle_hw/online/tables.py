"""What an experiment found, as tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from decolle_hw.online.continual import Continual
from decolle_hw.online.drift import Drift
from decolle_hw.online.few_shot import FewShot
from decolle_hw.online.from_scratch import FromScratch
from decolle_hw.progress import percent
from decolle_hw.report.tables import new_table


def counted(number: int, one: str, more: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{number} {one if number == 1 else more}"


def mean_and_spread(values: Sequence[float]) -> str:
    """``81.2 ± 1.3 %`` over seeds; without a spread where there is one seed."""
    if len(values) < 2:
        return percent(float(np.mean(values)))
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f} %"


def print_few_shot(result: FewShot, console: Console) -> None:
    """Two tables: the new classes alone, and all classes."""
    settings = result.settings
    chance, seeds = percent(1 / len(result.new)), counted(settings.seeds, "seed", "seeds")
    last_pass = counted(settings.passes[-1], "pass", "passes")
    console.print(
        f"new classes {', '.join(result.new)} alone: {result.tested_new} test recordings, {seeds}, chance {chance}",
        style="bold", markup=False,
    )  # fmt: skip
    table = new_table(
        "shots", *(counted(passes, "pass", "passes") for passes in settings.passes),
        "same rule in float", "ridge, offline", "of ridge",
    )  # fmt: skip
    for row in result.rows:
        last = settings.passes[-1]
        ridge = float(np.mean(row.ridge))
        share = percent(float(np.mean(row.alone[last])) / ridge) if ridge > 0 else "-"
        table.add_row(
            str(row.shots), *(mean_and_spread(row.alone[passes]) for passes in settings.passes),
            mean_and_spread(row.alone_float[last]), mean_and_spread(row.ridge), share,
        )  # fmt: skip
    console.print(table)
    console.print(
        f"all {len(result.old) + len(result.new)} classes, after {last_pass}; old classes "
        f"{', '.join(result.old)}: {result.tested_old} test recordings, "
        f"{percent(float(np.mean(result.rows[0].old_before)))} before the new ones came", style="bold", markup=False,
    )  # fmt: skip
    columns = [f"{which}, {name}" for name in result.rows[0].joint for which in ("new", "old", "all")]
    table = new_table("shots", *columns)
    for row in result.rows:
        values = [accuracies for of_name in row.joint.values() for accuracies in of_name.values()]
        table.add_row(str(row.shots), *map(mean_and_spread, values))
    console.print(table)
    console.print(
        "replay: as many examples of each old class are shown among those of the new ones, in every pass", markup=False
    )


def print_drift(result: Drift, console: Console) -> None:
    """One line per change of the sensor."""
    settings = result.settings
    seeds, passes = counted(settings.seeds, "seed", "seeds"), counted(settings.passes, "pass", "passes")
    console.print(
        f"{result.tested} test recordings, {seeds}; {passes} over up to "
        f"{settings.shots} recordings per class, before the change and after it", style="bold", markup=False,
    )  # fmt: skip
    table = new_table("change", "before", "after it", "one pass later", "all passes later", "recovered")
    for one in result.changes:
        later = list(one.relearned.values())
        table.add_row(
            one.change, mean_and_spread(one.before), mean_and_spread(one.after), mean_and_spread(later[0]),
            mean_and_spread(later[-1]),
            "nothing lost" if one.recovered is None else percent(one.recovered),
        )  # fmt: skip
    console.print(table)


def print_continual(result: Continual, console: Console) -> None:
    """Accuracy over the classes so far, and what was forgotten."""
    settings = result.settings
    seeds, passes = counted(settings.seeds, "seed", "seeds"), counted(settings.passes, "pass", "passes")
    console.print(
        f"classes one after the other, {passes} over up to {settings.shots} examples of each; "
        f"{seeds}; the features know {', '.join(result.classes[: result.known])}", style="bold",
        markup=False,
    )  # fmt: skip
    table = new_table("after class", *(one.name for one in result.sequences))
    for index, name in enumerate(result.classes):
        table.add_row(name, *(percent(one.average[index]) for one in result.sequences))
    table.add_row("forgetting", *(percent(one.forgetting) for one in result.sequences))
    console.print(table)


def print_from_scratch(result: FromScratch, console: Console) -> None:
    """Accuracy after every pass."""
    settings = result.settings
    units = "-".join(map(str, settings.units))
    rates = ", ".join(f"{rate:.3g}" for rate in result.learning_rates)
    console.print(
        f"hidden layers {units}, all plastic from random weights; learning rates {rates}; {result.trained} recordings "
        f"in a pass, {result.tested} tested", style="bold", markup=False,
    )  # fmt: skip
    table = new_table("passes", "test accuracy")
    table.add_row("0", mean_and_spread(result.before))
    for passes, values in result.after.items():
        table.add_row(str(passes), mean_and_spread(values))
    console.print(table)
