"""One collection folder: create it, open it, read it, write it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch import __version__
from mmsearch.errors import (
    CollectionCorrupt,
    CollectionExists,
    CollectionNotFound,
    LockedError,
    MMSearchError,
    StorageError,
    UsageError,
)
from mmsearch.store.catalog import Catalog, make_engine
from mmsearch.store.changes import Finding, StoreInfo
from mmsearch.store.fieldcache import FieldCache
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.lock import WriterLock
from mmsearch.store.media import writable
from mmsearch.store.migrations import FORMAT_VERSION, applied, migrate, pending
from mmsearch.store.sealing import refuse_sealed, seal
from mmsearch.store.snapshot import Memo, Snapshot
from mmsearch.store.sqlite import ROW_ERRORS, AnyConnection, raw, translated, unreadable
from mmsearch.store.vectors import Mapped, RowReader, SegmentCache, SegmentInfo, read_segments

if TYPE_CHECKING:
    from mmsearch.store.writer import Writer

_DTYPE = "float16"
_TRIES = 20  # a snapshot loses a race against a compaction at most once for each compaction
_MIGRATION_WAIT = 60.0  # seconds for a writer, or another migration, to end


class Store:
    """A collection on disk. Holds no lock; any number of stores, processes and threads may read beside one writer.

    Close it, or use it as a context manager; a snapshot or writer must not outlive it.

    >>> with Store.open(path) as store, store.snapshot() as snapshot:
    ...     snapshot.count()
    0
    """

    segment_rows = 262_144
    """A segment is sealed when it has this many rows: 256 MiB at 512 dimensions, which a compaction rewrites in a
    second or two, while 100 million rows stay below 400 mapped files (each keeps one of the usual 1,024 descriptors).
    """

    def __init__(self, path: Path, info: StoreInfo, disk: Disk) -> None:
        """Callers use :meth:`open` or :meth:`create`."""
        self.path = path
        self.info = info
        self._layout = Layout(path)
        self._disk = disk
        self._catalog = Catalog(self._layout, disk)
        self._cache = SegmentCache(self._layout, info.dim)
        self._memo = Memo()
        self._fields = FieldCache()
        self._writing = threading.Lock()
        self._writer_thread: int | None = None

    # --- its life -------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, *, dim: int, model: str, fingerprint: str, disk: Disk | None = None) -> Store:
        """Makes a collection in ``path``, which may exist; then opens it.

        It is complete or not there at all, whenever the power goes: the catalogue gets its name last. Raises
        :class:`CollectionExists`, :class:`LockedError`, :class:`StorageError`.
        """
        if dim < 1:
            raise UsageError(f"a collection needs at least one dimension, not {dim}")
        layout, disk = Layout(path), disk or Disk()
        Catalog(layout, disk).refuse_network()
        whole = path.absolute()
        above = [whole.parent, *(folder.parent for folder in whole.parents if not folder.exists())]  # they get a new name
        disk.make_folder(path)
        lock = WriterLock(layout.lock, disk)
        lock.acquire()
        try:
            if layout.catalog.exists():
                raise CollectionExists(f"there is a collection in {path} already")
            disk.make_folder(layout.vectors)
            _make_catalog(layout, disk, dim, model, fingerprint)
            for folder in above:
                disk.sync_folder(folder)
        finally:
            lock.release()
        return cls.open(path, disk=disk)

    @classmethod
    def open(cls, path: Path, *, disk: Disk | None = None) -> Store:
        """Opens a collection, also on read-only media. Takes no lock, unless its format is older and must be migrated.

        Raises :class:`CollectionNotFound`, :class:`FormatTooNew`, :class:`CollectionCorrupt`, :class:`StorageError`.
        A few ms.
        """
        layout, disk = Layout(path), disk or Disk()
        if not cls.exists(path):
            raise CollectionNotFound(f"there is no collection in {path}", hint="mmsearch index FOLDER makes one")
        catalog = Catalog(layout, disk)
        try:
            with catalog.reading() as connection:
                steps = pending(connection)
            if steps:
                _migrate(layout, catalog, disk)
            with catalog.reading() as connection:
                info = _read_info(connection, layout)
        finally:
            catalog.close()
        return cls(path, info, disk)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a collection in this folder; it may still be one that cannot be opened."""
        return os.path.isfile(Layout(path).catalog)  # Path raises for a name that is too long

    def close(self) -> None:
        """Lets go of connections and mappings."""
        self._catalog.close()
        self._cache.clear()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading --------------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """A read transaction: whole commits only, the same state for as long as it is open. For one thread; others
        open their own. About 0.2 ms.

        Raises :class:`StorageError` or :class:`CollectionCorrupt` when the catalogue cannot be read.
        """
        missing: list[SegmentInfo] = []
        for _ in range(_TRIES):
            with self._catalog.reading() as connection:
                generation, segments = _read_state(connection)
                mapped = self._map(segments, segments == missing)
                if mapped is not None:
                    reader = RowReader(mapped, [one.base_vid for one in segments], self.info.dim)
                    yield Snapshot(connection, self._layout, generation, segments, reader, self._memo, self._fields)
                    return
            missing = segments
        raise StorageError(f"{self.path} is being rewritten too fast to be read", hint="try again")

    def _map(self, segments: list[SegmentInfo], again: bool) -> list[Mapped | MMSearchError] | None:
        """Maps all segments; ``None`` if a file is not there, which after a compaction is cured by a newer snapshot.

        ``again``: the newer snapshot wants the same files, so one is lost, and only who needs its rows gets the error.
        """
        try:
            return self._cache.map(segments)
        except FileNotFoundError:
            return [self._map_one(one) for one in segments] if again else None

    def _map_one(self, segment: SegmentInfo) -> Mapped | MMSearchError:
        try:
            return SegmentCache(self._layout, self.info.dim).map([segment])[0]
        except FileNotFoundError as error:
            return CollectionCorrupt(f"{error.filename} is missing", hint="mmsearch repair, then index again")

    # --- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def writer(self, *, wait: float = 0.0) -> Iterator[Writer]:
        """The right to change the collection, for one thread, until the block ends.

        Raises :class:`LockedError` if another writer has it for longer than ``wait`` seconds, :class:`StorageError`
        where nothing can be written or an earlier fsync of this store failed, :class:`UsageError` inside another
        writer of this store.
        """
        from mmsearch.store.writer import Writer  # SQLAlchemy comes with it, which readers need not wait for

        refuse_sealed(self._layout)
        with self._locked(wait):
            writer = Writer(self, self._layout, self._catalog, self._disk)
            try:
                yield writer
            finally:
                writer.close()
                if not self._disk.broken:
                    self._catalog.checkpoint()

    @contextmanager
    def _locked(self, wait: float) -> Iterator[None]:
        self._disk.check()
        self._catalog.refuse_network()
        if self._writer_thread == threading.get_ident():
            raise UsageError("this store has a writer already: a writer cannot be opened inside another")
        if not self._writing.acquire(timeout=max(wait, 0.0)):
            hint = "wait until it has finished; searching works meanwhile"
            raise LockedError(f"{self.path} is being written by another thread", pid=os.getpid(), hint=hint)
        lock = WriterLock(self._layout.lock, self._disk)
        try:
            self._writer_thread = threading.get_ident()
            lock.acquire(wait)
            yield
        finally:
            lock.release()
            self._writer_thread = None
            self._writing.release()

    @property
    def sealed(self) -> bool:
        """Whether the collection is for reading only."""
        return self._layout.seal.exists()

    def seal(self) -> None:
        """Makes the collection ready for read-only media; see :mod:`mmsearch.store.sealing`. Compact it first."""
        with self._locked(0.0):
            self._catalog.checkpoint()
            self._catalog.close()
            seal(self._layout, self._disk)

    # --- health ---------------------------------------------------------------------------------------------------

    def verify(self) -> list[Finding]:
        """Checks everything; see :func:`mmsearch.store.verify.verify`. Reads all vectors once; works beside a writer."""
        from mmsearch.store.verify import verify

        try:
            while True:
                with self._catalog.reading() as connection:
                    segments = read_segments(connection)
                    findings = verify(connection, self._layout, self.info.dim)
                with self._catalog.reading() as connection:
                    later = {one.id for one in read_segments(connection)}
                if later.issuperset(one.id for one in segments):
                    return findings
                # a compaction has removed files in the meantime: what was found of them says nothing
        except CollectionCorrupt as error:
            return [Finding("error", "catalog", str(error), "restore a backup")]

    def repair(self) -> list[Finding]:
        """Mends what can be mended; see :func:`mmsearch.store.repair.repair`. Takes the lock."""
        from mmsearch.store.repair import repair

        refuse_sealed(self._layout)
        with self._locked(0.0):
            findings = repair(self._layout, self._catalog, self._disk, self.info.dim)
            self._catalog.checkpoint()
            self._cache.clear()
        return findings + [one for one in self.verify() if one.level != "ok"]


def _make_catalog(layout: Layout, disk: Disk, dim: int, model: str, fingerprint: str) -> None:
    """A whole catalogue under another name, on the medium, then renamed."""
    values = {
        "dim": str(dim),
        "dtype": _DTYPE,
        "model": model,
        "fingerprint": fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mmsearch_version": __version__,
    }
    fd = disk.create(layout.new_catalog)
    engine = make_engine(layout.new_catalog)
    try:
        with translated(layout, disk):
            migrate(engine)
            with engine.begin() as connection:
                raw(connection).executemany("INSERT INTO meta (key, value) VALUES (?, ?)", values.items())
            with engine.connect() as connection:
                raw(connection).execute("PRAGMA journal_mode = WAL")
        engine.dispose()  # the last connection that closes leaves no log behind: the file is all there is
        disk.sync(fd, layout.new_catalog)
    finally:
        engine.dispose()
        os.close(fd)
    disk.rename(layout.new_catalog, layout.catalog)
    disk.sync_folder(layout.folder)


def _migrate(layout: Layout, catalog: Catalog, disk: Disk) -> None:
    refuse_sealed(layout)
    if not writable(layout.folder):
        with catalog.reading() as connection:
            version = len(applied(connection))
        raise StorageError(
            f"{layout.folder} has format version {version}, and must be brought to {FORMAT_VERSION} to be read",
            hint="open it once where it can be written",
        )
    lock = WriterLock(layout.lock, disk)
    lock.acquire(_MIGRATION_WAIT)
    try:
        with translated(layout, disk):
            migrate(catalog.engine())
    finally:
        lock.release()


def _read_info(connection: AnyConnection, layout: Layout) -> StoreInfo:
    values = dict(raw(connection).execute("SELECT key, value FROM meta"))
    try:
        if int(values["dim"]) < 1 or values["dtype"] != _DTYPE:
            raise ValueError(f"rows of {values['dim']} numbers as {values['dtype']}")
        return StoreInfo(
            format_version=int(values["format_version"]),
            dim=int(values["dim"]),
            dtype=values["dtype"],
            model=values["model"],
            fingerprint=values["fingerprint"],
            created=values["created"],
            mmsearch_version=values["mmsearch_version"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise CollectionCorrupt(f"{layout.catalog} does not say what it holds: {error}", hint="restore a backup") from None


def _read_state(connection: AnyConnection) -> tuple[int, list[SegmentInfo]]:
    found = raw(connection).execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    try:
        generation = int(found[0]) if found else 0
    except ROW_ERRORS as error:
        raise unreadable("its generation", error) from error
    return generation, read_segments(connection)
