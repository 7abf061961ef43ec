"""Derived index files below ``indexes/``: immutable, checksummed, and named by the catalogue only when they are on the medium."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from mmsearch.errors import CollectionCorrupt
from mmsearch.store.changes import IndexInfo
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.sqlite import AnyConnection, raw

if TYPE_CHECKING:
    from mmsearch.store.writer import Writer

_READ = 1 << 20


def checksum(path: Path) -> int:
    """CRC-32 of a file, read in pieces of 1 MiB."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_READ):
            crc = zlib.crc32(piece, crc)
    return crc


def is_plain(name: object) -> TypeGuard[str]:
    """Whether a recorded name is one of a file in ``indexes/`` itself: in a prepared catalogue it may lead anywhere."""
    return isinstance(name, str) and os.path.basename(name) == name and name not in ("", ".", "..") and "\0" not in name


def problem(layout: Layout, info: IndexInfo) -> str | None:
    """Why an index file must not be read, or ``None`` if it is as it was written. Reads all of it."""
    if not is_plain(info.file):
        return f"{info.file!r} is not the name of a file in {layout.indexes}"
    path = layout.indexes / info.file
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{path} is missing"
    if size != info.bytes:
        return f"{path} has {size} bytes, not {info.bytes}"
    return None if checksum(path) == info.crc32 else f"{path} is damaged"


def checked(layout: Layout, info: IndexInfo) -> Path:
    """The path of an index that is as it was written. Raises :class:`CollectionCorrupt`: nothing else may be read."""
    trouble = problem(layout, info)
    if trouble is not None:
        raise CollectionCorrupt(trouble, hint="searches are exact meanwhile; mmsearch optimize builds it anew")
    return layout.indexes / info.file


def orphans(connection: AnyConnection, layout: Layout) -> list[str]:
    """Names in ``indexes/`` that the catalogue does not know, sorted."""
    try:
        present = set(os.listdir(layout.indexes))
    except FileNotFoundError:
        return []
    return sorted(present - {file for (file,) in raw(connection).execute('SELECT file FROM "index"')})


def put_index(writer: Writer, layout: Layout, disk: Disk, info: IndexInfo, build: Callable[[Path], None]) -> IndexInfo:
    """Keeps the index that ``build(path)`` writes, in place of the one of the same kind; returns how it is recorded.

    Of ``info`` the file's name, size and checksum are filled in here. The file is built under a temporary name, synced,
    renamed, its folder synced, then recorded; the former file is removed last.
    """
    from sqlalchemy import delete, insert, select  # late: a search reads indexes and must not pay for it

    from mmsearch.store import schema

    disk.make_folder(layout.indexes)
    disk.sync_folder(layout.folder)  # also where the folder is there: a crash may have come before its sync
    temporary = layout.indexes / f"{info.kind}.new"
    os.close(disk.create(temporary))
    disk.build(temporary, build)
    fd = disk.open(temporary)
    try:
        disk.sync(fd, temporary)
    finally:
        os.close(fd)
    with writer.transaction() as connection:
        former = connection.scalar(select(schema.index.c.file).where(schema.index.c.kind == info.kind))
        generation = raw(connection).execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0]
        name = f"{info.kind}-{int(generation) + 1}.faiss"
        kept = replace(info, file=name, bytes=temporary.stat().st_size, crc32=checksum(temporary))
        disk.rename(temporary, layout.indexes / name)
        disk.sync_folder(layout.indexes)
        connection.execute(delete(schema.index).where(schema.index.c.kind == info.kind))
        values = [getattr(kept, column.name) for column in schema.index.columns]
        connection.execute(insert(schema.index).values(values))
    if is_plain(former):
        disk.unlink(layout.indexes / former)
    return kept


def drop_index(writer: Writer, layout: Layout, disk: Disk, kind: str) -> None:
    """Forgets the index of a kind, then removes its file; one that is not there is no error."""
    from sqlalchemy import delete, select

    from mmsearch.store import schema

    with writer.transaction() as connection:
        former = connection.scalar(select(schema.index.c.file).where(schema.index.c.kind == kind))
        connection.execute(delete(schema.index).where(schema.index.c.kind == kind))
    if is_plain(former):
        disk.unlink(layout.indexes / former)
