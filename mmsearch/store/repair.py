"""Mends a collection: what is derived is made anew, what is lost is named, so that the next indexing brings it back.

Order matters for a crash in between: files are only added to before the one transaction, and removed after it.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, select, update

from mmsearch.store import indexfiles, rows, schema, words
from mmsearch.store.catalog import Catalog
from mmsearch.store.changes import Finding, IndexInfo
from mmsearch.store.compaction import remove_orphans, write_ids
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.rows import ITEM_COLUMNS, json_list
from mmsearch.store.sqlite import raw
from mmsearch.store.vectors import SegmentInfo, checksums, damaged, map_rows, read_batches, read_segments
from mmsearch.store.verify import items_without_row, live_vids, load_ids, next_vid
from mmsearch.types import Failure, Record, Vids

REASON = "corrupt_vector"


def repair(layout: Layout, catalog: Catalog, disk: Disk, dim: int) -> list[Finding]:
    """Rebuilds all that is derived and sets aside what is lost. The caller holds the lock. Returns what was done.

    SQLite's indexes and the full-text table are always built anew (20 s a million items); index files that are not as
    recorded, and files that nothing refers to, are removed. An item whose row fails its checksum is taken out and
    becomes a failure with the reason ``corrupt_vector``, of a size that no file has: so the next indexing encodes it
    again, and only it. The whole item stands in the failure's detail as JSON, for items that came from no file.
    """
    mender = _Mender(layout, disk, dim)
    with catalog.writing() as connection:
        findings = list(mender.mend(connection))
        raw(connection).execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
    removed = [layout.vectors / name for name in remove_orphans(catalog, layout, disk)]
    with catalog.reading() as connection:
        useless = [layout.indexes / name for name in indexfiles.orphans(connection, layout)]
    for path in useless:
        disk.unlink(path)
    return findings + [Finding("ok", "orphan", f"{path} removed") for path in removed + useless]


class _Mender:
    def __init__(self, layout: Layout, disk: Disk, dim: int) -> None:
        self._layout = layout
        self._disk = disk
        self._dim = dim

    def mend(self, connection: Connection) -> Iterator[Finding]:
        connection.exec_driver_sql("REINDEX")
        segments = read_segments(connection)
        known = select(schema.segment.c.id)
        connection.execute(delete(schema.batch).where(schema.batch.c.segment.not_in(known)))
        yield from self._counters(connection, segments)
        live = live_vids(connection)
        bounds = np.searchsorted(live, [*(one.base_vid for one in segments), np.iinfo(np.int64).max])
        lost: list[Vids] = []
        for at, segment in enumerate(segments):
            found = self._segment(connection, segment, live[bounds[at] : bounds[at + 1]])
            if found is not None:
                lost.append(found[0])
                yield found[1]
        lost.append(items_without_row(connection, self._layout))
        yield from self._set_aside(connection, np.unique(np.concatenate(lost)))
        yield from self._indexes(connection)
        words.rebuild(raw(connection))
        yield Finding("ok", "words", "the catalogue's indexes and the full-text table are made anew")

    def _counters(self, connection: Connection, segments: list[SegmentInfo]) -> Iterator[Finding]:
        highest = connection.scalar(select(func.max(schema.item.c.vid)))
        needed = max([-1 if highest is None else highest, *(one.base_vid + one.nrows - 1 for one in segments)]) + 1
        if needed > next_vid(connection):
            where = schema.meta.c.key == "next_vid"
            connection.execute(update(schema.meta).where(where).values(value=str(needed)))
            yield Finding("warning", "counters", f"the next vid is {needed} now")
        for segment in [one for one in segments if not one.sealed][:-1]:
            connection.execute(update(schema.segment).where(schema.segment.c.id == segment.id).values(sealed=1))
            yield Finding("warning", "counters", f"segment {segment.id} is sealed now")

    def _segment(self, connection: Connection, segment: SegmentInfo, live: Vids) -> tuple[Vids, Finding] | None:
        """Mends one segment; ``live`` are the live vids in its range. Returns those that are lost, and what was done."""
        path = self._layout.rows(segment.id)
        if not path.exists():
            self._drop(connection, segment)
            return live, Finding("warning", "segment_missing", f"{path} is gone, the catalogue knows it no more")
        mended = False
        if segment.has_ids and load_ids(self._layout, segment) is None:
            if not self._restore_ids(segment, live):
                self._drop(connection, segment)
                return live, Finding("error", "ids", f"nobody knows which items the rows of {path} are: they are given up")
            mended = True
        good = self._good_rows(connection, segment)
        if good.all():
            return (live[:0], Finding("ok", "ids", f"{self._layout.ids(segment.id)} written anew")) if mended else None
        ids = load_ids(self._layout, segment) if segment.has_ids else None
        bad = np.flatnonzero(~good)
        # What is there now gets a checksum: no live item will refer to it, and a compaction will drop it.
        connection.execute(delete(schema.batch).where(schema.batch.c.segment == segment.id))
        values = [(segment.id, *one) for one in checksums(map_rows(self._layout, segment, self._dim), 0)]
        raw(connection).executemany("INSERT INTO batch VALUES (?, ?, ?, ?)", values)
        gone = np.intersect1d(live, bad + segment.base_vid if ids is None else ids[bad])
        return gone, Finding("warning", "segment_crc", f"{len(bad)} rows of {path} are damaged, {len(gone)} of them in use")

    def _good_rows(self, connection: Connection, segment: SegmentInfo) -> NDArray[np.bool_]:
        """``(nrows,)``: which rows are covered by a checksum and have it. A short file is filled up with zeros first."""
        path, size = self._layout.rows(segment.id), segment.nrows * self._dim * 2
        if path.stat().st_size < size:
            fd = self._disk.open(path)
            try:
                self._disk.truncate(fd, size, path)
                self._disk.sync(fd, path)
            finally:
                os.close(fd)
        mapped = map_rows(self._layout, segment, self._dim)
        batches = read_batches(connection, segment.id)
        bad = set(damaged(mapped, batches))
        good = np.zeros(segment.nrows, dtype=np.bool_)
        for batch in batches:
            if batch not in bad:
                good[batch[0] : batch[0] + batch[1]] = True
        return good

    def _restore_ids(self, segment: SegmentInfo, live: Vids) -> bool:
        """Writes a lost ``.ids`` file anew if no item has died since: then it names just the live ones, as its CRC proves."""
        if len(live) != segment.nrows:
            return False
        self._disk.unlink(self._layout.ids(segment.id))
        crc = write_ids(self._layout, self._disk, segment.id, live)
        self._disk.sync_folder(self._layout.vectors)
        return crc == segment.ids_crc32

    def _drop(self, connection: Connection, segment: SegmentInfo) -> None:
        connection.execute(delete(schema.segment).where(schema.segment.c.id == segment.id))
        connection.execute(delete(schema.batch).where(schema.batch.c.segment == segment.id))

    def _set_aside(self, connection: Connection, lost: Vids) -> Iterator[Finding]:
        if not len(lost):
            return
        database, chosen = raw(connection), json_list(lost)
        select_lost = f"SELECT {ITEM_COLUMNS} FROM item WHERE vid IN (SELECT value FROM json_each(?)) ORDER BY vid"
        places: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for row in database.execute(select_lost, (chosen,)):
            record = rows.record(row)
            places[record.root or "", record.path or record.id].append(record)
        failures = [_failure(root, path, records) for (root, path), records in places.items()]
        database.executemany("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?, ?, ?, ?)", map(rows.failure_row, failures))
        database.execute("DELETE FROM item WHERE vid IN (SELECT value FROM json_each(?))", (chosen,))
        detail = f"{len(lost)} items have lost their vectors and are failures now ({REASON})"
        yield Finding("warning", "rows", detail, "index again: only these are encoded anew")

    def _indexes(self, connection: Connection) -> Iterator[Finding]:
        for row in connection.execute(select(schema.index)).all():
            info = IndexInfo(*row)
            trouble = indexfiles.problem(self._layout, info)
            if trouble:
                connection.execute(delete(schema.index).where(schema.index.c.kind == info.kind))
                yield Finding("ok", "index", f"{trouble}: forgotten, it will be built anew")


def _failure(root: str, path: str, records: list[Record]) -> Failure:
    items = [{k: v for k, v in asdict(one).items() if v is not None and k not in ("digest", "vid")} for one in records]
    detail = "the stored vector failed its checksum; lost: " + json.dumps(items, sort_keys=True)
    return Failure(root, path, REASON, detail, size=-1, mtime_ns=-1)
