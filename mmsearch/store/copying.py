"""A copy of a collection as one commit left it, made beside a writer.

The catalogue is copied inside a read transaction by SQLite's own backup, so that it is the very state which names the
rows that are copied with it; rows come from mappings, which outlive a compaction. The copy's catalogue gets its name
last, after everything is on the medium: what a kill leaves behind is no collection.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsearch.errors import CollectionCorrupt
from mmsearch.store.indexfiles import is_plain, problem
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.sqlite import PRAGMAS, connect, translated
from mmsearch.store.staging import staged
from mmsearch.store.vectors import Mapped, RowReader, SegmentInfo, damaged, read_batches, read_indexes

_PIECE = 8 << 20
_QUICK = (*PRAGMAS, ("synchronous", "OFF"))  # the file is synced as a whole, before it gets its name


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy holds: live items, bytes of all its files, and how many files it shares with the original."""

    items: int
    bytes: int
    linked: int


def copy(
    connection: sqlite3.Connection,
    layout: Layout,
    segments: Sequence[SegmentInfo],
    reader: RowReader,
    folder: Path,
    *,
    disk: Disk,
    link: bool,
) -> CopyReport:
    """Copies the state that ``connection`` reads to ``folder``, which must be new or empty.

    With ``link`` sealed segments are hard links where the file system has them: no bytes are copied, as nothing ever
    writes into such a file, but damage by the disk then reaches both. Costs reading and writing all else once; memory
    stays flat. Raises :class:`CollectionCorrupt` rather than copy damaged rows, and what :func:`.staged` raises.
    """
    linked = 0
    with staged(folder, disk) as made:
        target = Layout(made)
        disk.make_folder(target.vectors)
        for at, segment in enumerate(segments):
            mapped = reader.mapped(at)
            if damaged(mapped.rows, read_batches(connection, segment.id)):
                raise CollectionCorrupt(f"{layout.rows(segment.id)} is damaged, and is not copied", hint="mmsearch repair")
            linked += _rows(layout, target, mapped, disk, link=link)
        disk.sync_folder(target.vectors)
        lost = _indexes(connection, layout, target, disk)
        _catalog(connection, target, lost, disk)
        size = sum(entry.stat(follow_symlinks=False).st_size for entry in target.files())
    items = int(connection.execute("SELECT count(*) FROM item").fetchone()[0])
    return CopyReport(items, size, linked)


def _rows(layout: Layout, target: Layout, mapped: Mapped, disk: Disk, *, link: bool) -> int:
    """Copies a segment; 1 if its rows are shared instead."""
    number = mapped.info.id
    if mapped.ids is not None:
        _write(target.ids(number), mapped.ids.view(np.uint8).data, disk)
    data = mapped.rows.reshape(-1).view(np.uint8).data
    if link and mapped.info.sealed and _linked(layout.rows(number), target.rows(number), len(data)):
        return 1
    _write(target.rows(number), data, disk)
    return 0


def _linked(source: Path, target: Path, size: int) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, one without links, or a compaction has just removed the file
        return False
    if target.is_symlink() or target.stat().st_size != size:
        target.unlink()
        return False
    return True


def _write(path: Path, data: memoryview, disk: Disk) -> None:
    fd = disk.create(path)
    try:
        for start in range(0, len(data), _PIECE):
            disk.write(fd, data[start : start + _PIECE], start, path)
        disk.sync(fd, path)
    finally:
        os.close(fd)


def _indexes(connection: sqlite3.Connection, layout: Layout, target: Layout, disk: Disk) -> list[str]:
    """Copies the derived indexes that are sound; returns the kinds of the others, which the copy must not name."""
    lost = []
    found = read_indexes(connection)
    if found:
        disk.make_folder(target.indexes)
    for info in found:
        try:
            if not is_plain(info.file) or problem(layout, info):
                lost.append(info.kind)
                continue
            source = layout.indexes / info.file
            fd = disk.create(target.indexes / info.file)
            try:
                with source.open("rb") as file:
                    at = 0
                    while piece := file.read(_PIECE):
                        disk.write(fd, memoryview(piece), at, target.indexes / info.file)
                        at += len(piece)
                disk.sync(fd, target.indexes / info.file)
            finally:
                os.close(fd)
        except FileNotFoundError:  # replaced by a newer one in the meantime
            lost.append(info.kind)
    if found:
        disk.sync_folder(target.indexes)
    return lost


def _catalog(connection: sqlite3.Connection, target: Layout, lost: Sequence[str], disk: Disk) -> None:
    path = target.new_catalog
    fd = disk.create(path)
    try:
        with translated(target, disk), closing(connect(path, "mode=rw", _QUICK)) as made:
            connection.backup(made)
            made.execute("PRAGMA journal_mode = WAL")  # the original may be sealed
            made.executemany('DELETE FROM "index" WHERE kind = ?', [(kind,) for kind in lost])
            made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        disk.sync(fd, path)
    finally:
        os.close(fd)
