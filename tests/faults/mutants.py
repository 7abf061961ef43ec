"""The store with one promise broken. Each is a mistake that has been made somewhere; the checks must notice every one."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import delete, insert

from mmsearch.store import Calls, Change, IndexInfo, Writer, catalog, schema
from mmsearch.store.vectors import SegmentFile


@contextmanager
def commit_before_write() -> Iterator[None]:
    """The catalogue names rows that are not yet in their file."""
    commit, write, sync = Writer.commit, SegmentFile.write, SegmentFile.sync
    later: list[Callable[[], None]] = []

    def committing(self: Writer, change: Change) -> list[int]:
        vids = commit(self, change)
        while later:
            later.pop(0)()
        return vids

    def writing(self: SegmentFile, rows: Any, at: int) -> None:
        later.append(lambda: write(self, rows, at))

    def syncing(self: SegmentFile) -> None:
        later.append(lambda: sync(self))

    with (
        patch.object(Writer, "commit", committing),
        patch.object(Writer, "compact", lambda self: None),
        patch.object(SegmentFile, "write", writing),
        patch.object(SegmentFile, "sync", syncing),
    ):
        yield


@contextmanager
def append() -> Iterator[None]:
    """Rows go to the end of the file (O_APPEND), which after a crash is behind a dead tail."""

    def writing(self: Any, rows: Any, at: int) -> None:
        self._disk.write(self._fd, rows.data, os.fstat(self._fd).st_size, self._path)

    with patch.object(SegmentFile, "write", writing):
        yield


def no_file_sync() -> AbstractContextManager[Any]:
    """Rows and index files are never synced."""
    return patch.object(Calls, "sync", lambda self, fd: None)


def no_folder_sync() -> AbstractContextManager[Any]:
    """The names of new files are never synced."""
    return patch.object(Calls, "sync_folder", lambda self, path: None)


def synchronous_normal() -> AbstractContextManager[Any]:
    """SQLite's faster setting, advised all over the web: acknowledged commits are lost."""
    assert dict(catalog.WRITER_PRAGMAS)["synchronous"] == "FULL"
    weaker = tuple((name, "NORMAL" if name == "synchronous" else value) for name, value in catalog.WRITER_PRAGMAS)
    return patch.object(catalog, "WRITER_PRAGMAS", weaker)


@contextmanager
def index_in_place() -> Iterator[None]:
    """An index file is written over the one that is in use."""

    def put_index(self: Any, info: IndexInfo, build: Callable[[Path], None]) -> IndexInfo:
        disk, folder = self._disk, self._layout.indexes
        disk.make_folder(folder)
        disk.sync_folder(folder.parent)
        path = folder / f"{info.kind}.faiss"
        build(path)
        fd = disk.open(path)
        disk.sync(fd, path)
        os.close(fd)
        disk.sync_folder(folder)
        data = path.read_bytes()
        kept = replace(info, file=path.name, bytes=len(data), crc32=zlib.crc32(data))
        with self.transaction() as connection:
            connection.execute(delete(schema.index).where(schema.index.c.kind == info.kind))
            connection.execute(insert(schema.index).values([getattr(kept, one.name) for one in schema.index.columns]))
        return kept

    with patch.object(Writer, "put_index", put_index):
        yield


MUTANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "commit before write": commit_before_write,
    "append": append,
    "no file sync": no_file_sync,
    "no folder sync": no_folder_sync,
    "synchronous=NORMAL": synchronous_normal,
    "index in place": index_in_place,
}


def broken(name: str) -> AbstractContextManager[Any]:
    """The store as the mutant has it, while the block runs; as it is for an empty name."""
    return MUTANTS[name]() if name else nullcontext()
