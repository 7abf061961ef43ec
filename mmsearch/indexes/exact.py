"""Exact search: every stored row is compared with the query. The reference that all other indexes are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes import halves
from mmsearch.types import Neighbors, Vectors, Vids, VidSet

GATHER_SHARE = 8
"""Below 1/8 of the rows it is cheaper to gather the wanted ones than to stream past all of them."""
GATHER_ROWS = 16384
SCAN_ROWS = 65536
PRODUCT_PAYS = 48
"""From so many queries on, widening the rows once and multiplying matrices is faster than one scan a query."""


class Rows(Protocol):
    """Where the rows come from: a store's snapshot, or :class:`ArrayRows`."""

    def blocks(self, rows: int = ...) -> Iterator[tuple[Vids, NDArray[np.float16]]]: ...

    def gather(self, vids: Vids) -> NDArray[np.float16]: ...


class ArrayRows:
    """Rows that lie in memory: ``vids`` ``(n,)`` ascending and ``vectors`` ``(n, dim)``."""

    def __init__(self, vids: Vids, vectors: NDArray[np.floating[Any]]) -> None:
        self._vids, self._vectors = vids, np.ascontiguousarray(vectors, dtype=np.float16)
        self._first = int(vids[0]) if len(vids) and int(vids[-1]) - int(vids[0]) + 1 == len(vids) else None

    def blocks(self, rows: int = 65536) -> Iterator[tuple[Vids, NDArray[np.float16]]]:
        for start in range(0, len(self._vids), rows):
            yield self._vids[start : start + rows], self._vectors[start : start + rows]

    def gather(self, vids: Vids) -> NDArray[np.float16]:
        return self._vectors[np.searchsorted(self._vids, vids) if self._first is None else vids - self._first]

    def span(self, first: int, last: int) -> tuple[int, NDArray[np.float16]] | None:
        """``(vid, rows)`` such that ``rows[i]`` is the row of ``vid + i``, for all of ``first`` to ``last``; ``None`` with gaps."""
        if self._first is None or first < self._first or last >= self._first + len(self._vids):
            return None
        return self._first, self._vectors


class ExactIndex:
    """Cosine against all rows, or against those in ``within``. Nothing to build, nothing to save.

    Equal scores are ordered by vid, so that pages of one answer never overlap. O(n·dim) per query: 100,000 rows of 512
    numbers take 5 to 12 ms, as fast as memory is read (numpy's way, used until importing FAISS would pay, takes ten times as
    long). Many queries at once are a matrix product. Memory stays at one block.

    >>> rows = ArrayRows(np.array([7, 9]), np.eye(2, dtype=np.float32))
    >>> ExactIndex(rows).search(np.array([[0.6, 0.8]], dtype=np.float32), 1).row(0)[1].tolist()
    [9]
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def search(self, queries: Vectors, k: int, *, within: VidSet | None = None) -> Neighbors:
        """The ``k`` nearest rows of each query ``(q, dim)``; fewer where fewer exist."""
        if within is not None and not len(within):
            return _Best(len(queries), 0).neighbors()
        if len(queries) < PRODUCT_PAYS and halves.kernel_pays(self._numbers(queries, within)):
            return self._scan(queries, k, within)
        best = _Best(len(queries), k)
        for vids, rows in self._candidates(within):
            best.offer(queries @ rows.astype(np.float32).T, vids)
        return best.neighbors()

    def save(self, path: Path) -> None:
        """Does nothing: the stored rows are the index."""

    def _numbers(self, queries: Vectors, within: VidSet | None) -> int:
        rows = sum(len(vids) for vids, _ in self._rows.blocks(SCAN_ROWS)) if within is None else len(within)
        return rows * int(queries.shape[1])

    def _scan(self, queries: Vectors, k: int, within: VidSet | None) -> Neighbors:
        best = halves.Best(queries, k, self._last(within))
        chosen: halves.Chosen | None = None
        if within is not None and self._is_few(within):
            for start in range(0, len(within), GATHER_ROWS):
                vids = within.vids[start : start + GATHER_ROWS]
                best.offer(self._rows.gather(vids), vids)
            return best.neighbors()
        for vids, rows in self._rows.blocks(SCAN_ROWS):
            wanted = vids if within is None else _between(within.vids, vids)
            if len(wanted) == len(vids):
                best.offer(rows, vids)
            elif len(wanted) * GATHER_SHARE < len(vids):
                best.offer(rows[np.searchsorted(vids, wanted)], wanted)
            else:
                assert within is not None
                chosen = chosen or best.chosen(within)
                chosen.offer(rows, vids)
        return best.neighbors()

    def _last(self, within: VidSet | None) -> int:
        if within is not None:
            return int(within.vids[-1])
        return max((int(vids[-1]) for vids, _ in self._rows.blocks(SCAN_ROWS)), default=0)

    def _is_few(self, within: VidSet) -> bool:
        # Vids rise for ever, so the last one tells about how many rows there are to stream past.
        return len(within) * GATHER_SHARE < int(within.vids[-1])

    def _candidates(self, within: VidSet | None) -> Iterable[tuple[Vids, NDArray[np.float16]]]:
        if within is not None and self._is_few(within):
            for start in range(0, len(within), GATHER_ROWS):
                vids = within.vids[start : start + GATHER_ROWS]
                yield vids, self._rows.gather(vids)
            return
        for vids, rows in self._rows.blocks(GATHER_ROWS):
            wanted = vids if within is None else _between(within.vids, vids)
            if len(wanted) == len(vids):
                yield vids, rows
            elif len(wanted):
                yield wanted, rows[np.searchsorted(vids, wanted)]


def _between(vids: Vids, block: Vids) -> Vids:
    """Those of ``vids`` (ascending) that lie in the range of a block."""
    first, behind = np.searchsorted(vids, [block[0], block[-1] + 1])
    return vids[first:behind]


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
