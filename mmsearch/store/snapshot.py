"""The reader's side: one consistent state of a collection, as of one commit."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.store import columns, rows, words
from mmsearch.store.changes import IndexInfo
from mmsearch.store.fieldcache import UNLIKE, FieldCache
from mmsearch.store.layout import Disk, Layout
from mmsearch.store.roster import vids_where
from mmsearch.store.rows import FS_ENCODING, FS_ERRORS, ITEM_COLUMNS, SHOWN_COLUMNS, Shown, json_list, load_meta, marks
from mmsearch.store.sqlite import ROW_ERRORS, unreadable
from mmsearch.store.strings import pack, unpack
from mmsearch.store.tracking import Track
from mmsearch.store.vectors import RowReader, Rows, SegmentInfo, damaged, read_batches, read_indexes
from mmsearch.types import Failure, Json, Kind, Record, Vectors, Vids, VidSet

if TYPE_CHECKING:
    from mmsearch.store.copying import CopyReport

T = TypeVar("T")
_SAMPLE = 500  # rows from either end of the catalogue that fields() looks at
_CHUNK = 500  # values bound to one statement


class Memo:
    """What was computed for the newest generation seen; shared by a store's snapshots, for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = -1
        self._values: dict[str, Any] = {}

    def get(self, generation: int, key: str, compute: Callable[[], T]) -> T:
        """The value for this generation, computed if it is not known. Two threads may both compute it."""
        with self._lock:
            if generation > self._generation:
                self._generation, self._values = generation, {}
            if generation == self._generation and key in self._values:
                found: T = self._values[key]
                return found
        value = compute()
        with self._lock:
            if generation == self._generation:
                self._values[key] = value
        return value


class Snapshot:
    """A collection as one commit left it, for one thread, until :meth:`Store.snapshot` ends.

    ``generation`` rises with every commit of any kind: what was computed at one is valid for as long as it is the same.
    Close snapshots soon: while one is open the write-ahead log cannot be emptied.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        layout: Layout,
        generation: int,
        segments: Sequence[SegmentInfo],
        reader: RowReader,
        memo: Memo,
        fields: FieldCache,
    ) -> None:
        self.generation = generation
        self._raw = connection
        self._layout = layout
        self._segments = tuple(segments)
        self._reader = reader
        self._memo = memo
        self._fields = fields

    # --- items ----------------------------------------------------------------------------------------------------

    def count(self, kind: Kind | None = None) -> int:
        """How many items are live. The writer keeps count; where one did not, an index is read once, 5 to 30 ms a million."""

        def counted() -> Track:
            track = Track.read(self._raw, self.generation)
            return track.counted(self._raw) if track.live(None) is None else track

        return self._memo.get(self.generation, "track", counted).live(kind) or 0

    def count_since(self, kind: Kind, vid: int) -> int:
        """How many live items of a kind have this vid or a higher one. 25 ns for each."""
        return int(self._raw.execute("SELECT count(*) FROM item WHERE kind = ? AND vid >= ?", (kind.value, vid)).fetchone()[0])

    def live(self, kind: Kind | None = None) -> VidSet:
        """The vids of live items. About 0.1 s a million; after a commit that only added, the time for the new ones."""

        def vids() -> VidSet:
            roster = self._fields.roster(self._raw, self.generation)
            if roster is not None:
                return VidSet(roster.of(kind), is_sorted=True)
            where = ("1", ()) if kind is None else ("kind = ?", (kind.value,))
            return VidSet(vids_where(self._raw, *where), is_sorted=True)

        return self._memo.get(self.generation, f"live {kind}", vids)

    def select(self, where: str, params: Mapping[str, Json] | None = None, kind: Kind | None = None) -> VidSet:
        """The live items that a condition is true for; see :func:`mmsearch.store.filtering.select`.

        Milliseconds for fields that were asked about before, else half a second a million items. Raises :class:`FilterError`.
        """
        # imported late: sqlglot costs 0.1 s, and most commands filter nothing
        from mmsearch.store.filtering import select

        return select(self._raw, self.generation, self._fields, where, params, kind)

    def records(self, vids: Sequence[int] | Vids) -> list[Record]:
        """The live items with these vids, in the given order; vids that are not live are left out. 5 µs an item."""
        found: dict[int, Record] = {}
        cursor = self._raw.execute(
            f"SELECT {ITEM_COLUMNS} FROM item WHERE vid IN (SELECT value FROM json_each(?))", (json_list(vids),)
        )
        for row in cursor:
            found[row[0]] = rows.record(row)
        return [found[vid] for vid in map(int, vids) if vid in found]

    def shown(self, vids: Sequence[int]) -> dict[int, Shown]:
        """What hits show of the live items with these vids, by vid; the others are left out. 3 µs an item."""
        cursor = self._raw.execute(
            f"SELECT {SHOWN_COLUMNS} FROM item WHERE vid IN (SELECT value FROM json_each(?))", (json_list(vids),)
        )
        return {row[0]: rows.shown(row) for row in cursor}

    def by_id(self, ids: Sequence[str]) -> dict[str, Record]:
        """The live items with these ids, by id. 5 µs an item."""
        found = (rows.record(row) for row in self._where("id IN", [pack(id) for id in ids]))
        return {one.id: one for one in found}

    def by_digest(self, digests: Sequence[bytes]) -> dict[bytes, Record]:
        """For each digest one live item with these bytes, if there is one. 5 µs an item."""
        found: dict[bytes, Record] = {}
        for start in range(0, len(digests), _CHUNK):
            wanted = set(digests[start : start + _CHUNK])
            for row in self._where("digest IS NOT NULL AND substr(digest, 1, 8) IN", [digest[:8] for digest in wanted]):
                one = rows.record(row)
                if one.digest in wanted:
                    found[one.digest] = one
        return found

    def by_path(self, root: str, paths: Sequence[str]) -> dict[str, list[Record]]:
        """The live items of each file, in order of vid; a manifest gives one file many. 5 µs an item."""
        found: dict[str, list[Record]] = {}
        for row in self._where("root = ? AND path IN", [os.fsencode(path) for path in paths], pack(root)):
            one = rows.record(row)
            found.setdefault(one.path or "", []).append(one)
        return found

    def _where(self, condition: str, values: Sequence[object], *first: object) -> Iterator[rows.Row]:
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            yield from self._raw.execute(
                f"SELECT {ITEM_COLUMNS} FROM item WHERE {condition} ({marks(part)}) ORDER BY vid", (*first, *part)
            ).fetchall()  # a cursor left open, where a row is damaged, would be closed after its connection

    def stats(self, root: str, below: str = "") -> Iterator[tuple[str, str, int, int, int]]:
        """``(path, id, size, mtime_ns, vid)`` of the live items that come from files of a root, in no order.

        ``below`` is a folder or file, relative to the root. Streamed, so that memory stays flat: about 1 µs an item.
        """
        query = "SELECT path, id, size, mtime_ns, vid FROM item WHERE root = ? AND path IS NOT NULL"
        values: tuple[object, ...] = (pack(root),)
        if below.strip("/"):
            folder = os.fsencode(below.strip("/"))
            query += " AND (path = ? OR path >= ? AND path < ?)"
            values += (folder, folder + b"/", folder + b"0")  # "0" comes next after "/"
        cursor = self._raw.execute(query, values)
        for path, id, size, mtime_ns, vid in cursor:
            try:
                name = path.decode(FS_ENCODING, FS_ERRORS)
                one = id if id.__class__ is str else unpack(id)
            except ROW_ERRORS as error:
                raise unreadable(f"item {vid}", error) from error
            yield name, one, size, mtime_ns, vid

    def fields(self) -> dict[str, str]:
        """Names that a filter can use, with their types: ``number``, ``text``, ``bool`` or ``time``.

        Meta keys (``a.b`` for nested ones) are gathered from the first and last 500 items: a few ms, then remembered.
        """
        return dict(self._memo.get(self.generation, "fields", self._sample_fields))

    def _sample_fields(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for order in ("ASC", "DESC"):
            for (meta,) in self._raw.execute(f"SELECT meta FROM item ORDER BY vid {order} LIMIT {_SAMPLE}"):
                try:
                    _collect(load_meta(meta), "", found)
                except ROW_ERRORS as error:
                    raise unreadable("an item's meta", error) from error
        for name in ("id", "kind", "group", "root", "path", "text"):
            found[name] = "text"
        return found | dict.fromkeys(("size", "width", "height"), "number") | {"mtime": "time", "taken": "time"}

    def members(self, groups: Sequence[str]) -> Iterator[tuple[int, str, Kind, str]]:
        """``(vid, id, kind, group)`` of the live items of these groups; see :func:`mmsearch.store.columns.members`."""
        return columns.members(self._raw, groups)

    def column(self, field: str) -> Iterator[tuple[Json, Vids]]:
        """Each value of a field with the vids that have it; see :func:`mmsearch.store.columns.values`."""
        return columns.values(self._raw, field)

    def coded(self, field: str) -> tuple[Vids, NDArray[np.int32], tuple[Json, ...]] | None:
        """A field from memory, see :func:`mmsearch.store.columns.coded`; ``None`` where only :meth:`column` tells.

        0.1 s a million items, and 0.5 s more if neither this nor a filter has asked for the field before.
        """
        wanted = columns.named(field)
        roster = None if wanted.source in UNLIKE else self._fields.roster(self._raw, self.generation)
        found = {} if roster is None else self._fields.columns(self._raw, roster, [wanted])
        return columns.coded(found[wanted.source]) if found else None

    def memo(self, key: str, compute: Callable[[], T]) -> T:
        """What ``compute`` gives, remembered for as long as the collection stays as it is."""
        return self._memo.get(self.generation, key, compute)

    def search_text(self, query: str, k: int, within: VidSet | None = None) -> list[tuple[int, float]]:
        """The ``k`` best items by words as ``(vid, BM25 score)``, best first; see :func:`mmsearch.store.words.search`."""
        return words.search(self._raw, query, k, within)

    # --- vectors --------------------------------------------------------------------------------------------------

    def fetch(self, vids: Sequence[int] | Vids) -> Vectors:
        """``(n, dim)`` float32 rows in the order of ``vids``, which may be dead as long as they are stored.

        Raises :class:`ItemNotFound`, or :class:`CollectionCorrupt` if the file is gone. 0.1 ms for 100 rows.
        """
        return self._reader.fetch(vids)

    def fetch_stored(self, vids: Vids) -> Rows:
        """:meth:`fetch` as the rows are stored, float16."""
        return self._reader.gather(vids)

    def span(self, first: int, last: int) -> tuple[int, Rows] | None:
        """``(vid, rows)``: ``rows[i]`` is the row of ``vid + i``, for all of ``first`` to ``last``; or ``None``, if in pieces."""
        return self._reader.span(first, last)

    def gather(self, vids: Vids) -> Rows:
        """:meth:`fetch` as it is stored, ``(n, dim)`` float16."""
        return self._reader.gather(vids)

    def blocks(self, rows: int = 65536) -> Iterator[tuple[Vids, Rows]]:
        """Every stored row as ``(vids, (n, dim) float16)``, dead ones too: mask with :meth:`live`. Nothing is copied."""
        return self._reader.blocks(rows)

    def segments(self) -> list[SegmentInfo]:
        """The vector files, in order of their vids."""
        return list(self._segments)

    # --- the rest -------------------------------------------------------------------------------------------------

    def failures(self, root: str | None = None) -> Iterator[Failure]:
        """What was skipped, in order of root and path."""
        statement = "SELECT root, path, reason, detail, size, mtime_ns, tries FROM failure"
        if root is None:
            cursor = self._raw.execute(statement + " ORDER BY root, path")
        else:
            cursor = self._raw.execute(statement + " WHERE root = ? ORDER BY path", (pack(root),))
        return map(rows.failure, cursor)

    def count_failures(self) -> int:
        """How many files were skipped."""
        return int(self._raw.execute("SELECT count(*) FROM failure").fetchone()[0])

    def roots(self) -> dict[str, str]:
        """The absolute path of each named root."""
        found = self._raw.execute("SELECT name, path FROM root ORDER BY name")
        try:
            return {unpack(name): os.fsdecode(path) for name, path in found}
        except ROW_ERRORS as error:
            raise unreadable("a root", error) from error

    def meta(self, key: str) -> str | None:
        """A value that :meth:`Writer.set_meta` has put, or ``None``."""
        found = self._raw.execute("SELECT value FROM meta WHERE key = ?", (f"user:{key}",)).fetchone()
        try:
            return None if found is None else json.loads(found[0])
        except ROW_ERRORS as error:
            raise unreadable(f"the value {key!r}", error) from error

    def keeps_any(self, prefix: str) -> bool:
        """Whether :meth:`Writer.set_meta` has put a value under a key that begins so; remembered for this generation."""
        between = (f"user:{prefix}", f"user:{prefix}\U0010ffff")

        def look() -> bool:
            return bool(self._raw.execute("SELECT EXISTS (SELECT 1 FROM meta WHERE key >= ? AND key < ?)", between).fetchone()[0])

        return self._memo.get(self.generation, f"keeps {prefix}", look)

    def kept(self) -> dict[str, str]:
        """All that :meth:`Writer.set_meta` has put, by key."""
        found = self._raw.execute("SELECT key, value FROM meta WHERE key LIKE 'user:%' ORDER BY key")
        try:
            return {key.removeprefix("user:"): json.loads(value) for key, value in found}
        except ROW_ERRORS as error:
            raise unreadable("a stored value", error) from error

    def damaged_rows(self) -> list[SegmentInfo]:
        """The segments of which some rows do not have their checksum. Reads all rows once, at 1 to 5 GB/s."""
        mapped = map(self._reader.mapped, range(len(self._segments)))
        return [one.info for one in mapped if damaged(one.rows, read_batches(self._raw, one.info.id))]

    def copy_to(self, folder: Path, *, link: bool = False, disk: Disk | None = None) -> CopyReport:
        """Copies this state to a new folder, where it is a collection; see :func:`mmsearch.store.copying.copy`."""
        from mmsearch.store.copying import copy

        return copy(self._raw, self._layout, self._segments, self._reader, folder, disk=disk or Disk(), link=link)

    def indexes(self) -> list[IndexInfo]:
        """The derived indexes that the catalogue knows of."""
        return read_indexes(self._raw)

    def index_file(self, info: IndexInfo) -> Path:
        """Where an index lies, after its checksum has been compared (1 GB/s). Raises :class:`CollectionCorrupt`."""
        from mmsearch.store.indexfiles import checked

        return checked(self._layout, info)

    def size_on_disk(self) -> int:
        """Bytes of all files of the collection. One directory walk."""
        return sum(entry.stat(follow_symlinks=False).st_size for entry in self._layout.files())


def _collect(value: Mapping[str, Json], prefix: str, found: dict[str, str]) -> None:
    for key, one in value.items():
        name = prefix + key
        if isinstance(one, dict):
            _collect(one, name + ".", found)
        elif isinstance(one, bool):
            found.setdefault(name, "bool")
        elif isinstance(one, int | float):
            found.setdefault(name, "number")
        elif isinstance(one, str):
            found.setdefault(name, "text")
