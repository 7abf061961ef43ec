"""What is in a collection, item by item and in sum."""

from __future__ import annotations

from mmsearch.collection.core import Core
from mmsearch.errors import ItemNotFound
from mmsearch.search import absolute_path
from mmsearch.status import IndexState, Status, index_states, status_of
from mmsearch.store.layout import Layout
from mmsearch.store.lock import is_busy
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

    def by_vid(self, vid: int) -> Record:
        """The item whose row has this number. Raises :class:`ItemNotFound`, also where it was replaced or deleted since."""
        with self._store.snapshot() as snapshot:
            found = snapshot.records([vid])
        if not found:
            raise ItemNotFound(f"no item has the vid {vid}", hint="it was replaced or deleted: search again")
        return found[0]

    @property
    def generation(self) -> int:
        """A number that rises with every commit, by whomever: what was read at one is true for as long as it is the same."""
        with self._store.snapshot() as snapshot:
            return snapshot.generation

    def is_being_written(self) -> bool:
        """Whether a writer, of this process or another, is at work now."""
        return is_busy(Layout(self.path).lock)

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

    def kept(self) -> dict[str, str]:
        """The small named values that are kept with the collection."""
        with self._store.snapshot() as snapshot:
            return snapshot.kept()

    def index_states(self) -> list[IndexState]:
        """The derived indexes, each with how many live items came after it was built."""
        with self._store.snapshot() as snapshot:
            return index_states(snapshot)

    def roots(self) -> dict[str, str]:
        """The folders and files that items came from: name → absolute path."""
        with self._store.snapshot() as snapshot:
            return snapshot.roots()
