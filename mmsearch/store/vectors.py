"""Rows of vectors: mapped from the segment files for reading, and appended to them for writing."""

from __future__ import annotations

import mmap
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import CollectionCorrupt, ItemNotFound, MMSearchError
from mmsearch.store.changes import IndexInfo
from mmsearch.store.layout import IDS_DTYPE, ROW_DTYPE, Disk, Layout
from mmsearch.store.sqlite import AnyConnection, raw
from mmsearch.types import Vectors, Vids

Rows: TypeAlias = NDArray[np.float16]
"""``(n, dim)`` little-endian float16."""

CRC_ROWS = 256
"""Rows under one checksum. When one byte of a segment is damaged this many rows are lost, at 16 catalogue rows for
each batch of 4096.
"""


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One vector file, as the catalogue has it. ``ids_crc32`` is of the ``.ids`` file, where there is one."""

    id: int
    base_vid: int
    nrows: int
    has_ids: bool
    sealed: bool
    ids_crc32: int | None = None

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> SegmentInfo:
        """From a whole row of ``segment``."""
        id, base_vid, nrows, has_ids, sealed, ids_crc32 = row
        if not all(isinstance(value, int) and 0 <= value < 2**62 for value in (id, base_vid, nrows, has_ids, sealed)):
            raise CollectionCorrupt(
                f"the catalogue is damaged: segment {id!r} has {nrows!r} rows from vid {base_vid!r}", hint="restore a backup"
            )
        return cls(id, base_vid, nrows, bool(has_ids), bool(sealed), ids_crc32)


def read_segments(connection: AnyConnection) -> list[SegmentInfo]:
    """All segments in order of their vids."""
    columns = "id, base_vid, nrows, has_ids, sealed, ids_crc32"
    return [SegmentInfo.from_row(row) for row in raw(connection).execute(f"SELECT {columns} FROM segment ORDER BY base_vid")]


def read_batches(connection: AnyConnection, segment: int) -> list[tuple[int, int, int]]:
    """``(start, n, crc32)`` of a segment, in order."""
    wanted = "SELECT start, n, crc32 FROM batch WHERE segment = ? ORDER BY start"
    found = raw(connection).execute(wanted, (segment,)).fetchall()
    if not all(isinstance(value, int) for row in found for value in row):
        raise CollectionCorrupt(f"the catalogue is damaged: checksums of segment {segment}", hint="restore a backup")
    return found


def read_indexes(connection: AnyConnection) -> list[IndexInfo]:
    """What the catalogue knows of derived indexes, in order of their kinds."""
    columns = ", ".join(field.name for field in fields(IndexInfo))
    return [IndexInfo(*row) for row in raw(connection).execute(f'SELECT {columns} FROM "index" ORDER BY kind')]


def next_segment(connection: AnyConnection) -> int:
    """The number of the next segment: above all that ever were, since a reader may still have one mapped that is gone."""
    given = raw(connection).execute("SELECT seq FROM sqlite_sequence WHERE name = 'segment'").fetchone()
    return int(given[0] if given else 0) + 1


def map_file(path: str | os.PathLike[str], size: int) -> memoryview | mmap.mmap:
    """The first ``size`` bytes of a file, read-only.

    Raises ``FileNotFoundError``, or :class:`CollectionCorrupt` if the file is shorter: reading behind the end of a
    mapped file kills the process.
    """
    if size == 0:
        return memoryview(b"")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd).st_size
        if found < size:
            raise CollectionCorrupt(
                f"{path} holds {found} bytes, the catalogue promises {size}",
                hint="mmsearch verify, then mmsearch repair",
            )
        return mmap.mmap(fd, size, prot=mmap.PROT_READ)
    finally:
        os.close(fd)


def map_rows(layout: Layout, segment: SegmentInfo, dim: int) -> Rows:
    """A segment's rows, mapped; costs no reading."""
    size = segment.nrows * dim * 2
    rows = np.frombuffer(map_file(layout.rows(segment.id), size), dtype=ROW_DTYPE)
    return rows.reshape(segment.nrows, dim)


def map_ids(layout: Layout, segment: SegmentInfo) -> Vids:
    """The vids of a compacted segment, mapped. They are few bytes and checked here, since a wrong one names a wrong item."""
    data = map_file(layout.ids(segment.id), segment.nrows * 8)
    if zlib.crc32(data) != segment.ids_crc32:
        raise CollectionCorrupt(f"{layout.ids(segment.id)} is damaged", hint="mmsearch repair")
    return np.frombuffer(data, dtype=IDS_DTYPE)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A segment that can be read; ``ids`` is ``None`` where row ``i`` is vid ``base_vid + i``."""

    info: SegmentInfo
    rows: Rows
    ids: Vids | None

    def vids(self, start: int, stop: int) -> Vids:
        """The vids of rows ``start`` to ``stop``."""
        if self.ids is not None:
            return self.ids[start:stop]
        return np.arange(self.info.base_vid + start, self.info.base_vid + stop, dtype=np.int64)

    def find(self, vids: Vids) -> NDArray[np.int64]:
        """Row numbers of ``vids``, -1 where this segment does not hold one. O(n), or O(n log rows) when compacted."""
        if self.ids is None:
            at = vids - self.info.base_vid
            return np.where((at >= 0) & (at < self.info.nrows), at, -1)
        at = np.searchsorted(self.ids, vids)
        inside = np.minimum(at, self.info.nrows - 1)
        return np.where(self.ids[inside] == vids, inside, -1).astype(np.int64)


class SegmentCache:
    """Mappings shared by all snapshots of one store, from any thread; dropped with the segments that are gone.

    A mapping stays valid after its file is unlinked, so that a snapshot which has it outlives a compaction.
    """

    def __init__(self, layout: Layout, dim: int) -> None:
        self._layout = layout
        self._dim = dim
        self._lock = threading.Lock()
        self._mapped: dict[int, Mapped] = {}

    def map(self, segments: Sequence[SegmentInfo]) -> list[Mapped | MMSearchError]:
        """A mapping for each segment, or the error why there is none, so that only who needs the rows is hurt.

        Raises ``FileNotFoundError``. Costs two system calls for a segment that is new or has grown, else nothing.
        """
        with self._lock:
            known = self._mapped
            fresh: dict[int, Mapped] = {}
            result: list[Mapped | MMSearchError] = []
            for info in segments:
                mapped = known.get(info.id)
                try:
                    if mapped is None or mapped.info.nrows < info.nrows:
                        ids = map_ids(self._layout, info) if info.has_ids else None
                        mapped = Mapped(info, map_rows(self._layout, info, self._dim), ids)
                except CollectionCorrupt as error:
                    result.append(error)
                    continue
                fresh[info.id] = mapped
                result.append(mapped if mapped.info.nrows == info.nrows else Mapped(info, mapped.rows[: info.nrows], mapped.ids))
            self._mapped = fresh
            return result

    def clear(self) -> None:
        """Lets go of all mappings; those in use stay until their users end."""
        with self._lock:
            self._mapped = {}


class RowReader:
    """Reads the rows of one snapshot. Segments are in order of their vids."""

    def __init__(self, segments: Sequence[Mapped | MMSearchError], bases: Sequence[int], dim: int) -> None:
        self._segments = segments
        self._bases = np.asarray(bases, dtype=np.int64)
        self.dim = dim

    def gather(self, vids: Vids) -> Rows:
        """``(n, dim)`` stored rows in the order of ``vids``. Raises :class:`ItemNotFound` for a vid that has no row.

        0.1 ms for 100 rows in memory, plus one page fault for each that is not.
        """
        if len(self._segments) == 1:
            return self._of_one(self.mapped(0), vids)
        out = np.empty((len(vids), self.dim), dtype=ROW_DTYPE)
        where = np.searchsorted(self._bases, vids, side="right") - 1
        for at in np.unique(where).tolist():
            chosen = np.flatnonzero(where == at)
            wanted = vids[chosen]
            if at < 0:
                raise ItemNotFound(f"no vector is stored for vid {int(wanted[0])}")
            out[chosen] = self._of_one(self.mapped(at), wanted)
        return out

    def _of_one(self, segment: Mapped, vids: Vids) -> Rows:
        found = segment.find(vids)
        if found.min(initial=0) < 0:
            raise ItemNotFound(f"no vector is stored for vid {int(vids[found < 0][0])}")
        return segment.rows[found]

    def span(self, first: int, last: int) -> tuple[int, Rows] | None:
        """``(vid, rows)`` such that ``rows[i]`` is the row of ``vid + i``, for all from ``first`` to ``last``: dead rows too, and
        nothing is copied. ``None`` where these do not lie in one segment that was never compacted.
        """
        at = int(np.searchsorted(self._bases, first, side="right")) - 1
        if at < 0:
            return None
        segment = self.mapped(at)
        base = segment.info.base_vid
        return (base, segment.rows) if segment.ids is None and last < base + segment.info.nrows else None

    def fetch(self, vids: Sequence[int] | Vids) -> Vectors:
        """:meth:`gather` as float32."""
        return self.gather(np.asarray(vids, dtype=np.int64)).astype(np.float32)

    def blocks(self, rows: int) -> Iterator[tuple[Vids, Rows]]:
        """All stored rows, dead ones too, in order of vid: views of the mapping, nothing is copied."""
        for at in range(len(self._segments)):
            segment = self.mapped(at)
            for start in range(0, segment.info.nrows, rows):
                stop = min(start + rows, segment.info.nrows)
                yield segment.vids(start, stop), segment.rows[start:stop]

    def mapped(self, at: int) -> Mapped:
        """The segment at a position. Raises what kept it from being mapped."""
        segment = self._segments[at]
        if isinstance(segment, MMSearchError):
            raise segment
        return segment


def checksums(rows: Rows, start: int) -> list[tuple[int, int, int]]:
    """``(start, n, crc32)`` for each :data:`CRC_ROWS` of ``rows``, which lie at ``start`` in their segment."""
    return [
        (start + at, len(part), zlib.crc32(np.ascontiguousarray(part).data))
        for at in range(0, len(rows), CRC_ROWS)
        for part in (rows[at : at + CRC_ROWS],)
    ]


def damaged(rows: Rows, batches: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Those of ``(start, n, crc32)`` whose rows do not have the checksum. Reads all of them, at 1 to 5 GB/s."""
    return [(start, n, crc) for start, n, crc in batches if zlib.crc32(np.ascontiguousarray(rows[start : start + n]).data) != crc]


class SegmentFile:
    """A segment that is being written: rows go behind those that are committed, and are synced before the commit."""

    def __init__(self, layout: Layout, disk: Disk, segment: int, dim: int, *, new: bool) -> None:
        self._layout = layout
        self._disk = disk
        self._stride = 2 * dim
        self._path = layout.rows(segment)
        self._new = new
        self._fd: int | None = disk.create(self._path) if new else disk.open(self._path)

    def write(self, rows: Rows, at: int) -> None:
        """Puts ``rows`` at row number ``at``, always a committed count: what a crash left behind there is overwritten."""
        assert self._fd is not None
        data = np.ascontiguousarray(rows, dtype=ROW_DTYPE).data
        self._disk.write(self._fd, data, at * self._stride, self._path)

    def sync(self) -> None:
        """Returns when all that was written, and the name of a new file, are on the medium."""
        assert self._fd is not None
        self._disk.sync(self._fd, self._path)
        if self._new:
            self._disk.sync_folder(self._layout.vectors)
            self._new = False

    def close(self) -> None:
        """Gives the file back. Unsynced rows may be lost, and nobody knows of them."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
