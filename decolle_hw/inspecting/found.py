"""Which recordings lie at a path, and how they are sorted; nothing is read yet.

Lenient where training is strict: what is in the way is listed rather than refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decolle_hw.data.folder import class_order, visible_in
from decolle_hw.errors import DataError

UNSORTED = ""  # the class of a recording that nobody has named
ONE_RECORDING = "one recording"
NAMED_FILES = 3  # in a message
CLASS_FOLDERS = "folder of recordings"


@dataclass(frozen=True)
class Place:
    """A recording that was found."""

    file: Path
    name: str  # for reports, for example ``7/00002.bin``
    label: str = UNSORTED
    part: str = ""  # train, test, or neither


@dataclass(frozen=True)
class Found:
    """What lies at a path."""

    path: Path
    layout: str  # in words
    places: tuple[Place, ...]
    others: tuple[Path, ...] = ()  # what is no recording by its name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order in which they were found; none of unsorted recordings."""
        return tuple(dict.fromkeys(place.label for place in self.places if place.label != UNSORTED))

    @property
    def unsorted(self) -> bool:
        """Whether no recording has a class."""
        return not self.classes


def find_recordings(path: Path, suffixes: Sequence[str]) -> Found:
    """The recordings of a file, of FOLDER/, FOLDER/<class>/ or FOLDER/{train,test}/<class>/.

    Args:
        suffixes: lower-case endings of the names of recordings.

    Raises `DataError` where there is nothing, or nothing that is called like a recording.
    """
    if path.is_file():
        if path.suffix.lower() not in suffixes:
            raise DataError(f"{shown(path)}: is not a recording by its name; {_known(suffixes)}")
        return Found(path, ONE_RECORDING, (Place(path, path.name),))
    entries = visible_in(path, "folder or recording")
    if not entries:
        raise DataError(f"{shown(path)}: is empty; put recordings there, one folder for each class; {_known(suffixes)}")
    halves = {entry.name.lower(): entry for entry in entries if entry.is_dir()}
    if "train" in halves and "test" in halves:
        parts = [_in_folder(halves[part], suffixes, part) for part in ("train", "test")]
        places = tuple(place for found in parts for place in found.places)
        others = tuple(file for found in parts for file in found.others)
        beside = tuple(entry for entry in entries if entry not in (halves["train"], halves["test"]))
        result = Found(path, f"train and test, {parts[0].layout}", places, others + beside)
    else:
        result = _in_folder(path, suffixes, "")
    if not result.places:
        names = ", ".join(shown(file) for file in result.others[:NAMED_FILES])
        count = f"{len(result.others)} other file{'s' if len(result.others) > 1 else ''}"
        what = f"{count}, as {names}" if result.others else "only empty folders"
        raise DataError(f"{shown(path)}: holds no recording, but {what}; {_known(suffixes)}")
    return result


def _in_folder(folder: Path, suffixes: Sequence[str], part: str) -> Found:
    entries = visible_in(folder, CLASS_FOLDERS)
    folders = sorted((entry for entry in entries if entry.is_dir()), key=class_order)
    files = sorted(entry for entry in entries if not entry.is_dir())
    prefix = f"{part}/" if part else ""
    sorted_in = {inner: visible_in(inner, CLASS_FOLDERS) for inner in folders}
    has_classes = any(_is_recording(file, suffixes) for inside in sorted_in.values() for file in inside)
    places: list[Place] = []
    others: list[Path] = []
    for inner, inside in sorted_in.items():
        for file in sorted(inside):
            if _is_recording(file, suffixes):
                places.append(Place(file, f"{prefix}{inner.name}/{file.name}", inner.name, part))
            else:
                others.append(file)
    for file in files:
        if has_classes or not _is_recording(file, suffixes):  # beside class folders its class is unknown
            others.append(file)
        else:
            places.append(Place(file, f"{prefix}{file.name}", UNSORTED, part))
    return Found(folder, "a folder for each class" if has_classes else "one folder, not sorted into classes",
                 tuple(places), tuple(others))  # fmt: skip


def _is_recording(file: Path, suffixes: Sequence[str]) -> bool:
    return file.suffix.lower() in suffixes and not file.is_dir()


def shown(path: object) -> str:
    """A path for messages; what is not UTF-8 in it is replaced, as no terminal or pipe could take it."""
    return os.fsencode(str(path)).decode("utf-8", "replace")


def _known(suffixes: Sequence[str]) -> str:
    return f"recordings are called {' '.join(suffixes)}"
