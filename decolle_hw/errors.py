"""Errors that a user can mend: one line that names file, field, value, limit and remedy.

`UsageError` ends a command with exit code 2 (what was asked for cannot be done as given), `CheckError` with
exit code 1 (a check was run and did not hold). Anything else that escapes is a defect of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class DecolleHwError(Exception):
    """Base of every error that is meant to be read by a user."""

    exit_code = 1


class UsageError(DecolleHwError):
    """Bad input: a file, a field or an option. Exit code 2."""

    exit_code = 2


class DataError(UsageError):
    """A recording or a folder of recordings that cannot be used."""


class SpecError(UsageError):
    """A YAML description with an unknown key, a wrong type or an impossible value."""


class ArtifactError(UsageError):
    """A file that is not a decolle-hw artifact, or is damaged, or is newer than this version can read."""


class CompileError(UsageError):
    """A network that the target cannot represent."""


class CheckError(DecolleHwError):
    """A verification ran to its end and found a difference. Exit code 1."""


def listed(heading: str, problems: Sequence[object]) -> str:
    """`heading: problem`; of several, each stands on a line of its own."""
    if len(problems) == 1:
        return f"{heading}: {problems[0]}"
    return "".join([f"{heading}:", *(f"\n  {problem}" for problem in problems)])


def nearest(wrong: str, known: Iterable[str]) -> str:
    """A remedy for a misspelt name: `did you mean 'digits'? Known: digits, digits-cuba`."""
    import difflib  # here, as --help needs this module and never a remedy

    known = sorted(known)
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known)}"
