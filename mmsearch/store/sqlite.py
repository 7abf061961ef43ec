"""Connections to the catalogue without SQLAlchemy, whose import alone takes longer than a search; SQLite's errors in our words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from mmsearch.errors import CollectionCorrupt, StorageError
from mmsearch.store.layout import Disk, Layout

if TYPE_CHECKING:
    from sqlalchemy import Connection

AnyConnection: TypeAlias = "Connection | sqlite3.Connection"
"""Readers hold SQLite's own connections, writers SQLAlchemy's; :func:`raw` gives the one below either."""

PRAGMAS: tuple[tuple[str, str], ...] = (
    ("busy_timeout", "30000"),
    ("trusted_schema", "OFF"),
    ("cell_size_check", "ON"),
    # KiB, for each connection of each thread: a service of 8 threads held 98 MiB with 16 MiB each, and read no faster
    ("cache_size", "-2000"),
)
WRITER_PRAGMAS: tuple[tuple[str, str], ...] = (
    ("cache_size", "-16000"),
    ("synchronous", "FULL"),  # NORMAL loses acknowledged batches in a power cut
    # 32 MiB: a checkpoint copies each changed page once. With SQLite's 4 MiB nearly every batch of 4096 items
    # makes one, and bulk adding was a fifth slower.
    ("wal_autocheckpoint", "8000"),
)
_KEPT = 16


def connect(path: Path, parameters: str, pragmas: tuple[tuple[str, str], ...]) -> sqlite3.Connection:
    """A connection by URI, so that the mode is SQLite's own; any bytes may be in the path."""
    uri = f"file:{quote(os.fsencode(path.absolute()))}?{parameters}"
    # isolation_level=None: no transaction begins by itself
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        for name, value in pragmas:
            connection.execute(f"PRAGMA {name} = {value}")
    except BaseException as error:
        connection.close()
        if isinstance(error, UnicodeDecodeError):  # of SQLite's own message about a damaged schema, which quotes it
            raise sqlite3.DatabaseError("the schema cannot be read") from error
        raise
    return connection


def raw(connection: AnyConnection) -> sqlite3.Connection:
    """The sqlite3 connection below, for hot paths: a hundred thousand rows cost 1.8 s through Core and 53 ms through a raw
    cursor, and Core inserts 19k dicts/s where a raw ``executemany`` inserts 41k to 142k tuples.
    """
    if isinstance(connection, sqlite3.Connection):
        return connection
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


class Readers:
    """Read transactions on one catalogue file, for any thread. Connections are kept for reuse, up to 16 of them.

    They open the file read-only even where they could write: they can neither change it nor run a checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._life = 0  # closing begins a new one: what is taken now is not kept then

    @contextmanager
    def reading(self, *, immutable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction, rolled back at its end: a commit would report what reading a damaged page has found again.

        ``immutable`` is for media that nobody can change: no locks, no WAL. Such a connection is not kept, since it
        would never notice that the file has become another.
        """
        with self._lock:
            life = self._life
            connection = self._free.pop() if self._free and not immutable else None
        if connection is None:
            connection = connect(self._path, "immutable=1" if immutable else "mode=ro", PRAGMAS)
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            with suppress(sqlite3.Error):
                connection.rollback()
            with self._lock:
                keep = not (immutable or connection.in_transaction) and life == self._life and len(self._free) < _KEPT
                if keep:
                    self._free.append(connection)
            if not keep:
                connection.close()

    def close(self) -> None:
        """Closes the connections that nobody uses; the others close when they come back."""
        with self._lock:
            self._life += 1
            free, self._free = self._free, []
        for connection in free:
            connection.close()


@contextmanager
def translated(layout: Layout, disk: Disk | None = None) -> Iterator[None]:
    """Turns SQLite's errors into ours; those that only a bug of ours could cause pass through."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UnicodeDecodeError) and _is_ours(error.__traceback__):  # SQLite's message quotes damaged names
            raise unreadable("a name in the schema", error) from error
        cause = getattr(error, "orig", error)  # SQLAlchemy wraps SQLite's errors
        if not isinstance(cause, sqlite3.Error):
            raise
        raise _ours(cause, layout, disk) or error from error


ROW_ERRORS = (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What Python raises over a row that holds what was never written."""


_OF_DAMAGE = (
    "no such column", "no such table", "no such module", "no such tokenizer", "malformed", "parse error in tokenize",
    "error in tokenizer",
)  # fmt: skip
"""How SQLite begins to say that a table is not as it was made, without calling the file damaged."""


def unreadable(what: str, error: Exception) -> CollectionCorrupt:
    """The error for a damaged row; ``error`` is one of :data:`ROW_ERRORS`. SQLite's pages have no checksums."""
    said = " ".join(str(error).split())[:100]
    return CollectionCorrupt(
        f"the catalogue is damaged: {what} cannot be read ({type(error).__name__}: {said})",
        hint="mmsearch verify says what is; restore a backup",
    )


def _is_of_damage(error: sqlite3.Error, name: str, said: str) -> bool:
    """Whether only a damaged file explains an error that SQLite, or Python's module, does not call damage."""
    if not name:  # the module's own: a text that is not UTF-8, a schema that is none
        return not isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError)
    return name == "SQLITE_ERROR" and said.startswith(_OF_DAMAGE)


def _is_ours(trace: TracebackType | None) -> bool:
    """Whether an error came up in the store's own code, and not in what its user does within a transaction."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(__package__ or "mmsearch.store")


def _ours(error: sqlite3.Error, layout: Layout, disk: Disk | None) -> Exception | None:
    name = str(getattr(error, "sqlite_errorname", ""))
    said = " ".join(str(error).split())[:200]  # it may quote a damaged row
    what = f"{layout.catalog}: {said}"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or _is_of_damage(error, name, said):
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
