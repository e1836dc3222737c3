"""Which files can be used: what `survey` found to be damaged is left out, or with `dataset.strict` is an error.

So labels and names are settled before anything is learned, also where recordings are read batch by batch.
"""

# R recordings

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.folder import NOT_A_RECORDING
from decolle_hw.data.recordings import Skipped
from decolle_hw.data.source import Source
from decolle_hw.data.survey import Progress, Surveyed, survey_files
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec

LOGGER = logging.getLogger(__name__)
NAMED = 5  # in a warning


class SkippedWarning(UserWarning):
    """Recordings were left out; those that are left will do."""


class FileSource(Source, Protocol):
    """Recordings of which each is a file."""

    @property
    def files(self) -> tuple[Path, ...]:
        """(R,)"""

    @property
    def strays(self) -> tuple[Path, ...]:
        """Files among the recordings that are none."""


AnyFileSource = TypeVar("AnyFileSource", bound=FileSource)


class Usable(NamedTuple):
    """Recordings without those that cannot be used."""

    source: FileSource
    surveyed: tuple[Surveyed, ...]  # (R,); empty where no survey was needed
    skipped: tuple[Skipped, ...]


def usable(
    source: FileSource,
    spec: DatasetSpec,
    *,
    needs_every_class: bool,
    all_were_read: bool = False,
    progress: Progress | None = None,
) -> Usable:
    """The recordings of a source that can be read, with what is known of each.

    Args:
        needs_every_class: an error where a class has recordings, but none that can be used.
        all_were_read: before, and have not changed since, so that there is nothing to be found out.
        progress: called with (done, total) while they are surveyed.

    Raises `DataError` with `strict` for the first that cannot be used, else where none is left.
    """
    if spec.strict and source.strays:
        raise DataError(f"{source.strays[0]}: {NOT_A_RECORDING}; move or hide it, or set dataset.strict to false")
    strays = [Skipped(f"{file.parent.name}/{file.name}", f"{file}: {NOT_A_RECORDING}") for file in source.strays]
    if all_were_read or (spec.strict and spec.time_window is None):
        return Usable(source, (), tuple(strays))  # with `strict` reading will tell
    surveyed = tuple(survey_files(source.files, spec.workers, progress, keep=spec.cache))
    bad = np.array([each.error is not None for each in surveyed], bool)
    if spec.strict and bad.any():
        raise DataError(_reason(surveyed[int(np.argmax(bad))]))
    _require_some(source, surveyed, bad, needs_every_class)
    kept = np.flatnonzero(~bad)
    names = source.names
    skipped = [Skipped(names[r], _reason(surveyed[r])) for r in np.flatnonzero(bad)] + strays
    return Usable(source.take(kept) if bad.any() else source, tuple(surveyed[r] for r in kept), tuple(skipped))


def warn_of_skipped(skipped: Sequence[Skipped], of: int, what: str) -> None:
    """One warning for all of them. Args: of: how many there were. what: they are, for example ``test windows``."""
    if not skipped:
        return
    for one in skipped:
        LOGGER.info("left out: %s", one.reason)
    lines = [f"{len(skipped)} of {of} {what} left out:"]
    lines += [f"  {one.reason}" for one in skipped[:NAMED]]
    if len(skipped) > NAMED:
        lines.append(f"  and {len(skipped) - NAMED} more, all of them in a --log-file")
    warnings.warn("\n".join(lines), SkippedWarning, stacklevel=4)


def _reason(surveyed: Surveyed) -> str:
    reason = surveyed.error or ""
    return reason if reason.startswith(str(surveyed.file)) else f"{surveyed.file}: {reason}"


def _require_some(
    source: FileSource, surveyed: Sequence[Surveyed], bad: NDArray[np.bool_], needs_every_class: bool
) -> None:
    if bad.all():
        groups = [(np.flatnonzero(bad), "it")]
    elif needs_every_class:
        groups = [(np.flatnonzero(source.labels == k), f"class {name!r}") for k, name in enumerate(source.classes)]
    else:
        return
    for members, what in groups:
        if len(members) and bad[members].all():
            raise DataError(
                f"{surveyed[members[0]].file.parent}: none of the {len(members)} recordings of {what} can be used; the "
                f"first: {_reason(surveyed[members[0]])}"
            )
