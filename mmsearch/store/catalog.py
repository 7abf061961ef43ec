"""The catalogue's transactions: for reading, for writing, and its upkeep."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import StorageError
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.media import network_type, writable
from mmsearch.store.sqlite import PRAGMAS, WRITER_PRAGMAS, Readers, connect, raw, translated

if TYPE_CHECKING:  # readers never load it
    from sqlalchemy import Connection, Engine


def make_engine(path: Path) -> Engine:
    """The writer's engine for a catalogue file: one connection, kept open, since the last one that closes empties the WAL,
    which every commit would pay for. Its transactions take SQLite's write lock at once.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import QueuePool

    pragmas = PRAGMAS + WRITER_PRAGMAS
    engine = create_engine("sqlite://", creator=lambda: connect(path, "mode=rw", pragmas), poolclass=QueuePool, pool_size=1)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class Catalog:
    """The connections of one collection: SQLAlchemy's engine for the writer, SQLite's own for readers."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk
        self._engine: Engine | None = None
        self._readers = Readers(layout.catalog)
        self._lock = threading.Lock()
        self._network = network_type(layout.folder)

    def engine(self) -> Engine:
        """The writer's engine, made when first asked for."""
        with self._lock:
            if self._engine is None:
                self._engine = make_engine(self._layout.catalog)
            return self._engine

    def reader_mode(self) -> str:
        """``ro``, or ``immutable`` on media that cannot be written and have no WAL. Costs one or two system calls.

        Beside a WAL, ``immutable`` would silently leave out what is in it.
        """
        if self._network is None and writable(self._layout.folder):
            return "ro"
        try:
            has_wal = self._layout.wal.stat().st_size > 0
        except FileNotFoundError:
            has_wal = False
        if not has_wal:
            return "immutable"
        self.refuse_network()
        return "ro"

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read transaction."""
        immutable = self.reader_mode() == "immutable"
        with translated(self._layout), self._readers.reading(immutable=immutable) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction; its end is the commit point. The caller holds the lock.

        When SQLite reports a failed input or output, it is not known what reached the disk: no further write is
        allowed.
        """
        self._disk.check()
        with translated(self._layout, self._disk), self.engine().begin() as connection:
            yield connection

    def refuse_network(self) -> None:
        """Raises :class:`StorageError` if the folder lies on a network file system."""
        if self._network is not None:
            raise _network_error(self._layout, self._network)

    def vacuum(self, share: float) -> None:
        """Writes the catalogue anew if at least this share of it is free pages. The caller holds the lock.

        That takes room for a second catalogue; where there is none, the pages stay free for what comes.
        """
        with suppress(StorageError), translated(self._layout, self._disk), self.engine().connect() as connection:
            database = raw(connection)
            free, pages = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
            if free >= share * pages:
                database.execute("VACUUM")
            _empty_wal(database)

    def checkpoint(self) -> None:
        """Moves the WAL into the catalogue, as far as open readers allow, and closes the writer's connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            # what cannot be moved now, on a full disk, is as safe where it is
            with suppress(StorageError), translated(self._layout, self._disk), engine.connect() as connection:
                _empty_wal(raw(connection))
            engine.dispose()

    def close(self) -> None:
        """Closes all connections."""
        self._readers.close()
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def _empty_wal(database: sqlite3.Connection) -> None:
    """Moves the WAL's pages into the catalogue, as far as open readers allow: it does not wait for them."""
    database.execute("PRAGMA busy_timeout = 0")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute(f"PRAGMA busy_timeout = {dict(PRAGMAS)['busy_timeout']}")


def _network_error(layout: Layout, kind: str) -> StorageError:
    return StorageError(
        f"{layout.folder} lies on a network file system ({kind}): the catalogue's write-ahead log cannot work there, "
        "it needs memory that all its users share",
        hint="keep the collection on a local disk (--collection); the photos themselves may stay where they are",
    )
