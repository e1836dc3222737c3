"""Which run is meant by what a user typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from decolle_hw.browsing.runs import FoundRun, Unusable, read_found
from decolle_hw.errors import UsageError, nearest

NAMED = 5  # in a message


def choose_run(text: str, root: Path, runs: Sequence[FoundRun], unusable: Sequence[Unusable]) -> FoundRun:
    """A path, the name of its folder, MODEL/<name>, or `last`, `last-1`, ... counted back from the newest.

    Args:
        runs: of `root`, the newest first.

    Raises `UsageError` that names the nearest.
    """
    back = re.fullmatch(r"last(?:-(\d{1,6}))?", text)
    if back:
        number = int(back[1] or 0)
        if number >= len(runs):
            raise UsageError(f"{text}: {root} holds {_counted(len(runs))}; {_hint(runs)}")
        return runs[number]
    named = [run for run in runs if text in (run.folder.name, run.name)]
    if len(named) > 1:
        raise UsageError(f"{text}: is the name of several runs: {', '.join(run.name for run in named)}; give one")
    if named:
        return named[0]
    for one in unusable:
        if text in (one.path.name, str(one.path), f"{one.path.parent.name}/{one.path.name}"):
            raise UsageError(f"{one.path}: {one.reason}")
    path = Path(text)
    if path.is_dir():
        return read_found(path)
    if path.exists():
        raise UsageError(f"{text}: is a file, not a training run; {_hint(runs)}")
    known = {"last", *(run.name for run in runs), *(run.folder.name for run in runs)}
    close = nearest(text, known).partition("?")
    suggestion = f"{close[0]}?" if close[1] else _hint(runs)
    raise UsageError(f"no run {text!r} below {root}; {suggestion}")


def _counted(count: int) -> str:
    return "one run" if count == 1 else f"{count} runs"


def _hint(runs: Sequence[FoundRun]) -> str:
    names = ", ".join(run.name for run in runs[:NAMED])
    return f"the newest are {names}" if names else "`decolle-hw train` makes one"
