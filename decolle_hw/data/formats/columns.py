"""Events from columns x, y, t, p under their usual names: what arrays, HDF5 files and lines of text have in common.

Whole-number times are microseconds. Fractions are refused, for seconds and milliseconds look alike.
"""

# E events

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.formats.events import EVENTS, LARGEST_COORDINATE
from decolle_hw.errors import DataError

NAMES = {
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "t": ("t", "ts", "timestamp", "timestamps", "time", "times"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
REMEDY = "save a structured array with the fields x, y, t (integer microseconds) and p (0 or 1)"


def find_columns(names: Iterable[str], place: str) -> dict[str, str]:
    """Which field is x, y, t and p. y and p may be missing: sensors of one row, sensors of one polarity."""
    names = list(names)
    found: dict[str, str] = {}
    for column, usual in NAMES.items():
        matching = [name for name in names if name.lower() in usual]
        if len(matching) > 1:
            raise DataError(f"{place}: both {matching[0]!r} and {matching[1]!r} may be {column}; {REMEDY}")
        if matching:
            found[column] = matching[0]
    missing = [column for column in ("x", "t") if column not in found]
    if missing:
        raise DataError(
            f"{place}: has the fields {', '.join(names) or 'none'}, among them no "
            f"{' and no '.join(' or '.join(NAMES[column]) for column in missing)}; {REMEDY}"
        )
    return found


def missing_notes(found: Mapping[str, str]) -> tuple[str, ...]:
    """What is assumed about columns that are not there."""
    assumed = {"y": "no y: all events are in row 0", "p": "no polarity: all events are ON"}
    return tuple(text for column, text in assumed.items() if column not in found)


def make_events(columns: Mapping[str, NDArray[Any]], first: int, place: str) -> np.ndarray:
    """Events of columns of equal length. Raises `DataError` that names the first event that cannot be one.

    Args:
        columns: x and t, perhaps y and p; each (E,).
        first: number of the first event in the recording, for messages.
    """
    events_E = np.zeros(len(columns["t"]), EVENTS)
    for column in ("x", "y"):
        if column in columns:
            events_E[column] = _coordinates(columns[column], column, first, place)
    events_E["t"] = _microseconds(columns["t"], first, place)
    events_E["p"] = _polarities(columns["p"], first, place) if "p" in columns else True
    return events_E


def _coordinates(values_E: NDArray[Any], column: str, first: int, place: str) -> NDArray[Any]:
    _require_numbers(values_E, column, place)
    good_E = (values_E >= 0) & (values_E <= LARGEST_COORDINATE)
    if values_E.dtype.kind == "f":
        good_E &= values_E == np.trunc(values_E)
    if not good_E.all():
        at = int(np.argmin(good_E))
        raise DataError(
            f"{place}: event {first + at} has {column} = {values_E[at]}, which is no pixel (0..{LARGEST_COORDINATE}); "
            f"mend or remove the recording"
        )
    return values_E


def _microseconds(values_E: NDArray[Any], first: int, place: str) -> NDArray[np.int64]:
    _require_numbers(values_E, "t", place)
    limits = np.iinfo(np.int64)
    if values_E.dtype.kind == "f":
        # Compared below 2^63, which is a float and not an int64.
        good_E = np.isfinite(values_E) & (np.abs(values_E) < 2.0**63)
    elif values_E.dtype == np.uint64:
        good_E = values_E <= np.uint64(limits.max)
    else:
        return values_E.astype(np.int64)
    if not good_E.all():
        at = int(np.argmin(good_E))
        raise DataError(
            f"{place}: event {first + at} has the time {values_E[at]}, which is no number of microseconds that int64 "
            f"can hold; mend or remove the recording"
        )
    if values_E.dtype.kind == "f" and (fraction_E := values_E != np.trunc(values_E)).any():
        at = int(np.argmax(fraction_E))
        raise DataError(
            f"{place}: event {first + at} has the time {values_E[at]}, and fractions may be seconds or milliseconds; "
            f"save integer microseconds, for example (1e6 * seconds).round().astype('int64')"
        )
    return values_E.astype(np.int64)


def _polarities(values_E: NDArray[Any], first: int, place: str) -> NDArray[np.bool_]:
    """0 and 1, or -1 and 1."""
    _require_numbers(values_E, "p", place)
    is_on_E = np.asarray(values_E == 1)
    for off in (0, -1):
        if (is_on_E | (values_E == off)).all():
            return is_on_E
    known_E = is_on_E | (values_E == 0) | (values_E == -1)
    at = int(np.argmin(known_E))
    found = "both 0 and -1" if known_E.all() else f"{values_E[at]} at event {first + at}"
    raise DataError(
        f"{place}: its polarities hold {found}; they must be 0 and 1, or -1 and 1; save them so, for example p > 0"
    )


def _require_numbers(values_E: NDArray[Any], column: str, place: str) -> None:
    if values_E.dtype.kind not in "iufb":
        raise DataError(f"{place}: its {column} are of type {values_E.dtype}, not numbers; {REMEDY}")
