"""Hubs: items that come near everything, so that many unlike queries show them (Radovanović, Nanopoulos, Ivanović, JMLR 2010).

The k-occurrence of an item is counted: in how many of some queries' first ``k`` hits it is. If all items were alike each would be
in ``k / n`` of them. The queries are the package's bank of generic ones, and where the model cannot be loaded a
sample of the stored rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import MissingExtra, ModelError
from mmsearch.protocols import Encoder, VectorIndex
from mmsearch.store import Snapshot
from mmsearch.types import Kind, Vectors, Vids, VidSet

WORK = 2e11
"""Multiplications that may be spent: a few seconds on two cores. Queries are thinned to it, to a hundred at least."""
SHARE = 0.05
TIMES = 10
"""An item is a hub if it is in this share of the answers, and in so many times more than if all were alike."""
_SAMPLE = 1000
_NAMED = 5
_BLOCK = 128


@dataclass(frozen=True, slots=True)
class Hub:
    """An item, and the share of the queries that have it among their first hits."""

    id: str
    share: float


@dataclass(frozen=True, slots=True)
class HubReport:
    """``hubs``: how many items are hubs; ``worst``: the five most frequent items, hubs or not.

    ``queries`` is the number asked, ``asked`` says of what kind: ``bank`` or ``sample``. ``expected`` is the share of an
    item if all were alike, ``unseen`` the share of items that no query shows.
    """

    items: int
    queries: int
    asked: str
    k: int
    expected: float
    hubs: int
    unseen: float
    worst: tuple[Hub, ...]


def find_hubs(snapshot: Snapshot, index: VectorIndex, encoder: Callable[[], Encoder], *, k: int = 10) -> HubReport:
    """Counts how often each picture (each text, where there are no pictures) is among the first ``k``.

    O(queries · items · dim), bounded by :data:`WORK` down to a hundred queries.
    """
    kind = Kind.IMAGE if snapshot.count(Kind.IMAGE) else Kind.TEXT
    within = snapshot.live(kind)
    if not len(within):
        return HubReport(0, 0, "bank", k, 0.0, 0, 0.0, ())
    try:
        queries, own, asked = _bank(encoder()), None, "bank"
    except (ModelError, MissingExtra):
        own = within.vids[:: -(-len(within) // _SAMPLE)]
        queries, asked = snapshot.fetch(own), "sample"
    step = -(-len(queries) // max(int(WORK / (len(within) * queries.shape[1])), 100))
    queries, own = queries[::step], None if own is None else own[::step]
    times = _count(index, queries, own, within, k)
    share = times / len(queries)
    expected = min(k / len(within), 1.0)
    worst = np.lexsort((within.vids, -times))[:_NAMED]
    records = snapshot.records(within.vids[worst])
    return HubReport(
        items=len(within),
        queries=len(queries),
        asked=asked,
        k=k,
        expected=expected,
        hubs=int((share >= max(SHARE, TIMES * expected)).sum()),
        unseen=float((times == 0).mean()),
        worst=tuple(Hub(one.id, float(part)) for one, part in zip(records, share[worst], strict=True)),
    )


def _bank(encoder: Encoder) -> Vectors:
    from mmsearch.relevance import bank_vectors
    from mmsearch.settings import data_path

    return bank_vectors(encoder, data_path() / "banks")


def _count(index: VectorIndex, queries: Vectors, own: Vids | None, within: VidSet, k: int) -> NDArray[np.int64]:
    """How many queries show each item of ``within``; a query that is itself an item does not count for that."""
    times = np.zeros(len(within), dtype=np.int64)
    for start in range(0, len(queries), _BLOCK):
        found = index.search(queries[start : start + _BLOCK], k + (own is not None), within=within)
        for at in range(len(found.counts)):
            vids = found.row(at)[1]
            if own is not None:
                vids = vids[vids != own[start + at]][:k]
            times[np.searchsorted(within.vids, vids)] += 1
    return times
