"""Folders of recordings: FOLDER/<class name>/<recording>.bin in the format of N-MNIST.

Five bytes per event: x, y, polarity << 7 | t[22:16], t[15:8], t[7:0], t in microseconds; y = 240 marks an
overflow of the time stamp. Decoded by ``tonic.io.read_mnist_file``; this module adds the missing checks.
"""

# R recordings

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tonic.io import events_struct, read_mnist_file

from decolle_hw.data.sensor import to_inputs
from decolle_hw.data.source import cannot_be_read, identity_of_files
from decolle_hw.data.splitting import split_by_name
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec

EVENT_BYTES = 5
SUFFIX = ".bin"
LAYOUT = f"expected FOLDER/<class name>/<recording>{SUFFIX}"

AnyListing = TypeVar("AnyListing", bound="Listing")


@dataclass(frozen=True)
class Listing:
    """Which recordings there are; nothing is read yet. A `source.Source`."""

    files: tuple[Path, ...]  # (R,)
    labels: NDArray[np.int64]  # (R,) index into classes
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each recording, for example ``7/00002.bin``."""
        return tuple(f"{file.parent.name}/{file.name}" for file in self.files)

    @property
    def places(self) -> tuple[str, ...]:
        """What messages call a recording: the path of its file."""
        return tuple(str(file) for file in self.files)

    def take(self: AnyListing, which: NDArray[np.int64]) -> AnyListing:
        """Only the chosen recordings."""
        return replace(self, files=tuple(self.files[i] for i in which), labels=self.labels[which])

    def read(self, spec: DatasetSpec) -> Iterator[np.ndarray]:
        """Event arrays one by one, so that never all of them are in memory."""
        return (read_recording(file, spec) for file in self.files)

    def identity(self, spec: DatasetSpec) -> list[Any]:
        """Files with sizes and times, and what of the sensor is used."""
        return [identity_of_files(self.files), list(spec.sensor), list(spec.input_shape), spec.downsample]


def split_of(spec: DatasetSpec) -> tuple[Listing, Listing]:
    """Training and test recordings of a description, with the same classes.

    `path` with subfolders train and test: these two. Else, with `test_path`: path and test_path. Else
    `test_fraction` of each class of `path` is held out, chosen by the names of class and file alone: an added or
    removed recording moves at most one other between training and test (`splitting.split_by_name`).

    Raises `DataError` for a folder that cannot be used, `SpecError` for a description that names none.
    """
    if spec.path is None:
        raise SpecError("dataset.path: is missing, and dataset.name is 'folder'; give --data FOLDER or set the key")
    path = Path(spec.path).expanduser()
    both = train_and_test(path)
    if both is not None and spec.test_path is not None:
        raise SpecError(
            f"dataset.test_path {spec.test_path}: {path} has a {both[1].name} folder of its own; leave "
            f"test_path out, or set dataset.path to {both[0]}"
        )
    if both is None and spec.test_path is not None:
        both = (path, Path(spec.test_path).expanduser())
    if both is not None:
        train = list_folder(both[0])
        return train, list_folder(both[1], train.classes, "the training recordings")
    everything = list_folder(path)
    train_indices, test_indices = split_by_name(everything.labels, everything.names, spec.test_fraction)
    if not test_indices.size:
        raise DataError(
            f"{path}: no class has more than one recording, so none can be held out for testing; "
            f"add recordings or set dataset.test_path"
        )
    return everything.take(train_indices), everything.take(test_indices)


def whole_folder(path: str | Path, classes: Sequence[str] | None = None) -> Listing:
    """All recordings of one folder; of a folder with subfolders train and test, those of test.

    `classes` are those of a trained network: labels then count in its list, and a class it has not learned
    is a `DataError`.
    """
    path = Path(path).expanduser()
    both = train_and_test(path)
    return list_folder(path if both is None else both[1], classes)


def unsorted_folder(path: Path) -> Listing:
    """All recordings of FOLDER/, or else of its subfolders whatever their names, as one class; by name."""
    folders = sorted(_entries(path, "folder of recordings"), key=_class_order)
    if folders and all(entry.is_dir() for entry in folders):
        files = [file for folder in folders for file in _recordings(folder)]
    else:
        files = _recordings(path)
    return Listing(tuple(files), np.zeros(len(files), np.int64), ("unknown",))


def list_folder(path: Path, classes: Sequence[str] | None = None, learned_by: str = "the network") -> Listing:
    """Recordings of FOLDER/<class name>/, by class and name; `DataError` for any other layout."""
    folders = sorted(_entries(path, "folder of recordings"), key=_class_order)
    if not folders:
        raise DataError(f"{path}: is empty; {LAYOUT}")
    for entry in folders:
        if not entry.is_dir():
            raise DataError(f"{entry}: is a file where a class folder should be; {LAYOUT}; move or hide it")
    known = tuple(folder.name for folder in folders) if classes is None else tuple(classes)
    files: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        if folder.name not in known:
            raise DataError(
                f"{folder}: class {folder.name!r} is unknown to {learned_by} (known: {', '.join(known)}); "
                f"remove or rename the folder"
            )
        recordings = _recordings(folder)
        files += recordings
        labels += [known.index(folder.name)] * len(recordings)
    return Listing(tuple(files), np.array(labels, np.int64), known)


def read_recording(file: Path, spec: DatasetSpec) -> np.ndarray:
    """Events (x, y, t, p) of one file as tonic's structured array, sorted by t; t in microseconds.

    x and y count inputs, not pixels (see `sensor`). `DataError` for a file that is truncated, empty, unreadable, from
    a larger sensor than that of `spec`, or without an event in the part that is used.
    """
    try:
        size = file.stat().st_size
        if size % EVENT_BYTES:
            raise DataError(
                f"{file}: {size} bytes is not a multiple of the {EVENT_BYTES} bytes of an N-MNIST event, so "
                f"the file is truncated or has another format; copy it again or remove it"
            )
        events = read_mnist_file(str(file), events_struct)
    except OSError as error:
        raise cannot_be_read(file, error) from None
    if not len(events):
        raise DataError(f"{file}: holds no events ({size} bytes); record it again or remove it")
    events = to_inputs(events, spec, file)
    # Files are in order of arrival on the bus; steps are cut by searching for times, which needs them sorted.
    return events[np.argsort(events["t"], kind="stable")]


def _recordings(folder: Path) -> list[Path]:
    files = sorted(_entries(folder, "class folder"))
    for file in files:
        if file.is_dir():
            raise DataError(f"{file}: is a folder inside of class {folder.name!r}; {LAYOUT}")
        if file.suffix.lower() != SUFFIX:
            raise DataError(
                f"{file}: is not a {SUFFIX} recording; accepted are N-MNIST files ({SUFFIX}, {EVENT_BYTES} "
                f"bytes per event); move or hide it"
            )
    if not files:
        raise DataError(f"{folder}: holds no {SUFFIX} recordings; add some or remove the class folder")
    return files


def train_and_test(path: Path) -> tuple[Path, Path] | None:
    """The subfolders train and test if both are there; N-MNIST's own archives write Train and Test."""
    found = {entry.name.lower(): entry for entry in _entries(path, "folder of recordings") if entry.is_dir()}
    if "train" in found and "test" in found:
        return found["train"], found["test"]
    return None


def _entries(path: Path, role: str) -> list[Path]:
    """What lies in a folder, but for hidden files (.DS_Store and the like)."""
    try:
        return [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    except FileNotFoundError:
        raise DataError(f"{path}: does not exist; give an existing {role} (run from {Path.cwd()})") from None
    except NotADirectoryError:
        raise DataError(f"{path}: is a file, not a {role}; {LAYOUT}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; mend its permissions") from None


def _class_order(folder: Path) -> tuple[bool, int, str]:
    """Numbers first and by value (2 before 10), then names."""
    number = folder.name.isdecimal()
    return not number, int(folder.name) if number else 0, folder.name
