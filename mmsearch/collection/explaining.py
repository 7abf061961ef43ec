"""What explains: where in a picture a query is met."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.collection.looking import Looking
from mmsearch.embed import Embedder
from mmsearch.errors import InputError
from mmsearch.types import Kind, Query, text

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.explain import Heatmap


class Explaining(Looking):
    """The verbs that explain."""

    def heatmap(self, picture: str | Path | bytes | Image, query: Query | str, *, method: str = "auto") -> Heatmap:
        """Where in a picture the query is met: a stored image by its id, or any picture by path, bytes or Pillow image.

        ``method`` is ``windows`` (parts of the picture are encoded, any encoder, no torch), ``patches`` (ViTs in torch),
        ``gradients`` (any model in torch) or ``auto``; see :mod:`mmsearch.explain`. Raises :class:`InputError` (no such file, not a
        picture, an item that is a text), :class:`UsageError`, and what a query raises.

        >>> shop.heatmap("beach.jpg", "a dog").overlay().save("dog.png")                      # doctest: +SKIP
        """
        from mmsearch.explain import heatmap

        wanted = text(query) if isinstance(query, str) else query
        in_torch = method in ("patches", "gradients")
        encoder = self.encoder if in_torch else self._query_encoder()
        with self._store.snapshot() as snapshot:
            vector = Embedder(snapshot, lambda: encoder, self._cache, self.info.dim, self._remembered)(wanted)
        opened, size = self._opened(picture, 4 * max(encoder.spec.image_size))
        return heatmap(encoder, opened, vector, method=method, size=size)

    def shares(self, query: Query | str, vids: Sequence[int]) -> NDArray[np.float32]:
        """What each term of a query gives to the scores of items: ``(terms, items)``, their sum over the terms is the score.

        A share is the term's weight times its cosine with the item, over the length of the whole sum: it is negative
        where a term is unlike the item, or where the item is like what it should not be. Raises as :meth:`search`.
        """
        wanted = text(query) if isinstance(query, str) else query
        with self._store.snapshot() as snapshot:
            embed = Embedder(snapshot, self._query_encoder, self._cache, self.info.dim, self._remembered)
            alone = embed.many([Query((replace(term, weight=1.0),)) for term in wanted.terms])
            rows = snapshot.fetch(vids)
        weighted = alone * np.array([[term.weight] for term in wanted.terms], dtype=np.float32)
        return np.asarray(weighted @ rows.T / np.linalg.norm(weighted.sum(axis=0)), dtype=np.float32)

    def _opened(self, picture: Any, side: int) -> tuple[Image, tuple[int, int]]:
        """The upright picture, its sides at least ``side`` where it has so many pixels, and its whole (width, height)."""
        from PIL.Image import Image

        from mmsearch.images import open_image, read_file

        if isinstance(picture, Image):
            return picture, picture.size
        if isinstance(picture, str) and picture in self:
            record = self.get(picture)
            if record.kind is not Kind.IMAGE:
                raise InputError("not_image", f"{picture!r} is a text, and a heatmap is of a picture")
            picture = self.locate(record)
            if picture is None:
                raise InputError("vanished", f"the item {record.id!r} came from no file, so there is no picture to look at")
        data = picture if isinstance(picture, bytes) else read_file(os.path.expanduser(picture))
        opened, info = open_image(data, at_least=(side, side))
        return opened, (info.width, info.height)
