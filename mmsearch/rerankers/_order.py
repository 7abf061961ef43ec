"""What all rerankers do in the end: sort, and write down by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Hit


def ordered(hits: Sequence[Hit], values: NDArray[np.floating]) -> list[Hit]:
    """The hits by falling ``values`` ``(n,)``, equal ones as they came; ``rerank`` is the value, ranks are given anew.

    The ranks of the hits that come in are used up in order: a page from 11 on stays one. Values are rounded to 1e-6, since
    a matrix product may give equal rows products that differ by 1e-8.
    """
    values = np.round(np.asarray(values, dtype=np.float64), 6)
    order = np.argsort(-values, kind="stable")
    return listed([hits[at] for at in order], [float(values[at]) for at in order], first(hits))


def listed(hits: Sequence[Hit], values: Sequence[float], start: int) -> list[Hit]:
    """The hits in this order, with ``rerank`` and ranks from ``start`` on."""
    return [replace(hit, rank=start + at, rerank=value) for at, (hit, value) in enumerate(zip(hits, values, strict=True))]


def first(hits: Sequence[Hit]) -> int:
    """The lowest rank among the hits, 1 where there are none."""
    return min((hit.rank for hit in hits), default=1)


def current(hits: Sequence[Hit]) -> NDArray[np.float64]:
    """``(n,)``: what the hits are sorted by so far: the last reranker's value, else the cosine."""
    return np.array([hit.score if hit.rerank is None else hit.rerank for hit in hits], dtype=np.float64)
