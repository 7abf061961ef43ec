"""From a query to hits: terms → one vector → candidates → nearest rows → words → groups → better order → pages."""

from __future__ import annotations

import os.path
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.cache import Cache
from mmsearch.errors import QueryError
from mmsearch.protocols import VectorIndex
from mmsearch.store import Snapshot
from mmsearch.types import Hit, Hits, Json, Kind, Query, Record, VidSet

RRF_K = 60
"""Reciprocal rank fusion, 1 / (60 + rank): Cormack, Clarke, Büttcher, SIGIR 2009."""
LEXICAL_DEPTH = 1000
"""How many items are taken from the words' list, and at least from the vectors' one, before they are fused."""

Finish: TypeAlias = Callable[[Query, Sequence[Hit], NDArray[np.float32]], list[Hit]]
"""A query, its hits with ranks from 1 on, and its vector → the hits in a better order."""


@dataclass(frozen=True, slots=True)
class Request:
    """All that a search depends on beside the collection."""

    query: Query
    kinds: tuple[Kind, ...] | None = None  # None: images where there are any, else texts; of several, fused by rank
    k: int = 10
    offset: int = 0
    where: str | None = None
    params: Mapping[str, Json] = field(default_factory=dict)
    group_by: str | None = None
    exclude: frozenset[str] = frozenset()
    lexical: float = 0.0  # how much words count beside vectors
    candidates: int = 0  # how many are looked at, where that is more than the page needs

    def __post_init__(self) -> None:
        if self.k < 1:
            raise QueryError(f"k is {self.k}, and must be at least 1")
        if self.offset < 0:
            raise QueryError(f"offset is {self.offset}, and must not be negative")
        if not self.query.terms:
            raise QueryError("the query has no terms")


class Timer:
    """Milliseconds per stage, in the order of the stages."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - began) * 1000


def search(
    request: Request,
    snapshot: Snapshot,
    *,
    embed: Callable[[Query], NDArray[np.float32]],
    index: VectorIndex,
    cache: Cache,
    finish: Finish | None = None,
) -> Hits:
    """The hits of ``request``, best first.

    ``embed`` gives a query's vector ``(dim,)``, ``index`` the rows near it, ``finish`` a better order for the hits before
    they are paged, and may drop some. Raises :class:`QueryError`, :class:`FilterError`, and what the three raise.
    """
    timer = Timer()
    with timer.stage("encode"):
        vector = embed(request.query)
    kinds = request.kinds or ((Kind.IMAGE,) if snapshot.count(Kind.IMAGE) else (Kind.TEXT,))
    with timer.stage("filter"):
        allowed = {kind: _allowed(request, kind, snapshot, cache) for kind in kinds}
    with timer.stage("search"):
        ranked = _ranked(request, vector[None], allowed, index, snapshot)
    first, last = request.offset, request.offset + request.k
    with timer.stage("fetch"):
        if finish is None:
            hits = _hits(ranked[first:last], first, snapshot)
        else:
            hits = _hits(ranked[: max(last, request.candidates)], 0, snapshot)
    if finish is not None:
        with timer.stage("rerank"):
            hits = tuple(finish(request.query, hits, vector)[first:last])
    candidates = sum(len(vids) for vids in allowed.values())
    return Hits(hits, exact=True, candidates=candidates, timings=timer.ms)


# --- candidates, groups, pages ----------------------------------------------------------------------------------


def _allowed(request: Request, kind: Kind, snapshot: Snapshot, cache: Cache) -> VidSet:
    if request.where:
        where, params = request.where, request.params
        key = (snapshot.generation, kind, where, repr(sorted(params.items())))
        found = cache.get(key, lambda: snapshot.select(where, params, kind))
    else:
        found = snapshot.live(kind)
    if request.exclude:
        out = VidSet([record.vid for record in snapshot.by_id(list(request.exclude)).values()])
        found = found - out
    return found


def _ranked(
    request: Request,
    queries: NDArray[np.float32],
    allowed: Mapping[Kind, VidSet],
    index: VectorIndex,
    snapshot: Snapshot,
) -> list[tuple[int, float]]:
    """(vid, cosine), best first, at least up to the end of the page where that many exist; one per group if asked."""
    wanted = max(request.offset + request.k, request.candidates)
    depth = wanted if request.group_by is None else wanted * 4
    words = _words(request.query) if request.lexical else ""
    while True:
        lists = []
        for vids in allowed.values():
            # two lists are fused as deep as this on every page, or pages would not fit together
            scores, found = index.search(queries, max(depth, LEXICAL_DEPTH) if words else depth, within=vids).row(0)
            near = list(zip(found.tolist(), scores.tolist(), strict=True))
            lists.append(_with_words(near, words, request.lexical, queries[0], vids, snapshot) if words else near)
        ranked = lists[0] if len(lists) == 1 else fuse(lists)
        if request.group_by is None:
            return ranked
        ranked = _first_of_each_group(ranked, request.group_by, snapshot)
        if len(ranked) >= wanted or all(len(found) < depth for found in lists):
            return ranked
        depth *= 4


def _words(query: Query) -> str:
    """The words that a query asks for: its texts, but not those it moves away from."""
    return " ".join(str(term.value) for term in query.terms if term.what == "text" and term.weight > 0)


def _with_words(
    near: list[tuple[int, float]],
    words: str,
    weight: float,
    vector: NDArray[np.float32],
    vids: VidSet,
    snapshot: Snapshot,
) -> list[tuple[int, float]]:
    """Items near the query and items with its words, by reciprocal rank fusion; the words' ranks weigh ``weight``."""
    found = [vid for vid, _ in snapshot.search_text(words, LEXICAL_DEPTH, vids)]
    scores = dict(near)
    far = [vid for vid in found if vid not in scores]
    if far:
        scores |= dict(zip(far, (snapshot.fetch(far) @ vector).tolist(), strict=True))
    merit = {vid: 1.0 / (RRF_K + rank) for rank, (vid, _) in enumerate(near, 1)}
    for rank, vid in enumerate(found, 1):
        merit[vid] = merit.get(vid, 0.0) + weight / (RRF_K + rank)
    return [(vid, scores[vid]) for vid in sorted(merit, key=lambda vid: (-merit[vid], vid))]


def fuse(lists: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Reciprocal rank fusion: cosines of images and of texts are on different scales, ranks are not."""
    merit = {vid: 1.0 / (RRF_K + rank) for found in lists for rank, (vid, _) in enumerate(found, 1)}
    both = [pair for found in lists for pair in found]
    return sorted(both, key=lambda pair: (-merit[pair[0]], pair[0]))


def _first_of_each_group(
    ranked: Sequence[tuple[int, float]], group_by: str, snapshot: Snapshot
) -> list[tuple[int, float]]:
    groups = {record.vid: group_of(record, group_by) for record in snapshot.records([vid for vid, _ in ranked])}
    seen: set[str] = set()
    first = []
    for vid, score in ranked:
        group = groups.get(vid)
        if group is None or group not in seen:
            first.append((vid, score))
        if group is not None:
            seen.add(group)
    return first


def group_of(record: Record, field_name: str) -> str | None:
    """The value that ``record`` is grouped under: its ``group``, or a field of its meta (dots go deeper)."""
    if field_name in ("group", "kind", "root"):
        value: Any = getattr(record, field_name)
    else:
        value = record.meta
        for part in field_name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    return None if value is None else str(value)


def _hits(page: Sequence[tuple[int, float]], offset: int, snapshot: Snapshot) -> tuple[Hit, ...]:
    roots = snapshot.roots()
    records = {record.vid: record for record in snapshot.records([vid for vid, _ in page])}
    return tuple(
        Hit(
            rank=offset + at,
            id=(record := records[vid]).id,
            kind=record.kind,
            score=min(1.0, score),  # a float16 row may be longer than 1 by 1e-4
            vid=vid,
            group=record.group,
            path=absolute_path(record, roots),
            text=record.text,
            meta=record.meta,
        )
        for at, (vid, score) in enumerate(page, 1)
        if vid in records
    )


def absolute_path(record: Record, roots: Mapping[str, str]) -> str | None:
    """Where the item's file is, or was when it was indexed; ``None`` for items that came from no file."""
    if record.path is None:
        return None
    if record.root is None:
        return record.path
    return os.path.join(roots.get(record.root, ""), record.path)
