"""What every kind of data set gives: a list of recordings, each of which can be read when it is needed."""

# R recordings

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec

AnySource = TypeVar("AnySource", bound="Source")


class Source(Protocol):
    """Recordings that are listed but not yet read. Travels to other processes, so it holds names rather than data."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(R,) index into classes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def names(self) -> tuple[str, ...]:
        """(R,) for reports, for example ``digits/123`` or ``7/00002.bin``."""

    @property
    def places(self) -> tuple[str, ...]:
        """(R,) what messages call a recording."""

    def take(self: AnySource, which: NDArray[np.int64]) -> AnySource:
        """Only the chosen recordings, in the order given."""

    def read(self, spec: DatasetSpec) -> Iterator[np.ndarray]:
        """Events (x, y, t, p) of one recording after the other, in coordinates of input_shape, sorted by t (us)."""

    def identity(self, spec: DatasetSpec) -> Any:
        """Lists, texts and numbers that change whenever the events may have changed; nothing is read for it."""


def may_be_empty(source: Source) -> bool:
    """Whether some of its recordings may hold no event, which are then left out (`windows`)."""
    return getattr(source, "may_be_empty", False)


def limited(source: AnySource, limit: int | None) -> AnySource:
    """At most `limit` recordings, evenly spread over the list (which is in the order of classes, or mixed)."""
    which = evenly_spread(len(source.labels), limit)
    return source if which is None else source.take(which)


def evenly_spread(count: int, limit: int | None) -> NDArray[np.int64] | None:
    """Which of `count` recordings are taken where at most `limit` are wanted; None: all of them."""
    if limit is None or limit >= count:
        return None
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


def identity_of_files(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Path, size and time of the last change (ns) of each file. Raises `DataError` where there is none."""
    found = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise cannot_be_read(file, error) from None
        found.append((str(file.absolute()), status.st_size, status.st_mtime_ns))
    return found


def cannot_be_read(file: Path, error: OSError) -> DataError:
    """One message for every file that the operating system refuses."""
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError) and not file.is_symlink():
        remedy = f"{nearest_beside(file)}check its name (run from {Path.cwd()})"
    else:
        remedy = "mend its permissions or remove it"
    return DataError(f"{file}: cannot be read: {reason}; {remedy}")


def nearest_beside(file: Path) -> str:
    """What lies in the same folder and is called nearly so."""
    try:
        close = difflib.get_close_matches(file.name, os.listdir(file.parent), n=1, cutoff=0.7)
    except OSError:
        return ""
    return f"did you mean {str(file.with_name(close[0]))!r}? " if close else ""


def identity_of_events(spec: DatasetSpec) -> list[Any]:
    """All of a description that decides what becomes of the events of a given recording."""
    of_sensor = [list(spec.sensor), list(spec.block), list(spec.input_shape)]
    of_time = [spec.time_origin, spec.time_window, spec.overlap]
    return [of_sensor, of_time, spec.denoise, spec.transforms, spec.transform_seed if spec.transforms else None]
