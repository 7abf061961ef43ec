"""``model``: the first hits compared again by a second, stronger encoder; what it encodes is kept."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import InputError, QueryError
from mmsearch.protocols import Encoder, RerankContext
from mmsearch.rerankers._order import current, first, listed
from mmsearch.types import Hit, Kind, Query

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ModelReranker", "load_picture"]

Row = NDArray[np.float32]


class ModelReranker:
    """Sorts the first ``top`` hits by their cosine under ``encoder``; the rest stays behind them, in its order.

    ``load`` gives the picture of a hit, by default read from its path. Rows are kept by the items' vids, which never mean
    another item, for ``keep`` hits: asked again, an item costs nothing. Hits whose picture cannot be read any more
    come after those that can. Safe in many threads.
    """

    def __init__(
        self, encoder: Encoder, *, top: int = 50, load: Callable[[Hit], Image] | None = None, keep: int = 100_000
    ) -> None:
        self.encoder, self.top, self.keep = encoder, top, keep
        self._load = load or (lambda hit: load_picture(hit.path, encoder))
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._lock = threading.Lock()

    def rerank(self, query: Query, hits: Sequence[Hit], context: RerankContext) -> list[Hit]:
        """All hits. Costs encoding the query and the hits not met before. Raises :class:`QueryError` for a query of items

        or vectors, which the second encoder has not seen.
        """
        values = current(hits)
        order = np.argsort(-values, kind="stable").tolist()
        head, tail = [hits[at] for at in order[: self.top]], [hits[at] for at in order[self.top :]]
        if not head:
            return []
        rows = self._rows_of(head)
        target = self._query(query)
        cosines = [float(rows[hit.vid] @ target) if hit.vid in rows else -1.0 for hit in head]
        best = np.argsort(-np.array(cosines), kind="stable").tolist()
        floor = min(cosines)
        return listed(
            [*(head[at] for at in best), *tail],
            [*(cosines[at] for at in best), *(floor - n * 1e-6 for n in range(1, len(tail) + 1))],
            first(hits),
        )

    def _rows_of(self, hits: Sequence[Hit]) -> dict[int, Row]:
        with self._lock:
            found = {hit.vid: self._rows[hit.vid] for hit in hits if hit.vid in self._rows}
        texts = [hit for hit in hits if hit.vid not in found and hit.kind is Kind.TEXT]
        if texts:
            rows = self.encoder.encode_texts([hit.text or "" for hit in texts])
            found |= {hit.vid: row for hit, row in zip(texts, rows, strict=True)}
        prepared: list[tuple[int, Any]] = []
        for hit in hits:
            if hit.vid not in found and hit.kind is Kind.IMAGE:
                try:
                    prepared.append((hit.vid, self.encoder.preparer(self._load(hit))))
                except InputError:
                    continue  # the file is gone or broken since it was indexed: the hit stays, behind the others
        if prepared:
            rows = self.encoder.encode_images([pixels for _, pixels in prepared])
            found |= {vid: row for (vid, _), row in zip(prepared, rows, strict=True)}
        with self._lock:
            for vid, row in found.items():
                self._rows[vid] = row
                self._rows.move_to_end(vid)
            while len(self._rows) > self.keep:
                self._rows.popitem(last=False)
        return found

    def _query(self, query: Query) -> Row:
        total = np.zeros(self.encoder.spec.dim, dtype=np.float64)
        for term in query.terms:
            if term.what == "text":
                row = self.encoder.encode_texts([term.value])[0]
            elif term.what == "image":
                picture = term.value if hasattr(term.value, "convert") else load_picture(term.value, self.encoder)
                row = self.encoder.encode_images([self.encoder.preparer(picture.convert("RGB"))])[0]
            else:
                raise QueryError(
                    f"a second model cannot rerank a query of a stored {term.what}", hint="ask by text or by picture"
                )
            total += term.weight * row
        norm = float(np.linalg.norm(total))
        if norm < 1e-6:
            raise QueryError("the terms of the query cancel each other out under the second model")
        return np.asarray(total / norm, dtype=np.float32)


def load_picture(source: str | Path | bytes | None, encoder: Encoder) -> Image:
    """The upright picture of a path or of encoded bytes. Raises :class:`InputError`."""
    from mmsearch.images import open_image, read_file

    if source is None:
        raise InputError("vanished", "the item came from no file")
    data = source if isinstance(source, bytes) else read_file(os.path.expanduser(source))
    return open_image(data, at_least=encoder.preparer.size)[0]
