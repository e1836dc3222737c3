"""The classes of recordings in a file: CSV with the columns recording and class, one row for each recording.

Empty lines and lines that begin with # do not count, but for the first line, which names the columns.
"""

from __future__ import annotations

import csv
import difflib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from decolle_hw.data.source import cannot_be_read
from decolle_hw.errors import DataError

RECORDING, CLASS = "recording", "class"
NEEDED = f"needed is a first line '{RECORDING},{CLASS}' and then a row for each recording, separated by commas"
NAMED = 3  # in a message
USUAL = 3  # recordings of a class that is certainly meant
ALIKE = 0.7  # of 1 (`difflib`): how much a slip is like what was meant


class SuspectLabelWarning(UserWarning):
    """A label is perhaps misspelt; it is taken as it is."""


class Row(NamedTuple):
    """One recording."""

    recording: str  # path below the folder, with slashes
    label: str


def read_rows(file: Path, folder: Path, found: Sequence[str]) -> list[Row]:
    """All rows of a file, in its order.

    Args: found: paths below `folder` of the recordings that lie there; each must have exactly one row.

    Raises `DataError` that names the line for a file that cannot be used, with the nearest known name for one that is
    not found.
    """
    lines: dict[str, int] = {}
    rows = []
    known = set(found)
    for number, row in _lines(file):
        if row.recording not in known:
            raise DataError(
                f"{file}: line {number}: {folder} has no recording {row.recording!r}; "
                f"{nearest_recording(row.recording, found)}"
            )
        if row.recording in lines:
            raise DataError(
                f"{file}: line {number}: recording {row.recording!r} stands in line {lines[row.recording]} already; "
                f"give it once"
            )
        if not row.label:
            raise DataError(f"{file}: line {number}: recording {row.recording!r} has no class; {NEEDED}")
        lines[row.recording] = number
        rows.append(row)
    missing = [name for name in found if name not in lines]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise DataError(
            f"{file}: has no row for {', '.join(missing[:NAMED])}{more} of {folder}; add the rows, or move the "
            f"recordings away"
        )
    _require_distinct(file, sorted({row.label for row in rows}))
    _warn_of_slips(file, rows, lines)
    return rows


def _lines(file: Path) -> list[tuple[int, Row]]:
    """Rows with the numbers of their lines."""
    try:
        # Names of files need not be UTF-8; Python then carries their bytes as surrogates, here and in the listing.
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            # Lines of comment stay lines, so that messages count right.
            uncommented = ("\n" if line.lstrip().startswith("#") else line for line in stream)
            reader = csv.reader(uncommented, skipinitialspace=True)
            header = [name.strip() for name in next(reader, [])]
            recording, label = (_column(file, header, name) for name in (RECORDING, CLASS))
            lines = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise DataError(
                        f"{file}: line {reader.line_num}: has {len(cells)} columns instead of {len(header)}; {NEEDED}"
                    )
                name = cells[recording].strip().replace("\\", "/").removeprefix("./")
                lines.append((reader.line_num, Row(name, cells[label].strip())))
    except OSError as error:
        raise cannot_be_read(file, error) from None
    except csv.Error as error:
        raise DataError(f"{file}: is not CSV: {error}; {NEEDED}") from None
    if not lines:
        raise DataError(f"{file}: names no recordings; {NEEDED}")
    return lines


def _column(file: Path, header: Sequence[str], name: str) -> int:
    if name in header:
        return header.index(name)
    found = ", ".join(header) or "nothing"
    raise DataError(f"{file}: line 1: has no column {name!r} (found: {found[:80]}); {NEEDED}")


def _require_distinct(file: Path, labels: Sequence[str]) -> None:
    """A class that differs from another only in case is a slip."""
    seen: dict[str, str] = {}
    for label in labels:
        other = seen.setdefault(label.casefold(), label)
        if other != label:
            raise DataError(f"{file}: classes {other!r} and {label!r} differ only in case; write both alike")


def _warn_of_slips(file: Path, rows: Sequence[Row], lines: Mapping[str, int]) -> None:
    """A class that a single recording has, and is written nearly as one that many have, may be a slip."""
    counts = Counter(row.label for row in rows)
    usual = {label.casefold(): label for label, count in counts.items() if count >= USUAL}
    for row in rows:
        # Numbered classes are alike on purpose.
        if counts[row.label] > 1 or any(letter.isdecimal() for letter in row.label):
            continue
        for close in difflib.get_close_matches(row.label.casefold(), usual, n=1, cutoff=ALIKE):
            meant = usual[close]
            warnings.warn(
                f"{file}: line {lines[row.recording]}: class {row.label!r} has a single recording, {meant!r} has "
                f"{counts[meant]}; if it is a slip, write {meant!r}",
                SuspectLabelWarning,
                stacklevel=2,
            )


def nearest_recording(name: str, found: Sequence[str]) -> str:
    """A remedy for a misspelt recording. Not `errors.nearest`: a folder may have many thousands, too many to list."""
    close = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"it has, for example, {', '.join(found[:NAMED])}" if found else "it has none at all"
