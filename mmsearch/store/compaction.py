"""Giving the space of dead rows back: their segments are written anew with the live rows only.

The protocol is the commit's: new files, written and synced, folder synced; one transaction that exchanges the
segments; only then are the old files unlinked. Vids stay, so a new segment has a ``.ids`` file that names its rows. A
reader that began before keeps its mappings of the unlinked files; one that is too late for them begins again and sees
the new segments.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, delete, insert

from mmsearch.errors import CollectionCorrupt, MMSearchError
from mmsearch.store import schema
from mmsearch.store.catalog import Catalog
from mmsearch.store.changes import CompactReport
from mmsearch.store.layout import IDS_DTYPE, Disk, Layout
from mmsearch.store.sqlite import AnyConnection, raw
from mmsearch.store.vectors import (
    Mapped,
    RowReader,
    SegmentCache,
    SegmentFile,
    SegmentInfo,
    checksums,
    damaged,
    next_segment,
    read_batches,
    read_segments,
)
from mmsearch.types import Vids

if TYPE_CHECKING:
    from mmsearch.store.writer import Writer

_COPY_ROWS = 8192
_VACUUM_SHARE = 0.25
"""Free pages in the catalogue from which it is written anew; below, SQLite reuses them soon enough."""


@dataclass(frozen=True, slots=True)
class _New:
    """A segment that is written and synced, with the checksums of its rows."""

    info: SegmentInfo
    batches: list[tuple[int, int, int]]


def compact(writer: Writer, catalog: Catalog, layout: Layout, disk: Disk, dim: int) -> CompactReport:
    """Rewrites the segments that have dead rows, neighbours together; removes files that no catalogue names.

    Costs reading and writing these segments, plus a merge of the full-text table; memory holds 8 bytes per row. Raises
    :class:`CollectionCorrupt` rather than give a damaged row a fresh checksum, and :class:`StorageError`.
    """
    remove_orphans(catalog, layout, disk)
    before = sum(entry.stat(follow_symlinks=False).st_size for entry in layout.files())
    with catalog.writing() as connection:
        runs, dead = _plan(connection, writer.segment_rows)
        _check(connection, layout, [one for old, _ in runs for one in old], dim)
        number = next_segment(connection)
    old: list[SegmentInfo] = []
    new: list[_New] = []
    for segments, live in runs:
        reader = _reader(layout, segments, dim)
        for start in range(0, len(live), writer.segment_rows):
            new.append(_write(layout, disk, number, live[start : start + writer.segment_rows], reader))
            number += 1
        old += segments
    if new:
        disk.sync_folder(layout.vectors)
    if old:
        with writer.transaction() as connection:
            _exchange(connection, old, new)
        remove_orphans(catalog, layout, disk)
    _tidy_catalog(catalog)
    after = sum(entry.stat(follow_symlinks=False).st_size for entry in layout.files())
    return CompactReport(len(old), len(new), dead, max(before - after, 0))


def _plan(connection: Connection, segment_rows: int) -> tuple[list[tuple[list[SegmentInfo], Vids]], int]:
    """Runs of neighbouring segments that have dead rows, each with its live vids in order; and the number of dead rows."""
    vids = (vid for (vid,) in raw(connection).execute("SELECT vid FROM item ORDER BY vid"))
    live = np.fromiter(vids, dtype=np.int64)
    segments = read_segments(connection)
    bounds = np.searchsorted(live, [*(one.base_vid for one in segments), np.iinfo(np.int64).max])
    mine = [live[start:stop] for start, stop in pairwise(bounds)]
    dead = [segment.nrows - len(vids) for segment, vids in zip(segments, mine, strict=True)]
    runs: list[tuple[list[SegmentInfo], Vids]] = []
    last = -2
    for at, segment in enumerate(segments):
        if not _chosen(segments, dead, at, segment_rows):
            continue
        if last == at - 1:
            before = runs.pop()
            runs.append(([*before[0], segment], np.concatenate([before[1], mine[at]])))
        else:
            runs.append(([segment], mine[at]))
        last = at
    return runs, sum(dead)


def _chosen(segments: Sequence[SegmentInfo], dead: Sequence[int], at: int, segment_rows: int) -> bool:
    """Whether to rewrite a segment: it has dead rows, or it is small and so is a neighbour, or that one is rewritten anyway.

    Without the second every compaction would leave one more small segment behind.
    """

    def small(one: int) -> bool:
        return segments[one].sealed and 2 * segments[one].nrows < segment_rows

    beside = [one for one in (at - 1, at + 1) if 0 <= one < len(segments)]
    return dead[at] != 0 or (small(at) and any(small(one) or dead[one] for one in beside))


def _check(connection: Connection, layout: Layout, segments: Sequence[SegmentInfo], dim: int) -> None:
    """Raises :class:`CollectionCorrupt` unless all rows have their checksums."""
    for mapped in _map(layout, segments, dim):
        if damaged(mapped.rows, read_batches(connection, mapped.info.id)):
            raise CollectionCorrupt(
                f"{layout.rows(mapped.info.id)} is damaged, and is not copied",
                hint="mmsearch repair, then compact again",
            )


def _map(layout: Layout, segments: Sequence[SegmentInfo], dim: int) -> list[Mapped]:
    try:
        found = SegmentCache(layout, dim).map(segments)
    except FileNotFoundError as error:
        raise CollectionCorrupt(f"{error.filename} is missing", hint="mmsearch repair") from None
    for one in found:
        if isinstance(one, MMSearchError):
            raise one
    return [one for one in found if isinstance(one, Mapped)]


def _reader(layout: Layout, segments: Sequence[SegmentInfo], dim: int) -> RowReader:
    return RowReader(_map(layout, segments, dim), [one.base_vid for one in segments], dim)


def _write(layout: Layout, disk: Disk, number: int, vids: Vids, reader: RowReader) -> _New:
    file = SegmentFile(layout, disk, number, reader.dim, new=True)
    batches: list[tuple[int, int, int]] = []
    try:
        for start in range(0, len(vids), _COPY_ROWS):
            part = reader.gather(vids[start : start + _COPY_ROWS])
            file.write(part, start)
            batches += checksums(part, start)
        file.sync()
    finally:
        file.close()
    crc = write_ids(layout, disk, number, vids)
    return _New(SegmentInfo(number, int(vids[0]), len(vids), True, True, crc), batches)


def write_ids(layout: Layout, disk: Disk, number: int, vids: Vids) -> int:
    """Writes and syncs a segment's ``.ids`` file; returns its CRC-32. The caller syncs the folder."""
    path = layout.ids(number)
    data = np.ascontiguousarray(vids, dtype=IDS_DTYPE).data
    fd = disk.create(path)
    try:
        disk.write(fd, data, 0, path)
        disk.sync(fd, path)
    finally:
        os.close(fd)
    return zlib.crc32(data)


def _exchange(connection: Connection, old: Sequence[SegmentInfo], new: Sequence[_New]) -> None:
    gone = [one.id for one in old]
    connection.execute(delete(schema.segment).where(schema.segment.c.id.in_(gone)))
    connection.execute(delete(schema.batch).where(schema.batch.c.segment.in_(gone)))
    for one in new:
        info = one.info
        values = {
            "base_vid": info.base_vid,
            "nrows": info.nrows,
            "has_ids": 1,
            "sealed": 1,
            "ids_crc32": info.ids_crc32,
        }
        connection.execute(insert(schema.segment).values(id=info.id, **values))
        raw(connection).executemany("INSERT INTO batch VALUES (?, ?, ?, ?)", [(info.id, *each) for each in one.batches])


def orphans(connection: AnyConnection, layout: Layout) -> list[str]:
    """Names in ``vectors/`` that the catalogue does not know, sorted: what a crash or a compaction left behind."""
    wanted: set[str] = set()
    for segment in read_segments(connection):
        wanted |= {layout.rows(segment.id).name} | ({layout.ids(segment.id).name} if segment.has_ids else set())
    return sorted(set(os.listdir(layout.vectors)) - wanted)


def remove_orphans(catalog: Catalog, layout: Layout, disk: Disk) -> list[str]:
    """Unlinks :func:`orphans`; the caller holds the lock, so that no other writer is about to name one."""
    with catalog.reading() as connection:
        found = orphans(connection, layout)
    for name in found:
        disk.unlink(layout.vectors / name)
    if found:
        disk.sync_folder(layout.vectors)
    return found


def _tidy_catalog(catalog: Catalog) -> None:
    with catalog.writing() as connection:
        raw(connection).execute("INSERT INTO words (words) VALUES ('optimize')")
    catalog.vacuum(_VACUUM_SHARE)
