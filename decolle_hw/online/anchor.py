"""What an offline classifier makes of the same spikes: the mark that learning on chip is measured against."""

# R recordings, N neurons

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STRENGTHS = np.logspace(-3, 1, 9)  # of the regularization, relative to the mean square of the features


def ridge_accuracy(
    counts_RN: NDArray[np.float64], labels_R: NDArray[np.int64], tested_RN: NDArray[np.float64],
    tested_labels_R: NDArray[np.int64],
) -> float:  # fmt: skip
    """Accuracy of ridge regression on spike counts, its strength chosen by leave-one-out on what it learns from.

    Source: scikit-learn's `RidgeClassifierCV`.
    """
    from sklearn.linear_model import RidgeClassifierCV

    if np.all(labels_R == labels_R[0]):  # nothing to tell apart
        return float((tested_labels_R == labels_R[0]).mean())
    centred = counts_RN - counts_RN.mean(0)
    scale = max(float((centred**2).sum(1).mean()), 1e-9)
    classifier = RidgeClassifierCV(alphas=STRENGTHS * scale).fit(counts_RN, labels_R)
    return float((classifier.predict(tested_RN) == tested_labels_R).mean())
