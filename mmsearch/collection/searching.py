"""Queries: by words, by pictures, by what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Unpack

from mmsearch.collection.core import one_of
from mmsearch.collection.looking import Looking
from mmsearch.embed import Embedder
from mmsearch.ranking import Finisher, Ranking, RankingOptions
from mmsearch.search import Request
from mmsearch.search import search as run_search
from mmsearch.types import Hits, Json, Kind, Query, item, text


class Searching(Looking):
    """The verbs that search."""

    def search(
        self,
        query: Query | str,
        *,
        kind: Kind | str | None = None,
        k: int = 10,
        offset: int = 0,
        where: str | None = None,
        params: Mapping[str, Json] | None = None,
        group_by: str | None = None,
        **ranking: Unpack[RankingOptions],
    ) -> Hits:
        """The ``k`` items nearest to ``query``, best first, those before ``offset`` left out.

        ``kind`` is ``"image"``, ``"text"`` or ``"any"`` (both, fused by rank); left out, it is images when there are any.
        ``where`` is a condition over the items' fields, such as ``"price < :p and brand = 'Acme'"``, its ``:names`` bound from
        ``params``; k hits come back whenever k items satisfy it. ``group_by`` (``"group"`` or a field of meta) gives the best
        hit of each group. What else may be given orders and cuts the hits: ``rerank``, ``boost``, ``collapse``, ``diversity``,
        ``cutoff``, ``relevance``, ``lexical``, ``candidates`` (see :class:`mmsearch.ranking.Ranking`). Raises
        :class:`QueryError`, :class:`FilterError`, :class:`ItemNotFound`, :class:`ImageError`.
        """
        request = Request(
            text(query) if isinstance(query, str) else query,
            kinds=_kinds(kind),
            k=k,
            offset=offset,
            where=where,
            params=params or {},
            group_by=group_by,
        )
        return self._answer(request, ranking)

    def similar(
        self,
        id: str,
        *,
        kind: Kind | str | None = None,
        k: int = 10,
        offset: int = 0,
        where: str | None = None,
        params: Mapping[str, Json] | None = None,
        group_by: str | None = None,
        **ranking: Unpack[RankingOptions],
    ) -> Hits:
        """Items like the one stored under ``id``, that one left out; by default of its own kind. See :meth:`search`."""
        request = Request(
            item(id),
            kinds=_kinds(kind or self.get(id).kind),
            k=k,
            offset=offset,
            where=where,
            params=params or {},
            group_by=group_by,
            exclude=frozenset([id]),
        )
        return self._answer(request, ranking)

    def _answer(self, request: Request, options: RankingOptions) -> Hits:
        from mmsearch.indexes.exact import ExactIndex

        ranking = Ranking(**options)
        request = replace(request, lexical=ranking.lexical, candidates=ranking.depth)
        with self._store.snapshot() as snapshot:
            finish = Finisher.of(ranking, snapshot, self._query_encoder, self._cache)
            embed = Embedder(snapshot, self._query_encoder, self._cache, self.info.dim)
            index = ExactIndex(snapshot)
            return run_search(request, snapshot, embed=embed, index=index, cache=self._cache, finish=finish)


def _kinds(kind: Kind | str | None) -> tuple[Kind, ...] | None:
    if kind is None:
        return None
    return tuple(Kind) if kind == "any" else (Kind(one_of("kind", str(kind), "image", "text", "any")),)
