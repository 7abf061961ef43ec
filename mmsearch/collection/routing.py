"""Which index a search runs on: an open file of a derived one where that pays, else every row."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import CollectionCorrupt
from mmsearch.indexes.exact import ExactIndex
from mmsearch.store import IndexInfo, Snapshot
from mmsearch.types import Kind, Neighbors, Vectors, VidSet

if TYPE_CHECKING:
    from mmsearch.indexes.faiss import Filters
    from mmsearch.indexes.saved import Ann

_IMPORT = 0.2
"""Seconds that FAISS takes to be imported."""
_READING = 5e8
"""Bytes of an index that are checked and read in a second."""
_SCANNING = 8e9
"""Bytes of rows that are compared in a second."""


class Opened:
    """The index files of one collection that are open. One for all searches; for any thread.

    Opening costs a checksum over the file and an import, so it is done when exact searches have cost as much: a program that
    asks one question never waits for it, one that asks many soon has it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Ann, Filters]] = {}
        self._bad: set[str] = set()
        self._spent = 0.0

    def is_bad(self, info: IndexInfo) -> bool:
        """Whether its file has been tried and could not be read."""
        return info.file in self._bad

    def spend(self, seconds: float) -> None:
        """What an exact search has taken that an index would have answered."""
        with self._lock:
            self._spent += seconds

    def get(self, snapshot: Snapshot, info: IndexInfo, rows: int, *, at_once: bool) -> tuple[Ann, Filters] | None:
        """The open index; ``None`` while exact searches are cheaper, and where the file is missing or damaged."""
        with self._lock:
            if info.file in self._bad:
                return None
            if info.file not in self._open:
                if not at_once and not self._pays(info, rows):
                    return None
                self._read(snapshot, info)
            return self._open.get(info.file)

    def _pays(self, info: IndexInfo, numbers: int) -> bool:
        price = info.bytes / _READING + (0.0 if "faiss" in sys.modules else _IMPORT)
        return self._spent + numbers * 2 / _SCANNING >= price

    def _read(self, snapshot: Snapshot, info: IndexInfo) -> None:
        from mmsearch.indexes import saved
        from mmsearch.indexes.faiss import Filters

        try:
            ann = saved.read(snapshot.index_file(info))
        except (CollectionCorrupt, OSError, ValueError, KeyError, TypeError):
            self._bad.add(info.file)  # exact search answers; status and verify tell, the next optimize builds it anew
            return
        self._open = {name: one for name, one in self._open.items() if name.split("-")[0] != info.kind}
        self._open[info.file] = ann, Filters()


class Router:
    """The index of one search: by the kind of what is searched, an approximate index where there is one and it pays.

    ``exact`` says afterwards whether every search compared all it might have found.
    """

    def __init__(self, snapshot: Snapshot, opened: Opened, *, exact: bool | None) -> None:
        self._snapshot, self._opened = snapshot, opened
        self._wish = exact
        self._plain = ExactIndex(snapshot)
        infos = [] if exact else snapshot.memo("indexes", snapshot.indexes)
        self._infos = {one.kind: one for one in infos}
        self.exact = True

    def search(self, queries: Vectors, k: int, *, within: VidSet | None = None) -> Neighbors:
        """The nearest rows, by the index of their kind."""
        info = self._info(within)
        if info is None or within is None:
            return self._plain.search(queries, k, within=within)
        numbers = len(within) * int(queries.shape[1]) * len(queries)
        found = self._opened.get(self._snapshot, info, numbers, at_once=self._wish is False)
        if found is None:
            began = time.perf_counter()
            answer = self._plain.search(queries, k, within=within)
            self._opened.spend(time.perf_counter() - began)
            return answer
        from mmsearch.indexes.faiss import FaissIndex

        answer = FaissIndex(self._snapshot, *found).search(queries, k, within=within)
        self.exact = self.exact and answer.exact
        return answer

    def save(self, path: Path) -> None:
        """Does nothing: what is routed to lies in files already."""

    def _info(self, within: VidSet | None) -> IndexInfo | None:
        if not self._infos or within is None or not len(within):
            return None
        # a set is of one kind, and where it is not the index notices that it does not hold all of it
        return next((one for kind, one in self._infos.items() if within.vids[0] in self._snapshot.live(Kind(kind))), None)
