"""How good and how fast a search is: recall with its interval, time, bytes. Everything is judged against comparing every row."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes.exact import ExactIndex, Rows
from mmsearch.protocols import VectorIndex
from mmsearch.types import Neighbors, Vectors, Vids, VidSet

_TURN = 200  # queries timed one by one
_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """Queries of one kind with their true neighbours.

    ``vectors`` ``(q, dim)``; ``truth`` ``(q, depth)`` vids, best first; ``own`` ``(q,)`` the vid of the row that a query was
    made from, which does not count as found, or -1.
    """

    name: str
    vectors: Vectors
    truth: Vids
    own: Vids


@dataclass(frozen=True, slots=True)
class Recall:
    """The share of the true ``at`` nearest that were found, and the half-width of its 95% interval over queries."""

    at: int
    value: float
    margin: float
    queries: int


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds for one query (median and 99th percentile), queries a second one by one and in batches of 64."""

    p50: float
    p99: float
    single: float
    batched: float


@dataclass(frozen=True, slots=True)
class Audit:
    """One line of the table: a way to search, what it finds of each kind of query, its speed and size.

    ``bytes`` a row of the index (the stored rows, 2 bytes a number, are read in any case), ``build_seconds`` of CPU, ``setting``
    what it was searched with, ``current`` whether searches use it now.
    """

    name: str
    recall: dict[str, Recall]
    speed: Speed
    setting: str = ""
    bytes: float = 0.0
    build_seconds: float = 0.0
    current: bool = False


def ask(rows: Rows, within: VidSet, name: str, vectors: Vectors, depth: int, own: Vids | None = None) -> Questions:
    """Find the true neighbours of some queries. One scan for all of them together: 10 ms a query and million rows."""
    none = np.full(len(vectors), -1, dtype=np.int64)
    own = none if own is None else own
    found = ExactIndex(rows).search(vectors, depth + 1, within=within)
    truth = np.full((len(vectors), depth), -1, dtype=np.int64)
    for at in range(len(vectors)):
        vids = found.row(at)[1]
        vids = vids[vids != own[at]][:depth]
        truth[at, : len(vids)] = vids
    return Questions(name, vectors, truth, own)


def recall_of(found: Neighbors, asked: Questions, at: int) -> Recall:
    """Recall at ``at``: of each query the share of its true nearest among what was found; ties in score are not forgiven.

    The interval is that of a mean over queries, 1.96 · s / √q.
    """
    shares = []
    for row in range(len(asked.vectors)):
        vids = found.row(row)[1]
        wanted = asked.truth[row, :at]
        wanted = wanted[wanted >= 0]
        if len(wanted):
            shares.append(float(np.isin(wanted, vids[vids != asked.own[row]][:at]).mean()))
    return of_shares(shares, at)


def of_shares(shares: Sequence[float] | NDArray[np.float64], at: int) -> Recall:
    """The mean of each query's recall with its interval."""
    if not len(shares):
        return Recall(at, 1.0, 0.0, 0)
    margin = 1.96 * float(np.std(shares)) / float(np.sqrt(len(shares)))
    return Recall(at, float(np.mean(shares)), margin, len(shares))


def speed_of(search: Callable[[Vectors], object], queries: Vectors) -> Speed:
    """Time a search: at most 200 queries one by one, then batches of 64. Wall clock, so what else runs counts too."""
    search(queries[:1])
    took = [_seconds(search, queries[at : at + 1]) for at in range(min(len(queries), _TURN))]
    batches = [queries[at : at + _BATCH] for at in range(0, min(len(queries), 4 * _BATCH), _BATCH)]
    batch = min(_seconds(search, part) / len(part) for part in batches if len(part))
    p50, p99 = np.percentile(took, [50, 99]).tolist()
    return Speed(p50 * 1000, p99 * 1000, 1 / p50, 1 / batch)


def audit(name: str, index: VectorIndex, asked: Sequence[Questions], within: VidSet, *, k: int) -> Audit:
    """Measure one index on these questions, at recall among ``k``; speed is that of the last kind."""
    recall = {one.name: recall_of(index.search(one.vectors, k + 1, within=within), one, k) for one in asked}
    speed = speed_of(lambda part: index.search(part, k, within=within), asked[-1].vectors)
    return Audit(name, recall, speed)


def _seconds(search: Callable[[Vectors], object], queries: Vectors) -> float:
    began = time.perf_counter()
    search(queries)
    return time.perf_counter() - began
