"""One query against one index, as fast as Python can ask: all that does not depend on the query is made once and kept.

Of a search that takes 0.1 ms half went into making arrays, parameters and pointers, and the projection in front of an index
(``IndexPreTransform``) went through a matrix product that does not know every processor. So each thread keeps a
:class:`Desk` for each way in which it searches, and the projection is done by FAISS's own inner products.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes._library import library
from mmsearch.indexes.halves import Scanner
from mmsearch.types import Neighbors, Vectors, Vids

SINGLE, TOGETHER = 11, 0
"""FAISS's numbers for ways to scan: list by list with a reservoir of candidates, 5% sooner for one query and 4% later for many."""
_DESKS = 8  # ways to search that a thread keeps arrays for


class Spanned(Protocol):
    """Stored rows by vid, and where they lie: ``span`` gives one array with the rows of all vids from ``first`` to ``last``, and
    the vid that it begins with; ``None`` where there is no such array.
    """

    def gather(self, vids: Vids) -> NDArray[np.float16]: ...

    def span(self, first: int, last: int) -> tuple[int, NDArray[np.float16]] | None: ...


class Entry:
    """The way into an index: ``inner`` is what is searched, by queries that went through ``axes`` ``(kept, dim)``, if any.

    For any thread.
    """

    def __init__(self, index: Any) -> None:
        faiss = library()

        self.outer = index  # it owns the others
        self.inner, self.axes = index, None
        if isinstance(index, faiss.IndexPreTransform):
            turned = faiss.downcast_VectorTransform(index.chain.at(0))
            self.inner = faiss.downcast_index(index.index)
            self.axes = faiss.vector_to_array(turned.A).reshape(turned.d_out, turned.d_in)
        self._fast = isinstance(self.inner, faiss.IndexIVFFastScan)
        self._way = 0

    def expect(self, way: int) -> None:
        """Has FAISS scan fast codes in the way that suits: :data:`SINGLE`, or :data:`TOGETHER` (its own choice).

        Another thread may change it before the search begins; then that is a little slower, and finds the same.
        """
        if self._fast and way != self._way:
            self.inner.implem = self._way = way

    def turned(self, queries: Vectors) -> Vectors:
        """``(q, kept)``: the queries as ``inner`` takes them."""
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        return asked if self.axes is None else asked @ self.axes.T

    def search(self, queries: Vectors, depth: int, parameters: Any) -> NDArray[np.int64]:
        """``(q, depth)`` positions, best first as far as the index can tell; -1 where there are fewer."""
        pointer = library().swig_ptr
        self.expect(TOGETHER if len(queries) > 1 else SINGLE)
        asked = self.turned(queries)
        scores, found = np.empty((len(asked), depth), dtype=np.float32), np.empty((len(asked), depth), dtype=np.int64)
        self.inner.search_c(len(asked), pointer(asked), depth, pointer(scores), pointer(found), parameters)
        return found


class Desk:
    """What one thread writes on while it searches an index for ``k`` rows among ``depth`` candidates."""

    def __init__(self, entry: Entry, vids: Vids, dim: int, depth: int, k: int) -> None:
        faiss = library()

        pointer = faiss.swig_ptr
        self._entry, self._vids, self._dim, self._depth, self._k = entry, vids, dim, depth, k
        self._query = np.empty(dim, dtype=np.float32)
        self._query_at = pointer(self._query)
        self._kept, self._turned_at = 0, self._query_at
        if entry.axes is not None:
            self._kept = len(entry.axes)
            self._turned = np.empty(self._kept, dtype=np.float32)
            self._turned_at, self._axes_at = pointer(self._turned), pointer(entry.axes)
        self._turn = faiss.fvec_inner_products_ny
        self._search = entry.inner.search_c
        near = np.empty(depth, dtype=np.float32)
        self._found = np.empty(depth, dtype=np.int64)
        self._near_at, self._found_at = pointer(near), pointer(self._found)
        self._wanted, self._labels = np.empty(depth, dtype=np.int64), np.empty(depth, dtype=np.int64)
        self._range = int(vids[0]), int(vids[-1])
        self._rows = np.empty((depth, dim), dtype=np.float16)
        self._rows_at, self._labels_at = pointer(self._rows.view(np.uint8)), pointer(self._labels)
        self._scores, self._keys = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
        self._scores_at, self._keys_at = pointer(self._scores), pointer(self._keys)
        heap = faiss.float_minheap_array_t()
        heap.nh, heap.k, heap.val, heap.ids = 1, k, self._scores_at, self._keys_at
        self._order = heap.reorder
        self._top = np.int64(int(vids[-1]) + 1)  # labels count down to 1: FAISS takes -1 for none
        quantizer = faiss.ScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16)
        scanner = Scanner(quantizer, self._query, None)
        self._look, self._scan = scanner.set_query, scanner.scan_codes
        self._counts = np.array([k], dtype=np.int64)
        self._counts.flags.writeable = False  # every answer has it
        self._keep = near, quantizer, scanner, heap  # FAISS's sides have only their addresses

    def answer(self, query: NDArray[np.float32], parameters: Any, rows: Spanned) -> Neighbors | None:
        """The best ``k``; ``None`` where there are fewer candidates than that. Python's part of it takes 5 µs."""
        self._query[:] = query
        if self._kept:
            self._turn(self._turned_at, self._query_at, self._axes_at, self._dim, self._kept)
        self._entry.expect(SINGLE)
        self._search(1, self._turned_at, self._depth, self._near_at, self._found_at, parameters)
        if not self._score(rows):
            return None
        return Neighbors(self._scores.copy()[None], (self._top - self._keys)[None], self._counts, exact=False)

    def answers(self, queries: Vectors, parameters: Any, rows: Spanned) -> Neighbors | None:
        """The best ``k`` of each; ``None`` where one has fewer candidates than that."""
        found = self._entry.search(queries, self._depth, parameters)
        shape = len(queries), self._k
        scores, keys = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.int64)
        for at in range(len(queries)):
            self._query[:], self._found[:] = queries[at], found[at]
            if not self._score(rows):
                return None
            scores[at], keys[at] = self._scores, self._keys
        return Neighbors(scores, self._top - keys, np.full(len(queries), self._k, dtype=np.int64), exact=False)

    def _score(self, rows: Spanned) -> bool:
        """Scores what was found for the query by its rows, and keeps the best in order; whether there are as many as wanted."""
        count, found, wanted = self._depth, self._found, self._wanted
        if found[-1] < 0:
            count = int(np.count_nonzero(found >= 0))
            if count < self._k:
                return False
            found = np.where(found < 0, found[0], found)  # something that is stored: it will not be looked at again
        self._vids.take(found, 0, wanted, "clip")  # checking the bounds would make a copy
        # of equal scores FAISS's heap gives up the smallest label first, and it must be the largest vid
        np.subtract(self._top, wanted, self._labels)
        span = rows.span(*self._range)
        if span is None:
            self._rows[:] = rows.gather(wanted)
        else:
            np.subtract(wanted, span[0], wanted)
            span[1].take(wanted, 0, self._rows, "clip")
        self._scores.fill(-np.inf)
        self._look(self._query_at)
        self._scan(count, self._rows_at, self._labels_at, self._scores_at, self._keys_at, self._k)
        self._order()
        return bool(self._scores[-1] > -np.inf)  # a row that is not a number has no score


class Desks(threading.local):
    """The desks of each thread, by what they are for; the oldest go when there are many."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, int], Desk] = {}

    def of(self, entry: Entry, vids: Vids, dim: int, depth: int, k: int) -> Desk:
        """The desk for this way to search."""
        key = dim, depth, k
        desk = self._kept.get(key)
        if desk is None:
            if len(self._kept) >= _DESKS:
                del self._kept[next(iter(self._kept))]
            desk = self._kept[key] = Desk(entry, vids, dim, depth, k)
        return desk
