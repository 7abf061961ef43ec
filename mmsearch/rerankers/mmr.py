"""``mmr``: variety. Each next hit is close to the query and unlike those before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.protocols import RerankContext
from mmsearch.rerankers._order import current, first, listed
from mmsearch.types import Hit, Query

__all__ = ["MMRReranker"]


class MMRReranker:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998); ``diversity`` from 0 (closeness alone) to 1.

    The next hit has the largest ``(1 - diversity) · closeness - diversity · (its largest cosine with a hit before it)``.
    Closeness is spread over 0–1 among the hits: cosines of texts with pictures lie close together, and would count for
    nothing beside those of pictures with pictures. Raises :class:`UsageError` for a diversity outside 0–1.
    """

    def __init__(self, diversity: float = 0.3) -> None:
        if not 0 <= diversity <= 1:
            raise UsageError(f"diversity is {diversity}, and must be from 0 to 1")
        self.diversity = diversity

    def rerank(self, query: Query, hits: Sequence[Hit], context: RerankContext) -> list[Hit]:
        """All hits in the new order; ``rerank`` is the value at which each was taken. O(n² · dim)."""
        if not len(hits):
            return []
        values = current(hits)
        spread = float(np.ptp(values))
        closeness = (values - values.min()) / spread if spread > 0 else np.ones(len(hits))
        alike = np.clip(context.vectors.astype(np.float64) @ context.vectors.T.astype(np.float64), 0.0, None)
        worst = np.zeros(len(hits))
        left = np.ones(len(hits), dtype=np.bool_)
        order, taken = [], []
        for _ in hits:
            merit = np.where(left, (1 - self.diversity) * closeness - self.diversity * worst, -np.inf)
            best = int(merit.argmax())
            order.append(hits[best])
            taken.append(float(merit[best]))
            left[best] = False
            worst = np.maximum(worst, alike[best])
        return listed(order, taken, first(hits))
