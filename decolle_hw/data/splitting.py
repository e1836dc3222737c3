"""Fixed splits into training and test recordings, class by class."""

# R recordings

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
        held_out = _held_out(len(members), test_fraction)
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
        held_out = _held_out(len(members), test_fraction)
        test += members[:held_out]
        train += members[held_out:]
    return np.sort(np.array(train, np.int64)), np.sort(np.array(test, np.int64))


def _held_out(count: int, test_fraction: float) -> int:
    """How many of the recordings of a class are held out: at least one on each side, none of a single one."""
    return min(max(round(count * test_fraction), 1), count - 1)
