"""``fast``: a better order from the stored rows alone; no second model, some milliseconds.

Asked by text, hubs are taken back: ``rerank = cosine - weight · hub``, where ``hub`` says how well an item answers a bank
of generic queries (:meth:`mmsearch.relevance.Background.hubness`; the bank is handed in). Asked by pictures, neighbours
are asked as well: items that have the query's neighbours for their own come first (k-reciprocal re-ranking: Zhong, Zheng,
Cao, Li, CVPR 2017), or the query moves towards its first hits (expansion: Radenović, Tolias, Chum, TPAMI 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.protocols import RerankContext
from mmsearch.rerankers._order import ordered
from mmsearch.types import Hit, Query, Vectors

__all__ = ["FastReranker", "expanded", "hubness", "k_reciprocal"]

Floats = NDArray[np.float64]
_TEMPERATURE = 0.01


class FastReranker:
    """``bank`` ``(b, dim)`` are rows of generic queries (``None``: texts keep their order); ``weight`` how much of the hub goes:
    the encoder's calibration knows (:attr:`mmsearch.relevance.Calibration.hub_weight`).

    ``pictures`` says what is done where no term is a text: ``"reciprocal"``, ``"expand"`` or ``"none"``.
    """

    def __init__(self, bank: Vectors | None = None, *, weight: float = 0.3, pictures: str = "none") -> None:
        if pictures not in ("reciprocal", "expand", "none"):
            raise UsageError(f"pictures is {pictures!r}, and must be one of: reciprocal, expand, none")
        self.bank, self.weight, self.pictures = bank, weight, pictures

    def rerank(self, query: Query, hits: Sequence[Hit], context: RerankContext) -> list[Hit]:
        """The hits by the corrected cosine. O(n · b · dim) for texts, O(n² · (dim + n)) for pictures."""
        scores = np.array([hit.score for hit in hits], dtype=np.float64)
        if not len(hits):
            return []
        if any(term.what == "text" for term in query.terms):
            if self.bank is not None and len(self.bank):
                scores = scores - self.weight * hubness(context.vectors, self.bank)
        elif self.pictures == "expand":
            scores = expanded(context.query_vector, context.vectors)
        elif self.pictures == "reciprocal":
            scores = k_reciprocal(context.query_vector, context.vectors)
        return ordered(hits, scores)


def hubness(items: Vectors, bank: Vectors) -> Floats:
    """``(n,)``: soft maximum of each item's cosines with the bank's queries (inverted softmax: Smith et al., ICLR 2017)."""
    scaled = (items @ np.asarray(bank, dtype=np.float32).T).astype(np.float64) / _TEMPERATURE
    top = scaled.max(axis=1)
    return np.asarray(_TEMPERATURE * (top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))))


def expanded(query: NDArray[Any], items: Vectors, *, neighbours: int = 5, alpha: float = 3.0) -> Floats:
    """``(n,)``: cosines with a query that has moved towards its first hits, each weighing its cosine to the power alpha."""
    cosines = (items @ query).astype(np.float64)
    near = np.argsort(-cosines, kind="stable")[:neighbours]
    moved = query + (np.maximum(cosines[near], 0) ** alpha) @ items[near]
    return np.asarray(items @ (moved / max(float(np.linalg.norm(moved)), 1e-12)), dtype=np.float64)


def k_reciprocal(query: NDArray[Any], items: Vectors, *, k1: int = 20, k2: int = 6, share: float = 0.3) -> Floats:
    """``(n,)``: 1 - (``share`` · cosine distance + (1 - ``share``) · Jaccard distance of the sets of reciprocal neighbours).

    The query and its ``n`` hits are all that is looked at. Parameters as in the paper (k1, k2, lambda).
    """
    rows = np.concatenate([query[None], items]).astype(np.float64)
    distance = 1 - rows @ rows.T
    order = np.argsort(distance, axis=1, kind="stable")
    n = len(rows)
    k1, k2 = min(k1, n - 1), min(k2, n)
    near, half = _mutual(order, k1), _mutual(order, max(1, round(k1 / 2)))
    weights = np.zeros((n, n))
    for i in range(n):
        members = near[i].copy()
        for j in np.flatnonzero(near[i]):
            if (half[j] & near[i]).sum() * 3 >= half[j].sum() * 2:
                members |= half[j]
        weights[i, members] = np.exp(-distance[i, members])
    weights /= weights.sum(axis=1, keepdims=True)
    weights = np.stack([weights[order[i, :k2]].mean(axis=0) for i in range(n)])
    shared = np.minimum(weights[0], weights[1:]).sum(axis=1)
    jaccard = 1 - shared / (2 - shared)
    return np.asarray(1 - (share * distance[0, 1:] + (1 - share) * jaccard))


def _mutual(order: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """``(n, n)``: which rows are among each other's first ``k`` (and themselves)."""
    near = np.zeros(order.shape, dtype=np.bool_)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    np.fill_diagonal(near, True)
    return near & near.T
