"""The shop's verbs: upsert and discard with a status for each item, changes of meta, facets, saved weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from mmsearch.catalogue.fields import checked_weights
from mmsearch.catalogue.patch import checked, merged
from mmsearch.collection.core import one_of
from mmsearch.collection.searching import Searching, kinds_of
from mmsearch.collection.writing import Writing
from mmsearch.errors import UsageError
from mmsearch.search import allowed
from mmsearch.store import Change, Touch
from mmsearch.types import Facet, Item, ItemStatus, Json, Kind, Query, Record, VidSet

_BATCH = 4096
"""Items of one transaction."""
_PROFILE = "fields:"


class Catalogue(Writing, Searching):
    """The verbs of a product catalogue; see also ``fields`` of :meth:`search`."""

    def upsert(self, items: Iterable[Item], *, wait: float = 0.0) -> list[ItemStatus]:
        """Add items or replace those with the same id, and say of each what became of it, in their order.

        ``added``, ``updated`` (there was one of this id), or ``failed`` with the reason; the others go in all the same.
        Costs what :meth:`add` costs, and two look-ups for each item.

        >>> shop.upsert([Item("sku-1", text="a red bag")])                                   # doctest: +SKIP
        [ItemStatus(id='sku-1', status='added', detail=None)]
        """
        from mmsearch.ingest import IngestOptions, Rules, Target, add

        out: list[ItemStatus] = []
        stream = iter(items)
        with self._writing(wait) as writer:
            target = Target(self._store, writer, lambda: self.encoder)
            while block := list(islice(stream, _BATCH)):
                before = self._records(item.id for item in block)
                report = add(block, target, rules=Rules(), options=IngestOptions())
                wrong = {failure.path: failure.detail for failure in report.skipped}
                out += [_status(item, item.id in before, wrong) for item in block]
        return out

    def discard(self, ids: Iterable[str], *, wait: float = 0.0) -> list[ItemStatus]:
        """Delete items by id, and say of each whether it was there: ``deleted`` or ``not_found``."""
        wanted = list(ids)
        with self._writing(wait) as writer:
            assert writer is not None
            known = self._records(wanted)
            if known:
                writer.commit(Change(deletes=[record.vid for record in known.values()]))
        return [ItemStatus(id, "deleted" if id in known else "not_found") for id in wanted]

    def update_meta(
        self, patches: Mapping[str, Mapping[str, Json]], *, by: str = "id", wait: float = 0.0
    ) -> list[ItemStatus]:
        """Change parts of items' meta and nothing else: nothing is encoded, rows and vids stay.

        Each patch is a JSON merge patch (RFC 7386): keys that are given change, ``None`` takes one away, nested objects are
        merged. With ``by="group"`` the names are groups, and all items of each change: a product's photos and texts in one
        call. Filters, facets, boosts and words follow at once. One transaction for each 4,096 items: after a kill each batch is
        changed whole or not at all. 50 µs an item. The statuses are ``updated``, ``unchanged`` or ``not_found``, one for
        each name. Where a manifest or folder brings the meta, its next sync brings that back. Raises :class:`UsageError`.

        >>> shop.update_meta({"sku-1": {"price": 35, "old_price": None}}, by="group")        # doctest: +SKIP
        [ItemStatus(id='sku-1', status='updated', detail=None)]
        """
        one_of("by", by, "id", "group")
        names = checked(patches)
        status = dict.fromkeys(names, "not_found")
        with self._writing(wait) as writer:
            assert writer is not None
            left = iter(names)
            while part := list(islice(left, _BATCH)):
                with self._store.snapshot() as snapshot:
                    ids = part if by == "id" else [id for _, id, _, _ in snapshot.members(part)]
                    records = list(snapshot.by_id(ids).values())
                touches = []
                for record in records:
                    name = record.id if by == "id" else str(record.group)
                    meta = merged(record.meta, names[name])
                    if meta != record.meta:
                        touches.append(Touch(record.vid, record.size, record.mtime_ns, meta))
                        status[name] = "updated"
                    elif status[name] == "not_found":
                        status[name] = "unchanged"
                for at in range(0, len(touches), _BATCH):
                    writer.commit(Change(touches=touches[at : at + _BATCH]))
        return [ItemStatus(name, what) for name, what in status.items()]

    def facets(
        self,
        fields: Sequence[str],
        *,
        where: str | None = None,
        params: Mapping[str, Json] | None = None,
        query: Query | str | None = None,
        kind: Kind | str | None = None,
        group_by: str | None = None,
        limit: int = 20,
        among: int = 1000,
    ) -> list[Facet]:
        """Which values the items have in each of ``fields``, and how many items have each.

        Counted are all items of ``kind`` (as in :meth:`search`) that satisfy ``where``; with ``query`` the ``among`` nearest of
        these. ``group_by="group"`` counts products instead of items. At most ``limit`` values come back, the most
        frequent first; more than 12 different numbers become ranges. A list in meta counts each of its elements.

        The first call after a change reads the fields once (up to 1 s a million items and field), further
        ones take milliseconds. Raises :class:`FilterError`, :class:`UsageError`.

        >>> shop.facets(["brand"], where="price < 50")[0].values[0]                          # doctest: +SKIP
        FacetValue(value='Acme', count=12, low=None, high=None)
        """
        from mmsearch.catalogue.facets import facets

        if limit < 1 or among < 1:
            raise UsageError("limit and among must be at least 1")
        vids: list[int] | None = None
        if query is not None:
            hits = self.search(query, kind=kind, k=among, where=where, params=params)
            vids = [hit.vid for hit in hits]
        with self._store.snapshot() as snapshot:
            if vids is not None:
                return facets(snapshot, fields, VidSet(vids), group_by=group_by, limit=limit)
            kinds = kinds_of(kind) or ((Kind.IMAGE,) if snapshot.count(Kind.IMAGE) else (Kind.TEXT,))
            one = kinds[0] if len(kinds) == 1 else None
            found = allowed(snapshot, one, where, params or {}, self._cache)
            return facets(snapshot, fields, found, group_by=group_by, limit=limit)

    def index_groups(self, *, wait: float = 0.0) -> None:
        """Make an SQLite index on ``group``, kept up to date from then on: ``search(fields=…)`` and ``update_meta(by="group")`` no
        longer read the whole catalogue, which pays from some 100,000 items on. A second a million items.
        """
        from mmsearch.store.columns import index_groups

        with self._writing(wait) as writer:
            assert writer is not None
            index_groups(writer)

    def save_fields(self, name: str, weights: Mapping[str, float] | None, *, wait: float = 0.0) -> None:
        """Keep weights of fields under a name, for ``search(fields=name)``; ``None`` forgets them."""
        value = None if weights is None else json.dumps(checked_weights(weights), sort_keys=True)
        with self._writing(wait) as writer:
            assert writer is not None
            writer.set_meta(_PROFILE + name, value)

    def _records(self, ids: Iterable[str]) -> dict[str, Record]:
        with self._store.snapshot() as snapshot:
            return snapshot.by_id(list(ids))


def _status(item: Item, was_there: bool, wrong: Mapping[str, str]) -> ItemStatus:
    from mmsearch.ingest.items import place_of

    detail = wrong.get(place_of(item))
    if detail is not None:
        return ItemStatus(item.id, "failed", detail)
    return ItemStatus(item.id, "updated" if was_there else "added")
