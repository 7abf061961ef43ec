"""One score for a product of several items: its best photo, its title, its description, weighted.

Cosines of pictures and of texts lie on different scales, and so do those of short and long texts. So each is measured
against the *background* of its own field: mean ``m`` and deviation ``d`` of the query's cosines with a sample of that
field's items. A product's merit is ::

    merit = sum over fields f of  weight_f · (s_f - m_f) / d_f          s_f: the best cosine among its items of field f

A field that a product lacks counts as the mean, 0. The field of an item is read off its id, ``sku#photo-2`` → ``photo``,
``sku#title`` → ``title``; an id without such an ending is a ``photo`` or a ``text``, by its kind.
Weights are learned by :func:`mmsearch.evaluation.learn_fields`; figures stand in ``docs/catalogue.md``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.cache import Cache
from mmsearch.errors import QueryError
from mmsearch.protocols import VectorIndex
from mmsearch.store import Snapshot
from mmsearch.types import Kind, Vectors, Vids, VidSet

_ENDING = re.compile(r"#([^\W\d][\w ]*?)(?:-\d+)?$")
LEAST = 200
"""So many items of each kind are looked at, at least: their products are the candidates."""
_SAMPLE = 1000
_ENOUGH = 20
"""A field with fewer items in the sample is measured against all of its kind."""


def field_of(id: str, kind: Kind) -> str:
    """The field of a product that an item is.

    >>> field_of("sku-7#photo-2", Kind.IMAGE), field_of("sku-7#title", Kind.TEXT), field_of("a/b.jpg", Kind.IMAGE)
    ('photo', 'title', 'photo')
    """
    found = _ENDING.search(id)
    return found[1] if found else "photo" if kind is Kind.IMAGE else "text"


def checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights as floats. Raises :class:`QueryError` for what cannot be one, and where all are 0."""
    try:
        found = {str(name): float(value) for name, value in weights.items()}
    except (TypeError, ValueError, AttributeError):
        raise QueryError("fields are names with weights", hint='as in {"photo": 1, "title": 0.6}') from None
    if not any(found.values()) or not all(math.isfinite(value) and value >= 0 for value in found.values()):
        raise QueryError(f"the weights {found} must be 0 or more, and one of them above 0")
    return found


@dataclass(frozen=True, slots=True)
class Product:
    """A product in an answer: the item that shows it (its best photo, else its best text), that item's cosine, the merit,
    and what each of its best items gave to that, by id.
    """

    vid: int
    score: float
    merit: float
    matches: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Rows spread evenly over the collection, and the field of each."""

    rows: Vectors
    kinds: tuple[Kind, ...]
    fields: tuple[str, ...]

    def background(self, vector: Vectors) -> dict[tuple[Kind, str], tuple[float, float]]:
        """Mean and deviation of the query's cosines, by kind and field; the field ``""`` is the whole kind."""
        cosines = (self.rows @ vector).astype(np.float64)
        members: dict[tuple[Kind, str], list[int]] = {}
        for at, (kind, name) in enumerate(zip(self.kinds, self.fields, strict=True)):
            members.setdefault((kind, name), []).append(at)
            members.setdefault((kind, ""), []).append(at)
        return {
            key: (float(cosines[at].mean()), max(float(cosines[at].std()), 1e-6))
            for key, at in members.items()
            if len(at) >= _ENOUGH or not key[1]
        }


def rank_products(
    vectors: Vectors,
    allowed: Mapping[Kind, VidSet],
    weights: Mapping[str, float],
    wanted: int,
    *,
    index: VectorIndex,
    snapshot: Snapshot,
    cache: Cache,
) -> list[list[Product]]:
    """For each query ``(n, dim)`` the products, best first: at least ``wanted`` where so many are among the candidates.

    Candidates are the products of the 200 nearest items of each kind (800 where ``4 · wanted`` is more, and so on); all
    their items that are ``allowed`` are then compared exactly. Costs one search of each kind, and some ms for 400
    products. Finding a group's items reads the whole catalogue (0.3 s at a million items) unless
    ``Collection.index_groups`` was called.
    """
    depth = LEAST
    while depth < 4 * wanted:  # in large steps: pages of one answer fit together as long as they share their candidates
        depth *= 4
    near: list[list[int]] = [[] for _ in vectors]
    for vids in allowed.values():
        found = index.search(vectors, depth, within=vids)
        for at in range(len(vectors)):
            near[at] += found.row(at)[1].tolist()
    sample = cache.get(("sample of fields", snapshot.generation), lambda: _sampled(snapshot))
    members = _Members.of(sorted({vid for one in near for vid in one}), allowed, snapshot)
    return [
        members.ranked(vector, mine, weights, sample.background(vector)) for vector, mine in zip(vectors, near, strict=True)
    ]


def _sampled(snapshot: Snapshot) -> _Sample:
    vids: list[int] = []
    for kind in Kind:
        live = snapshot.live(kind).vids
        vids += live[:: max(1, -(-len(live) // _SAMPLE))].tolist()
    records = snapshot.records(vids)
    fields = tuple(field_of(one.id, one.kind) for one in records)
    return _Sample(snapshot.fetch([one.vid for one in records]), tuple(one.kind for one in records), fields)


@dataclass(frozen=True, slots=True, eq=False)
class _Members:
    """All items of all candidate products; ``product`` says by number which item belongs to which."""

    vids: Vids
    ids: Sequence[str]
    kinds: Sequence[Kind]
    rows: Vectors
    of_group: Mapping[str, Sequence[int]]
    group_of: Mapping[int, str]

    @classmethod
    def of(cls, vids: Sequence[int], allowed: Mapping[Kind, VidSet], snapshot: Snapshot) -> _Members:
        found = {one.vid: (one.id, one.kind, one.group) for one in snapshot.records(vids)}
        groups = sorted({group for _, _, group in found.values() if group is not None})
        for vid, id, kind, group in snapshot.members(groups):
            if vid not in found and kind in allowed and vid in allowed[kind]:
                found[vid] = id, kind, group
        group_of = {vid: f"i{id}" if group is None else f"g{group}" for vid, (id, _, group) in found.items()}
        of_group: dict[str, list[int]] = {}
        for at, vid in enumerate(found):
            of_group.setdefault(group_of[vid], []).append(at)
        all_vids = np.array(list(found), dtype=np.int64)
        ids, kinds = [one[0] for one in found.values()], [one[1] for one in found.values()]
        return cls(all_vids, ids, kinds, snapshot.fetch(all_vids), of_group, group_of)

    def ranked(
        self,
        vector: Vectors,
        near: Sequence[int],
        weights: Mapping[str, float],
        background: Mapping[tuple[Kind, str], tuple[float, float]],
    ) -> list[Product]:
        """The products of the items ``near``, best first."""
        if not len(self.vids):
            return []
        cosines = (self.rows @ vector).tolist()
        groups = dict.fromkeys(self.group_of[vid] for vid in near if vid in self.group_of)
        products = [self._product(self.of_group[group], cosines, weights, background) for group in groups]
        return sorted(products, key=lambda one: (-round(one.merit, 6), one.vid))

    def _product(
        self,
        at: Sequence[int],
        cosines: Sequence[float],
        weights: Mapping[str, float],
        background: Mapping[tuple[Kind, str], tuple[float, float]],
    ) -> Product:
        best: dict[str, tuple[float, int]] = {}
        for one in at:
            kind, name = self.kinds[one], field_of(self.ids[one], self.kinds[one])
            mean, deviation = background.get((kind, name)) or background[kind, ""]
            value = (cosines[one] - mean) / deviation
            if name not in best or value > best[name][0]:
                best[name] = value, one
        given = {self.ids[one]: weights.get(name, 0.0) * value for name, (value, one) in best.items()}
        shown = max(at, key=lambda one: (self.kinds[one] is Kind.IMAGE, cosines[one], -one))
        matches = {id: round(value, 6) for id, value in given.items() if value}
        return Product(int(self.vids[shown]), cosines[shown], sum(given.values()), matches)
