"""Making a collection ready for media that nobody can write: one catalogue file, no log beside it, and a marker.

A sealed catalogue is in SQLite's rollback mode, so that reading it makes no files, wherever it lies. The marker comes
first and goes last: whenever the power goes, writers are refused or all is as before.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from mmsearch.errors import CollectionNotFound, StorageError
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.lock import WriterLock
from mmsearch.store.sqlite import PRAGMAS, WRITER_PRAGMAS, connect, translated

_NOTE = b"sealed: mmsearch writes nothing here until `mmsearch seal --undo`\n"


def refuse_sealed(layout: Layout) -> None:
    """Raises :class:`StorageError` if the collection is sealed."""
    if layout.seal.exists():
        raise StorageError(
            f"{layout.folder} is sealed: it is for reading only",
            hint=f"to write to it again: mmsearch -c {layout.folder} seal --undo",
        )


def seal(layout: Layout, disk: Disk) -> None:
    """Seals; the caller holds the lock and has no connection open. Sealing twice is no error.

    Raises :class:`StorageError` where another program has the collection open, which then stays as it was.
    """
    fd = disk.create(layout.seal)
    try:
        disk.write(fd, memoryview(_NOTE), 0, layout.seal)
        disk.sync(fd, layout.seal)
    finally:
        os.close(fd)
    disk.sync_folder(layout.folder)
    try:
        _switch(layout, disk, "delete")
    except StorageError:
        if not disk.broken:
            disk.unlink(layout.seal)
            disk.sync_folder(layout.folder)
        raise


def unseal(folder: Path, disk: Disk | None = None) -> bool:
    """Lets writers in again; says whether the collection was sealed. Takes the lock.

    Raises :class:`CollectionNotFound`, :class:`LockedError`, :class:`StorageError`.
    """
    layout, disk = Layout(folder), disk or Disk()
    if not os.path.isfile(layout.catalog):
        raise CollectionNotFound(f"there is no collection in {folder}")
    if not layout.seal.exists():
        return False
    lock = WriterLock(layout.lock, disk)
    lock.acquire()
    try:
        _switch(layout, disk, "wal")
        disk.unlink(layout.seal)
        disk.sync_folder(layout.folder)
    finally:
        lock.release()
    return True


def _switch(layout: Layout, disk: Disk, mode: str) -> None:
    """Puts the catalogue into a journal mode; nobody else may have it open."""
    with translated(layout, disk):
        pragmas = (*PRAGMAS, *WRITER_PRAGMAS, ("busy_timeout", "1000"))
        with closing(connect(layout.catalog, "mode=rw", pragmas)) as connection:
            found = connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
            if found != mode:
                raise StorageError(f"the catalogue stays in {found} mode: {layout.catalog}", hint="close what has it open")
    fd = disk.open(layout.catalog)
    try:
        disk.sync(fd, layout.catalog)
    finally:
        os.close(fd)
    disk.sync_folder(layout.folder)
