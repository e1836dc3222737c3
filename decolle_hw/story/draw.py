"""The pictures of a story, one that stands still and one that moves, and the page that holds all of it."""

# R recordings, T steps, I inputs

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from decolle_hw.fidelity.summary import to_batch_first
from decolle_hw.figures import draw_decision
from decolle_hw.page.story import write_story_page
from decolle_hw.progress import counting, working
from decolle_hw.story.animation import Scene, animate
from decolle_hw.story.contents import story_content
from decolle_hw.story.result import Story

SCENES = 3  # recordings in the moving picture, each of another class


@dataclass(frozen=True, eq=False)
class Drawn:
    """What the page needs of the pictures."""

    recording: int  # the first that was drawn, of those in Lava
    spikes_TI: NDArray[np.uint8]  # its input
    still: bytes  # end of the moving picture, a PNG


def draw_pictures(story: Story, console: Console) -> Drawn:
    """Write `files.picture` and `files.animation`."""
    in_lava, program = story.in_lava, story.compiled.program
    assert program is not None
    chosen = chosen_recordings(in_lava.recordings.labels, in_lava.decisions)
    spikes_RTI = to_batch_first(in_lava.recordings.dense(chosen))
    labels = in_lava.recordings.labels[chosen]
    first = int(chosen[0])
    with working(console, "drawing a recording"):
        draw_decision(
            program, spikes_RTI[0], in_lava.trace.take(first, first + 1), int(labels[0]), story.run.metrics["history"],
            story.files.picture,
        )  # fmt: skip
    scenes = [
        Scene(spikes_TI, in_lava.trace.take(int(index), int(index) + 1), int(label))
        for spikes_TI, index, label in zip(spikes_RTI, chosen, labels, strict=True)
    ]
    with counting(console, "drawing the moving picture") as progress:
        still = animate(program, scenes, story.files.animation, progress)
    return Drawn(first, spikes_RTI[0], still)


def write_page(story: Story, drawn: Drawn) -> None:
    """Write `files.page`."""
    animation = story.files.animation.read_bytes()
    write_story_page(story_content(story, drawn.spikes_TI, drawn.recording, animation, drawn.still), story.files.page)


def chosen_recordings(labels_R: NDArray[np.int64], decisions_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """Up to three, each the first of its class that is decided rightly: typical ones, as most are.

    Where none is right, the first of all.
    """
    right = np.flatnonzero(labels_R == decisions_R)
    _, first_of_class = np.unique(labels_R[right], return_index=True)
    found = right[np.sort(first_of_class)]
    # From the beginning, the middle and the end: classes that lie side by side often look alike.
    places = np.unique(np.linspace(0, len(found) - 1, SCENES).round().astype(int)) if len(found) else []
    chosen: NDArray[np.int64] = found[places] if len(found) else np.zeros(1, np.int64)
    return chosen
