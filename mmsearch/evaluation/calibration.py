"""Do probabilities mean what they say: area under ROC, expected calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmsearch.errors import UsageError


def roc_auc(scores: ArrayLike, right: ArrayLike) -> float:
    """The chance that a random right case has a higher score than a random wrong one; ties count half.

    ``scores`` ``(n,)`` floats, ``right`` ``(n,)`` bools. The Mann–Whitney statistic over the number of pairs (Hanley and
    McNeil, Radiology 143, 1982). O(n log n). Raises :class:`UsageError` when all cases are right, or all wrong.

    >>> roc_auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    good, bad = int(truth.sum()), int((~truth).sum())
    if not good or not bad:
        raise UsageError("an area under ROC needs right cases and wrong ones")
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # ties share the mean of their ranks
    return float((ranks[truth].sum() - good * (good + 1) / 2) / (good * bad))


def calibration_error(probabilities: ArrayLike, right: ArrayLike, *, bins: int = 10) -> float:
    """Expected calibration error: the mean of \\|share right - mean probability\\| over ``bins`` equal bins of 0–1,

    each bin weighted by how many cases fall into it (Naeini, Cooper and Hauskrecht, AAAI 2015). 0 is perfect. O(n).
    Raises :class:`UsageError` for no cases or a value outside 0–1.

    >>> round(calibration_error([0.05, 0.05, 0.95, 0.95], [False, False, True, False]), 3)
    0.25
    """
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise UsageError("a calibration error is taken over at least one probability, all of them from 0 to 1")
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, weights=values - truth, minlength=bins)
    return float(np.abs(gaps).sum() / len(values))
