"""What is in a collection, item by item and in sum."""

from __future__ import annotations

from mmsearch.collection.core import Core
from mmsearch.errors import ItemNotFound
from mmsearch.search import absolute_path
from mmsearch.status import Status, status_of
from mmsearch.types import Failure, Record


class Looking(Core):
    """The verbs that only look; all of them see one committed state."""

    def get(self, id: str) -> Record:
        """The item stored under ``id``. Raises :class:`ItemNotFound`."""
        with self._store.snapshot() as snapshot:
            record = snapshot.by_id([id]).get(id)
        if record is None:
            raise ItemNotFound(f"no item has the id {id!r}", hint="`mmsearch query --jsonl` shows the ids of what it finds")
        return record

    def locate(self, record: Record) -> str | None:
        """The absolute path of the item's file, ``None`` for an item that came from no file."""
        return absolute_path(record, self.roots())

    def __len__(self) -> int:
        with self._store.snapshot() as snapshot:
            return snapshot.count()

    def __contains__(self, id: object) -> bool:
        with self._store.snapshot() as snapshot:
            return isinstance(id, str) and id in snapshot.by_id([id])

    def status(self) -> Status:
        """Counts, places, sizes and what searches run on. Costs milliseconds, whatever the size."""
        with self._store.snapshot() as snapshot:
            return status_of(snapshot, self.info, self.path)

    def failures(self) -> list[Failure]:
        """The files that were skipped, and why."""
        with self._store.snapshot() as snapshot:
            return list(snapshot.failures())

    def fields(self) -> dict[str, str]:
        """The names that a ``where`` condition may use, each with its type."""
        with self._store.snapshot() as snapshot:
            return snapshot.fields()

    def roots(self) -> dict[str, str]:
        """The folders and files that items came from: name → absolute path."""
        with self._store.snapshot() as snapshot:
            return snapshot.roots()
