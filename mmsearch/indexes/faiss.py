"""Approximate search: FAISS finds candidates, the stored rows decide. What the index does not hold is searched exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes import saved
from mmsearch.indexes._library import library
from mmsearch.indexes.asking import Desks, Spanned
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.exact import Rows as ScannedRows
from mmsearch.indexes.halves import Best
from mmsearch.indexes.recipes import RECIPES, build, parameters, widest
from mmsearch.indexes.saved import Ann, Plan, Setting
from mmsearch.types import Neighbors, Vectors, Vids, VidSet

FEWEST = 256
"""An index over fewer rows is empty: codes cannot be trained on them, and every one of them is compared."""
_FACTORS = (10, 100, 1000)
_WIDER = 4
_FILTERED, _FEW = 3, 0.9
"""With a filter that leaves less than this share, three times as many lists are visited: what it allows may lie together, and not
where the query looks first. Figures stand in ``benchmarks/SEARCH.md``.
"""
_THREADS_PAY = 16  # fewer queries lose more by starting threads than these give
_MEMORY = 4  # filters whose bitmaps are kept
_WAYS = 16


class Rows(ScannedRows, Spanned, Protocol):
    """Where the rows come from: a store's snapshot, or :class:`~mmsearch.indexes.exact.ArrayRows`."""


class Filter:
    """Which positions of an index may be found, as FAISS wants it: a bitmap, which it reads where it lies.

    ``selector`` is ``None`` where all may; ``complete`` says that the index holds all that are allowed.
    """

    def __init__(self, ann: Ann, allowed: Vids) -> None:
        faiss = library()

        marks = np.zeros(ann.upto + 1, dtype=np.bool_)
        marks[allowed] = True
        wanted = marks[ann.vids]
        self._bits = np.packbits(wanted, bitorder="little")
        count = int(wanted.sum())
        self.complete = count == len(allowed)
        self.parameters: dict[tuple[int, int], Any] = {}
        """FAISS's objects for the settings that were used: making one costs as much as visiting a list."""
        self.selector = None if count == len(ann.vids) else faiss.IDSelectorBitmap(len(self._bits), faiss.swig_ptr(self._bits))


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How ``k`` rows among ``whole`` are looked for; ``tail`` are those behind the index. No ``setting``: every row is compared."""

    whole: Vids
    tail: Vids
    setting: Setting | None = None
    chosen: Filter | None = None
    depth: int = 0
    parameters: Any = None


class Filters:
    """What is kept of the last searches of one index: collections are searched many times within the same set of live items.

    For any thread; the arrays that searches write on are each thread's own (``desks``).
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Vids, Filter]] = []
        self._ways: dict[tuple[int, int], Way] = {}
        self.desks = Desks()

    def of(self, ann: Ann, allowed: Vids, key: Vids) -> Filter:
        """The filter for ``allowed``, kept under the array that it is a part of. 3 ms a million rows when it is new."""
        for known, made in self._kept:
            if known is key:
                return made
        made = Filter(ann, allowed)
        self._kept = [*self._kept[1 - _MEMORY :], (key, made)]
        return made

    def way(self, ann: Ann, whole: Vids, k: int) -> Way:
        """How to search, worked out once for a set and a ``k``."""
        key = id(whole), k
        known = self._ways.get(key)
        if known is not None and known.whole is whole:
            return known
        made = self._new(ann, whole, k)
        self._ways = dict([*self._ways.items()][1 - _WAYS :]) | {key: made}
        return made

    def _new(self, ann: Ann, whole: Vids, k: int) -> Way:
        cut = int(np.searchsorted(whole, ann.upto))
        head, tail = whole[:cut], whole[cut:]
        setting = ann.plan.setting(int(np.ceil(k * len(ann.vids) / len(head)))) if len(head) else None
        filtered = len(head) < _FEW * len(ann.vids)
        if setting is None or len(head) <= max(k, _few_enough(ann.plan, setting, filtered)):
            return Way(whole, tail)
        if filtered:
            setting = replace(setting, probe=setting.probe * _FILTERED)
        chosen = self.of(ann, head, whole)
        if not chosen.complete:
            return Way(whole, tail)
        depth, wanted = _asked(ann, setting, chosen)
        return Way(whole, tail, setting, chosen, depth, wanted)


def _few_enough(plan: Plan, setting: Setting, filtered: bool) -> float:
    """So few rows are compared one by one: the plan's limit is where that takes as long as its first setting, and deeper ones,
    which filters call for, take longer.
    """
    first = plan.settings[0].ms
    return plan.exact_below * (setting.ms / first if first else 1.0) * (_FILTERED if filtered else 1)


class FaissIndex:
    """The nearest rows by way of an approximate index over most of them; scores are always those of the stored rows.

    Rows that came after the index was built (vids from ``ann.upto`` on) are compared one by one, as are small sets; ``within``
    leaves out what was deleted or replaced since. With a filter the search is as much wider as rows are fewer, and widened
    until ``k`` are found; where no setting reaches as deep, every row is compared. ``Neighbors.exact`` tells.

    >>> vectors = np.eye(8, dtype=np.float32)
    >>> ann = FaissIndex.build(ArrayRows(np.arange(8), vectors), np.arange(8), 8, recipe="ivf-sq8")   # doctest: +SKIP
    >>> FaissIndex(rows, ann).search(vectors[3:4], 1).row(0)[1].tolist()                              # doctest: +SKIP
    [3]
    """

    def __init__(self, rows: Rows, ann: Ann, filters: Filters | None = None) -> None:
        self._rows, self._ann, self._exact = rows, ann, ExactIndex(rows)
        self._filters = filters or Filters()

    @staticmethod
    def build(rows: Rows, vids: Vids, dim: int, *, recipe: str, plan: Plan | None = None, threads: int = 1) -> Ann:
        """Builds over ``vids`` (ascending). Without a plan it is searched in a quarter of its lists: see :mod:`.planner`."""
        if len(vids) < FEWEST:
            return Ann(None, vids[:0], 0, plan or Plan(recipe, ()))
        made = build(RECIPES[recipe], rows, vids, dim, threads=threads)
        if plan is None:
            most = widest(RECIPES[recipe], made)
            probes = (max(most // 4, 1), max(most // 2, 1), most) if RECIPES[recipe].knob == "lists" else (128, 256, 2048)
            settings = [Setting(depth, probe, depth * 10) for depth, probe in zip(_FACTORS, probes, strict=True)]
            plan = Plan(recipe, tuple(settings))
        return Ann(made, vids, int(vids[-1]) + 1, plan)

    def search(self, queries: Vectors, k: int, *, within: VidSet | None = None) -> Neighbors:
        """The ``k`` nearest rows of each query ``(q, dim)``; fewer only where fewer exist. Cost: what the plan measured."""
        whole = within.vids if within is not None else self._stored()
        way = self._filters.way(self._ann, whole, k)
        found = self._near(queries, k, way) or self._wider(queries, k, way)
        if found is None:
            return self._exact.search(queries, k, within=VidSet(whole, is_sorted=True))
        if len(way.tail):
            newer = self._exact.search(queries, k, within=VidSet(way.tail, is_sorted=True))
            return _merged(found, newer, k)
        return found

    def _near(self, queries: Vectors, k: int, way: Way) -> Neighbors | None:
        """The usual search: there are enough candidates."""
        ann = self._ann
        if k > way.depth:
            return None
        if len(queries) < _THREADS_PAY:
            library().omp_set_num_threads(1)
        desk = self._filters.desks.of(ann.entry, ann.vids, queries.shape[1], way.depth, k)
        if len(queries) == 1:
            return desk.answer(queries[0], way.parameters, self._rows)
        return desk.answers(queries, way.parameters, self._rows)

    def _wider(self, queries: Vectors, k: int, way: Way) -> Neighbors | None:
        """Visits more lists, until there are enough candidates: ``None`` where there never are."""
        setting, chosen = way.setting, way.chosen
        if setting is None or chosen is None:
            return None
        while True:
            best = Best(queries, k, int(max(way.whole[-1], self._ann.upto)))
            found = candidates(self._ann, queries, setting, chosen)
            if all([self._rescore(best, row, positions) for row, positions in enumerate(found)]):
                return best.neighbors(exact=False)
            if setting.probe >= self._ann.widest:
                return None
            # a filter that goes against the query: what it allows lies far off
            setting = replace(setting, probe=setting.probe * _WIDER, candidates=setting.candidates * _WIDER)

    def _rescore(self, best: Best, row: int, positions: NDArray[np.int64]) -> bool:
        """Whether there were at least ``k`` candidates."""
        if positions[-1] < 0:
            positions = positions[positions >= 0]
        vids = self._ann.vids[positions]
        if len(vids):
            best.offer_to(row, self._rows.gather(vids), vids)
        return len(vids) >= best.k

    def save(self, path: Path) -> None:
        """Writes the index, which :func:`mmsearch.indexes.saved.read` maps. Raises ``OSError``."""
        saved.write(self._ann, path)

    def _stored(self) -> Vids:
        parts = [vids for vids, _ in self._rows.blocks(65536)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def candidates(ann: Ann, queries: Vectors, setting: Setting, chosen: Filter | None = None) -> NDArray[np.int64]:
    """``(q, candidates)`` positions, best first as far as the index can tell; -1 where there are fewer."""
    if len(queries) < _THREADS_PAY:
        library().omp_set_num_threads(1)
    depth, wanted = _asked(ann, setting, chosen)
    return ann.entry.search(queries, depth, wanted)


def _asked(ann: Ann, setting: Setting, chosen: Filter | None) -> tuple[int, Any]:
    """How many candidates, and FAISS's parameters."""
    depth = min(setting.candidates, len(ann.vids))
    key = setting.probe, depth
    wanted = None if chosen is None else chosen.parameters.get(key)
    if wanted is None:
        selector = None if chosen is None else chosen.selector
        wanted = parameters(ann.recipe, min(setting.probe, ann.widest), depth, selector)
        if chosen is not None:
            chosen.parameters[key] = wanted
    return depth, wanted


def _merged(one: Neighbors, other: Neighbors, k: int) -> Neighbors:
    """The best ``k`` of both; ``one`` decides whether it is exact."""
    rows = []
    for at in range(len(one.counts)):
        (left, mine), (right, theirs) = one.row(at), other.row(at)
        scores, vids = np.concatenate([left, right]), np.concatenate([mine, theirs])
        order = np.lexsort((vids, -scores))[:k]
        rows.append((scores[order], vids[order]))
    counts = np.array([len(vids) for _, vids in rows], dtype=np.int64)
    width = int(counts.max(initial=0))
    scores, vids = np.zeros((len(rows), width), dtype=np.float32), np.zeros((len(rows), width), dtype=np.int64)
    for at, (score, vid) in enumerate(rows):
        scores[at, : len(score)], vids[at, : len(vid)] = score, vid
    return Neighbors(scores, vids, counts, exact=one.exact)
