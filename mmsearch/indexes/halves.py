"""Float16 rows against float32 queries, where the rows lie: FAISS's kernel widens them in registers, numpy in memory.

FAISS reads 10,000 rows of 512 numbers in 0.2 ms and large sets at the memory's own speed, 7 to 10 times as fast as numpy.
Importing it takes as long as numpy needs for :data:`PATIENCE` numbers, so a process that asks one question of a small
collection never does.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes._library import library
from mmsearch.types import Neighbors, Vectors, Vids, VidSet

Halves: TypeAlias = NDArray[np.float16]
"""``(n, dim)`` float16, rows one behind the other in memory."""

PATIENCE = 100_000_000
"""Numbers that numpy widens in the time of importing FAISS (0.16 s): after as many, waiting has cost as much as going."""
_STRIPE = 512 * 1024
"""Bytes of rows that several queries look at in turn while they are in the processor's cache."""

_lock = threading.Lock()
_widened = 0


@cache
def _quantizer(dim: int) -> Any:
    faiss = library()
    return faiss.ScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16)


def kernel_pays(numbers: int) -> bool:
    """Whether to scan so many numbers with FAISS: it is imported already, or what numpy has done would have paid for it."""
    global _widened
    if "faiss" in sys.modules:
        return True
    with _lock:
        _widened += numbers
        return _widened > PATIENCE


class Scanner:
    """FAISS's object that compares one query with codes, and its end: FAISS's own wrapper never frees it, 144 bytes a search.

    The destructor is called by name. To say ``thisown = True`` instead makes the wrapper count down what it has not counted up,
    and after some ten objects the library knows none of its own classes any more (FAISS 1.15, SWIG 4.4).
    """

    def __init__(self, quantizer: Any, query: NDArray[np.float32], selector: Any) -> None:
        faiss = library()

        self._free = faiss.InvertedListScanner.__swig_destroy__
        self._made = quantizer.select_InvertedListScanner(faiss.METRIC_INNER_PRODUCT, None, False, selector, False)
        self._made.set_query(faiss.swig_ptr(query))
        self.set_query, self.scan_codes = self._made.set_query, self._made.scan_codes
        """FAISS's own: another query; rows, codes, keys, and the heap of scores and keys that is kept."""

    def __del__(self) -> None:
        if hasattr(self, "_made"):
            self._free(self._made)


class Best:
    """The best ``k`` rows per query of all that are offered; equal scores in the order of vids.

    ``last`` is at least the largest vid that will be offered.
    """

    def __init__(self, queries: Vectors, k: int, last: int) -> None:
        faiss = library()

        self._faiss = faiss
        self._queries = np.ascontiguousarray(queries, dtype=np.float32)
        count, dim = self._queries.shape
        self._scores = np.full((count, k), -np.inf, dtype=np.float32)
        self._keys = np.full((count, k), -1, dtype=np.int64)
        self.k, self._last = k, last
        self._quantizer = _quantizer(dim)
        self._stripe = max(_STRIPE // (2 * dim), 64)
        self._plain = self._scanners(None)

    def _scanners(self, selector: Any) -> list[Scanner]:
        """One for each query, which look at what the selector allows."""
        return [Scanner(self._quantizer, query, selector) for query in self._queries]

    def chosen(self, within: VidSet) -> Chosen:
        """The same, but looking only at members of ``within``. O(largest vid), 1.5 ms a million."""
        return Chosen(self, within)

    def offer(self, rows: Halves, vids: Vids) -> None:
        """Look at these rows with every query."""
        step = len(rows) if len(self._plain) == 1 else self._stripe
        for start in range(0, len(rows), max(step, 1)):
            part, keys = rows[start : start + step], self.keys(vids[start : start + step])
            for row in range(len(self._plain)):
                self.scan(row, self._plain[row], part, keys)

    def offer_to(self, row: int, rows: Halves, vids: Vids) -> None:
        """Look at these rows with one query."""
        self.scan(row, self._plain[row], rows, self.keys(vids))

    def keys(self, vids: Vids) -> Vids:
        # of equal scores FAISS's heap gives up the smallest label first, and it must be the largest vid
        return np.ascontiguousarray(self._last - vids)

    def scan(self, row: int, scanner: Scanner, rows: Halves, keys: Vids) -> None:
        """One query over one block; releases the interpreter's lock."""
        pointer = self._faiss.swig_ptr
        codes = rows.view(np.uint8)
        scanner.scan_codes(
            len(rows), pointer(codes), pointer(keys), pointer(self._scores[row]), pointer(self._keys[row]), self.k
        )

    def neighbors(self, *, exact: bool = True) -> Neighbors:
        """What has been found."""
        if len(self._keys) == 1:  # most searches are of one query, and each call of numpy costs them a percent
            scores, keys = self._scores[0], self._keys[0]
            order = np.lexsort((-keys, -scores))[: int((keys >= 0).sum())]
            counts = np.array([len(order)], dtype=np.int64)
            return Neighbors(scores[order][None], (self._last - keys[order])[None], counts, exact=exact)
        order = np.lexsort((-self._keys, -self._scores), axis=1)
        keys = np.take_along_axis(self._keys, order, axis=1)
        scores = np.take_along_axis(self._scores, order, axis=1)
        counts = (keys >= 0).sum(axis=1).astype(np.int64)
        width = int(counts.max(initial=0))
        return Neighbors(scores[:, :width], self._last - keys[:, :width], counts, exact=exact)


class Chosen:
    """Offers rows to a :class:`Best`, of which only some may be looked at: the others are not even read."""

    def __init__(self, best: Best, within: VidSet) -> None:
        faiss = library()

        self._best = best
        marks = np.zeros(int(best.keys(within.vids[:1])[0]) + 1, dtype=np.bool_)
        marks[best.keys(within.vids)] = True
        self._bits = np.packbits(marks, bitorder="little")  # FAISS keeps a pointer to it
        self._selector = faiss.IDSelectorBitmap(len(self._bits), faiss.swig_ptr(self._bits))
        self._scanners = best._scanners(self._selector)

    def offer(self, rows: Halves, vids: Vids) -> None:
        """Look at those of these rows that are members."""
        keys = self._best.keys(vids)
        for row, scanner in enumerate(self._scanners):
            self._best.scan(row, scanner, rows, keys)
