"""Which index, and how wide to search it: measured on the rows and queries at hand, never read from a table.

For each recipe that fits the memory an index is built on a sample; its knobs are turned until the recall target is met for
*each* kind of query (texts that look for images lie outside the images' distribution, and need wider searches); the
fastest wins, and only against an exact search that is clearly slower. The winner is built over all rows and tuned again there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes.audit import Audit, Questions, Recall, ask, audit, of_shares
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.faiss import FaissIndex, Rows, candidates
from mmsearch.indexes.recipes import RECIPES
from mmsearch.indexes.saved import Ann, Plan, Setting
from mmsearch.types import Vectors, Vids, VidSet

DEPTHS = (10, 100, 1000)
SAMPLE = 100_000
FEWEST = 20_000
"""Fewer rows are compared in a fraction of a millisecond: nothing is built."""
WORTH = 0.67
"""An index must answer in at most this share of the time that comparing every row takes."""
_FACTORS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 40, 80)
_MOST = 10_000  # candidates, whatever the depth
_WIDEST = 2.5  # times as many lists as the narrowest search visits: beyond, fewer candidates have never paid for them
_TIMED = 100
_PLENTY, _LEAST = 20_000, 50
Say = Callable[[str, float], None]
Queries: TypeAlias = dict[str, tuple[Vectors, Vids | None]]
"""By kind: vectors, and the rows that they were made from, ``None`` if from none."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is wanted: recall at 10, bytes that an index may take (``None``: no limit), recipes to try (empty: the usual)."""

    recall: float = 0.95
    memory: int | None = None
    recipes: tuple[str, ...] = ()
    threads: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """An index with settings that meet the target, and what they cost."""

    ann: Ann
    seconds: float  # CPU, to build
    ms: float  # for one query at depth 10
    met: bool


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What the planner has found: ``best`` is ``None`` where comparing every row is as good; ``reason`` says why, in words."""

    best: Tuned | None
    tried: tuple[Tuned, ...]
    exact_ms: float
    reason: str


def choose(rows: Rows, vids: Vids, queries: Queries, aim: Aim, say: Say) -> Choice:
    """Choose, build and tune an index over ``vids`` (ascending).

    ``say`` is told what is being done and the share of it. Costs 10 to 30 CPU seconds a recipe for 100,000 rows of 512
    numbers; for more rows that is the sample's cost, and the winner's build comes on top.
    """
    everything = VidSet(vids, is_sorted=True)
    first = next(iter(queries.values()))[0]
    exact_ms = _timed(lambda part: ExactIndex(rows).search(part, DEPTHS[0], within=everything), first[:9])
    if len(vids) < FEWEST:
        return Choice(None, (), exact_ms, f"{len(vids):,} rows are compared one by one in {exact_ms:.1f} ms")
    dim = first.shape[1]
    names = [name for name in (aim.recipes or usual()) if fits(name, len(vids), dim, aim.memory)]
    if not names:
        return Choice(None, (), exact_ms, "no index fits into the memory that was given")
    sample = vids if len(vids) <= 2 * SAMPLE else _thinned(vids, SAMPLE)
    say("finding true neighbours", 0.0)
    asked = _ask_all(rows, VidSet(sample, is_sorted=True), queries, DEPTHS[0])
    tried = [_try(rows, sample, asked, RECIPES[name].name, aim, say, DEPTHS[:1]) for name in names]
    met = [one for one in tried if one.met] or tried
    best = min(met, key=lambda one: one.ms)
    if len(names) > 1 or len(sample) < len(vids):
        say(f"building {best.ann.plan.recipe} over all rows", 0.0)
    deep = _ask_all(rows, everything, queries, DEPTHS[-1])
    if len(sample) < len(vids):
        best = _try(rows, vids, deep, best.ann.plan.recipe, aim, say, DEPTHS)
    else:
        best = tune(rows, best.ann, deep, aim.recall, DEPTHS, best.seconds)
    return _judged(best, tuple(tried), exact_ms, aim)


def _judged(best: Tuned, tried: tuple[Tuned, ...], exact_ms: float, aim: Aim) -> Choice:
    told = f"{best.ann.plan.recipe} answers in {best.ms:.2f} ms, comparing every row in {exact_ms:.1f} ms"
    if not best.met:
        return Choice(None, tried, exact_ms, f"no index reached recall {aim.recall:.2f} on these queries")
    if best.ms > WORTH * exact_ms:
        return Choice(None, tried, exact_ms, told)
    limit = int(best.ms / max(exact_ms, 1e-6) * len(best.ann.vids) / 2)  # gathered rows cost about twice as much as a row in line
    best = replace(best, ann=replace(best.ann, plan=replace(best.ann.plan, exact_below=max(limit, DEPTHS[0]))))
    return Choice(best, tried, exact_ms, told)


def usual() -> list[str]:
    """The recipes that are tried when none are named: those that have won, in our measurements, at some size or memory."""
    return [name for name, recipe in RECIPES.items() if recipe.usual]


def fits(recipe: str, n: int, dim: int, memory: int | None) -> bool:
    """Whether an index over ``n`` rows stays within so many bytes."""
    return memory is None or n * (RECIPES[recipe].bytes(dim) + 8) <= memory


def _try(
    rows: Rows, vids: Vids, asked: list[Questions], recipe: str, aim: Aim, say: Say, depths: Sequence[int]
) -> Tuned:
    say(f"building {recipe} over {len(vids):,} rows", 0.0)
    began = time.process_time()
    ann = FaissIndex.build(rows, vids, asked[0].vectors.shape[1], recipe=recipe, threads=aim.threads)
    seconds = time.process_time() - began
    say(f"tuning {recipe}", 0.5)
    return tune(rows, ann, asked, aim.recall, depths, seconds)


def bench(
    rows: Rows, vids: Vids, queries: Queries, current: Ann | None, recipes: Sequence[str], *, k: int = 10
) -> list[Audit]:
    """Measure the ways to search these rows: every row, the index in use, and each recipe, built anew and tuned."""
    within = VidSet(vids, is_sorted=True)
    asked = _ask_all(rows, within, queries, max(k, DEPTHS[0]))
    found = [audit("exact", ExactIndex(rows), asked, within, k=k)]
    if current is not None:
        found.append(replace(_audited(rows, current, asked, within, k), current=True))
    for name in recipes:
        tuned = _try(rows, vids, asked, name, Aim(), lambda what, share: None, DEPTHS[:1])
        found.append(replace(_audited(rows, tuned.ann, asked, within, k), build_seconds=tuned.seconds))
    return found


def _audited(rows: Rows, ann: Ann, asked: Sequence[Questions], within: VidSet, k: int) -> Audit:
    setting = ann.plan.setting(k)
    words = f"{setting.probe} {ann.recipe.knob}, {setting.candidates} candidates" if setting else "every row"
    measured = audit(ann.plan.recipe, FaissIndex(rows, ann), asked, within, k=k)
    return replace(measured, setting=words, bytes=ann.recipe.bytes(asked[0].vectors.shape[1]) + 8)


def tune(
    rows: Rows, ann: Ann, asked: Sequence[Questions], target: float, depths: Sequence[int], seconds: float = 0.0
) -> Tuned:
    """Turn the knobs until every kind of query reaches ``target`` at each depth, as cheaply as can be.

    The lower end of a one-sided 84% interval must reach it, so that another sample of queries would too. One search per width
    of the knob serves all numbers of candidates, as these are the beginning of one list.
    """
    settings: list[Setting] = []
    met = True
    for depth in depths:
        found = _cheapest(rows, ann, _fewer(asked, depth), target, depth)
        met = met and (found is not None or depth != depths[0])
        if found is not None:
            settings.append(found)
    plan = Plan(ann.plan.recipe, tuple(settings) or ann.plan.settings, ann.plan.exact_below)
    ann = replace(ann, plan=plan)
    return Tuned(ann, seconds, settings[0].ms if settings else float("inf"), met)


def _cheapest(rows: Rows, ann: Ann, asked: Sequence[Questions], target: float, depth: int) -> Setting | None:
    """The narrowest search that reaches the target is found by halving, as recall only rises; it and wider ones that need fewer
    candidates are then timed.
    """
    probes = _probes(ann, depth)
    low, high = 0, len(probes)
    known: dict[int, Setting | None] = {}

    def at(place: int) -> Setting | None:
        if place not in known:
            known[place] = _enough(ann, asked, probes[place], target, depth)
        return known[place]

    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle) else (middle + 1, high)
    worth: list[Setting] = []
    for place in range(low, len(probes)):
        if probes[place] > _WIDEST * probes[low]:
            break
        found = at(place)
        if found is not None and (not worth or found.candidates < worth[-1].candidates):
            worth.append(found)
    return _soonest(rows, ann, worth, asked[-1].vectors)


def _soonest(rows: Rows, ann: Ann, settings: Sequence[Setting], queries: Vectors) -> Setting | None:
    """The setting with the shortest search, its time noted. They take turns, so that what else the machine does falls on all; each
    with another query, or it would find in the cache what the one before it has read.
    """
    within = VidSet(ann.vids, is_sorted=True)
    searches = [FaissIndex(rows, replace(ann, plan=Plan(ann.plan.recipe, (one,), 0))) for one in settings]
    took = np.empty((min(len(queries), _TIMED) + 1, len(settings)))
    apart = max(len(queries) // max(len(settings), 1), 1)
    for turn, times in enumerate(took):
        for place, (index, one) in enumerate(zip(searches, settings, strict=True)):
            at = (turn + place * apart) % len(queries)
            began = time.thread_time()
            index.search(queries[at : at + 1], one.depth, within=within)
            times[place] = time.thread_time() - began
    ms = np.median(took[1:], axis=0) * 1000  # the first made what is kept
    order = np.argsort(ms, kind="stable").tolist()
    return replace(settings[order[0]], ms=float(ms[order[0]])) if order else None


def _probes(ann: Ann, depth: int) -> list[int]:
    most = ann.widest
    if ann.recipe.knob == "beam":
        steps = [int(depth * 1.4**step) for step in range(1, 14)]
    else:
        steps = [max(int(1.1**step), 1) for step in range(100)]
    kept = sorted({step for step in steps if step <= most})
    return kept or [most]


def _enough(ann: Ann, asked: Sequence[Questions], probe: int, target: float, depth: int) -> Setting | None:
    """The fewest candidates with which this width reaches the target for all kinds of query."""
    most = min(_FACTORS[-1] * depth, _MOST, len(ann.vids))
    needed = 0
    reached: dict[str, NDArray[np.int64]] = {}
    for one in asked:
        places = _places(ann, one, Setting(depth, probe, most), depth)
        reached[one.name] = places
        steps = [min(factor * depth, most) for factor in _FACTORS]
        counts = [count for count in steps if count >= needed and _passes(_recall(places, one, count, depth), target)]
        if not counts:
            return None
        needed = max(needed, counts[0])
    recall = {one.name: _recall(reached[one.name], one, needed, depth).value for one in asked}
    return Setting(depth, probe, needed, recall)


def _passes(recall: Recall, target: float) -> bool:
    return recall.value - recall.margin / 1.96 >= target


def _places(ann: Ann, asked: Questions, setting: Setting, depth: int) -> NDArray[np.int64]:
    """``(q, depth)``: where in its list of candidates each true neighbour stands; the list's length where it does not."""
    found = candidates(ann, asked.vectors, setting)
    width = found.shape[1]
    places = np.full((len(found), depth), width, dtype=np.int64)
    for row in range(len(found)):
        order = np.argsort(found[row], kind="stable")
        wanted = np.searchsorted(ann.vids, asked.truth[row, :depth])
        at = np.minimum(np.searchsorted(found[row][order], wanted), width - 1)
        hit = found[row][order][at] == wanted
        places[row, hit] = order[at[hit]]
    return places


def _recall(places: NDArray[np.int64], asked: Questions, count: int, depth: int) -> Recall:
    known = asked.truth[:, :depth] >= 0
    shares = ((places < count) & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return of_shares(shares, depth)


def _timed(search: Callable[[Vectors], object], queries: Vectors) -> float:
    """Milliseconds for one query: the median of the thread's own time, which other processes disturb least."""
    search(queries[:1])
    took = []
    for at in range(len(queries)):
        began = time.thread_time()
        search(queries[at : at + 1])
        took.append(time.thread_time() - began)
    return float(np.median(took)) * 1000


def _ask_all(rows: Rows, within: VidSet, queries: Queries, depth: int) -> list[Questions]:
    return [ask(rows, within, name, vectors, depth, own) for name, (vectors, own) in queries.items()]


def _fewer(asked: Sequence[Questions], depth: int) -> list[Questions]:
    """For deeper lists fewer queries tell as much, since each has as many more neighbours."""
    n = max(_PLENTY // depth, _LEAST) if depth > DEPTHS[0] else None
    return [Questions(one.name, one.vectors[:n], one.truth[:n], one.own[:n]) for one in asked]


def _thinned(vids: Vids, n: int) -> Vids:
    return np.sort(np.random.default_rng(0).permutation(vids)[:n])
