"""How much a product's photo, title and description should count: weights learned from queries with known answers.

Each product's parts are asked for once (:meth:`Collection.search` with all weights 1 tells what each part gives), and then every
combination of a small grid is tried on the same numbers. Cross-validated: the figure of each fold is made by the weights that
were best on the others, so that it holds for queries that were not learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.evaluation.cases import Case

if TYPE_CHECKING:
    from mmsearch.collection import Collection

Floats = NDArray[np.float64]
GRID = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_TOP = 10


@dataclass(frozen=True, slots=True)
class FieldWeights:
    """What was learned. ``weights`` are the best on all queries, the largest of them 1.

    ``score`` is the mean nDCG@10 of held-out queries under weights learned from the others; ``equal`` and ``alone`` are those of
    equal weights and of each field by itself on the same queries. ``per_query`` ``(n,)`` and ``per_query_equal`` are for tests.
    """

    weights: Mapping[str, float]
    score: float
    equal: float
    alone: Mapping[str, float]
    per_query: Floats
    per_query_equal: Floats


def learn_fields(
    collection: Collection,
    cases: Sequence[Case],
    *,
    fields: Sequence[str] = ("photo", "title", "description"),
    depth: int = 200,
    folds: int = 5,
    without: Mapping[str, frozenset[str]] | None = None,
) -> FieldWeights:
    """The weights that rank the right products highest; a case's ``relevant`` are groups (or ids of items without one).

    ``depth`` products are looked at for each query. ``without`` leaves products out of a query's answer, by the case's id.
    Folds are made of whole clusters. Costs one search a case and then seconds. Raises :class:`UsageError` for fewer cases
    than folds.

    >>> found = learn_fields(shop, cases)                                                   # doctest: +SKIP
    >>> shop.save_fields("shop", found.weights); shop.search("red bag", fields="shop")     # doctest: +SKIP
    """
    if len(cases) < folds or folds < 2:
        raise UsageError(f"{folds} folds need at least as many cases, and there are {len(cases)}")
    grid = _grid(len(fields))
    table = np.stack(
        [_gains(*_parts(collection, case, fields, depth, (without or {}).get(case.id, frozenset())), grid) for case in cases]
    )
    clusters = sorted({case.cluster for case in cases})
    fold_of = {name: at % folds for at, name in enumerate(np.random.default_rng(0).permutation(clusters))}
    fold = np.array([fold_of[case.cluster] for case in cases])
    held_out = np.zeros(len(cases))
    for at in range(folds):
        if (fold == at).any() and (fold != at).any():
            held_out[fold == at] = table[fold == at, table[fold != at].mean(axis=0).argmax()]
    equal = table[:, _at(grid, np.ones(len(fields)))]
    alone = {name: float(table[:, _at(grid, row)].mean()) for name, row in zip(fields, np.eye(len(fields)), strict=True)}
    best = grid[table.mean(axis=0).argmax()]
    weights = {name: float(value) for name, value in zip(fields, best, strict=True)}
    return FieldWeights(weights, float(held_out.mean()), float(equal.mean()), alone, held_out, equal)


def _grid(fields: int) -> Floats:
    """All combinations whose largest weight is 1: others rank like one of these."""
    return np.array([row for row in product(GRID, repeat=fields) if max(row) == 1.0])


def _at(grid: Floats, row: Floats) -> int:
    return int(np.flatnonzero((grid == row).all(axis=1))[0])


def _parts(
    collection: Collection, case: Case, fields: Sequence[str], depth: int, without: frozenset[str]
) -> tuple[Floats, Floats, Floats]:
    """What each field gives for each product ``(n, fields)``, the products' gains ``(n,)``, and all gains that there are."""
    from mmsearch.catalogue.fields import field_of
    from mmsearch.types import Kind

    hits = collection.search(case.query, k=depth, fields=dict.fromkeys(fields, 1.0))
    rows, gains = [], []
    for hit in hits:
        name = hit.group or hit.id
        if name in without:
            continue
        given = {field_of(id, Kind.IMAGE if id == hit.id else Kind.TEXT): value for id, value in hit.matches.items()}
        rows.append([given.get(field, 0.0) for field in fields])
        gains.append(float(case.relevant.get(name, 0)))
    ideal = np.array(sorted((float(g) for name, g in case.relevant.items() if name not in without), reverse=True))
    return np.array(rows).reshape(-1, len(fields)), np.array(gains), ideal


def _gains(parts: Floats, gains: Floats, ideal: Floats, grid: Floats) -> Floats:
    """nDCG@10 of one query under each row of the grid ``(g,)``."""
    discount = 1 / np.log2(np.arange(2, _TOP + 2))
    best = float((ideal[:_TOP] * discount[: len(ideal[:_TOP])]).sum())
    if not len(parts) or not best:
        return np.zeros(len(grid))
    order = np.argsort(-(parts @ grid.T), axis=0, kind="stable")[:_TOP]
    return np.asarray((gains[order] * discount[: len(order), None]).sum(axis=0) / best)
