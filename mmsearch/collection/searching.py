"""Queries: by words, by pictures, by what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Unpack

from mmsearch.collection.core import one_of
from mmsearch.collection.looking import Looking
from mmsearch.embed import Embedder
from mmsearch.ranking import Finisher, Ranking, RankingOptions
from mmsearch.search import Request
from mmsearch.search import search as run_search
from mmsearch.types import Hits, Json, Kind, Query, item, text


_TOGETHER = 256
"""Queries of one index search: their scores of one block of rows are 16 MiB."""


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
        return self._answers([request], ranking)[0]

    def search_many(
        self,
        queries: Sequence[Query | str],
        *,
        kind: Kind | str | None = None,
        k: int = 10,
        offset: int = 0,
        where: str | None = None,
        params: Mapping[str, Json] | None = None,
        group_by: str | None = None,
        **ranking: Unpack[RankingOptions],
    ) -> list[Hits]:
        """The answers to many queries, in their order, as :meth:`search` gives them one by one; the options hold for all.

        The texts go through the encoder together, the pictures too, and the index is asked once for each 256 queries: per
        query this costs a fraction of a single search. All see one committed state. What is wrong with one query (a text
        that is empty, a picture that cannot be read) is raised for all. ``timings`` are those of the whole batch.

        >>> [hits[0].id for hits in shop.search_many(["a red bag", "a blue shoe"], k=1)]     # doctest: +SKIP
        """
        options = {"kinds": _kinds(kind), "k": k, "offset": offset, "where": where, "params": params or {}, "group_by": group_by}
        asked = [Request(text(one) if isinstance(one, str) else one, **options) for one in queries]  # type: ignore[arg-type]
        return self._answers(asked, ranking)

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
        return self._answers([request], ranking)[0]

    def _answers(self, requests: Sequence[Request], options: RankingOptions) -> list[Hits]:
        from mmsearch.indexes.exact import ExactIndex

        ranking = Ranking(**options)
        asked = [replace(request, lexical=ranking.lexical, candidates=ranking.depth) for request in requests]
        with self._store.snapshot() as snapshot:
            finish = Finisher.of(ranking, snapshot, self._query_encoder, self._cache)
            embed = Embedder(snapshot, self._query_encoder, self._cache, self.info.dim, self._remembered)
            index = ExactIndex(snapshot)
            found: list[Hits] = []
            for at in range(0, len(asked), _TOGETHER):
                part = asked[at : at + _TOGETHER]
                found += run_search(part, snapshot, embed=embed.many, index=index, cache=self._cache, finish=finish)
            return found


def _kinds(kind: Kind | str | None) -> tuple[Kind, ...] | None:
    if kind is None:
        return None
    return tuple(Kind) if kind == "any" else (Kind(one_of("kind", str(kind), "image", "text", "any")),)
