"""Folders of recordings: FOLDER/<class name>/<recording>, in any of the formats of `formats`, mixed as they come.

With `dataset.labels` the classes stand in a file instead (`labelled`). What is held out for testing: the subfolder
test, `dataset.test_path`, the recordings of `dataset.test_list`, or some of each class.
"""

# R recordings

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data import formats
from decolle_hw.data.labelled import read_rows
from decolle_hw.data.prepare import origin_us, prepare
from decolle_hw.data.source import cannot_be_read, identity_of_events, identity_of_files, nearest_beside
from decolle_hw.data.splitting import split_by_list, split_by_name
from decolle_hw.errors import DataError, SpecError, nearest
from decolle_hw.spec import DatasetSpec

BIN_HEIGHT, BIN_WIDTH = 240, 256  # one byte per coordinate in N-MNIST's .bin, and y = 240 marks a clock overflow
LAYOUT = "expected FOLDER/<class name>/<recording>"
NOT_A_RECORDING = "is not a recording of events"

AnyListing = TypeVar("AnyListing", bound="Listing")


@dataclass(frozen=True)
class Listing:
    """Which recordings there are; nothing is read yet. A `source.Source`."""

    files: tuple[Path, ...]  # (R,)
    labels: NDArray[np.int64]  # (R,) index into classes
    classes: tuple[str, ...]
    root: Path | None = None  # that names count from; None: the folder above each class folder
    strays: tuple[Path, ...] = ()  # found among the recordings, but none

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each recording, for example ``7/00002.bin``."""
        if self.root is not None:
            return tuple(file.relative_to(self.root).as_posix() for file in self.files)
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
        return (read_recording(file, spec, name) for file, name in zip(self.files, self.names, strict=True))

    def identity(self, spec: DatasetSpec) -> list[Any]:
        """Files with sizes and times, and what becomes of their events."""
        return [identity_of_files(self.files), identity_of_events(spec)]


def split_of(spec: DatasetSpec) -> tuple[Listing, Listing]:
    """Training and test recordings of a description, with the same classes.

    `path` with subfolders train and test: these two. Else, with `test_path`: path and test_path. Else those of
    `test_list`. Else `test_fraction` of each class of `path` is held out, chosen by the names of class and file alone:
    an added or removed recording moves at most one other between training and test (`splitting.split_by_name`). With
    `split_by: time` all recordings are in both, to be divided later.

    Raises `DataError` for a folder that cannot be used, `SpecError` for a description that names none.
    """
    if spec.path is None:
        raise SpecError("dataset.path: is missing, and dataset.name is 'folder'; give --data FOLDER or set the key")
    train, test = _split_of(spec, Path(spec.path).expanduser())
    _require_sensor_of_bin((*train.files, *test.files), spec)
    return train, test


def _split_of(spec: DatasetSpec, path: Path) -> tuple[Listing, Listing]:
    both = train_and_test(path)
    if both is not None:
        for key, remedy in (("test_path", f", or set dataset.path to {both[0]}"), ("test_list", "")):
            if getattr(spec, key) is not None:
                raise SpecError(
                    f"dataset.{key} {getattr(spec, key)}: {path} has a {both[1].name} folder of its own; leave "
                    f"{key} out{remedy}"
                )
    if spec.labels is not None:
        everything = labelled_folder(path, Path(spec.labels))
        if both is not None:
            in_test = np.array([both[1] in file.parents for file in everything.files])
            return everything.take(np.flatnonzero(~in_test)), everything.take(np.flatnonzero(in_test))
    else:
        if both is None and spec.test_path is not None:
            both = (path, Path(spec.test_path).expanduser())
        if both is not None:
            train = list_folder(both[0])
            return train, list_folder(both[1], train.classes, "the training recordings")
        everything = list_folder(path)
    if spec.split_by == "time":
        return everything, replace(everything, strays=())
    if spec.test_list is not None:
        train_R, test_R = split_by_list(everything.names, Path(spec.test_list))
    else:
        train_R, test_R = split_by_name(everything.labels, everything.names, spec.test_fraction)
    if not test_R.size:
        raise DataError(
            f"{path}: no class has more than one recording, so none can be held out for testing; add recordings, set "
            f"dataset.test_path, or cut them with dataset.time_window and set dataset.split_by to time"
        )
    return everything.take(train_R), replace(everything.take(test_R), strays=())


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
    folders = sorted(visible_in(path, "folder of recordings"), key=class_order)
    inside = folders and all(entry.is_dir() for entry in folders)
    found = [_recordings(folder) for folder in (folders if inside else [path])]
    files, strays = (tuple(file for pair in found for file in pair[side]) for side in (0, 1))
    return Listing(files, np.zeros(len(files), np.int64), ("unknown",), None, strays)


def labelled_folder(path: Path, file: Path) -> Listing:
    """Recordings of a folder whose classes a file lists, in the order of the file; names count from the folder."""
    here = [
        entry
        for entry in sorted(_below(path))
        if entry.suffix.lower() in formats.SUFFIXES and entry.resolve() != file.resolve()
    ]
    rows = read_rows(file, path, [entry.relative_to(path).as_posix() for entry in here])
    classes = tuple(sorted({row.label for row in rows}, key=name_order))
    labels = np.array([classes.index(row.label) for row in rows], np.int64)
    return Listing(tuple(path / row.recording for row in rows), labels, classes, path)


def list_folder(path: Path, classes: Sequence[str] | None = None, learned_by: str = "the network") -> Listing:
    """Recordings of FOLDER/<class name>/, by class and name; `DataError` for any other layout."""
    folders = sorted(visible_in(path, "folder of recordings"), key=class_order)
    if not folders:
        raise DataError(f"{path}: is empty; {LAYOUT}")
    for entry in folders:
        if not entry.is_dir():
            raise DataError(
                f"{entry}: is a file where a class folder should be; {LAYOUT}; move or hide it, or name the class of "
                f"each recording in a file (dataset.labels)"
            )
    known = tuple(folder.name for folder in folders) if classes is None else tuple(classes)
    files: list[Path] = []
    labels: list[int] = []
    strays: list[Path] = []
    for folder in folders:
        if folder.name not in known:
            raise DataError(
                f"{folder}: class {folder.name!r} is unknown to {learned_by}; remove or rename the folder; "
                f"{nearest(folder.name, known)}"
            )
        recordings, others = _recordings(folder)
        files += recordings
        strays += others
        labels += [known.index(folder.name)] * len(recordings)
    return Listing(tuple(files), np.array(labels, np.int64), known, None, tuple(strays))


def read_recording(file: Path, spec: DatasetSpec, name: str = "") -> np.ndarray:
    """Events (x, y, t, p) of one file, sorted by t; t in microseconds from the recording's origin (`prepare`).

    x and y count inputs, not pixels (see `sensor`). `DataError` for a file that is truncated, empty, unreadable, from
    a larger sensor than that of `spec`, or without an event in the part that is used.
    """
    recorded = formats.read_events(file)
    origin = origin_us(spec, recorded.format, int(recorded.events["t"][0]))
    return prepare(recorded.events, spec, file, name, origin)


def _recordings(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files that may be recordings, and others."""
    files = sorted(visible_in(folder, "class folder"))
    for file in files:
        if file.is_dir():
            raise DataError(f"{file}: is a folder inside of class {folder.name!r}; {LAYOUT}")
    recordings = [file for file in files if file.suffix.lower() in formats.SUFFIXES]
    strays = [file for file in files if file.suffix.lower() not in formats.SUFFIXES]
    if not recordings:
        found = f" (found: {strays[0].name})" if strays else ""
        raise DataError(
            f"{folder}: holds no recordings{found}; accepted are {', '.join(formats.SUFFIXES)}; add some or remove the "
            f"class folder"
        )
    return recordings, strays


def train_and_test(path: Path) -> tuple[Path, Path] | None:
    """The subfolders train and test if both are there; N-MNIST's own archives write Train and Test."""
    found = {entry.name.lower(): entry for entry in visible_in(path, "folder of recordings") if entry.is_dir()}
    if "train" in found and "test" in found:
        return found["train"], found["test"]
    return None


def visible_in(path: Path, role: str) -> list[Path]:
    """What lies in a folder, but for hidden files (.DS_Store and the like)."""
    try:
        found = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        if not os.access(path, os.X_OK):  # its names may be read, but nothing that lies in it
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return found
    except FileNotFoundError:
        raise DataError(
            f"{path}: does not exist; {nearest_beside(path)}give an existing {role} (run from {Path.cwd()})"
        ) from None
    except NotADirectoryError:
        raise DataError(f"{path}: is a file, not a {role}; {LAYOUT}") from None
    except OSError as error:
        raise cannot_be_read(path, error) from None


def _below(path: Path) -> Iterator[Path]:
    """Files of a folder and of all folders in it, but for hidden ones."""
    for entry in visible_in(path, "folder of recordings"):
        if entry.is_dir():
            yield from _below(entry)
        else:
            yield entry


def _require_sensor_of_bin(files: Sequence[Path], spec: DatasetSpec) -> None:
    height, width = spec.sensor
    if (height > BIN_HEIGHT or width > BIN_WIDTH) and all(file.suffix.lower() == ".bin" for file in files):
        raise SpecError(
            f"dataset.input_shape {spec.input_shape} with downsample {spec.downsample} means a sensor of "
            f"{height}x{width} pixels; recordings in .bin format have at most {BIN_HEIGHT} rows and {BIN_WIDTH} columns"
        )


def class_order(folder: Path) -> tuple[bool, int, str]:
    """Key by which class folders are sorted."""
    return name_order(folder.name)


def name_order(name: str) -> tuple[bool, int, str]:
    """Numbers first and by value (2 before 10), then names."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name
