"""How sure a mean over queries is, and whether two runs differ by more than luck.

Queries that belong together (the five captions of one picture) are easy or hard together. Both methods therefore redraw
*clusters* of queries: redrawing single queries gives intervals that are too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError

Floats = NDArray[np.float64]
_CHUNK = 1 << 22


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval."""

    value: float
    low: float
    high: float


def bootstrap(values: Floats, clusters: Sequence[str] | None = None, *, rounds: int = 1000, seed: int = 0) -> Interval:
    """The mean of ``values`` ``(n,)`` with the 95% percentile interval of ``rounds`` redrawn samples of clusters.

    Without ``clusters`` every query is its own. Efron, Annals of Statistics 7 (1979); for clusters Davison and Hinkley
    (1997), section 3.8. O(rounds × clusters). Raises :class:`UsageError` for no values.

    >>> bootstrap(np.ones(5))
    Interval(value=1.0, low=1.0, high=1.0)
    """
    sums, sizes = _by_cluster(values, clusters)
    draws = np.concatenate([(part @ sums) / (part @ sizes) for part in _weights(len(sums), rounds, seed)])
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(np.mean(values)), float(low), float(high))


def paired_difference(
    a: Floats, b: Floats, clusters: Sequence[str] | None = None, *, rounds: int = 1000, seed: int = 0
) -> Interval:
    """The mean of ``b - a`` over the same queries, with its 95% bootstrap interval."""
    return bootstrap(_paired(a, b), clusters, rounds=rounds, seed=seed)


def randomisation_test(
    a: Floats, b: Floats, clusters: Sequence[str] | None = None, *, rounds: int = 10_000, seed: int = 0
) -> float:
    """Two-sided p-value of "the two runs do not differ": how often swapping them at random makes as large a difference.

    Each round swaps the two runs on a random half of the clusters; p = (1 + rounds at least as extreme) / (1 + rounds).
    Fisher's test, recommended for retrieval by Smucker, Allan and Carterette (CIKM 2007). O(rounds × clusters).
    """
    sums, _ = _by_cluster(_paired(a, b), clusters)
    seen = abs(float(sums.sum())) * (1 - 1e-9)  # the same difference, summed in another order, is as extreme
    rng = np.random.default_rng(seed)
    extreme = 0
    for size in _sizes(len(sums), rounds):
        signs = rng.integers(0, 2, (size, len(sums)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ sums) >= seen).sum())
    return (1 + extreme) / (1 + rounds)


def _paired(a: Floats, b: Floats) -> Floats:
    if len(a) != len(b):
        raise UsageError(f"two runs are compared query by query, and one has {len(a)} queries, the other {len(b)}")
    return np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)


def _by_cluster(values: Floats, clusters: Sequence[str] | None) -> tuple[Floats, Floats]:
    """Sum and size of each cluster."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise UsageError("there are no queries to take a mean of")
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise UsageError(f"{len(values)} values have {len(clusters)} clusters")
    order = {name: at for at, name in enumerate(dict.fromkeys(clusters))}
    place = np.array([order[name] for name in clusters])
    return np.bincount(place, weights=values).astype(np.float64), np.bincount(place).astype(np.float64)


def _sizes(n: int, rounds: int) -> list[int]:
    """Parts of ``rounds`` whose (part, n) array stays below some 32 MB."""
    step = max(1, _CHUNK // max(n, 1))
    return [min(step, rounds - at) for at in range(0, rounds, step)]


def _weights(n: int, rounds: int, seed: int) -> list[Floats]:
    """How often each of ``n`` clusters is drawn, a row for each round."""
    rng = np.random.default_rng(seed)
    return [rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64) for size in _sizes(n, rounds)]
