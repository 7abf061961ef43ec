"""The four seams. An adapter is one file that satisfies one of these; nothing else of the package is needed.

========== ============================== ===========================================================
seam       what it does                   conformance suite
========== ============================== ===========================================================
Encoder    images and texts → unit rows   ``mmsearch.testing.encoders.EncoderConformance``
VectorIndex nearest rows of a query       ``mmsearch.testing.indexes.VectorIndexConformance``
Source     yields assets and their bytes  ``mmsearch.testing.sources.SourceConformance``
Reranker   a better order of the hits     ``mmsearch.testing.rerankers.RerankerConformance``
========== ============================== ===========================================================

Implementations are found by name through :mod:`mmsearch.registry` (entry points ``mmsearch.encoders`` and so on).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Asset, Hit, Neighbors, Query, Vectors, VidSet

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Encoder", "EncoderSpec", "ImagePreparer", "Reranker", "RerankContext", "Source", "VectorIndex"]


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What is known of an encoder without loading its weights.

    ``fingerprint`` is a hash of weights, preprocessing, tokenizer and precision class: two encoders whose vectors may be
    compared have the same one. ``image_size`` is (width, height) in pixels; ``context_length`` counts tokens.
    """

    name: str
    dim: int
    fingerprint: str
    licence: str
    image_size: tuple[int, int]
    context_length: int
    precision: str = "fp32"


class ImagePreparer(Protocol):
    """Picture → the model's input as uint8 ``(height, width, 3)``. Pure, thread-safe and picklable: it runs in workers.

    ``size`` is the smallest (width, height) that the picture may be decoded at without harm (for JPEG draft scaling).
    """

    @property
    def size(self) -> tuple[int, int]: ...

    def __call__(self, image: Image) -> NDArray[np.uint8]: ...


@runtime_checkable
class Encoder(Protocol):
    """Turns images and texts into unit float32 rows of one dimension.

    Constructing one is cheap; weights load on the first ``encode_*``, once, under a lock. ``preparer`` holds all the
    preprocessing that happens per picture, so that it can run elsewhere than the model; the rest (scaling to floats, mean
    and deviation) happens inside ``encode_images``.
    """

    @property
    def spec(self) -> EncoderSpec: ...

    @property
    def preparer(self) -> ImagePreparer: ...

    def encode_images(self, batch: Sequence[NDArray[np.uint8]]) -> Vectors: ...

    def encode_texts(self, batch: Sequence[str]) -> Vectors: ...


@runtime_checkable
class VectorIndex(Protocol):
    """Finds the nearest stored rows by cosine. Derived and disposable: losing one costs time, never data."""

    def search(self, queries: Vectors, k: int, *, within: VidSet | None = None) -> Neighbors: ...

    def save(self, path: Path) -> None: ...


@runtime_checkable
class Source(Protocol):
    """Yields assets (what could be an item) and their bytes.

    ``root`` is the absolute path that the assets' paths lie below. ``scope`` is the part of the root that this scan covers
    (a path below it, ``""`` for all): only items in scope may be pruned. ``complete`` is true when the last scan
    saw all there is (no folder failed to open): pruning waits for that.
    """

    @property
    def root(self) -> str: ...

    @property
    def scope(self) -> str: ...

    @property
    def complete(self) -> bool: ...

    def scan(self) -> Iterator[Asset]: ...

    def read(self, asset: Asset) -> bytes: ...


@dataclass(frozen=True, slots=True)
class RerankContext:
    """What a reranker may use: the query's vector ``(dim,)``, the hits' stored rows ``(n, dim)``, the encoder."""

    query_vector: NDArray[np.float32]
    vectors: Vectors
    encoder: Encoder


@runtime_checkable
class Reranker(Protocol):
    """Gives hits a better order. Returns a permutation (or a part) of what it was given, with ``rerank`` set."""

    def rerank(self, query: Query, hits: Sequence[Hit], context: RerankContext) -> list[Hit]: ...
