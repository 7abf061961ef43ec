"""Vectors of texts that were searched for before, kept between runs: the same question again needs no model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.smallfiles import SmallFiles

KEPT = 2_000
"""Files in the folder before the older half is removed: 2 MB at 256 dimensions."""


class TextVectors:
    """One small file for each text, below ``folder``, which belongs to one model and one user.

    The names are hashes: the folder holds no words, though who has both can test whether a text was asked for. Losing a
    file, or all, costs time only; a damaged one is never read. Nothing is raised when the disk does not allow it.

    >>> remembered = TextVectors(Path("/tmp/vectors-of-mini"), dim=256)      # doctest: +SKIP
    >>> remembered.put("a cat", vector)                                      # doctest: +SKIP
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self._files, self._size = SmallFiles(folder, most=KEPT), dim * 4

    def get(self, text: str) -> NDArray[np.float32] | None:
        """The unit vector ``(dim,)`` float32 of a text, if it is known. 30 µs."""
        body = self._files.get(_name(text))
        return None if body is None or len(body) != self._size else np.frombuffer(body, dtype="<f4")

    def put(self, text: str, vector: NDArray[np.float32]) -> None:
        """Keep a text's vector. 0.2 ms; no sync, since it can be made again."""
        self._files.put(_name(text), np.ascontiguousarray(vector, dtype="<f4").tobytes())


def _name(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
