"""Scores of a map of classes, from counts that add up over any parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.verification.quotients import plain, ratio

Counts = NDArray[np.int64]


def confusion(
    observed: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> Counts:
    """Count pixels by observed and predicted class, shape (classes, classes + 1).

    Parameters
    ----------
    observed
        Class numbers from 1; pixels with 0 are left out.
    predicted
        Class numbers from 1; a pixel with 0 was given no class, and counts in the last column.
    classes
        Number of classes.
    """
    chosen = observed > 0
    given = predicted[chosen].astype(np.int64) - 1
    column = np.where(given < 0, classes, given)
    pairs = (observed[chosen].astype(np.int64) - 1) * (classes + 1) + column
    counts = np.bincount(pairs, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1)


def class_scores(counts: Counts) -> dict[str, Any]:
    """Overall accuracy, mean class recall, kappa, and recall, precision and F1 of each class.

    A class that was never observed has no recall and does not count in the mean. Kappa: Cohen
    1960, doi:10.1177/001316446002000104. Numbers are None where they do not exist.
    """
    size = len(counts)
    hits = np.diag(counts[:, :size]).astype(np.float64)
    observed, predicted = counts.sum(1) * 1.0, counts[:, :size].sum(0) * 1.0
    total = max(1.0, observed.sum())
    recall = ratio(hits, observed)
    chance = float((observed * predicted).sum() / total**2)
    accuracy = float(hits.sum() / total)
    return {
        "accuracy": accuracy,
        "mean_recall": float(np.nanmean(recall)) if observed.any() else None,
        "kappa": (accuracy - chance) / (1 - chance) if chance < 1 else None,
        "recall": plain(recall),
        "precision": plain(ratio(hits, predicted)),
        "f1": plain(ratio(2.0 * hits, observed + predicted)),
    }
