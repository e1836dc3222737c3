"""The console that commands print on: what stands there goes into the log as well, and progress can be left out."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.control import Control

WIDTH = 140  # a pipe and a log file have no width: tables keep their columns there
PRINTED = logging.getLogger("decolle_hw.printed")  # what the user has seen already
STAGES = logging.getLogger("decolle_hw.stages")


class Output(Console):
    """Plain text as it is: names and paths are never taken for markup.

    Args:
        shows_progress: False: what only says that work goes on is written to the log alone.
    """

    def __init__(self, *, shows_progress: bool = True, **wishes: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **wishes)
        if not self.is_terminal:
            self.width = WIDTH
        self.shows_progress = shows_progress

    def print(self, *objects: Any, **wishes: Any) -> None:
        super().print(*objects, **wishes)
        if not any(isinstance(thing, Control) for thing in objects):  # how rich moves its bars
            self._log(objects, wishes)

    def on_broken_pipe(self) -> None:
        """The reader left: the entry point knows what that means; rich would end the process here."""
        raise

    def progress_line(self, text: str) -> None:
        """A line that only says that work goes on."""
        if self.shows_progress:
            self.print(text, soft_wrap=True)
        else:
            self._log((text,), {"soft_wrap": True})

    def _log(self, objects: tuple[Any, ...], wishes: dict[str, Any]) -> None:
        if not PRINTED.isEnabledFor(logging.INFO):
            return
        plain = Console(file=io.StringIO(), width=WIDTH, markup=False, highlight=False, emoji=False, color_system=None)
        with plain.capture() as capture:
            plain.print(*objects, **wishes)
        for line in capture.get().splitlines():
            if line.strip():
                PRINTED.info("%s", line.rstrip())


def shows_bars(console: Console) -> bool:
    """Whether something may move there."""
    return console.is_terminal and (not isinstance(console, Output) or console.shows_progress)


def say_progress(console: Console, text: str) -> None:
    """A line that only says that work goes on; `--quiet` leaves it out."""
    if isinstance(console, Output):
        console.progress_line(text)
    else:
        console.print(text, soft_wrap=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """How long a stage took, for `--verbose` and the log."""
    began = time.perf_counter()
    try:
        yield
    finally:
        STAGES.info("%s: %.2f s", what, time.perf_counter() - began)
