"""Fixed splits into training and test recordings: class by class, or as a file lists them."""

# R recordings

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decolle_hw.data.labelled import nearest_recording
from decolle_hw.data.source import cannot_be_read
from decolle_hw.errors import DataError

SPLIT_SEED = 2015  # nothing else may decide about the split: neither the camera's nor the training's seed


def stratified_split(labels_R: np.ndarray, test_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending indices of the training and of the test recordings, for a data set that never grows.

    Of n recordings of a class round(n * test_fraction) are held out, at least one on each side; a class with
    a single recording stays in training.
    """
    train, test = [], []
    for label in np.unique(labels_R):
        members = np.flatnonzero(labels_R == label)
        # RandomState, because its stream is frozen for all time (NEP 19); the split must survive a new NumPy.
        members = np.random.RandomState([SPLIT_SEED, int(label)]).permutation(members)
        held_out = held_out_of(len(members), test_fraction)
        test.append(members[:held_out])
        train.append(members[held_out:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def split_by_name(
    labels_R: np.ndarray, names: Sequence[str], test_fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same for recordings that come and go: what stays, stays where it was.

    Within a class recordings stand in the order of the SHA-256 of their name, and the first round(n * test_fraction)
    are held out. So one recording more or less moves at most one other across, and no other class is touched.

    Args:
        labels_R: class of each recording. names: (R) ``class/file``. test_fraction: as in `stratified_split`.
    """
    # File names need not be UTF-8; Python then carries their bytes as surrogates.
    hashes = [hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() for name in names]
    train, test = [], []
    for label in np.unique(labels_R):
        members = sorted(np.flatnonzero(labels_R == label), key=lambda index: hashes[index])
        held_out = held_out_of(len(members), test_fraction)
        test += members[:held_out]
        train += members[held_out:]
    return np.sort(np.array(train, np.int64)), np.sort(np.array(test, np.int64))


def split_by_list(names: Sequence[str], file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Those that a file names are held out: one per line, as in `names`; empty lines and ``# comments`` do not count.

    Raises `DataError` for a name that is not found or stands in the file twice, and where one side would be empty.
    """
    try:
        text = file.expanduser().read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise cannot_be_read(file, error) from None
    places = {name: place for place, name in enumerate(names)}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        name = line.strip().replace("\\", "/").removeprefix("./")
        if not name or name.startswith("#"):
            continue
        if name not in places:
            raise DataError(f"{file}: line {number}: no recording is called {name!r}; {nearest_recording(name, names)}")
        if name in lines:
            raise DataError(f"{file}: line {number}: {name!r} stands in line {lines[name]} already; give it once")
        lines[name] = number
    if not lines or len(lines) == len(names):
        side = "none of the" if not lines else "all"
        raise DataError(f"{file}: holds out {side} {len(names)} recordings; some must be left on either side")
    test = np.sort(np.array([places[name] for name in lines], np.int64))
    return np.setdiff1d(np.arange(len(names)), test), test


def held_out_of(count: int, test_fraction: float) -> int:
    """How many of the recordings of a class, or windows of a recording, are held out.

    At least one on each side; none of a single one.
    """
    return min(max(round(count * test_fraction), 1), count - 1)
