"""From a query to hits: terms → one vector → candidates → nearest rows → words → groups → better order → pages."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.cache import Cache
from mmsearch.catalogue.fields import LEAST, Product, rank_products
from mmsearch.errors import QueryError
from mmsearch.protocols import VectorIndex
from mmsearch.store import Shown, Snapshot
from mmsearch.types import Hit, Hits, Json, Kind, Query, Record, Timer, VidSet

RRF_K = 60
"""Reciprocal rank fusion, 1 / (60 + rank): Cormack, Clarke, Büttcher, SIGIR 2009."""
LEXICAL_DEPTH = 1000
"""How many items are taken from the words' list, and at least from the vectors' one, before they are fused."""

Finish: TypeAlias = Callable[[Query, Sequence[Hit], NDArray[np.float32], Timer], list[Hit]]
"""A query, its hits with ranks from 1 on, its vector, and who times the rungs → the hits in a better order."""


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
    fields: Mapping[str, float] = field(default_factory=dict)  # weights of a product's parts; then a hit is a product

    def __post_init__(self) -> None:
        if self.k < 1:
            raise QueryError(f"k is {self.k}, and must be at least 1")
        if self.offset < 0:
            raise QueryError(f"offset is {self.offset}, and must not be negative")
        if not self.query.terms:
            raise QueryError("the query has no terms")


def search(
    requests: Sequence[Request],
    snapshot: Snapshot,
    *,
    embed: Callable[[Sequence[Query]], NDArray[np.float32]],
    index: VectorIndex,
    cache: Cache,
    finish: Finish | None = None,
) -> list[Hits]:
    """The hits of each request, best first. Requests of one call differ in nothing but the query; they share its timings.

    ``embed`` gives the queries' vectors ``(n, dim)``, ``index`` the rows near them, ``finish`` a better order for the hits
    before they are paged, and may drop some. Raises :class:`QueryError`, :class:`FilterError`, and what the three raise.
    """
    request, timer = requests[0], Timer()
    with timer.stage("encode"):
        vectors = embed([one.query for one in requests])
    default = tuple(Kind) if request.fields else (Kind.IMAGE,) if snapshot.count(Kind.IMAGE) else (Kind.TEXT,)
    kinds = request.kinds or default
    with timer.stage("filter"):
        allowed = {kind: _allowed(request, kind, snapshot, cache) for kind in kinds}
    with timer.stage("search"):
        if request.fields:
            wanted = max(request.offset + request.k, request.candidates)
            products = rank_products(vectors, allowed, request.fields, wanted, index=index, snapshot=snapshot, cache=cache)
            ranked = [[(one.vid, one.score) for one in found] for found in products]
        else:
            ranked = _ranked(requests, vectors, allowed, index, snapshot)
    first, last = request.offset, request.offset + request.k
    pages = []
    for at, (one, vector, found) in enumerate(zip(requests, vectors, ranked, strict=True)):
        parts = {product.vid: product for product in products[at]} if request.fields else {}
        with timer.stage("fetch"):
            if finish is None:
                hits = _hits(found[first:last], first, snapshot, parts)
            else:
                hits = _hits(found[: max(last, request.candidates)], 0, snapshot, parts)
        if finish is not None:
            hits = tuple(finish(one.query, hits, vector, timer)[first:last])
        pages.append(hits)
    candidates = sum(len(vids) for vids in allowed.values())
    exact = not request.fields or all(len(vids) <= LEAST for vids in allowed.values())
    return [Hits(hits, exact=exact, candidates=candidates, timings=timer.ms) for hits in pages]


# --- candidates, groups, pages ----------------------------------------------------------------------------------


def allowed(
    snapshot: Snapshot, kind: Kind | None, where: str | None, params: Mapping[str, Json], cache: Cache
) -> VidSet:
    """The live items of a kind that a condition is true for; what was worked out for the same state is not worked out again."""
    if not where:
        return snapshot.live(kind)
    key = (snapshot.generation, kind, where, repr(sorted(params.items())))
    return cache.get(key, lambda: snapshot.select(where, params, kind))


def _allowed(request: Request, kind: Kind, snapshot: Snapshot, cache: Cache) -> VidSet:
    found = allowed(snapshot, kind, request.where, request.params, cache)
    if request.exclude:
        out = VidSet([record.vid for record in snapshot.by_id(list(request.exclude)).values()])
        found = found - out
    return found


def _ranked(
    requests: Sequence[Request],
    queries: NDArray[np.float32],
    allowed: Mapping[Kind, VidSet],
    index: VectorIndex,
    snapshot: Snapshot,
) -> list[list[tuple[int, float]]]:
    """Each request's (vid, cosine), best first, at least up to the end of the page where that many exist; one per group
    if asked. Queries whose groups do not fill the page are asked again, deeper.
    """
    request = requests[0]
    wanted = max(request.offset + request.k, request.candidates)
    depth = wanted if request.group_by is None else wanted * 4
    words = [_words(one.query) if request.lexical else "" for one in requests]
    out: list[list[tuple[int, float]]] = [[] for _ in requests]
    left = list(range(len(requests)))
    while left:
        lists: dict[int, list[list[tuple[int, float]]]] = {at: [] for at in left}
        for vids in allowed.values():
            # two lists are fused as deep as this on every page, or pages would not fit together
            rows = index.search(queries[left], max(depth, LEXICAL_DEPTH) if any(words) else depth, within=vids)
            for row, at in enumerate(left):
                scores, found = rows.row(row)
                near = list(zip(found.tolist(), scores.tolist(), strict=True))
                if words[at]:
                    near = _with_words(near, words[at], request.lexical, queries[at], vids, snapshot)
                lists[at].append(near)
        for at in left:
            ranked = lists[at][0] if len(lists[at]) == 1 else fuse(lists[at])
            out[at] = ranked if request.group_by is None else _first_of_each_group(ranked, request.group_by, snapshot)
        if request.group_by is None:
            return out
        left = [at for at in left if len(out[at]) < wanted and any(len(found) >= depth for found in lists[at])]
        depth *= 4
    return out


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


def _hits(
    page: Sequence[tuple[int, float]], offset: int, snapshot: Snapshot, parts: Mapping[int, Product]
) -> tuple[Hit, ...]:
    roots = snapshot.roots()
    records = snapshot.shown([vid for vid, _ in page])
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
            rerank=parts[vid].merit if vid in parts else None,
            meta=record.meta,
            matches=parts[vid].matches if vid in parts else {},
        )
        for at, (vid, score) in enumerate(page, 1)
        if vid in records
    )


def absolute_path(record: Record | Shown, roots: Mapping[str, str]) -> str | None:
    """Where the item's file is, or was when it was indexed; ``None`` for items that came from no file."""
    if record.path is None:
        return None
    if record.root is None:
        return record.path
    return os.path.join(roots.get(record.root, ""), record.path)
