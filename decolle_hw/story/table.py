"""What the story says of each step, shortly, and the table that ends it; the files hold the rest."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from decolle_hw.compiling.pipeline import Compiled
from decolle_hw.page.words import quantity
from decolle_hw.progress import percent
from decolle_hw.report.learned import print_learning_comparison
from decolle_hw.report.tables import new_table, print_comparison, with_interval
from decolle_hw.story.cast import Cast
from decolle_hw.story.new_class import OnChip
from decolle_hw.story.result import InLava, Row, Story, energy_of
from decolle_hw.verify.verification import Verification

NOTHING = ""


def print_warnings(warnings: Sequence[str], console: Console) -> None:
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)


def print_placed(compiled: Compiled, console: Console) -> None:
    """Cores, cost and accuracy of the integers."""
    placement, fidelity = compiled.mapped.placement, compiled.fidelity
    assert fidelity is not None
    on = "no board is large enough" if placement.board is None else f"on {placement.board}"
    console.print(
        f"{cores_in_words(compiled)} {on}; dynamic energy of a recording, estimated: {energy_in_words(compiled)}"
    )
    console.print(
        f"accuracy of the integers {with_interval(fidelity.integer_hits, fidelity.recordings)}, same decision as the "
        f"float network on {fidelity.same_decision} of {fidelity.recordings} recordings", soft_wrap=True,
    )  # fmt: skip
    for path in compiled.written:
        console.print(f"wrote {path}", soft_wrap=True)


def cores_in_words(compiled: Compiled) -> str:
    cores = len(compiled.mapped.placement.cores)
    return f"{cores} core{'' if cores == 1 else 's'}"


def energy_in_words(compiled: Compiled) -> str:
    return quantity(energy_of(compiled), "pJ")


def print_certified(verification: Verification, console: Console) -> None:
    """The chain in a line, and the comparison."""
    chain = verification.chain
    count = len(chain.labels)
    stages = ", ".join(f"{stage} {chain.hits(stage)}" for stage in chain.decisions)
    console.print(f"decided rightly, of {count} test recordings: {stages}", soft_wrap=True)
    assert chain.comparison is not None
    print_comparison(chain.comparison, console)


def print_executed(in_lava: InLava, console: Console) -> None:
    count = len(in_lava.decisions)
    console.print(f"accuracy in Lava {with_interval(in_lava.hits, count)} on {count} test recordings")
    print_comparison(in_lava.comparison, console)


def print_new_class(on_chip: OnChip | None, cast: Cast, why_none: str, console: Console) -> None:
    """Accuracy after every lesson, of the new class and of the others."""
    if on_chip is None:
        console.print(f"skipped: {why_none}", soft_wrap=True)
        return
    first = on_chip.exams[0]
    table = new_table(
        "tested", "recordings shown", f"class {cast.new} ({on_chip.of_new(first)[1]} tests)",
        f"known classes ({on_chip.of_known(first)[1]} tests)",
    )  # fmt: skip
    for exam in on_chip.exams:
        (new, of_new), (known, of_known) = on_chip.of_new(exam), on_chip.of_known(exam)
        table.add_row(exam.when, str(exam.shown), percent(new / of_new), percent(known / of_known))
    console.print(table)
    console.print(
        f"{on_chip.examples} examples of class {cast.new}; the first {on_chip.in_lava} recordings were learned in Lava "
        f"({on_chip.seconds_in_lava:.0f} s), the rest in the integer reference ({on_chip.seconds_in_reference:.0f} s)",
        soft_wrap=True,
    )
    print_learning_comparison(on_chip.comparison, console)
    console.print(f"wrote {on_chip.learned}", soft_wrap=True)


HEADINGS = ("step", "what was tested", "accuracy", "compared, all equal", "cores", "energy", "time")


def cells_of(row: Row) -> tuple[str, ...]:
    """A row in words, in the order of `HEADINGS`."""
    accuracy = NOTHING
    if row.hits is not None and row.recordings:
        before = NOTHING if row.hits_before is None else f"{percent(row.hits_before / row.recordings)} → "
        accuracy = f"{before}{percent(row.hits / row.recordings)} of {row.recordings:,}"
    return (
        row.step, row.what, accuracy,
        NOTHING if row.compared is None else f"{row.compared:,}",
        NOTHING if row.cores is None else str(row.cores),
        NOTHING if row.energy_pj is None else quantity(row.energy_pj, "pJ"),
        NOTHING if row.seconds is None else f"{row.seconds:.0f} s",
    )  # fmt: skip


def total_of(story: Story) -> tuple[str, ...]:
    """The last line of the table: values compared, and the time of all steps, pictures included."""
    return "all", NOTHING, NOTHING, f"{story.compared:,}", NOTHING, NOTHING, f"{sum(story.seconds.values()):.0f} s"


def print_story(story: Story, console: Console) -> None:
    """The one table, and what was written last."""
    console.print()
    table = new_table(*HEADINGS)
    table.columns[1].justify = "left"  # words, too
    rows = story.rows()
    for place, row in enumerate(rows):
        table.add_row(*cells_of(row), end_section=place == len(rows) - 1)
    table.add_row(*total_of(story), style="bold")
    console.print(table)
    for line in notes_of(story):
        console.print(line, soft_wrap=True)
    for path in (story.files.picture, story.files.animation, story.files.page):
        console.print(f"wrote {path}", soft_wrap=True)


def notes_of(story: Story) -> tuple[str, ...]:
    """What the figures of the table are, and are not."""
    estimate = story.compiled.estimate
    label = "not known" if estimate is None else estimate.energy_label
    notes = [
        f"energy: dynamic, of one recording that is decided on, an estimate of {load_words(story)}; {label}",
        "compared: values of Lava and of the integer reference, none of which differed",
    ]
    if story.on_chip is None:
        notes.append(f"no class was learned on chip: {story.why_none}")
    else:
        notes.append(
            f"class {story.cast.new}: before and after {story.on_chip.examples} examples of it; its energy is that of "
            "deciding, learning comes on top"
        )
    return tuple(notes)


def load_words(story: Story) -> str:
    """What the estimate rests on."""
    estimate = story.compiled.estimate
    return "nothing" if estimate is None else f"the activity in {estimate.recordings} recordings"
