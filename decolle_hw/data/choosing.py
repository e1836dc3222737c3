"""Some classes of a data set as a data set of their own (`dataset.classes`): theirs are the labels 0, 1, ..."""

# R recordings

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.source import Source
from decolle_hw.errors import DataError, SpecError, nearest
from decolle_hw.spec import DatasetSpec


@dataclass(frozen=True)
class OfClasses:
    """Recordings of a source, counted in other classes; a `source.Source`."""

    source: Source  # holds no recording of another class
    labels: NDArray[np.int64]  # (R,) index into classes
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """As the source calls them."""
        return self.source.names

    @property
    def places(self) -> tuple[str, ...]:
        """As the source calls them."""
        return self.source.places

    @property
    def files(self) -> Any:
        """Those of the source, where its recordings are files."""
        return self.source.files  # type: ignore[attr-defined]

    @property
    def strays(self) -> Any:
        """As the source found them."""
        return self.source.strays  # type: ignore[attr-defined]

    def take(self, which: NDArray[np.int64]) -> OfClasses:
        """Only the chosen recordings."""
        return replace(self, source=self.source.take(which), labels=self.labels[which])

    def read(self, spec: DatasetSpec) -> Iterator[np.ndarray]:
        """Event arrays one by one."""
        return self.source.read(spec)

    def identity(self, spec: DatasetSpec) -> list[Any]:
        """The kind of the source tells files of one kind from those of another."""
        return [type(self.source).__name__, self.source.identity(spec)]


def of_classes(source: Source, classes: Sequence[str]) -> OfClasses:
    """The recordings of these classes, in the order of the source; a label counts in `classes`."""
    place = {name: index for index, name in enumerate(classes)}
    new_label = np.array([place.get(name, -1) for name in source.classes], np.int64)
    labels_R = new_label[source.labels]
    which = np.flatnonzero(labels_R >= 0)
    return OfClasses(source.take(which), labels_R[which], tuple(classes))


def in_their_order(names: Sequence[str], known: Sequence[str], where: str) -> tuple[str, ...]:
    """`names` in the order in which the data set has them.

    Args: known: all classes of the data set. where: what messages call the list, for example ``dataset.classes``.

    Raises `SpecError` with what is known and, for each name that is not, the one that looks most like it.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        found = ", ".join(map(repr, unknown))
        raise SpecError(f"{where}: the data set has no class {found}; {nearest(unknown[0], known)}")
    return tuple(name for name in known if name in names)


def require_some(source: Source, split: str, spec: DatasetSpec) -> None:
    """Raise `DataError` where no recording is of the classes that were chosen."""
    if not len(source.labels):
        raise DataError(
            f"{spec.path or 'the embedded digits'}: has no {split + ' ' if split else ''}recording of dataset.classes "
            f"{', '.join(source.classes)}; add some, or choose other classes"
        )
