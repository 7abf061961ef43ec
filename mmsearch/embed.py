"""A query's vector: each term is encoded, weighted and added; the sum is brought back to length 1."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch import adapter
from mmsearch.adapter import Adapter
from mmsearch.cache import Cache
from mmsearch.errors import ItemNotFound, QueryError
from mmsearch.protocols import Encoder
from mmsearch.store import Snapshot
from mmsearch.textvectors import TextVectors
from mmsearch.types import Query, Region, Term, Vectors


class Embedder:
    """Turns queries into vectors, against one snapshot.

    ``encoder`` is a function, so that a query of stored items or vectors alone never loads a model. ``remembered`` holds
    vectors of texts from earlier runs. ``adapter`` is the one that is on, and may be set to ``None``.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        encoder: Callable[[], Encoder],
        cache: Cache,
        dim: int,
        remembered: TextVectors | None = None,
    ) -> None:
        self._snapshot, self._encoder, self._cache, self._dim = snapshot, encoder, cache, dim
        self._remembered = remembered
        self.adapter = active_adapter(snapshot, cache)
        self._ready: dict[object, NDArray[np.float32]] = {}  # rows that many() has encoded together

    def __call__(self, query: Query) -> NDArray[np.float32]:
        """``(dim,)``: the signed weighted sum of the terms' unit vectors, brought back to length 1.

        Raises :class:`QueryError` where the terms cancel out, :class:`ItemNotFound`, :class:`ImageError`.
        """
        total = np.zeros(self._dim, dtype=np.float64)
        for term in query.terms:
            total += term.weight * self._adapted(term)
        norm = float(np.linalg.norm(total))
        if norm < 1e-6:
            raise QueryError("the terms of the query cancel each other out", hint="change a weight, or take one term away")
        return (total / norm).astype(np.float32)

    def many(self, queries: Sequence[Query]) -> Vectors:
        """``(n, dim)``: each query's vector. All texts together are one call of the encoder, and so are all pictures."""
        terms = [term for query in queries for term in query.terms]
        if len(terms) > 1:
            self._encode_together(terms)
        return np.stack([self(query) for query in queries])

    def _encode_together(self, terms: Sequence[Term]) -> None:
        texts = {str(term.value) for term in terms if term.what == "text"}
        new = [text for text in sorted(texts) if not self._knows(text)]
        if len(new) > 1:
            for text, row in zip(new, self._encoder().encode_texts(new), strict=True):
                self._keep(text, row)
        images = [term for term in terms if term.what == "image"]
        if len(images) > 1:
            rows = self._encoder().encode_images([self._prepared(term.value) for term in images])
            self._ready |= {("image", id(term)): row for term, row in zip(images, rows, strict=True)}

    def _knows(self, text: str) -> bool:
        row = self._cache.find(("text", text))
        if row is None and self._remembered:
            row = self._remembered.get(text)
        if row is not None:
            self._ready["text", text] = row
        return row is not None

    def _keep(self, text: str, row: NDArray[np.float32]) -> None:
        self._ready["text", text] = self._cache.get(("text", text), lambda: row)
        if self._remembered:
            self._remembered.put(text, row)

    def _adapted(self, term: Term) -> NDArray[np.float32]:
        vector = self._vector(term)  # all caches hold it as the encoder made it: an adapter may come and go
        return vector if self.adapter is None else self.adapter(term.what, vector)

    def _vector(self, term: Term) -> NDArray[np.float32]:
        if self._ready and term.what in ("text", "image"):
            ready = self._ready.get((term.what, id(term) if term.what == "image" else term.value))
            if ready is not None:
                return ready
        match term.what:
            case "text":
                return self._cache.get(("text", term.value), lambda: self._text(term.value))
            case "image":
                return np.asarray(self._encoder().encode_images([self._prepared(term.value)])[0])
            case "item":
                record = self._snapshot.by_id([term.value]).get(term.value)
                if record is None:
                    raise ItemNotFound(f"no item has the id {term.value!r}")
                return self._unit(self._snapshot.fetch([record.vid])[0])
            case "vector":
                return self._unit(term.value)
        raise QueryError(f"a query term cannot be a {term.what!r}")

    def _text(self, value: str) -> NDArray[np.float32]:
        known = self._remembered.get(value) if self._remembered else None
        if known is not None:
            return known
        (row,) = self._encoder().encode_texts([value])
        if self._remembered:
            self._remembered.put(value, row)
        return np.asarray(row)

    def _prepared(self, value: Any) -> NDArray[np.uint8]:
        from PIL.Image import Image  # a text query does not pay for Pillow

        from mmsearch.images import open_image, read_file

        encoder = self._encoder()
        if isinstance(value, Region):
            from mmsearch.images.region import cut

            whole = value.picture
            if not isinstance(whole, Image):
                whole, _ = open_image(whole if isinstance(whole, bytes) else read_file(os.path.expanduser(whole)))
            value = cut(whole, value.box)
        if not isinstance(value, Image):
            data = value if isinstance(value, bytes) else read_file(os.path.expanduser(value))
            value, _ = open_image(data, at_least=encoder.preparer.size)
        return encoder.preparer(value.convert("RGB"))

    def _unit(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        vector = np.asarray(vector, dtype=np.float32).reshape(-1)
        norm = float(np.linalg.norm(vector))
        if len(vector) != self._dim or not np.isfinite(norm) or norm == 0:
            raise QueryError(f"a query vector has {self._dim} finite numbers, not all zero; this one has {len(vector)}")
        return np.asarray(vector / np.float32(norm))


def active_adapter(snapshot: Snapshot, cache: Cache) -> Adapter | None:
    """The adapter that is on in this state of the collection. 10 µs; the first time it is read, some ms."""
    name = snapshot.meta(adapter.ON)
    return None if name is None else cache.get((adapter.ON, name), lambda: adapter.load(snapshot.meta(adapter.KEPT + name)))
