"""An adapter learned from pairs of (query, right items), and the judgement whether it is worth switching on.

The queries are parted into three: 60% to learn from, 20% to stop by, 20% that nothing has seen, on which it is judged.
Queries that share an item, or ask for items that another query asks for too, go into one part together where that leaves
enough parts; ``learn`` changes nothing anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.adapter import Adapter
from mmsearch.errors import UsageError
from mmsearch.training.adapter_fit import Fit, Task, fit
from mmsearch.training.adapter_pairs import Pair
from mmsearch.types import Vectors

__all__ = ["LEAST", "Learned", "Verdict", "judge", "learn", "mcnemar", "parts_of"]

Ints = NDArray[np.int64]
Find = Callable[[Vectors], Sequence[Sequence[str]]]
"""Vectors of queries → the ids of the ten nearest items of each."""

LEAST = 50
"""Fewer queries of a kind than this cannot show a gain that is no luck: nothing is learned from them."""
SIGNIFICANT = 0.05
_SHARES = (0.6, 0.8)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of ``queries`` held-out ones the share whose right item came first (``r1``) and among ten (``r10``), before and after.

    ``won`` and ``lost`` count the queries that were answered first only after, and only before; ``p1`` and ``p10`` are McNemar's
    exact two-sided p-values. ``better``: neither recall fell, and one rose by more than luck (p < 0.05).
    """

    queries: int
    before_r1: float
    after_r1: float
    before_r10: float
    after_r10: float
    won: int
    lost: int
    p1: float
    p10: float

    @property
    def better(self) -> bool:
        """Whether it may be switched on."""
        gains = [(self.after_r1 - self.before_r1, self.p1), (self.after_r10 - self.before_r10, self.p10)]
        return all(gain >= 0 for gain, _ in gains) and any(gain > 0 and p < SIGNIFICANT for gain, p in gains)


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned for one kind of query: the map, how the fit went, how it was judged; ``apart`` as in :func:`parts_of`."""

    kind: str
    fit: Fit
    verdict: Verdict
    apart: bool


def learn(kind: str, pairs: Sequence[Pair], queries: Vectors, rows: Mapping[str, NDArray[np.float32]], others: Vectors,
          find: Find, *, seed: int = 0) -> Learned:  # fmt: skip
    """Learn a map for queries of one kind and judge it by what ``find`` answers.

    ``queries`` are the pairs' vectors ``(n, dim)`` without an adapter, ``rows`` the stored rows of their items, ``others`` rows
    of any other items. Seconds to a minute. Raises :class:`UsageError` for fewer than :data:`LEAST` pairs.
    """
    if len(pairs) < LEAST:
        raise UsageError(
            f"there are {len(pairs)} {kind} queries with items of this collection, and fewer than {LEAST} teach nothing",
            hint="collect more pairs",
        )
    names = sorted({id for pair in pairs for id in pair.ids})
    place = {name: at for at, name in enumerate(names)}
    pool = np.concatenate([np.stack([rows[name] for name in names]), others])
    right = [np.array(sorted(place[id] for id in pair.ids), dtype=np.int64) for pair in pairs]
    parts, apart = parts_of(pairs, seed=seed)
    task = Task(queries, right)
    found = fit(task.some(parts[0]), task.some(parts[1]), pool, seed=seed)
    test = parts[2]
    return Learned(kind, found, judge([pairs[at] for at in test], queries[test], found.map, find), apart)


def judge(pairs: Sequence[Pair], queries: Vectors, change: NDArray[np.float32], find: Find) -> Verdict:
    """Ask with the queries as they are and as the map changes them."""
    changed = Adapter("", {"any": change})("any", queries)
    ranks = [_ranks(pairs, find(vectors)) for vectors in (queries, changed)]
    first = [rank < 1 for rank in ranks]
    ten = [rank < 10 for rank in ranks]
    won, lost = int((first[1] & ~first[0]).sum()), int((first[0] & ~first[1]).sum())
    return Verdict(
        queries=len(pairs),
        before_r1=float(first[0].mean()),
        after_r1=float(first[1].mean()),
        before_r10=float(ten[0].mean()),
        after_r10=float(ten[1].mean()),
        won=won,
        lost=lost,
        p1=mcnemar(won, lost),
        p10=mcnemar(int((ten[1] & ~ten[0]).sum()), int((ten[0] & ~ten[1]).sum())),
    )


def _ranks(pairs: Sequence[Pair], found: Sequence[Sequence[str]]) -> Ints:
    """0-based rank of each query's first right item; 10 where it is not among the ten."""
    out = [next((at for at, id in enumerate(ids[:10]) if id in set(pair.ids)), 10) for pair, ids in zip(pairs, found, strict=True)]
    return np.array(out, dtype=np.int64)


def mcnemar(won: int, lost: int) -> float:
    """The exact two-sided p-value that so uneven a split of ``won + lost`` is luck: a binomial test at 1/2 (McNemar 1947).

    >>> mcnemar(9, 1)
    0.021484375
    """
    n = won + lost
    tail = sum(math.comb(n, k) for k in range(min(won, lost) + 1)) / 2**n
    return float(min(1.0, 2 * tail))


def parts_of(pairs: Sequence[Pair], *, seed: int = 0) -> tuple[tuple[Ints, Ints, Ints], bool]:
    """Numbers of the pairs to learn from, to stop by and to be judged by; and whether no item is in two parts.

    Where clicks tie most items together (one knot has more than a third of all pairs), queries are parted one by one.
    """
    knot = list(range(len(pairs)))

    def end(at: int) -> int:
        while knot[at] != at:
            knot[at] = at = knot[knot[at]]
        return at

    first: dict[str, int] = {}
    for at, pair in enumerate(pairs):
        for id in pair.ids:
            knot[end(at)] = end(first.setdefault(id, at))
    ends = np.array([end(at) for at in range(len(pairs))])
    apart = bool(np.bincount(ends).max() <= len(pairs) / 3)
    names, member = np.unique(ends if apart else np.arange(len(pairs)), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(member)[order]
    upto = np.cumsum(sizes) / len(pairs)
    part = np.empty(len(names), dtype=np.int64)
    part[order] = np.searchsorted(_SHARES, upto - 1e-9)
    of = part[member]
    return (np.flatnonzero(of == 0), np.flatnonzero(of == 1), np.flatnonzero(of == 2)), apart
