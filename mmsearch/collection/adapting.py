"""A collection's adapter: what its users chose, learned as a light change of the queries. See :mod:`mmsearch.adapter`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch import adapter as adapters
from mmsearch.adapter import Adapter
from mmsearch.collection.looking import Looking
from mmsearch.embed import Embedder, active_adapter
from mmsearch.errors import ModelMismatch, UsageError
from mmsearch.types import Kind, Query, Vectors, VidSet


class Adapting(Looking):
    """The verbs that switch an adapter on and off, and those that whoever learns one needs."""

    def adapter(self) -> Adapter | None:
        """The adapter that is on."""
        with self._store.snapshot() as snapshot:
            return active_adapter(snapshot, self._cache)

    def set_adapter(self, adapter: Adapter | None, *, wait: float = 0.0) -> None:
        """Switch an adapter on, in place of the one before, or with ``None`` off. Stored rows do not change.

        What was switched off stays kept: ``set_adapter(collection.last_adapter())`` brings it back. Raises
        :class:`ModelMismatch` for one that was learned for another model.

        >>> shop.set_adapter(None)                                                   # doctest: +SKIP
        """
        if adapter is not None:
            self._check(adapter)
        with self._store.snapshot() as snapshot:
            before = [key for key in snapshot.kept() if key.startswith(adapters.KEPT)]
        with self._store.writer(wait=wait) as writer:
            if adapter is None:
                writer.set_meta(adapters.ON, None)
                return
            key = adapters.KEPT + adapter.fingerprint
            writer.set_meta(key, adapters.dump(adapter))
            writer.set_meta(adapters.ON, adapter.fingerprint)
            for other in before:
                if other != key:
                    writer.set_meta(other, None)

    def last_adapter(self) -> Adapter | None:
        """The adapter that is on, or was last."""
        with self._store.snapshot() as snapshot:
            kept = [value for key, value in snapshot.kept().items() if key.startswith(adapters.KEPT)]
        return adapters.load(kept[-1]) if kept else None

    def vectors_of(self, queries: Sequence[Query]) -> Vectors:
        """``(n, dim)``: the queries' vectors as the encoder makes them, without the adapter. Raises as :meth:`search`."""
        with self._store.snapshot() as snapshot:
            embed = Embedder(snapshot, self._query_encoder, self._cache, self.info.dim, self._remembered)
            embed.adapter = None
            return embed.many(queries)

    def rows_of(self, ids: Sequence[str], kind: Kind | str) -> dict[str, NDArray[np.float32]]:
        """The stored row ``(dim,)`` of each of these items that exists and is of this kind."""
        with self._store.snapshot() as snapshot:
            records = {id: one for id, one in snapshot.by_id(list(ids)).items() if one.kind == kind}
            rows = snapshot.fetch([record.vid for record in records.values()])
        return dict(zip(records, rows, strict=True))

    def some_rows(self, most: int, kind: Kind | str, *, seed: int = 0) -> Vectors:
        """``(n, dim)``: the rows of ``most`` items of this kind drawn at random, or of all."""
        with self._store.snapshot() as snapshot:
            vids = snapshot.live(Kind(kind)).vids
            if len(vids) > most:
                vids = VidSet(np.random.default_rng(seed).choice(vids, most, replace=False)).vids
            return snapshot.fetch(vids)

    def _check(self, adapter: Adapter) -> None:
        if adapter.model != self.info.fingerprint:
            raise ModelMismatch(
                f"the adapter was learned for vectors of {adapter.model[:12]}, and these are {self.info.fingerprint[:12]}",
                hint="learn one for this collection: mmsearch train adapter --pairs FILE",
            )
        if any(values.shape != (self.info.dim, self.info.dim) for values in adapter.maps.values()):
            raise UsageError(f"an adapter of this collection maps {self.info.dim} dimensions")
