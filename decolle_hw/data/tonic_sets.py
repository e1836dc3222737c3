"""Tonic's own data sets (`dataset.name: tonic:NAME`), read by tonic's own classes.

`dataset.path` is the folder that tonic saves to; tonic downloads only what is not there. Its events have fields in an
order of their own and no y where the sensor is a cochlea; here they become x, y, t (microseconds), p. Data sets without
a test part are divided as folders are, class by class and by the names of the files (`splitting.split_by_name`). Of SSC
the validation part is not used.
"""

# E events, R recordings

from __future__ import annotations

import contextlib
import os
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tonic import datasets

from decolle_hw.data import formats
from decolle_hw.data.prepare import prepare
from decolle_hw.data.source import identity_of_events, identity_of_files
from decolle_hw.data.splitting import split_by_name
from decolle_hw.errors import DataError, SpecError
from decolle_hw.spec import DatasetSpec
from decolle_hw.spec_tonic import TONIC_DATASETS, tonic_name

WITHOUT_TEST_PART = ("ASLDVS", "CIFAR10DVS", "NCALTECH101")
# What tonic, h5py, SciPy and urllib raise for files that are missing or damaged; DVSLip ends the process.
UNUSABLE = (
    OSError, RuntimeError, ValueError, LookupError, TypeError, AssertionError, ImportError, EOFError, SystemExit,
    zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip
LIMITS = np.iinfo(np.int16)


@dataclass(frozen=True)
class OfTonic:
    """Recordings of one part of a data set; a `source.Source`."""

    name: str  # without the prefix
    path: str  # that tonic saves to
    part: str  # train or test; empty where there is only one
    names: tuple[str, ...]  # (R,) of files below tonic's folder, or numbers
    labels: NDArray[np.int64]  # (R,) index into classes
    classes: tuple[str, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """What messages call a recording."""
        return tuple(f"{self.name} {self.part} recording {name}".replace("  ", " ") for name in self.names)

    def take(self, which: NDArray[np.int64]) -> OfTonic:
        """Only the chosen recordings."""
        return replace(self, names=tuple(self.names[i] for i in which), labels=self.labels[which])

    def read(self, spec: DatasetSpec) -> Iterator[np.ndarray]:
        """Event arrays one by one; the data set is opened once in each process."""
        dataset = _opened(self.name, self.path, self.part)
        number = {name: index for index, name in enumerate(_names(dataset))}
        for name, place in zip(self.names, self.places, strict=True):
            events = _events(dataset, number[name], place)
            counts_from_first = spec.time_origin == "first_event" or (
                spec.time_origin == "auto" and TONIC_DATASETS[self.name].first_event
            )
            yield prepare(events, spec, place, name, int(events["t"].min()) if counts_from_first else 0)

    def identity(self, spec: DatasetSpec) -> list[Any]:
        """The files with sizes and times, which of the recordings, and what becomes of their events."""
        dataset = _opened(self.name, self.path, self.part)
        if _is_of_files(dataset):
            files = dict(zip(_names(dataset), dataset.data, strict=True))
            where = identity_of_files([Path(files[name]) for name in self.names])
        else:
            where = identity_of_files(_archives(dataset))
        return [self.name, self.part, where, list(self.names), identity_of_events(spec)]


def split_of(spec: DatasetSpec) -> tuple[OfTonic, OfTonic]:
    """Training and test recordings; tonic downloads what is not there.

    Raises `DataError` that names where the files belong, `SpecError` for a description without a path.
    """
    name = tonic_name(spec.name)
    assert name is not None, "only for data sets of tonic"
    if spec.path is None:
        raise SpecError(
            f"dataset.path: is missing, and dataset.name is '{spec.name}'; set it to the folder that tonic saves to, "
            f"for example data"
        )
    path = str(Path(spec.path).expanduser().absolute())
    if name not in WITHOUT_TEST_PART:
        train, test = (_part(name, path, part) for part in ("train", "test"))
        return train, replace(test, classes=train.classes)
    everything = _part(name, path, "")
    train_R, test_R = split_by_name(everything.labels, everything.names, spec.test_fraction)
    return everything.take(train_R), everything.take(test_R)


def _part(name: str, path: str, part: str) -> OfTonic:
    dataset = _opened(name, path, part)
    with _explained(name, path):
        names, targets, classes = _names(dataset), _targets(dataset), _classes(dataset)
        labels = np.array([_label(target, classes) for target in targets], np.int64)
    if not names:
        where = dataset.location_on_system
        raise DataError(f"{where}: tonic finds no {part} recordings of {name} there; {_remedy(name)}")
    found = OfTonic(name, path, part, names, labels, classes)
    if not _is_of_files(dataset):
        return found
    # Tonic takes files in the order of the file system.
    return found.take(np.array(sorted(range(len(names)), key=lambda index: (labels[index], names[index])), np.int64))


@lru_cache(maxsize=4)
def _opened(name: str, path: str, part: str) -> Any:
    """Tonic's data set; what tonic prints goes to standard error, for results go to standard output."""
    choice: dict[str, Any] = {} if name in WITHOUT_TEST_PART else {"train": part == "train"}
    if name == "SSC":
        choice = {"split": part}
    if name == "NTIDIGITS18":
        choice["single_digits"] = True  # the others are sequences of digits, not classes
    with _explained(name, path), contextlib.redirect_stdout(sys.stderr):
        return getattr(datasets, name)(path, **choice)


@contextlib.contextmanager
def _explained(name: str, path: str) -> Iterator[None]:
    """Whatever tonic raises becomes one line that says where the files belong."""
    try:
        yield
    except UNUSABLE as error:
        folder = Path(path) / ("smnist" if name == "SMNIST" else name)
        with contextlib.suppress(OSError):
            folder.rmdir()  # tonic leaves it, empty, where it could not download
        raise DataError(
            f"{folder}: {name} is not there or not whole, and tonic could not download it: {_reason(error)}; "
            f"{_remedy(name)}"
        ) from None


def _remedy(name: str) -> str:
    files = _file_names(getattr(datasets, name))
    needed = f"{', '.join(files)} and what is in them" if files else "its files"
    return f"put {needed} there by hand, or try again with a network"


def _file_names(of_tonic: type) -> list[str]:
    """The archives that tonic looks for."""
    keys = ("filename", "train_filename", "test_filename", "train_zip", "test_zip", "train_images_file",
            "train_labels_file", "test_images_file", "test_labels_file")  # fmt: skip
    return [getattr(of_tonic, key) for key in keys if isinstance(getattr(of_tonic, key, None), str)]


def _events(dataset: Any, index: int, place: str) -> np.ndarray:
    """Events of one recording as x, y, t, p, as they stand in the file."""
    try:
        if isinstance(dataset, datasets.CIFAR10DVS):
            return formats.read_events(Path(dataset.data[index])).events  # tonic's own reader needs another package
        found, _ = dataset[index]
        columns = {field: np.asarray(found[field]).reshape(-1) for field in found.dtype.names}
    except UNUSABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{place}: tonic cannot read it: {_reason(error)}; extract tonic's archive again") from None
    if not len(columns["t"]):
        raise DataError(f"{place}: holds no events; extract tonic's archive again, or remove the file")
    for field in ("x", "y"):
        column = columns.get(field, np.zeros(1))
        if column.min() < LIMITS.min or column.max() > LIMITS.max:
            raise DataError(f"{place}: {field} runs from {column.min()} to {column.max()}; extract the archive again")
    events = np.zeros(len(columns["t"]), formats.EVENTS)
    for field, column in columns.items():
        events[field] = column > 0 if field == "p" else column
    return events


def _is_of_files(dataset: Any) -> bool:
    """Whether each recording is a file whose path tonic knows."""
    data = dataset.data
    return isinstance(data, list) and len(data) > 0 and isinstance(data[0], (str, Path))


def _names(dataset: Any) -> tuple[str, ...]:
    """(R,) in tonic's order."""
    if _is_of_files(dataset):
        return tuple(Path(os.path.relpath(file, dataset.location_on_system)).as_posix() for file in dataset.data)
    if isinstance(dataset, datasets.NTIDIGITS18):
        return tuple(dataset._samples)
    return tuple(str(index) for index in range(len(dataset)))


def _targets(dataset: Any) -> Sequence[Any]:
    """(R,) as tonic has them, without reading recordings."""
    if isinstance(dataset, (datasets.SHD, datasets.SSC)):
        import h5py

        with h5py.File(_archives(dataset)[0], "r") as file:
            return list(file["labels"][()])
    if isinstance(dataset, datasets.NTIDIGITS18):
        return [dataset.class_map[sample.split("-")[-1]] for sample in dataset._samples]
    return list(dataset.label_data) if isinstance(dataset, datasets.SMNIST) else dataset.targets


def _classes(dataset: Any) -> tuple[str, ...]:
    """Names in the order of tonic's targets."""
    if isinstance(dataset, datasets.NCALTECH101):
        return tuple(sorted(set(dataset.targets)))
    names = dataset.class_map if isinstance(dataset, datasets.NTIDIGITS18) else dataset.classes
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _label(target: Any, classes: Sequence[str]) -> int:
    label = classes.index(target) if isinstance(target, str) else int(target)
    if not 0 <= label < len(classes):
        raise ValueError(f"label {label} is none of its {len(classes)} classes")
    return label


def _archives(dataset: Any) -> list[Path]:
    """The files that hold all recordings of a part."""
    where = Path(dataset.location_on_system)
    if isinstance(dataset, (datasets.SHD, datasets.SSC)):
        return [where / dataset.data_filename]
    if isinstance(dataset, datasets.SMNIST):
        return [where / dataset.images_file, where / dataset.labels_file]
    if isinstance(dataset, datasets.NTIDIGITS18):
        return [where / dataset.filename]
    return sorted(Path(where, dataset.folder_name).rglob("*.npy"))  # POKERDVS reads all of them at once


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it must be downloaded by hand"
    return " ".join(str(error).split())[:200] or type(error).__name__
