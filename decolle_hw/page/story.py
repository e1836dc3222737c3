"""The page of `decolle-hw demo`: the table, the moving picture, and a section per step.

It is one file like that of a compiled network (`html`): pictures are drawn into it or stand in it as data.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from decolle_hw.atomic import new_file
from decolle_hw.page.content import Figure
from decolle_hw.page.html import rendered
from decolle_hw.page.svg import Picture
from decolle_hw.page.tables import Table


@dataclass(frozen=True)
class Act:
    """One step: what it is for, what came of it, how to do it again."""

    name: str  # of its section
    title: str
    why: str
    said: tuple[str, ...] = ()  # what came of it, a paragraph each
    pictures: tuple[Picture, ...] = ()
    table: Table | None = None
    command: str = ""
    command_note: str = ""


@dataclass(frozen=True, eq=False)
class StoryContent:
    """Plain values, whoever computed them."""

    name: str
    subtitle: str
    description: str
    verdict: str
    tiles: tuple[Figure, ...]
    table: Table
    notes: tuple[str, ...]
    acts: tuple[Act, ...]
    animation: bytes  # a GIF
    still: bytes  # its end, a PNG: for paper, and for those who want nothing to move
    described: str  # what it shows, for those who do not see it
    command: str
    made: tuple[Figure, ...]


def write_story_page(content: StoryContent, path: Path) -> None:
    """Write the page at `path`, all of it or nothing. Raises `UsageError` where that cannot be written."""
    with new_file(path) as partial:
        partial.write_text(story_html(content), encoding="utf-8")


def story_html(content: StoryContent) -> str:
    """The page as text."""
    pictures = {"animation": _data("image/gif", content.animation), "still": _data("image/png", content.still)}
    return rendered("story.html.j2", {"story": content, **pictures})


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
