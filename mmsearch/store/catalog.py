"""Connections to the catalogue: pragmas as data, transactions, and SQLite's errors in our words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from mmsearch.errors import CollectionCorrupt, StorageError
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.media import network_type, writable

PRAGMAS: tuple[tuple[str, str], ...] = (
    ("busy_timeout", "30000"),
    ("trusted_schema", "OFF"),
    ("cell_size_check", "ON"),
    ("cache_size", "-16000"),  # KiB
)
WRITER_PRAGMAS: tuple[tuple[str, str], ...] = (
    ("synchronous", "FULL"),  # NORMAL loses acknowledged batches in a power cut
    # 32 MiB: a checkpoint copies each changed page once. With SQLite's 4 MiB nearly every batch of 4096 items
    # makes one, and bulk adding was a fifth slower.
    ("wal_autocheckpoint", "8000"),
)

_MODES: dict[str, tuple[str, tuple[tuple[str, str], ...], str, dict[str, Any]]] = {
    # One connection, kept open: the last one that closes empties the WAL, which every commit would pay for.
    "rw": ("mode=rw", PRAGMAS + WRITER_PRAGMAS, "BEGIN IMMEDIATE", {"poolclass": QueuePool, "pool_size": 1}),
    "ro": ("mode=ro", PRAGMAS, "BEGIN", {"poolclass": QueuePool, "pool_size": 16, "max_overflow": -1}),
    # None is kept: such a connection would never notice that the file has become another.
    "immutable": ("immutable=1", PRAGMAS, "BEGIN", {"poolclass": NullPool}),
}


def connect(path: Path, parameters: str, pragmas: tuple[tuple[str, str], ...]) -> sqlite3.Connection:
    """A connection by URI, so that the mode is SQLite's own; any bytes may be in the path."""
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{parameters}"
    # isolation_level=None: pysqlite begins no transactions by itself, SQLAlchemy's "begin" event does
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    for name, value in pragmas:
        connection.execute(f"PRAGMA {name} = {value}")
    return connection


def make_engine(path: Path, *, mode: str) -> Engine:
    """An engine for a catalogue file, whose transactions start at once.

    ``mode`` is ``rw``, or ``ro`` (a reader: many connections, for any thread, kept for reuse), or ``immutable`` (a
    reader of media that nobody can change: no locks, no WAL). Readers open the file read-only even where they could
    write: they can neither change it nor run a checkpoint.
    """
    parameters, pragmas, begin, pool = _MODES[mode]
    engine = create_engine("sqlite://", creator=lambda: connect(path, parameters, pragmas), **pool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def raw(connection: Connection) -> sqlite3.Connection:
    """The sqlite3 connection below, for hot paths: a hundred thousand rows cost 1.8 s through Core and 53 ms through a raw
    cursor, and Core inserts 19k dicts/s where a raw ``executemany`` inserts 41k to 142k tuples.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


class Catalog:
    """The engines of one collection: one for the writer, one for readers in the mode that the medium asks for."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()
        self._network = network_type(layout.folder)

    def engine(self, mode: str) -> Engine:
        """The engine for a mode, made when first asked for."""
        with self._lock:
            if mode not in self._engines:
                self._engines[mode] = make_engine(self._layout.catalog, mode=mode)
            return self._engines[mode]

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
    def reading(self) -> Iterator[Connection]:
        """A read transaction, rolled back at its end: a commit would report what reading a damaged page has found again."""
        with translated(self._layout), self.engine(self.reader_mode()).connect() as connection, connection.begin() as transaction:
            yield connection
            transaction.rollback()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction; its end is the commit point. The caller holds the lock.

        When SQLite reports a failed input or output, it is not known what reached the disk: no further write is
        allowed.
        """
        self._disk.check()
        with translated(self._layout, self._disk), self.engine("rw").begin() as connection:
            yield connection

    def refuse_network(self) -> None:
        """Raises :class:`StorageError` if the folder lies on a network file system."""
        if self._network is not None:
            raise _network_error(self._layout, self._network)

    def vacuum(self, share: float) -> None:
        """Writes the catalogue anew if at least this share of it is free pages. The caller holds the lock.

        That takes room for a second catalogue; where there is none, the pages stay free for what comes.
        """
        with suppress(StorageError), translated(self._layout, self._disk), self.engine("rw").connect() as connection:
            database = raw(connection)
            free, pages = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
            if free >= share * pages:
                database.execute("VACUUM")
            _empty_wal(database)

    def checkpoint(self) -> None:
        """Moves the WAL into the catalogue, as far as open readers allow, and closes the writer's connections."""
        engine = self._engines.pop("rw", None)
        if engine is not None:
            # what cannot be moved now, on a full disk, is as safe where it is
            with suppress(StorageError), translated(self._layout, self._disk), engine.connect() as connection:
                _empty_wal(raw(connection))
            engine.dispose()

    def close(self) -> None:
        """Closes all connections."""
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()


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


@contextmanager
def translated(layout: Layout, disk: Disk | None = None) -> Iterator[None]:
    """Turns SQLite's errors into ours; those that only a bug of ours could cause pass through."""
    try:
        yield
    except DBAPIError as error:
        raise _ours(error.orig, layout, disk) or error from error
    except sqlite3.Error as error:
        raise _ours(error, layout, disk) or error from error


def _ours(error: BaseException | None, layout: Layout, disk: Disk | None) -> Exception | None:
    name = str(getattr(error, "sqlite_errorname", ""))
    what = f"{layout.catalog}: {error}"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return CollectionCorrupt(f"the catalogue is damaged: {what}", hint="mmsearch verify says what is; restore a backup")
    if name == "SQLITE_FULL":
        return StorageError(f"no space left on device: {what}", hint="free some space and run again; nothing is lost")
    if name == "SQLITE_IOERR_SHMSIZE":  # of a full disk: memory for locks cannot be had, nothing was written
        return StorageError(
            f"no space left on device, even a reader needs 32 KiB: {what}",
            hint="free some space and run again; nothing is lost",
        )
    if name.startswith("SQLITE_IOERR"):
        if disk is not None:
            disk.break_down(what)
        return StorageError(f"the disk failed: {what} ({name})", hint="check the disk; what was acknowledged is kept")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return StorageError(f"the catalogue cannot be written: {what}", hint="indexing needs a writable place")
    if name.startswith("SQLITE_CANTOPEN"):
        return StorageError(
            f"the catalogue cannot be opened: {what}",
            hint="on read-only media: copy the folder to a writable place and open it there once",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageError(f"another program keeps the catalogue busy: {what}", hint="close it and run again")
    return None
