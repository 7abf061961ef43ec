"""``collapse``: of items that are nearly the same picture (or text), only the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.protocols import RerankContext
from mmsearch.rerankers._order import current, first, listed
from mmsearch.types import Hit, Query

__all__ = ["CollapseReranker"]


class CollapseReranker:
    """Leaves out each hit whose cosine with a better hit that stays is at least ``threshold``.

    Raises :class:`UsageError` for a threshold outside 0–1.
    """

    def __init__(self, threshold: float = 0.97) -> None:
        if not 0 < threshold <= 1:
            raise UsageError(f"the threshold is {threshold}, and must be above 0 and at most 1")
        self.threshold = threshold

    def rerank(self, query: Query, hits: Sequence[Hit], context: RerankContext) -> list[Hit]:
        """A part of the hits, their order kept. O(n² · dim)."""
        values = current(hits)
        order = np.argsort(-values, kind="stable")
        kept: list[int] = []
        for at in order.tolist():
            if not kept or float((context.vectors[kept] @ context.vectors[at]).max()) < self.threshold:
                kept.append(at)
        return listed([hits[at] for at in kept], [float(values[at]) for at in kept], first(hits))
