"""``tiles``: small things in large pictures: the first hits are looked at again part by part, and say where they answer.

Nine overlapping tiles of half the sides (the corners, the edges' middles, the middle) of each picture are encoded; a hit's value is
the mean of its cosine and its best tile's, and ``box`` is that tile where it answers better than the whole. Rows are kept by vid.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import InputError
from mmsearch.protocols import Encoder, RerankContext
from mmsearch.rerankers._order import current, first, listed
from mmsearch.types import Hit, Kind, Query, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SHARE", "Box", "TilesReranker", "tiles"]

Box = tuple[int, int, int, int]
"""left, top, width, height in pixels of the upright picture."""
SHARE = 0.5
"""How much of a hit's value is its best tile's cosine; see docs/relevance.md."""
_KEEP = 20_000


def tiles(width: int, height: int) -> list[Box]:
    """Nine tiles of half the sides, each overlapping its neighbours by half; fewer where a side is a single pixel."""
    wide, high = max(1, (width + 1) // 2), max(1, (height + 1) // 2)
    lefts = sorted({0, (width - wide) // 2, width - wide})
    tops = sorted({0, (height - high) // 2, height - high})
    return [(left, top, wide, high) for top in tops for left in lefts]


class TilesReranker:
    """Looks at the first ``top`` hits; the rest stays behind them, in its order. Safe in many threads.

    ``load`` gives a hit's whole picture and its full (width, height), by default read from its path; hits without a picture that
    can be read keep their cosine. Costs decoding and nine encodings for each picture not met before.
    """

    def __init__(
        self, *, top: int = 50, share: float = SHARE, load: Callable[[Hit, Encoder], tuple[Image, tuple[int, int]]] | None = None
    ) -> None:
        self.top, self.share = top, share
        self._load = load or _opened
        self._rows: OrderedDict[int, tuple[list[Box], Vectors]] = OrderedDict()
        self._lock = threading.Lock()

    def rerank(self, query: Query, hits: Sequence[Hit], context: RerankContext) -> list[Hit]:
        """All hits, those with a best tile with ``box``."""
        order = np.argsort(-current(hits), kind="stable").tolist()
        head, tail = [hits[at] for at in order[: self.top]], [hits[at] for at in order[self.top :]]
        if not head:
            return []
        judged = [self._judged(hit, context.query_vector, context.encoder) for hit in head]
        judged.sort(key=lambda one: -one[0])  # stable: equal ones stay as they came
        floor = judged[-1][0]
        return listed(
            [*(hit for _, hit in judged), *tail],
            [*(value for value, _ in judged), *(floor - n * 1e-6 for n in range(1, len(tail) + 1))],
            first(hits),
        )

    def _judged(self, hit: Hit, vector: NDArray[np.float32], encoder: Encoder) -> tuple[float, Hit]:
        found = self._tiles_of(hit, encoder) if hit.kind is Kind.IMAGE else None
        if found is None:
            return hit.score, hit
        boxes, rows = found
        cosines = rows @ vector
        best = int(cosines.argmax())
        value = (1 - self.share) * hit.score + self.share * max(float(cosines[best]), hit.score)
        return value, replace(hit, box=boxes[best]) if cosines[best] > hit.score else hit

    def _tiles_of(self, hit: Hit, encoder: Encoder) -> tuple[list[Box], Vectors] | None:
        with self._lock:
            found = self._rows.get(hit.vid)
        if found is not None:
            return found
        try:
            picture, (width, height) = self._load(hit, encoder)
        except InputError:  # gone or broken since it was indexed
            return None
        preparer = encoder.preparer
        parts = [preparer(picture.crop((x, y, x + w, y + h))) for x, y, w, h in tiles(*picture.size)]
        across, down = width / picture.width, height / picture.height
        boxes = [(round(x * across), round(y * down), round(w * across), round(h * down)) for x, y, w, h in tiles(*picture.size)]
        made = boxes, encoder.encode_images(parts)
        with self._lock:
            self._rows[hit.vid] = made
            while len(self._rows) > _KEEP:
                self._rows.popitem(last=False)
        return made


def _opened(hit: Hit, encoder: Encoder) -> tuple[Image, tuple[int, int]]:
    from mmsearch.images import open_image, read_file

    if hit.path is None:
        raise InputError("vanished", "the item came from no file")
    width, height = encoder.preparer.size
    picture, info = open_image(read_file(hit.path), at_least=(2 * width, 2 * height))  # a tile is half a side
    return picture, (info.width, info.height)
