"""What the page of a story says, as plain values: a section per step, each with the command that repeats it."""

# R recordings, T steps, I inputs

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from decolle_hw import __version__
from decolle_hw.compiling.contents import page_content
from decolle_hw.fidelity.chain import FLOAT, LAVA, REFERENCE
from decolle_hw.page.charts import accuracy_chain, energy_bars
from decolle_hw.page.content import AccuracyStage, Figure, Raster
from decolle_hw.page.core_map import core_maps
from decolle_hw.page.lines import Line, line_chart
from decolle_hw.page.spikes import raster_picture
from decolle_hw.page.story import Act, StoryContent
from decolle_hw.page.svg import Picture
from decolle_hw.page.tables import Table, resource_table
from decolle_hw.page.words import percent, quantity
from decolle_hw.story.result import Story, energy_of
from decolle_hw.story.table import HEADINGS, cells_of, notes_of, total_of


def story_content(story: Story, spikes_TI: np.ndarray, drawn: int, animation: bytes, still: bytes) -> StoryContent:
    """Everything that came of it.

    Args: spikes_TI: input of one recording. drawn: which one of those that Lava ran.
    """
    rows = tuple(cells_of(row) for row in story.rows())
    program = story.compiled.program
    assert program is not None
    learned = story.on_chip is not None
    return StoryContent(
        name=program.name,
        subtitle="from learning to a new class on chip" if learned else "from learning to Lava",
        description=story.run.spec.description,
        verdict=(
            f"the integers are what Lava computes, {story.compared:,} values of spikes"
            f"{', registers, traces and weights' if learned else ' and registers'} compared, 0 mismatches"
            f"{', a new class learned on chip weight for weight' if learned else ''}"
        ),
        tiles=tuple(_tiles(story)),
        table=Table(HEADINGS, rows, total_of(story)),
        notes=notes_of(story),
        acts=tuple(_acts(story, spikes_TI, drawn)),
        animation=animation,
        still=still,
        described=(
            "Test recordings in Lava. Left: events, ON and OFF, the older the darker; middle: spikes of each layer up "
            "to the moment; right: what the readout has gathered for each class."
        ),
        command=story.commands["demo"],
        made=(
            Figure("training run", str(story.run.folder)),
            Figure("version", f"decolle-hw {__version__}, Python {sys.version.split()[0]}"),
            Figure("SHA-256 of the trained weights", program.checkpoint_sha256),
        ),
    )


def _tiles(story: Story) -> Iterator[Figure]:
    in_lava = story.in_lava
    count = len(in_lava.decisions)
    yield Figure("accuracy in Lava", percent(in_lava.hits / count), note=f"on {count} test recordings")
    fidelity = story.compiled.fidelity
    assert fidelity is not None
    yield Figure("as floats", percent(fidelity.float_accuracy), note=f"on {fidelity.recordings}")
    yield Figure("values compared", story.compared, note="0 differ")
    cores = len(story.compiled.mapped.placement.cores)
    yield Figure("cores", cores, note=story.compiled.mapped.placement.board or "")
    yield Figure("energy", quantity(energy_of(story.compiled), "pJ"), note="of a recording, estimated")
    if story.on_chip is not None:
        last = story.on_chip.exams[-1]
        hits, tests = story.on_chip.of_new(last)
        was = story.on_chip.of_new(story.on_chip.exams[0])[0]
        yield Figure(
            f"class {story.cast.new}", percent(hits / tests), note=f"{percent(was / tests)} before it was taught"
        )
    yield Figure("time", f"{sum(story.seconds.values()):.0f} s", note="all steps, on this machine")


def _acts(story: Story, spikes_TI: np.ndarray, drawn: int) -> Iterator[Act]:
    yield _learned(story)
    yield _compiled(story)
    yield _certified(story)
    yield _executed(story, spikes_TI, drawn)
    yield _new_class(story)


def _learned(story: Story) -> Act:
    run = story.run
    history = run.metrics["history"]
    lines = [
        Line(f"layer {index}", tuple((entry["epoch"], entry["test_accuracy"][index]) for entry in history))
        for index in range(len(history[0]["test_accuracy"]))
    ]
    curve = line_chart("learning", "Test accuracy of each layer's readout", lines, "epoch")
    kept = "" if story.cast.new is None else f" Class {story.cast.new} is kept from it, until it is on chip."
    return Act(
        "learn", "1  Learn",
        "DECOLLE: every layer learns from a readout of its own, with no gradient through time or layers." + kept,
        (
            f"{run.metrics['train_recordings']:,} recordings of classes {', '.join(run.classes)}; best of "
            f"{len(history)} epochs: {run.best['epoch']}, chosen on the {run.metrics['test_recordings']:,} test "
            "recordings.",
        ),
        _present(curve), None, story.commands["learn"],
    )  # fmt: skip


def _compiled(story: Story) -> Act:
    page = page_content(story.compiled)
    placed = page.placement
    assert story.compiled.fidelity is not None
    said = (
        f"The integers decide as the floats on {story.compiled.fidelity.same_decision} of "
        f"{story.compiled.fidelity.recordings} test recordings. The report of the compiler is "
        f"{story.compiled.path.with_suffix('.report.html').name}.",
    )
    pictures = (*core_maps(placed)[:1], *_present(energy_bars(page.costs) if page.costs else None))
    return Act(
        "compile", "2  Compile",
        "Weights, decays and thresholds become integers of the widths that Loihi 2 has; layers are cut into blocks "
        "that fit a core.",
        said, pictures, resource_table(placed), story.commands["compile"],
    )  # fmt: skip


def _certified(story: Story) -> Act:
    chain, program = story.verification.chain, story.verification.program
    assert chain.comparison is not None
    stages = [AccuracyStage(stage, chain.hits(stage), len(chain.labels)) for stage in chain.decisions]
    rows = []
    for index, (layer, figures) in enumerate(zip(program.layers, chain.layers, strict=True)):
        counts = chain.comparison.per_layer[index]
        kept = figures.agreement.get((FLOAT, REFERENCE))
        rows.append((
            f"layer {index} {layer.kind}", f"{layer.num_neurons:,}",
            "-" if kept is None else f"{100 * kept.agreement:.2f} %",
            f"{sum(compared for compared, _ in counts.values()):,}", f"{sum(wrong for _, wrong in counts.values()):,}",
        ))  # fmt: skip
    table = Table(
        ("layer", "neurons", "spikes as in floats", f"values compared with {LAVA}", "mismatches"), tuple(rows)
    )
    return Act(
        "certify", "3  Certify",
        "The same recordings at every stage: what does each step on the way to the chip cost? And does Lava, written "
        "by others, compute what the integer reference says, in every spike and register at every step?",
        (f"{chain.comparison.compared:,} values compared, {chain.comparison.mismatches:,} mismatches.",),
        _present(accuracy_chain(stages)), table, story.commands["certify"],
    )  # fmt: skip


def _executed(story: Story, spikes_TI: np.ndarray, drawn: int) -> Act:
    in_lava, program = story.in_lava, story.verification.program
    count, label = len(in_lava.decisions), int(in_lava.recordings.labels[drawn])
    rasters = [Raster("input", spikes_TI)]
    rasters += [
        Raster(f"layer {index}", layer.spikes[drawn])
        for index, layer in enumerate(in_lava.trace.layers)
        if not program.layers[index].is_pooling
    ]
    pictures = _present(*(raster_picture(raster, index) for index, raster in enumerate(rasters)))
    decided = program.classes[int(in_lava.decisions[drawn])]
    return Act(
        "run", "4  Run in Lava",
        "The compiled network decides on test recordings in Lava's simulator of the chip.",
        (
            f"{in_lava.hits} of {count} decided rightly; {in_lava.comparison.compared:,} spikes compared with the "
            f"reference, {in_lava.comparison.mismatches:,} mismatches.",
            f"Below, a recording of class {program.classes[label]}, in which it decides for {decided}.",
        ),
        pictures, None, story.commands["run"],
    )  # fmt: skip


def _new_class(story: Story) -> Act:
    name, title = "new-class", "5  Learn a new class on chip"
    if story.on_chip is None:
        return Act(name, title, f"Skipped: {story.why_none}")
    found, new = story.on_chip, story.cast.new
    rows, of_new, of_known = [], [], []
    for place, exam in enumerate(found.exams):
        (hits, tests), (known_hits, known_tests) = found.of_new(exam), found.of_known(exam)
        of_new.append((float(place), hits / tests))
        of_known.append((float(place), known_hits / known_tests))
        rows.append((exam.when, f"{exam.shown:,}", percent(hits / tests), percent(known_hits / known_tests)))
    (_, tests), (_, known_tests) = found.of_new(found.exams[0]), found.of_known(found.exams[0])
    table = Table(
        ("tested", "recordings shown", f"class {new} ({tests} tests)", f"known classes ({known_tests} tests)"),
        tuple(rows),
    )
    lines = [Line(f"class {new}", tuple(of_new)), Line("known classes", tuple(of_known))]
    curve = line_chart(
        "lessons", "Test accuracy while it learns", lines, "recordings shown since the new class came",
        f"grey: the {found.in_lava} recordings that Lava learned",
        ticks=[f"{exam.shown:,}" for exam in found.exams], shaded=(0.0, 1.0),
    )  # fmt: skip
    quantities = ", ".join(f"{count:,} {what}" for what, (count, _) in found.comparison.per_quantity.items())
    return Act(
        name, title,
        f"The features were trained without class {new}. An output layer on top of them learns it from "
        f"{found.examples} examples, by spikes, traces and one local rule; the host sends spikes and targets, and "
        "computes nothing.",
        (
            f"First the empty layer is taught the known classes, in the integer reference. Then it starts in Lava: "
            f"{found.in_lava} recordings, an example of class {new} and one of a known class in turn, "
            f"{found.seconds_in_lava:.0f} s. Compared with the reference: {quantities}; "
            f"{found.comparison.mismatches:,} mismatches. The reference goes on from there, as many examples of each "
            "known class shown between those of the new one.",
            f"{found.learned.name} holds what it has learned, and goes on learning with run --sim --learn.",
        ),
        _present(curve), table, story.commands["new class"],
        "The output layer, before it has learned anything (its lessons are those of the command below):",
    )  # fmt: skip


def _present(*pictures: Picture | None) -> tuple[Picture, ...]:
    return tuple(picture for picture in pictures if picture is not None)
