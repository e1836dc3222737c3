"""A fixed split into training and test recordings, class by class."""

# R recordings

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPLIT_SEED = 2015  # nothing else may decide about the split: neither the camera's nor the training's seed


def stratified_split(labels_R: np.ndarray, test_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ascending indices of the training and of the test recordings.

    Of n recordings of a class round(n * test_fraction) are held out, at least one on each side; a class with
    a single recording stays in training.
    """
    train, test = [], []
    for label in np.unique(labels_R):
        members = np.flatnonzero(labels_R == label)
        # RandomState, because its stream is frozen for all time (NEP 19); the split must survive a new NumPy.
        members = np.random.RandomState([SPLIT_SEED, int(label)]).permutation(members)
        held_out = min(max(round(len(members) * test_fraction), 1), len(members) - 1)
        test.append(members[:held_out])
        train.append(members[held_out:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))
