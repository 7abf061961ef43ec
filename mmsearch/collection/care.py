"""Upkeep: checks, repairs, compaction, and where the items' files lie."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mmsearch.collection.looking import Looking
from mmsearch.errors import UsageError
from mmsearch.store import CompactReport, Finding

if TYPE_CHECKING:
    from mmsearch.hubs import HubReport


class Care(Looking):
    """The verbs that look after a collection."""

    def verify(self) -> list[Finding]:
        """Check everything: checksums of all rows, the catalogue, the files. Reads the whole collection."""
        return self._store.verify()

    def repair(self) -> list[Finding]:
        """Rebuild all that is derived, and mark rows that are damaged so that the next sync encodes just those."""
        return self._store.repair()

    def compact(self, *, wait: float = 0.0) -> CompactReport:
        """Give back the space of deleted items. Searches go on meanwhile."""
        with self._store.writer(wait=wait) as writer:
            return writer.compact()

    def hubs(self, *, k: int = 10) -> HubReport:
        """Items that come up in the first ``k`` hits of far more queries than others; see :mod:`mmsearch.hubs`."""
        from mmsearch.hubs import find_hubs
        from mmsearch.indexes.exact import ExactIndex

        with self._store.snapshot() as snapshot:
            return find_hubs(snapshot, ExactIndex(snapshot), self._query_encoder, k=k)

    def move_root(self, name: str, path: str | os.PathLike[str], *, wait: float = 0.0) -> None:
        """Say that what lay below a root lies elsewhere now; nothing is read or encoded."""
        self._known_root(name)
        with self._store.writer(wait=wait) as writer:
            writer.move_root(name, os.path.abspath(os.path.expanduser(path)))

    def remove_root(self, name: str, *, wait: float = 0.0) -> int:
        """Forget a root and delete its items; the files stay. Returns how many items were deleted."""
        self._known_root(name)
        with self._store.writer(wait=wait) as writer:
            return writer.remove_root(name)

    def _known_root(self, name: str) -> None:
        if name not in (roots := self.roots()):
            raise UsageError(f"no root is called {name!r}", hint=f"there are: {', '.join(sorted(roots)) or 'none'}")
