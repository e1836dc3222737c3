"""The doors of the package: a description in, binned recordings out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from decolle_hw.data import digits, folder
from decolle_hw.data.binning import BinnedRecordings, Progress, bin_recordings
from decolle_hw.errors import DataError
from decolle_hw.spec import DatasetSpec

Split = Literal["train", "test"]

NAMED_CLASSES = 5  # in a message


def load_split(
    spec: DatasetSpec, split: Split, progress: Progress | None = None, classes: Sequence[str] | None = None
) -> BinnedRecordings:
    """Binned recordings of one split, the first ``chunk_size_<split>`` steps of each: later events are cropped.

    Args:
        progress: called with (done, total).
        classes: those that a trained network knows, in the order of its labels. The data must have the same ones;
            only the test recordings may lack some.

    Raises `DataError` or `SpecError`, see `folder`, `digits` and `binning`.
    """
    steps = spec.chunk_size_train if split == "train" else spec.chunk_size_test
    if spec.name == "digits":
        _require_same_classes("the embedded digits", digits.CLASSES, classes)
        chosen = digits.split_indices(spec, split)
        labels = digits.images()[1][chosen]
        recordings, names = digits.record(spec, chosen), digits.names(chosen)
        return bin_recordings(recordings, labels, names, digits.CLASSES, spec, steps, progress)
    listing = _listing(spec, split)
    _require_same_classes(str(spec.path), listing.classes, classes)
    return _bin_listing(listing, spec, steps, progress)


def load_folder(
    path: str | Path,
    spec: DatasetSpec,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> BinnedRecordings:
    """All recordings of a folder, the first chunk_size_test steps of each.

    Of a folder with subfolders train and test, those of test.
    `spec` gives input_shape, deltat and steps only; `classes` are those that a trained network knows.
    """
    return _bin_listing(folder.whole_folder(path, classes), spec, spec.chunk_size_test, progress)


def dataset_classes(spec: DatasetSpec) -> tuple[str, ...]:
    """Names of the classes, in the order of the labels."""
    return digits.CLASSES if spec.name == "digits" else folder.split_of(spec)[0].classes


def recording_events(spec: DatasetSpec, split: Split, index: int) -> np.ndarray:
    """Raw events (x, y, t, p) of recording `index` of a split, sorted by t; for pictures.

    Raises `IndexError` where the split has no such recording.
    """
    if spec.name == "digits":
        return next(digits.record(spec, digits.split_indices(spec, split)[[index]]))
    return folder.read_recording(_listing(spec, split).files[index], spec.input_shape)


def _listing(spec: DatasetSpec, split: Split) -> folder.Listing:
    train, test = folder.split_of(spec)
    return train if split == "train" else test


def _bin_listing(listing: folder.Listing, spec: DatasetSpec, steps: int, progress: Progress | None) -> BinnedRecordings:
    recordings, places = listing.read(spec.input_shape), [str(file) for file in listing.files]
    return bin_recordings(recordings, listing.labels, listing.names, listing.classes, spec, steps, progress, places)


def _require_same_classes(where: str, found: Sequence[str], known: Sequence[str] | None) -> None:
    if known is None or tuple(found) == tuple(known):
        return
    differences = []
    for what, names in (
        ("missing", [name for name in known if name not in found]),
        ("new", [name for name in found if name not in known]),
    ):
        if names:
            more = f" and {len(names) - NAMED_CLASSES} more" if len(names) > NAMED_CLASSES else ""
            differences.append(f"{what}: {', '.join(names[:NAMED_CLASSES])}{more}")
    raise DataError(
        f"{where}: its classes are not those that the network was trained on "
        f"({'; '.join(differences) or 'they stand in another order'}); train again, or give the folder it was "
        f"trained on"
    )
