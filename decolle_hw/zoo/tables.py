"""Tables of `models`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from decolle_hw.report.tables import new_table
from decolle_hw.zoo.entries import Entry
from decolle_hw.zoo.measured import figures

NOT_MEASURED, BRIEF = "not measured", "-"
WIDE = 120  # columns of a terminal that hold the whole table
LEFT_OUT = ("data", "inputs", "steps")
WORDS = ("model", "data", "network", "neuron")
NOTES = (
    "accuracy: test recordings decided right with 8-bit integers; * by the float network; - not measured. Weights are "
    "those of the epoch that did best on the same recordings, which flatters",
    "cores: of loihi2. energy: dynamic, of one recording on loihi2, from the activity of a trained network and figures "
    "of Loihi 1 (pre-silicon): an upper-side estimate; static power is not known",
    "`decolle-hw models MODEL` says what printed each figure, and the next command",
)


def print_models(entries: Sequence[Entry], console: Console) -> None:
    """One line per model; on a narrow terminal without what its name and `models MODEL` say as well."""
    all_columns = {
        "model": [entry.name for entry in entries],
        "data": [entry.data for entry in entries],
        "network": [entry.network for entry in entries],
        "neuron": [entry.spec.network.neuron for entry in entries],
        "inputs": [entry.inputs for entry in entries],
        "steps": [entry.steps for entry in entries],
        "accuracy": [_accuracy(entry) for entry in entries],
        "cores": [_cores(entry) for entry in entries],
        "energy": [_energy(entry) for entry in entries],
    }
    shown = [name for name in all_columns if console.width >= WIDE or name not in LEFT_OUT]
    table = new_table(*shown)
    for name, column in zip(shown, table.columns, strict=True):
        column.no_wrap = name != "network"
        column.justify = "left" if name in WORDS else "right"
    for row in zip(*(all_columns[name] for name in shown), strict=True):
        table.add_row(*(BRIEF if text == NOT_MEASURED else text for text in row))
    console.print(table)
    for note in NOTES:
        console.print(note, soft_wrap=True)


def _accuracy(entry: Entry) -> str:
    accuracy = entry.measured and entry.measured.accuracy
    if not accuracy:
        return NOT_MEASURED
    if accuracy.integers is None:
        return f"{accuracy.before_integers:.1f} %*"
    return f"{accuracy.integers:.1f} %"


def _cores(entry: Entry) -> str:
    return str(entry.measured.cores.cores) if entry.measured and entry.measured.cores else NOT_MEASURED


def _energy(entry: Entry) -> str:
    return NOT_MEASURED if entry.energy_uj is None else f"{entry.energy_uj:.1f} uJ"


def print_model(entry: Entry, console: Console) -> None:
    """Everything about one model: its YAML, its figures with what printed them, and what to type next."""
    console.print(f"{entry.name}: {entry.file}", style="bold", soft_wrap=True)
    console.print(entry.file.read_text(encoding="utf-8").rstrip(), soft_wrap=True)
    console.print("measured", style="bold")
    if entry.measured is None:
        console.print(f"not of the zoo; `decolle-hw compile {entry.argument} --dry-run` says how many cores it takes")
    else:
        table = new_table("figure", "value", "printed by", "commit", "date")
        for column in table.columns[1:]:
            column.justify = "left"
        for figure, value, source in _figures(entry):
            said = figures().sources[source] if source else None
            table.add_row(figure, value, *((said.command, said.commit, said.date) if said else ("", "", "")))
        console.print(table)
    console.print("next", style="bold")
    for command in entry.next_commands:
        console.print(command, soft_wrap=True)


def _figures(entry: Entry) -> list[tuple[str, str, str | None]]:
    """(figure, value, its source)"""
    assert entry.measured is not None
    accuracy, cores, energy = entry.measured.accuracy, entry.measured.cores, entry.measured.energy
    rows: list[tuple[str, str, str | None]] = []
    if accuracy is None:
        rows.append(("accuracy", NOT_MEASURED, None))
    else:
        low, high = accuracy.interval
        spread = f"(95 %: {low:.1f}-{high:.1f}), {accuracy.recordings:,} test, {accuracy.trained_on:,} training samples"
        of_float = f"{accuracy.before_integers:.1f} %"
        rows.append(
            ("accuracy, float", of_float if accuracy.integers is not None else f"{of_float} {spread}", accuracy.source)
        )
        of_integers = NOT_MEASURED if accuracy.integers is None else f"{accuracy.integers:.1f} % {spread}"
        rows.append(("accuracy, integers", of_integers, None if accuracy.integers is None else accuracy.source))
    rows.append(("cores, loihi2", _cores(entry), cores.source if cores else None))
    value = NOT_MEASURED
    if energy is not None:
        steps = entry.spec.dataset.chunk_size_test
        value = f"{_energy(entry)} a recording: {energy.nj_per_step:.2f} nJ a step, {steps} steps; estimated"
    rows.append(("dynamic energy, loihi2", value, energy.source if energy else None))
    return rows
