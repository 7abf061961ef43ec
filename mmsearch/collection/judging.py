"""What makes answers this collection's own: liked and disliked hits, pairs that are no duplicates, relevance fitted here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mmsearch import judgements
from mmsearch.collection.looking import Looking
from mmsearch.errors import ItemNotFound, QueryError
from mmsearch.judgements import Judgement
from mmsearch.types import Kind, Query, text

if TYPE_CHECKING:
    from mmsearch.relevance import Calibration


class Judging(Looking):
    """The verbs of feedback; see :mod:`mmsearch.judgements`."""

    def judge(
        self, query: Query | str, *, like: Iterable[str] = (), unlike: Iterable[str] = (), wait: float = 0.0
    ) -> Judgement:
        """Remember which items fit a query (``like``) and which do not; later searches with the same text are moved by it.

        Added to what was said before; what is said last of an item counts. Case and blanks of the text do not matter. Returns
        all that is kept of the query now. Raises :class:`ItemNotFound`, and :class:`QueryError` for a query that is more than one
        text. Searches with ``judged=False`` pay no heed to it.

        >>> shop.judge("evening dress", like=["sku-7"], unlike=["sku-3"]).like                # doctest: +SKIP
        ('sku-7',)
        """
        name = _name(query)
        liked, unliked = list(like), list(unlike)
        self._must_exist([*liked, *unliked])
        with self._store.writer(wait=wait) as writer:
            before = Judgement.load(name, self._stored(judgements.key_of(name)))
            after = before.with_more(liked, unliked)
            if after != before:
                writer.set_meta(judgements.key_of(name), after.dump())
        return after

    def judgements(self, query: Query | str | None = None) -> list[Judgement]:
        """All that was said of queries, by their normalised texts; of one alone, where it is given."""
        if query is None:
            return judgements.read(self._kept())
        name = _name(query)
        kept = self._stored(judgements.key_of(name))
        return [] if kept is None else [Judgement.load(name, kept)]

    def forget(self, query: Query | str, *, wait: float = 0.0) -> bool:
        """Forget what was said of a query. Returns whether there was anything."""
        name = _name(query)
        with self._store.writer(wait=wait) as writer:
            found = self._stored(judgements.key_of(name)) is not None
            if found:
                writer.set_meta(judgements.key_of(name), None)
        return found

    def keep_apart(self, one: str, other: str, *, forget: bool = False, wait: float = 0.0) -> None:
        """Remember that two items are no duplicates: :meth:`duplicates` does not join them any more; ``forget`` takes it back."""
        if one == other:
            raise QueryError("an item is always the same as itself; name two items")
        self._must_exist([one, other])
        with self._store.writer(wait=wait) as writer:
            writer.set_meta(judgements.pair_key(one, other), None if forget else "apart")

    def kept_apart(self) -> list[tuple[str, str]]:
        """The pairs of :meth:`keep_apart`, sorted."""
        return sorted((min(pair), max(pair)) for pair in judgements.pairs(self._kept()))

    def calibrate(self, *, wait: float = 0.0) -> Calibration:
        """Fit relevance on this collection's own pictures and texts of the same group, and keep it; searches use it from now on.

        Worth it with captions or descriptions, and most where the encoder was never measured: relevance becomes a probability
        and ``cutoff="auto"`` this collection's own. Seconds. Raises :class:`UsageError` for fewer than 100 groups that have both.
        """
        from mmsearch import calibrate
        from mmsearch.ranking import MIN_TEXTS
        from mmsearch.relevance import bank_vectors
        from mmsearch.settings import data_path

        with self._store.snapshot() as snapshot:
            pairs = calibrate.own_pairs(snapshot)
            own = snapshot.count(Kind.TEXT) >= MIN_TEXTS
        bank = None if own else bank_vectors(self._query_encoder(), data_path() / "banks")
        made = calibrate.fit_pairs(pairs, bank)
        with self._store.writer(wait=wait) as writer:
            writer.set_meta(calibrate.KEPT, calibrate.dumped(made, self.info.fingerprint))
        return made

    def _kept(self) -> dict[str, str]:
        with self._store.snapshot() as snapshot:
            return snapshot.kept()

    def _must_exist(self, ids: Sequence[str]) -> None:
        with self._store.snapshot() as snapshot:
            known = snapshot.by_id(ids)
        for id in ids:
            if id not in known:
                raise ItemNotFound(f"no item has the id {id!r}", hint="`mmsearch query --jsonl` shows the ids of what it finds")


def _name(query: Query | str) -> str:
    name = judgements.text_of(text(query) if isinstance(query, str) else query)
    if name is None:
        raise QueryError("only a query that is one text can be judged", hint="for others give --like and --unlike with the query")
    return name
