"""Derived indexes of a collection: measuring, building, forgetting them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.collection.looking import Looking
from mmsearch.errors import UsageError
from mmsearch.status import PLAN, index_states
from mmsearch.store import IndexInfo, Snapshot
from mmsearch.types import Kind, Vectors, Vids

if TYPE_CHECKING:
    from mmsearch.indexes.audit import Audit
    from mmsearch.indexes.planner import Aim, Choice, Queries

_QUERIES = 500
_SEED = 7


class Indexing(Looking):
    """The verbs that make searches fast."""

    def build_index(
        self,
        *,
        recall: float = 0.95,
        memory: int | None = None,
        recipes: Iterable[str] = (),
        kind: Kind | str | None = None,
        say: Callable[[str, float], None] | None = None,
        wait: float = 600.0,
        threads: int = 1,
    ) -> dict[str, str]:
        """Measure which index answers soonest at this recall among ten, for images and for texts as queries; build and keep it.

        Small collections, and those where comparing every row is as fast, go without. ``memory`` bounds an index in bytes,
        ``recipes`` names those to try (see :data:`mmsearch.indexes.recipes.RECIPES`). Searches and writers go on: the lock is
        held only while the result is written, and waited for ``wait`` seconds. Returns what was decided, by kind, in words.
        About 40 CPU seconds for 100,000 items of 512 dimensions, 4 minutes for a million. Raises :class:`LockedError`.
        """
        from mmsearch.indexes.planner import Aim, choose

        names = tuple(_known(recipes))
        if not 0 < recall < 1:
            raise UsageError(f"recall is {recall}, and must lie between 0 and 1")
        aim = Aim(recall, memory, names, threads)
        decided = {}
        for one in [Kind(kind)] if kind else list(Kind):
            with self._store.snapshot() as snapshot:
                vids = snapshot.live(one).vids
                queries = self._questions(snapshot, one, vids) if len(vids) else {}
            if queries:  # the transaction has ended, or the log could not be emptied for minutes; the mapped rows stay
                choice = choose(snapshot, vids, queries, aim, partial(_named, say, one))
                self._keep_index(one, len(vids), choice, aim, wait)
                decided[str(one)] = choice.reason
        return decided

    def drop_index(self, kind: Kind | str | None = None, *, wait: float = 0.0) -> None:
        """Forget the derived indexes (or that of one kind): searches compare every row again."""
        with self._store.writer(wait=wait) as writer:
            for one in [Kind(kind)] if kind else list(Kind):
                writer.drop_index(str(one))
                writer.set_meta(PLAN + str(one), None)

    def index_due(self) -> list[str]:
        """Why a derived index ought to be built anew, one line a kind; empty where none is due. Milliseconds."""
        with self._store.snapshot() as snapshot:
            states = index_states(snapshot)
            bad = {one.kind for one in snapshot.indexes() if self._index_files.is_bad(one)}
        found = ((one.kind, "its file is damaged" if one.kind in bad else one.due()) for one in states)
        return [f"{kind}s: {why}" for kind, why in found if why]

    def bench(
        self, *, k: int = 10, recipes: Iterable[str] = (), every: bool = False, kind: Kind | str | None = None
    ) -> dict[str, list[Audit]]:
        """Measure searches as they are now, by kind of item: exact, the index in use, and each of ``recipes`` built anew
        (``every``: all that there are).

        Recall is that among ``k``, against comparing every row, for queries of both kinds; see :mod:`mmsearch.indexes.audit`.
        """
        from mmsearch.indexes.planner import bench
        from mmsearch.indexes.recipes import RECIPES

        names = list(RECIPES) if every else _known(recipes)
        found = {}
        for one in [Kind(kind)] if kind else list(Kind):
            with self._store.snapshot() as snapshot:
                live = snapshot.live(one)
                queries = self._questions(snapshot, one, live.vids) if len(live) else {}
                if queries:
                    info = next((info for info in snapshot.indexes() if info.kind == str(one)), None)
                    current = None if info is None else self._index_files.get(snapshot, info, 0, at_once=True)
                    ann = None if current is None else current[0]
                    found[str(one)] = bench(snapshot, live.vids, queries, ann, names, k=k)
        return found

    def _questions(self, snapshot: Snapshot, kind: Kind, vids: Vids) -> Queries:
        """Queries as people ask them: stored items of either kind, and generic texts where no texts are stored."""
        queries: Queries = {}
        for one in (kind, *(other for other in Kind if other is not kind)):
            live = snapshot.live(one).vids
            chosen = np.sort(np.random.default_rng(_SEED).permutation(live)[:_QUERIES])
            if len(chosen) >= _QUERIES // 5:
                queries[str(one)] = snapshot.fetch(chosen), chosen if one is kind else None
        if str(Kind.TEXT) not in queries and kind is Kind.IMAGE and (bank := self._bank()) is not None:
            queries[str(Kind.TEXT)] = bank, None
        return queries

    def _bank(self) -> Vectors | None:
        from mmsearch.errors import MMSearchError
        from mmsearch.relevance import bank_vectors
        from mmsearch.settings import data_path

        try:
            rows = bank_vectors(self._query_encoder(), data_path() / "banks")
        except MMSearchError:  # the model's weights are not on this machine: its pictures must do
            return None
        return np.random.default_rng(_SEED).permutation(rows)[:_QUERIES]

    def _keep_index(self, kind: Kind, rows: int, choice: Choice, aim: Aim, wait: float) -> None:
        best = choice.best
        note = {"reason": choice.reason, "when": time.time(), "measured": rows, "aim": aim.recall, "memory": aim.memory}
        with self._store.writer(wait=wait) as writer:
            if best is None:
                writer.drop_index(str(kind))
            else:
                from mmsearch.indexes import saved
                from mmsearch.indexes._library import library

                first = best.ann.plan.settings[0]
                told = {"name": best.ann.plan.recipe, "recall": first.recall, "ms": best.ms, "exact_ms": choice.exact_ms}
                recipe = json.dumps(told | {"rows": rows})
                info = IndexInfo(str(kind), "", 0, 0, best.ann.upto, recipe, library().__version__)
                writer.put_index(info, lambda path: saved.write(best.ann, path))
            writer.set_meta(PLAN + str(kind), json.dumps(note))


def _known(recipes: Iterable[str]) -> list[str]:
    from mmsearch.indexes.recipes import RECIPES

    names = list(recipes)
    if unknown := [name for name in names if name not in RECIPES]:
        raise UsageError(f"no recipe is called {unknown[0]!r}", hint=f"there are: {', '.join(RECIPES)}")
    return names


def _named(say: Callable[[str, float], None] | None, kind: Kind, what: str, share: float) -> None:
    if say is not None:
        say(f"{kind}s: {what}", share)
