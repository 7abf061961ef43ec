"""A query's vector: each term is encoded, weighted and added; the sum is brought back to length 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.cache import Cache
from mmsearch.errors import ItemNotFound, QueryError
from mmsearch.protocols import Encoder
from mmsearch.store import Snapshot
from mmsearch.types import Query, Term


class Embedder:
    """Turns queries into vectors, against one snapshot.

    ``encoder`` is a function, so that a query of stored items or vectors alone never loads a model.
    """

    def __init__(self, snapshot: Snapshot, encoder: Callable[[], Encoder], cache: Cache, dim: int) -> None:
        self._snapshot, self._encoder, self._cache, self._dim = snapshot, encoder, cache, dim

    def __call__(self, query: Query) -> NDArray[np.float32]:
        """``(dim,)``: the signed weighted sum of the terms' unit vectors, brought back to length 1.

        Raises :class:`QueryError` where the terms cancel out, :class:`ItemNotFound`, :class:`ImageError`.
        """
        total = np.zeros(self._dim, dtype=np.float64)
        for term in query.terms:
            total += term.weight * self._vector(term)
        norm = float(np.linalg.norm(total))
        if norm < 1e-6:
            raise QueryError(
                "the terms of the query cancel each other out", hint="change a weight, or take one term away"
            )
        return (total / norm).astype(np.float32)

    def _vector(self, term: Term) -> NDArray[np.float32]:
        match term.what:
            case "text":
                rows = self._cache.get(("text", term.value), lambda: self._encoder().encode_texts([term.value]))
                return np.asarray(rows[0])
            case "image":
                return self._image(term.value)
            case "item":
                record = self._snapshot.by_id([term.value]).get(term.value)
                if record is None:
                    raise ItemNotFound(f"no item has the id {term.value!r}")
                return self._unit(self._snapshot.fetch([record.vid])[0])
            case "vector":
                return self._unit(term.value)
        raise QueryError(f"a query term cannot be a {term.what!r}")

    def _image(self, value: Any) -> NDArray[np.float32]:
        from PIL.Image import Image  # a text query does not pay for Pillow

        from mmsearch.images import open_image, read_file

        encoder = self._encoder()
        if not isinstance(value, Image):
            data = value if isinstance(value, bytes) else read_file(str(Path(value).expanduser()))
            value, _ = open_image(data, at_least=encoder.preparer.size)
        (row,) = encoder.encode_images([encoder.preparer(value.convert("RGB"))])
        return np.asarray(row)

    def _unit(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        vector = np.asarray(vector, dtype=np.float32).reshape(-1)
        norm = float(np.linalg.norm(vector))
        if len(vector) != self._dim or not np.isfinite(norm) or norm == 0:
            raise QueryError(f"a query vector has {self._dim} finite numbers, not all zero; this one has {len(vector)}")
        return np.asarray(vector / np.float32(norm))
