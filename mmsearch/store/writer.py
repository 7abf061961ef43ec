"""The writer's side: the commit protocol.

1. The caller holds the lock. 2. Rows go into the segment file **behind the committed ones** (never at the file's end:
after a crash that is behind a dead tail). 3. The file is synced, for a new one its folder too. 4. One SQLite
transaction records rows and items: its COMMIT is the commit point. 5. Only then does :meth:`Writer.commit` return.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from mmsearch.errors import UsageError
from mmsearch.store import rows, schema, words
from mmsearch.store.catalog import Catalog
from mmsearch.store.changes import Change, CompactReport, IndexInfo, Move, Touch
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.rows import json_list, marks
from mmsearch.store.sqlite import raw
from mmsearch.store.strings import pack, pack_or_none
from mmsearch.store.tracking import Removed, Track
from mmsearch.store.vectors import Rows, SegmentFile, SegmentInfo, checksums, next_segment, read_segments
from mmsearch.types import Draft, Kind, Vectors

if TYPE_CHECKING:
    from mmsearch.store.store import Store

_CHUNK = 500  # values bound to one statement
_EXPONENT = np.uint16(0x7C00)  # of a float16
_ROWS = 4096  # rows held in memory at once


def _sql(table: str) -> str:
    """``INSERT`` of whole rows, for a raw executemany: 41k to 142k rows/s, where Core's dicts make 19k."""
    return str(insert(schema.metadata.tables[table]).compile(dialect=sqlite_dialect()))


_INSERT_ITEM = _sql("item")
_INSERT_BATCH = _sql("batch")
_INSERT_FAILURE = _sql("failure").replace("INSERT", "INSERT OR REPLACE", 1)
_MOVE = 'UPDATE item SET id = ?, root = ?, path = ?, size = ?, mtime_ns = ?, "group" = ?, meta = ? WHERE vid = ?'
_TOUCH = 'UPDATE item SET size = ?, mtime_ns = ?, "group" = coalesce(?, "group"), meta = coalesce(?, meta) WHERE vid = ?'


class Writer:
    """Changes one collection; made by :meth:`Store.writer`, valid until that ends, for one thread.

    A call that raises has changed nothing that counts. After a :class:`StorageError` the writer may be used again,
    except when an fsync has failed: see :class:`~mmsearch.store.layout.Disk`.
    """

    def __init__(self, store: Store, layout: Layout, catalog: Catalog, disk: Disk) -> None:
        self.segment_rows = store.segment_rows
        self._layout = layout
        self._catalog = catalog
        self._disk = disk
        self._dim = store.info.dim
        self._file: tuple[int, SegmentFile] | None = None  # the open segment's number and file
        # what the transaction does to items: whether it changes one in place, and how many of each kind come and go
        self._edited = False
        self._added: Counter[str] = Counter()
        self._removed = Removed()
        self._read_counters()

    def _read_counters(self) -> None:
        with self._catalog.reading() as connection:
            found = raw(connection).execute("SELECT value FROM meta WHERE key = 'next_vid'").fetchone()
            open_ones = [one for one in read_segments(connection) if not one.sealed]
            self._next_vid = int(found[0]) if found else 0
            self._open = open_ones[0] if open_ones else None
            self._next_segment = next_segment(connection)
        self._forget_file()
        self._stale = False

    # --- the commit -----------------------------------------------------------------------------------------------

    def commit(self, change: Change) -> list[int]:
        """Does all of ``change`` or nothing; when it returns, the change survives a power cut.

        Returns the vids of ``change.upserts``, in order. Raises :class:`StorageError` (disk full, …) or
        :class:`UsageError` (vectors of the wrong shape or not finite, meta that is not JSON). With vectors of 512
        numbers in batches of 4096 it takes 20 to 25 µs an item; the fixed cost is two or three fsyncs, so batches of
        hundreds are wise.
        """
        if self._stale:
            self._read_counters()
        upserts = _last_of_each(change.upserts)
        claimed = _claimed_ids(change, upserts)
        stored = self._stored_form(change)
        vids = range(self._next_vid, self._next_vid + len(change.upserts))
        items = [rows.item_row(vids[at], draft) for at, draft in upserts]
        moves = [_move_row(move) for move in change.moves]
        touches = [_touch_row(touch) for touch in change.touches]
        self._stale = True  # until the end: wherever this is interrupted, the catalogue alone knows what has happened
        segment = self._append(stored) if len(stored) else None
        with self.transaction() as connection:
            if segment is not None:
                self._record_rows(connection, segment, stored)
            database = raw(connection)
            _remove(database, [int(vid) for vid in change.deletes], self._removed)
            _make_room(database, [int(move.vid) for move in change.moves], claimed, self._removed)
            self._added.update(row[2] for row in items)
            self._edited = bool(moves or touches)
            database.executemany(_INSERT_ITEM, items)
            words.add(database, items)
            _apply(database, _MOVE, moves, moves)
            _apply(database, _TOUCH, touches, [row for row in touches if row[3] is not None])
            database.executemany(_INSERT_FAILURE, map(rows.failure_row, change.failures))
            database.executemany(
                "DELETE FROM failure WHERE root = ? AND path = ?",
                [(pack(root), os.fsencode(path)) for root, path in change.forgiven],
            )
        self._next_vid = vids.stop
        if segment is not None:
            self._open = None if segment.sealed else segment
            self._next_segment = max(self._next_segment, segment.id + 1)
        self._stale = False
        return list(vids)

    def _stored_form(self, change: Change) -> Rows:
        vectors: Vectors | None = change.vectors
        if vectors is None:
            vectors = np.empty((0, self._dim), dtype=np.float32)
        if vectors.shape != (len(change.upserts), self._dim):
            raise UsageError(f"{len(change.upserts)} items of {self._dim} dimensions came with vectors of shape {vectors.shape}")
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(vectors, dtype="<f2")
        # all bits of the exponent set: ten times as fast as isfinite, which widens each number first
        special = (stored.view("<u2") & _EXPONENT) == _EXPONENT
        if special.any():
            worst = int(np.flatnonzero(special.any(axis=1))[0])
            raise UsageError(f"the vector of item {change.upserts[worst].id!r} is not finite")
        return stored

    def _append(self, stored: Rows) -> SegmentInfo:
        """Steps 2 and 3: rows into the open segment, or a new one, synced. Returns the segment as it will be."""
        before = self._open or SegmentInfo(self._next_segment, self._next_vid, 0, False, False)
        if self._file is None or self._file[0] != before.id:
            self._forget_file()
            new = self._open is None
            self._file = before.id, SegmentFile(self._layout, self._disk, before.id, self._dim, new=new)
        file = self._file[1]
        file.write(stored, before.nrows)
        file.sync()
        total = before.nrows + len(stored)
        return SegmentInfo(before.id, before.base_vid, total, False, total >= self.segment_rows)

    def _record_rows(self, connection: Connection, segment: SegmentInfo, stored: Rows) -> None:
        table = schema.segment
        values = {"nrows": segment.nrows, "sealed": int(segment.sealed)}
        if connection.execute(update(table).where(table.c.id == segment.id).values(values)).rowcount == 0:
            connection.execute(insert(table).values(id=segment.id, base_vid=segment.base_vid, has_ids=0, **values))
        start = segment.nrows - len(stored)
        raw(connection).executemany(_INSERT_BATCH, [(segment.id, *one) for one in checksums(stored, start)])
        set_counter(connection, "next_vid", self._next_vid + len(stored))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction, which makes a new generation."""
        self._edited = False
        self._added.clear()
        self._removed.clear()
        with self._catalog.writing() as connection:
            yield connection
            database = raw(connection)
            database.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
            self._note_changes(database)

    def _note_changes(self, database: sqlite3.Connection) -> None:
        """Goes on with the record by which readers know what of the items is as it was."""
        (value,) = database.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
        generation = int(value)
        former = Track.read(database, generation - 1)
        removed = self._removed.counts.total() > 0
        edited = generation if self._edited else former.edited
        track = Track(generation, edited, generation if removed else former.removed)
        known = former.live(None) is not None
        if removed or not known:
            self._removed.write(database, generation, whole=known)
        if known:
            images, texts = (self._added[one] - self._removed.counts[one] for one in (Kind.IMAGE.value, Kind.TEXT.value))
            track._replace(images=former.images + images, texts=former.texts + texts).write(database)
        else:
            track.counted(database).write(database)

    def _forget_file(self) -> None:
        if self._file is not None:
            self._file[1].close()
            self._file = None

    def close(self) -> None:
        """Gives the files back; :meth:`Store.writer` calls it."""
        self._forget_file()

    # --- roots and small values -----------------------------------------------------------------------------------

    def add_root(self, name: str, path: str) -> None:
        """Names an absolute folder that items can lie below. Raises :class:`UsageError` if the name has another folder."""
        table, key = schema.root, pack(name)
        with self.transaction() as connection:
            known = connection.scalar(select(table.c.path).where(table.c.name == key))
            if known is None:
                connection.execute(insert(table).values(name=key, path=os.fsencode(path)))
            elif known != os.fsencode(path):
                raise UsageError(f"the root {name!r} is {os.fsdecode(known)} already", hint="move_root changes it")

    def move_root(self, name: str, path: str) -> None:
        """Says that a root's files lie in another folder now; no item changes. Raises :class:`UsageError` if unknown."""
        table = schema.root
        with self.transaction() as connection:
            where = table.c.name == pack(name)
            if connection.execute(update(table).where(where).values(path=os.fsencode(path))).rowcount == 0:
                raise UsageError(f"there is no root {name!r}")

    def remove_root(self, name: str) -> int:
        """Forgets a root, its items and its failures; returns how many items."""
        key = pack(name)
        with self.transaction() as connection:
            database = raw(connection)
            vids = [vid for (vid,) in database.execute("SELECT vid FROM item WHERE root = ?", (key,))]
            _remove(database, vids, self._removed)
            connection.execute(delete(schema.failure).where(schema.failure.c.root == key))
            connection.execute(delete(schema.root).where(schema.root.c.name == key))
        return len(vids)

    def set_meta(self, key: str, value: str | None) -> None:
        """Keeps a small named value, or with ``None`` forgets it."""
        name = f"user:{key}"
        with self.transaction() as connection:
            connection.execute(delete(schema.meta).where(schema.meta.c.key == name))
            if value is not None:
                connection.execute(insert(schema.meta).values(key=name, value=json.dumps(value)))

    # --- what has files of its own --------------------------------------------------------------------------------

    def compact(self) -> CompactReport:
        """Drops dead rows by writing their segments anew; see :func:`mmsearch.store.compaction.compact`."""
        from mmsearch.store.compaction import compact

        self._stale = True  # the open segment may be another afterwards
        return compact(self, self._catalog, self._layout, self._disk, self._dim)

    def put_index(self, info: IndexInfo, build: Callable[[Path], None]) -> IndexInfo:
        """Keeps a derived index; see :func:`mmsearch.store.indexfiles.put_index`."""
        from mmsearch.store.indexfiles import put_index

        return put_index(self, self._layout, self._disk, info, build)

    def drop_index(self, kind: str) -> None:
        """Forgets a derived index and removes its file."""
        from mmsearch.store.indexfiles import drop_index

        drop_index(self, self._layout, self._disk, kind)


def set_counter(connection: Connection, key: str, value: int) -> None:
    """Writes one of the store's own numbers."""
    connection.execute(update(schema.meta).where(schema.meta.c.key == key).values(value=str(value)))


def _last_of_each(upserts: Sequence[Draft]) -> list[tuple[int, Draft]]:
    """Position and draft of the last upsert of each id, in order."""
    last = {draft.id: at for at, draft in enumerate(upserts)}
    if len(last) == len(upserts):
        return list(enumerate(upserts))
    return [(at, upserts[at]) for at in sorted(last.values())]


def _claimed_ids(change: Change, upserts: Sequence[tuple[int, Draft]]) -> list[str | bytes]:
    claimed = [pack(draft.id) for _, draft in upserts] + [pack(move.id) for move in change.moves]
    if change.moves and len(set(claimed)) != len(claimed):
        raise UsageError("two moves, or a move and an upsert, claim the same id")
    return claimed


def _move_row(move: Move) -> rows.Row:
    path = None if move.path is None else os.fsencode(move.path)
    group, meta = pack_or_none(move.group), rows.dump_meta(move.meta, move.id)
    return pack(move.id), pack_or_none(move.root), path, move.size, move.mtime_ns, group, meta, move.vid


def _touch_row(touch: Touch) -> rows.Row:
    meta = None if touch.meta is None else rows.dump_meta(touch.meta, f"vid {touch.vid}")
    return touch.size, touch.mtime_ns, pack_or_none(touch.group), meta, touch.vid


def _remove(database: sqlite3.Connection, vids: Sequence[int], removed: Removed) -> None:
    """Takes live items out."""
    for start in range(0, len(vids), _ROWS):  # so that the words of a million items are not in memory at once
        part = vids[start : start + _ROWS]
        words.remove(database, part)
        among, chosen = "vid IN (SELECT value FROM json_each(?))", (json_list(part),)
        removed.note(database.execute(f"SELECT vid, kind FROM item WHERE {among}", chosen))
        database.execute(f"DELETE FROM item WHERE {among}", chosen)


def _make_room(
    database: sqlite3.Connection, moving: Sequence[int], claimed: Sequence[str | bytes], removed: Removed
) -> None:
    """Frees the ids that new and moving items will have: items may swap ids, and who holds one and stays is replaced."""
    staying = set(moving)
    for start in range(0, len(claimed), _CHUNK):
        part = claimed[start : start + _CHUNK]
        holders = database.execute(f"SELECT vid FROM item WHERE id IN ({marks(part)})", part).fetchall()
        _remove(database, [vid for (vid,) in holders if vid not in staying], removed)
    if moving:
        words.remove(database, moving)
        # bytes that no packed id can be: those always hold an encoded surrogate
        parked = [(b"\0moving %d" % vid, vid) for vid in moving]
        database.executemany("UPDATE item SET id = ? WHERE vid = ?", parked)


def _apply(database: sqlite3.Connection, statement: str, changes: Sequence[rows.Row], reworded: Sequence[rows.Row]) -> None:
    """Runs updates whose last value is the vid; the words of ``reworded`` are made anew."""
    vids = [row[-1] for row in reworded]
    if vids and statement != _MOVE:
        words.remove(database, vids)
    database.executemany(statement, changes)
    if vids:
        words.add_vids(database, vids)
