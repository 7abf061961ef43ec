"""The collection that is served, and the switch to another one that has taken its place, without a pause."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mmsearch.collection import Collection
from mmsearch.errors import MMSearchError


@dataclass(slots=True)
class _Lease:
    collection: Collection
    identity: tuple[int, int] | None
    owned: bool
    users: int = 0
    retired: bool = False


class Live:
    """Holds the open collection. Commits of any process are seen at once without it; it is for a folder that is *replaced*.

    A collection of a new model is made beside the old one, then the link that is served is turned to it. :meth:`check` sees
    that another catalogue lies under the path, opens it, warms it up, and from then on :meth:`use` gives the new one; the old
    one is closed when the last request that had it is done. Links are followed when a collection is opened, so that one that
    is open never meets the files of the other.
    """

    def __init__(self, source: Collection | str | os.PathLike[str], open: Callable[[Path], Collection] = Collection.open) -> None:
        self._lock = threading.Lock()
        self._open = open
        if isinstance(source, Collection):
            self._path, self._lease = source.path, _Lease(source, None, owned=False)
        else:
            self._path = Path(os.path.expanduser(source))
            self._lease = _Lease(open(_real(self._path)), _identity(self._path), owned=True)

    @contextmanager
    def use(self) -> Iterator[Collection]:
        """The collection of now; it stays open as long as this lasts."""
        with self._lock:
            lease = self._lease
            lease.users += 1
        try:
            yield lease.collection
        finally:
            with self._lock:
                lease.users -= 1
                last = lease.retired and lease.owned and not lease.users
            if last:
                lease.collection.close()

    def check(self) -> bool:
        """Whether another collection lies under the path now, and has been switched to. Raises what opening it raises."""
        with self._lock:
            if not self._lease.owned:
                return False
            seen = self._lease.identity
        identity = _identity(self._path)
        if identity is None or identity == seen:
            return False
        fresh = _Lease(self._open(_real(self._path)), identity, owned=True)
        warm_up(fresh.collection)
        with self._lock:
            old, self._lease = self._lease, fresh
            old.retired = True
            unused = not old.users
        if unused:
            old.collection.close()
        return True

    def close(self) -> None:
        """Close the collection, if it was opened here."""
        with self._lock:
            lease = self._lease
            lease.retired = True
            ready = lease.owned and not lease.users
        if ready:
            lease.collection.close()


def warm_up(collection: Collection) -> None:
    """Load the weights and touch the rows, so that the first query is not the slow one."""
    with suppress(MMSearchError):  # an empty collection, or a model that is missing: the first query will tell
        collection.search("a photo", k=1)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path / "catalog.db")
    except OSError:
        return None
    return found.st_dev, found.st_ino
