"""Pictures from strangers are decoded in a process of their own, which may crash, hang or be killed; it is kept for the next.

One such process prepares query pictures, another those of items that are added. Each starts when it is first needed (some
tenths of a second), and holds to limits of memory, of time, and of pixels judged by the header.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.decoding.loader import Job, Loader
from mmsearch.errors import MMSearchError
from mmsearch.ingest import IngestOptions
from mmsearch.protocols import Encoder, ImagePreparer
from mmsearch.server.errors import Problem
from mmsearch.server.options import Limits

Box = tuple[int, int, int, int]

SIDE = 1024
"""Pixels of the longer side that a query picture is reduced to: more than any encoder looks at, and enough for a crop."""
SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class QueryPreparer:
    """A picture → its pixels, the longer side :data:`SIDE` at most. Runs in the other process."""

    @property
    def size(self) -> tuple[int, int]:
        """The smallest (width, height) that a picture may be decoded at."""
        return SIDE, SIDE

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """``(height, width, 3)``."""
        if max(image.size) > SIDE:
            image = image.copy()
            image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
        return np.asarray(image.convert("RGB"))


class Pictures:
    """Both processes. Safe for many threads; close it."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self._queries = self._loader(QueryPreparer())
        self._items: tuple[ImagePreparer, _Kept] | None = None

    def open(self, data: bytes, crop: Box | None = None) -> Image.Image:
        """The upright picture, or its part at ``crop`` (x, y, width, height in its own pixels). Raises :class:`Problem` 422."""
        if not data:
            raise Problem(422, "there is no picture in the request's body")
        with self._lock:
            (loaded,) = self._queries.load([Job(None, data=data)])
        if loaded.error is not None:
            raise Problem(422, f"the picture cannot be read: {loaded.error.message}", reason=str(loaded.error.reason))
        if loaded.pixels is None or loaded.info is None:
            raise MMSearchError("a decoder answered nothing")
        picture = Image.fromarray(loaded.pixels)
        return picture if crop is None else _cropped(picture, (loaded.info.width, loaded.info.height), crop)

    def warm_up(self) -> None:
        """Start the process for query pictures, so that the first one need not wait for it."""
        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, "PNG")
        self.open(out.getvalue())

    def for_items(self, encoder: Encoder) -> IngestOptions:
        """How to add items: with the process that is kept. One caller at a time."""
        if self._items is None or self._items[0] != encoder.preparer:
            if self._items is not None:
                self._items[1].end()
            self._items = encoder.preparer, self._loader(encoder.preparer)
        return _KeptOptions(max_megapixels=self._limits.megapixels, kept=self._items[1])

    def close(self) -> None:
        """End the processes."""
        self._queries.end()
        if self._items is not None:
            self._items[1].end()

    def _loader(self, preparer: ImagePreparer) -> _Kept:
        return _Kept(preparer, workers=1, max_megapixels=self._limits.megapixels, timeout=SECONDS)


class _Kept(Loader):
    """A loader that outlives the call that uses it."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def end(self) -> None:
        """Close it after all."""
        self.close()


@dataclass(frozen=True, slots=True)
class _KeptOptions(IngestOptions):
    kept: _Kept | None = None

    def loader(self, encoder: Encoder, *, few: bool = False) -> Loader:
        assert self.kept is not None
        return self.kept


def _cropped(picture: Image.Image, whole: tuple[int, int], crop: Box) -> Image.Image:
    """The part of a reduced picture that ``crop`` names in pixels of the whole one."""
    x, y, width, height = crop
    if x >= whole[0] or y >= whole[1]:
        raise Problem(422, f"the crop lies outside the picture, which has {whole[0]}x{whole[1]} pixels")
    across, down = picture.width / whole[0], picture.height / whole[1]
    left, top = min(round(x * across), picture.width - 1), min(round(y * down), picture.height - 1)
    right, bottom = round(min(x + width, whole[0]) * across), round(min(y + height, whole[1]) * down)
    return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
