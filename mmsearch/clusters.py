"""Images sorted into clusters by k-means on the sphere, each named by the labels that fit it better than they fit the rest.

A label's *lift* in a cluster is how far its mean cosine there lies above its mean over all images, in deviations of its
cosines over all: a label that fits everything names nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.types import Vectors

__all__ = ["Cluster", "Clustering", "chosen_k", "k_means", "named", "separation", "vocabulary"]

_SAMPLE = 20_000
_ROUNDS = 25
_LEAST_LIFT = 0.25
"""Below it a cluster's best label says hardly more of it than of the rest."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """``ids`` are all members, the nearest to the middle first; ``labels`` the best three with their lifts, best first.

    ``name`` is the first label, or the first two where another cluster has the same first; ``""`` where none fits well.
    """

    name: str
    labels: tuple[tuple[str, float], ...]
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Clustering:
    """Clusters, the largest first. ``separation`` from -1 to 1: how much nearer images lie to their own middle than to the next."""

    clusters: tuple[Cluster, ...]
    separation: float


@cache
def vocabulary() -> tuple[str, ...]:
    """The built-in labels: everyday things, people, animals, places; made by ``data/vocabulary.py``."""
    text = (files("mmsearch") / "vocabulary.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


def sentence(label: str) -> str:
    """How a label is asked."""
    return f"a photo of {label}"


def k_means(rows: Vectors, k: int, seed: int = 0) -> tuple[NDArray[np.int64], Vectors]:
    """The cluster of each row ``(n,)`` and the middles ``(k, dim)``, unit rows; the same seed gives the same. Spherical k-means
    (Dhillon, Modha, 2001) by FAISS, on at most 20,000 rows spread evenly. Raises :class:`UsageError` for more clusters than rows.
    """
    if not 1 <= k <= len(rows):
        raise UsageError(f"{len(rows)} images cannot be sorted into {k} clusters")
    import faiss

    rows = np.ascontiguousarray(rows, dtype=np.float32)
    step = max(1, -(-len(rows) // _SAMPLE))
    trained = faiss.Kmeans(
        rows.shape[1], k, niter=_ROUNDS, nredo=3, spherical=True, seed=seed, min_points_per_centroid=1,
        max_points_per_centroid=_SAMPLE, verbose=False,
    )
    trained.train(rows[::step])
    middles = np.asarray(trained.centroids, dtype=np.float32)
    return np.asarray((rows @ middles.T).argmax(axis=1), dtype=np.int64), middles


def separation(rows: Vectors, cluster: NDArray[np.int64], middles: Vectors) -> float:
    """Mean of ``(b - a) / max(a, b)``: ``a`` and ``b`` are a row's cosine distances to its own middle and to the next one.

    The simplified silhouette of Hruschka, de Castro, Campello (2004); 0 for a single cluster.
    """
    if len(middles) < 2:
        return 0.0
    far = 1.0 - (rows @ middles.T).astype(np.float64)
    own = far[np.arange(len(rows)), cluster].copy()
    far[np.arange(len(rows)), cluster] = np.inf
    other = far.min(axis=1)
    return float(((other - own) / np.maximum(np.maximum(other, own), 1e-9)).mean())


def chosen_k(rows: Vectors, seed: int = 0) -> int:
    """The number of clusters from 2 to twice the root of half the rows, at most 50, that separates best."""
    most = int(min(50, max(2, 2 * (len(rows) / 2) ** 0.5), len(rows)))
    tried = sorted({int(k) for k in np.geomspace(2, most, 10).round()} & set(range(2, most + 1)))
    sample = rows[:: max(1, -(-len(rows) // 4000))]
    tried = [k for k in tried if k <= len(sample)]
    if not tried:
        return 1
    scores = [separation(sample, *k_means(sample, k, seed)) for k in tried]
    return tried[int(np.argmax(scores))]


def named(
    ids: Sequence[str], rows: Vectors, cluster: NDArray[np.int64], middles: Vectors, labels: Sequence[str], labelled: Vectors
) -> Clustering:
    """The clusters with their names; ``labelled`` ``(l, dim)`` are the labels' unit rows."""
    cosines = rows @ labelled.T
    mean, deviation = cosines.mean(axis=0), np.maximum(cosines.std(axis=0), 1e-6)
    found: list[tuple[list[tuple[str, float]], tuple[str, ...]]] = []
    for number in range(len(middles)):
        members = np.flatnonzero(cluster == number)
        if not len(members):
            continue
        lift = (cosines[members].mean(axis=0) - mean) / deviation
        best = [(labels[at], float(lift[at])) for at in np.argsort(-lift, kind="stable")[:3]]
        order = members[np.argsort(-(rows[members] @ middles[number]), kind="stable")]
        found.append((best, tuple(ids[at] for at in order)))
    found.sort(key=lambda one: (-len(one[1]), one[1]))
    firsts = [best[0][0] for best, _ in found if best]
    made = []
    for best, members_ids in found:
        good = [label for label, lift in best if lift >= _LEAST_LIFT]
        name = " / ".join(good[: 2 if good and firsts.count(good[0]) > 1 else 1])
        made.append(Cluster(name, tuple((label, round(lift, 3)) for label, lift in best), members_ids))
    return Clustering(tuple(made), separation(rows, cluster, middles))
