"""Exact search: every stored row is compared with the query. The reference that all other indexes are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Neighbors, Vectors, Vids, VidSet

GATHER_SHARE = 8
"""Below 1/8 of the rows it is cheaper to gather the wanted ones than to stream past all of them."""
GATHER_ROWS = 16384


class Rows(Protocol):
    """Where the rows come from: a store's snapshot, or :class:`ArrayRows`."""

    def blocks(self, rows: int = ...) -> Iterator[tuple[Vids, NDArray[np.float16]]]: ...

    def fetch(self, vids: Vids) -> Vectors: ...


class ArrayRows:
    """Rows that lie in memory: ``vids`` ``(n,)`` ascending and ``vectors`` ``(n, dim)``."""

    def __init__(self, vids: Vids, vectors: NDArray[np.floating[Any]]) -> None:
        self._vids, self._vectors = vids, vectors.astype(np.float16)

    def blocks(self, rows: int = 65536) -> Iterator[tuple[Vids, NDArray[np.float16]]]:
        for start in range(0, len(self._vids), rows):
            yield self._vids[start : start + rows], self._vectors[start : start + rows]

    def fetch(self, vids: Vids) -> Vectors:
        return self._vectors[np.searchsorted(self._vids, vids)].astype(np.float32)


class ExactIndex:
    """Cosine against all rows, or against those in ``within``. Nothing to build, nothing to save.

    Equal scores are ordered by vid, so that pages of one answer never overlap. O(n·dim) per query; rows are widened
    from float16 to float32 a block at a time, so memory stays at one block.

    >>> rows = ArrayRows(np.array([7, 9]), np.eye(2, dtype=np.float32))
    >>> ExactIndex(rows).search(np.array([[0.6, 0.8]], dtype=np.float32), 1).row(0)[1].tolist()
    [9]
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def search(self, queries: Vectors, k: int, *, within: VidSet | None = None) -> Neighbors:
        """The ``k`` nearest rows of each query ``(q, dim)``; fewer where fewer exist."""
        best = _Best(len(queries), k)
        for vids, rows in self._candidates(within):
            best.offer(queries @ rows.T, vids)
        return best.neighbors()

    def save(self, path: Path) -> None:
        """Does nothing: the stored rows are the index."""

    def _candidates(self, within: VidSet | None) -> Iterable[tuple[Vids, Vectors]]:
        # Vids rise for ever, so the last one tells about how many rows there are to stream past.
        if within is not None and (not len(within) or len(within) * GATHER_SHARE < int(within.vids[-1])):
            for start in range(0, len(within), GATHER_ROWS):
                vids = within.vids[start : start + GATHER_ROWS]
                yield vids, self._rows.fetch(vids)
            return
        for vids, rows in self._rows.blocks(GATHER_ROWS):
            if within is None:
                yield vids, rows.astype(np.float32)
                continue
            wanted = within.mask(vids)
            if wanted.all():
                yield vids, rows.astype(np.float32)
            elif wanted.any():
                yield vids[wanted], rows[wanted].astype(np.float32)


class _Best:
    """The best ``k`` per query of all that has been offered."""

    def __init__(self, queries: int, k: int) -> None:
        self._k = k
        self._scores = [np.empty(0, dtype=np.float32) for _ in range(queries)]
        self._vids = [np.empty(0, dtype=np.int64) for _ in range(queries)]

    def offer(self, scores: NDArray[np.float32], vids: Vids) -> None:
        for i, row in enumerate(scores):
            new = vids
            if len(row) > self._k > 0:
                # All that tie with the k-th stay in, so that the cut below is by vid and not by chance.
                keep = row >= np.partition(row, len(row) - self._k)[len(row) - self._k]
                row, new = row[keep], vids[keep]
            merged, owners = np.concatenate([self._scores[i], row]), np.concatenate([self._vids[i], new])
            order = np.lexsort((owners, -merged))[: self._k]
            self._scores[i], self._vids[i] = merged[order], owners[order]

    def neighbors(self) -> Neighbors:
        counts = np.array([len(row) for row in self._vids], dtype=np.int64)
        width = int(counts.max(initial=0))
        scores = np.zeros((len(counts), width), dtype=np.float32)
        vids = np.zeros((len(counts), width), dtype=np.int64)
        for i, n in enumerate(counts):
            scores[i, :n], vids[i, :n] = self._scores[i], self._vids[i]
        return Neighbors(scores, vids, counts)
