"""``deep``: the first pictures are looked at again, cell by cell, by a head that was trained to tell right from nearly right.

A :class:`Matcher` does the looking: mini's own matching head (:mod:`mmsearch.encoders.matching`), or a model of the user's
(:mod:`mmsearch.rerankers.deep_models`). What it makes of a picture does not depend on the question and is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import InputError, QueryError, UsageError
from mmsearch.protocols import RerankContext
from mmsearch.rerankers._order import current, first, listed
from mmsearch.rerankers.deep_cells import Cells
from mmsearch.types import Hit, Kind, Query

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["DeepReranker", "Matcher"]


class Matcher(Protocol):
    """Says how well a text fits pictures. ``look`` is asked once for a picture, ``match`` once for a text and all pictures."""

    @property
    def towers(self) -> str | None:
        """The fingerprint of the encoder whose cosines ``weight`` was chosen for; ``None``: it goes with any."""

    @property
    def weight(self) -> float | None:
        """What a logit counts beside the cosine; ``None``: the logits alone decide."""

    @property
    def size(self) -> tuple[int, int]:
        """The smallest (width, height) that a picture may be decoded at."""

    def prepare(self, picture: Image) -> NDArray[Any]:
        """Picture → what ``look`` takes. Safe in threads."""

    def look(self, pictures: Sequence[NDArray[Any]]) -> NDArray[np.float16]:
        """``(n, cells, dim)``: what is kept of each picture."""

    def match(self, text: str, cells: NDArray[np.float16]) -> NDArray[np.float32]:
        """``(n,)`` logits, the higher the better."""


class DeepReranker:
    """Sorts the first ``top`` hits by cosine + weight · logit; the rest stays behind them, in its order.

    ``load(hit, size)`` gives a hit's picture, by default read from its path; ``cells`` keeps what was made of them, between
    runs where ``digests`` tells the digests of items' contents. Pictures that cannot be read any more come behind those
    that can. Safe in many threads.
    """

    def __init__(
        self,
        matcher: Matcher,
        *,
        top: int = 50,
        cells: Cells | None = None,
        digests: Callable[[Sequence[int]], Mapping[int, bytes]] | None = None,
        load: Callable[[Hit, tuple[int, int]], Image] | None = None,
    ) -> None:
        self.matcher, self.top = matcher, top
        self._digests = digests or (lambda vids: {})
        self._cells = cells if cells is not None else Cells()
        self._load = load or open_hit

    def rerank(self, query: Query, hits: Sequence[Hit], context: RerankContext) -> list[Hit]:
        """All hits. Costs reading the pictures not met before, and some 0.5 ms for each of the ``top``.

        Raises :class:`QueryError` for a query without words or hits that are no pictures, and :class:`UsageError` where the
        matcher goes with another encoder.
        """
        values = current(hits)
        order = np.argsort(-values, kind="stable").tolist()
        head, tail = [hits[at] for at in order[: self.top]], [hits[at] for at in order[self.top :]]
        if not head:
            return []
        terms = [(str(term.value), term.weight) for term in query.terms if term.what == "text"]
        if not terms or any(hit.kind is not Kind.IMAGE for hit in head):
            raise QueryError("deep compares words with pictures, and nothing else", hint="use fast, or ask by text for images")
        self._check(context)
        seen = self._seen(head)
        known = [at for at, hit in enumerate(head) if hit.vid in seen]
        scores = np.full(len(head), -np.inf)
        if known:
            stacked = np.stack([seen[head[at].vid] for at in known])
            logits = sum(weight * self.matcher.match(text, stacked).astype(np.float64) for text, weight in terms)
            own = values[order[: self.top]][known]
            weight = self.matcher.weight
            scores[known] = logits if weight is None else own + weight * logits
        best = np.argsort(-np.round(scores, 6), kind="stable").tolist()
        floor = float(scores[known].min()) if known else 0.0
        shown = [float(scores[at]) if np.isfinite(scores[at]) else None for at in best]
        behind = iter(floor - n * 1e-6 for n in range(1, len(hits) + 1))
        return listed(
            [*(head[at] for at in best), *tail],
            [*(next(behind) if value is None else value for value in shown), *(next(behind) for _ in tail)],
            first(hits),
        )

    def _check(self, context: RerankContext) -> None:
        wanted = self.matcher.towers
        if wanted is None:
            return
        spec = context.encoder.spec
        if spec.fingerprint != wanted:
            raise UsageError(
                f"the built-in matching head belongs to mini, and these vectors are of {spec.name} ({spec.fingerprint[:12]})",
                hint="use --rerank fast or model:NAME, or a matching model of your own: deep:/path/to/model",
            )

    def _seen(self, hits: Sequence[Hit]) -> dict[int, NDArray[np.float16]]:
        found = {hit.vid: row for hit in hits if (row := self._cells.near(hit.vid)) is not None}
        new = [hit for hit in hits if hit.vid not in found]
        digests = self._digests([hit.vid for hit in new]) if new else {}
        found |= {hit.vid: row for hit in new if (row := self._cells.far(hit.vid, digests.get(hit.vid))) is not None}
        new = [hit for hit in new if hit.vid not in found]
        if not new:
            return found
        with ThreadPoolExecutor(min(4, len(new), os.cpu_count() or 1)) as pool:
            made = [(hit, pixels) for hit, pixels in zip(new, pool.map(self._prepared, new), strict=True) if pixels is not None]
        if made:
            for (hit, _), row in zip(made, self.matcher.look([pixels for _, pixels in made]), strict=True):
                self._cells.put(hit.vid, digests.get(hit.vid), row)
                found[hit.vid] = row
        return found

    def _prepared(self, hit: Hit) -> NDArray[Any] | None:
        try:
            return self.matcher.prepare(self._load(hit, self.matcher.size))
        except InputError:
            return None  # the file is gone or broken since it was indexed: the hit stays, behind the others


def open_hit(hit: Hit, size: tuple[int, int]) -> Image:
    """The upright picture of a hit's file, decoded at ``size`` or larger. Raises :class:`InputError`."""
    from mmsearch.images import open_image, read_file

    if hit.path is None:
        raise InputError("vanished", "the item came from no file")
    return open_image(read_file(hit.path), at_least=size)[0].convert("RGB")
