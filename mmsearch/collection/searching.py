"""Queries: by words, by pictures, by what is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from mmsearch.catalogue.fields import checked_weights
from mmsearch.collection.core import one_of
from mmsearch.collection.looking import Looking
from mmsearch.collection.routing import Router
from mmsearch.embed import Embedder
from mmsearch.errors import UsageError
from mmsearch.judgements import Judged
from mmsearch.ranking import Finisher, Ranking, RankingOptions
from mmsearch.search import Request
from mmsearch.search import search as run_search
from mmsearch.types import Hits, Json, Kind, Query, Term, text

UNLIKE = 0.25
"""How much disliked items count against liked ones; ``docs/catalogue.md`` has what more costs."""
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
        ``cutoff``, ``relevance``, ``lexical``, ``candidates``, ``fields`` (see :class:`mmsearch.ranking.Ranking`). Raises
        :class:`QueryError`, :class:`FilterError`, :class:`ItemNotFound`, :class:`ImageError`.
        """
        options: Any = {"kind": kind, "k": k, "offset": offset, "where": where, "params": params, "group_by": group_by, **ranking}
        return self.search_many([query], **options)[0]

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
        wanted = Ranking(**ranking)
        options: dict[str, Any] = {
            "kinds": kinds_of(kind),
            "k": k,
            "offset": offset,
            "where": where,
            "params": params or {},
            "group_by": group_by,
            **self._looks(wanted),
        }
        asked = [Request(text(one) if isinstance(one, str) else one, **options) for one in queries]
        return self._answers(asked, wanted)

    def similar(
        self,
        ids: str | Sequence[str],
        *,
        unlike: Sequence[str] = (),
        kind: Kind | str | None = None,
        k: int = 10,
        offset: int = 0,
        where: str | None = None,
        params: Mapping[str, Json] | None = None,
        group_by: str | None = None,
        **ranking: Unpack[RankingOptions],
    ) -> Hits:
        """Items like those stored under ``ids`` (one, or several) and unlike those under ``unlike``; all these are left out.

        By default of the first one's kind. The query is the mean of the liked rows less :data:`UNLIKE` times the mean of the
        disliked ones, as Rocchio has it (in Salton, The SMART Retrieval System, 1971). With ``where`` this completes a look:
        the shoes that go with a dress are what is similar to it among ``"article_type = 'Heels'"``. See :meth:`search`.
        """
        liked = [ids] if isinstance(ids, str) else list(dict.fromkeys(ids))
        if not liked:
            raise UsageError("name at least one item to be similar to")
        terms = [Term("item", id, 1.0 / len(liked)) for id in liked]
        terms += [Term("item", id, -UNLIKE / len(unlike)) for id in unlike]
        wanted = Ranking(**ranking)
        request = Request(
            Query(tuple(terms)),
            kinds=kinds_of(kind or self.get(liked[0]).kind),
            k=k,
            offset=offset,
            where=where,
            params=params or {},
            group_by=group_by,
            exclude=frozenset([*liked, *unlike]),
            **self._looks(wanted),
        )
        return self._answers([request], wanted)[0]

    def _looks(self, ranking: Ranking) -> dict[str, Any]:
        """What of a ranking decides what is looked at, as fields of a request."""
        return {"lexical": ranking.lexical, "candidates": ranking.depth, "fields": self._weights(ranking.fields)}

    def _answers(self, asked: Sequence[Request], ranking: Ranking) -> list[Hits]:
        with self._store.snapshot() as snapshot:
            finish = Finisher.of(ranking, snapshot, self._query_encoder, self._cache)
            embed = Embedder(snapshot, self._query_encoder, self._cache, self.info.dim, self._remembered).many
            if ranking.judged:
                embed = Judged(embed, snapshot, asked[0].kinds if asked else None)
            index = Router(snapshot, self._index_files, exact=ranking.exact)
            found: list[Hits] = []
            for at in range(0, len(asked), _TOGETHER):
                part = asked[at : at + _TOGETHER]
                found += run_search(part, snapshot, embed=embed, index=index, cache=self._cache, finish=finish)
            return found if index.exact else list(map(_approximate, found))

    def _weights(self, fields: Mapping[str, float] | str | None) -> dict[str, float]:
        if fields is None:
            return {}
        if not isinstance(fields, str):
            return checked_weights(fields)
        saved = self._stored(f"fields:{fields}")
        if saved is None:
            raise UsageError(f"no weights of fields are saved as {fields!r}", hint="Collection.save_fields saves some")
        return checked_weights(json.loads(saved))


def _approximate(hits: Hits) -> Hits:
    """The same hits, saying that an index chose the candidates: something better may have been missed."""
    return replace(hits, hits=tuple(replace(hit, exact=False) for hit in hits), exact=False)


def kinds_of(kind: Kind | str | None) -> tuple[Kind, ...] | None:
    if kind is None:
        return None
    return tuple(Kind) if kind == "any" else (Kind(one_of("kind", str(kind), "image", "text", "any")),)
