"""One thing that was looked at: its state, what was found, and a command that mends it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "limited", "broken"]
Check = Callable[[], "Iterator[Finding]"]


@dataclass(frozen=True)
class Finding:
    """`limited`: everything else works without it; `broken`: a part of decolle-hw that this environment should have
    does not work."""

    name: str
    state: State
    found: str
    remedy: str | None = None  # a command, or words where no command does it

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def in_words(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def run_check(name: str, check: Check) -> list[Finding]:
    """What a check found; where the check itself fails, that is the finding: a doctor does not die of a patient."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        found.append(Finding(name, "broken", f"could not be examined: {in_words(error)}"))
    return found


def existing(folder: Path) -> Path:
    """The folder, or, where it is still to be made, the nearest one above it that is there."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())


def write_problem(folder: Path) -> str | None:
    """Why no file can be made there, in words; None: it can."""
    try:
        with tempfile.TemporaryFile(dir=existing(folder)):
            return None
    except OSError as error:
        return error.strerror or str(error)
