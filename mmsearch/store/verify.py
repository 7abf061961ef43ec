"""Checks a collection against its own catalogue, without changing anything and beside a writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import CollectionCorrupt
from mmsearch.store import indexfiles, rows, words
from mmsearch.store.changes import Finding
from mmsearch.store.compaction import orphans
from mmsearch.store.layout import Layout
from mmsearch.store.lock import is_busy
from mmsearch.store.sqlite import AnyConnection, raw
from mmsearch.store.tracking import Track
from mmsearch.store.vectors import SegmentInfo, damaged, map_ids, map_rows, read_batches, read_indexes, read_segments
from mmsearch.types import Vids

Check = Callable[[AnyConnection, Layout, int], Iterator[Finding]]

_MEND = "mmsearch repair"
_MEND_ROWS = "mmsearch repair, then index again: only these items are encoded anew"


def verify(connection: AnyConnection, layout: Layout, dim: int) -> list[Finding]:
    """Runs every check; one ``ok`` finding for each that found nothing.

    Reads the catalogue and all vectors and index files once (1 to 5 GB/s from memory, else as fast as the disk).
    """
    findings: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            found = list(check(connection, layout, dim))
        except (sqlite3.DatabaseError, CollectionCorrupt) as error:  # so damaged that SQLite, or we, stop reading
            found = [Finding("error", name, f"the catalogue cannot be read: {error}", "restore a backup")]
        findings += found or [Finding("ok", name, _PASSED[name])]
    return findings


def check_catalog(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """SQLite's own pages and indexes."""
    for (line,) in raw(connection).execute("PRAGMA integrity_check(10)"):
        if line != "ok":
            yield Finding("error", "catalog", line, "mmsearch repair; if it stays, restore a backup")


def check_counters(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """That no vid can be given twice, one segment at most is open, ranges of vids do not overlap, and as many items are live as
    were noted.
    """
    (generation,) = raw(connection).execute("SELECT value FROM meta WHERE key = 'generation'").fetchone() or ("",)
    if not str(generation).isdecimal():
        yield Finding("error", "counters", f"the generation is {generation!r} and no number", "restore a backup")
    else:
        track = Track.read(raw(connection), int(generation))
        counted = track.counted(raw(connection))
        if track.live(None) is not None and track != counted:
            told = f"{counted.images} images and {counted.texts} texts are live, and {track.images} and {track.texts} were noted"
            yield Finding("warning", "counters", told, _MEND)
    segments = read_segments(connection)
    open_ones = [one.id for one in segments if not one.sealed]
    if len(open_ones) > 1:
        yield Finding("error", "counters", f"segments {open_ones} are all open", _MEND)
    bounds = [one.base_vid for one in segments] + [next_vid(connection)]
    for segment, end in zip(segments, bounds[1:], strict=True):
        if segment.base_vid + segment.nrows > end:
            yield Finding(
                "error",
                "counters",
                f"segment {segment.id} holds vids from {end} on, which are not its own",
                "restore a backup",
            )
    (highest,) = raw(connection).execute("SELECT max(vid) FROM item").fetchone()
    if highest is not None and highest >= next_vid(connection):
        yield Finding("error", "counters", f"item {highest} is above the next vid, {next_vid(connection)}", _MEND)


def check_segments(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """That files are there and long enough, and that every row has its checksum."""
    for segment in read_segments(connection):
        batches = read_batches(connection, segment.id)
        position = 0
        for start, n, _ in batches:
            if start != position:
                break
            position += n
        if position != segment.nrows:
            detail = f"the checksums of segment {segment.id} end at row {position} of {segment.nrows}"
            yield Finding("error", "checksums", detail, _MEND_ROWS)
        size = segment.nrows * dim * 2
        path = layout.rows(segment.id)
        if not path.exists():
            yield Finding("error", "segment_missing", f"{path} is missing, with {segment.nrows} rows", _MEND_ROWS)
        elif path.stat().st_size < size:
            yield Finding("error", "segment_short", f"{path} has {path.stat().st_size} bytes, not {size}", _MEND_ROWS)
        else:
            for start, n, _ in damaged(map_rows(layout, segment, dim), batches):
                yield Finding("error", "segment_crc", f"{path}: rows {start} to {start + n} are damaged", _MEND_ROWS)
        if segment.has_ids and load_ids(layout, segment) is None:
            yield Finding("error", "ids", f"{layout.ids(segment.id)} is missing or damaged", _MEND)
    strays = "SELECT DISTINCT segment FROM batch WHERE segment NOT IN (SELECT id FROM segment)"
    for (stray,) in raw(connection).execute(strays):
        yield Finding("warning", "checksums", f"there are checksums of segment {stray}, which does not exist", _MEND)


def check_rows(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """That every live item has a row."""
    homeless = items_without_row(connection, layout)
    if len(homeless):
        detail = f"{len(homeless)} items have no vector, the first is vid {homeless[0]}"
        yield Finding("error", "rows", detail, _MEND_ROWS)


def check_items(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """That every row of the catalogue holds what can be read: SQLite's pages have no checksums. 5 s a million items."""
    database = raw(connection)
    columns = {"item": rows.record, "failure": rows.failure}
    for table, decode in columns.items():
        names = rows.ITEM_COLUMNS if table == "item" else "*"
        for row in database.execute(f"SELECT {names} FROM {table}"):
            try:
                decode(row)
            except CollectionCorrupt as error:
                yield Finding("error", "items", error.message, "restore a backup, or index again what is named")
    for name, path in database.execute("SELECT name, path FROM root"):
        if not isinstance(path, bytes) or b"\0" in path:
            yield Finding("error", "items", f"the root {name!r} has no path", "mmsearch root move")


def check_words(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """That the full-text table holds the live items and no others."""
    words.search(raw(connection), "a", 1)  # raises where the table can be read no more
    wrong = words.mismatches(raw(connection))
    if wrong:
        yield Finding("warning", "words", f"the full-text table is wrong about {wrong} items", _MEND)


def check_roots(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """That the roots which items lie below are known."""
    unknown = "SELECT DISTINCT root FROM item WHERE root IS NOT NULL AND root NOT IN (SELECT name FROM root)"
    for (name,) in raw(connection).execute(unknown):
        yield Finding("warning", "roots", f"items lie below the root {name!r}, which has no folder", "mmsearch root add")


def check_indexes(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """That recorded index files are as they were written."""
    for info in read_indexes(connection):
        trouble = indexfiles.problem(layout, info)
        if trouble:
            yield Finding("warning", "index", trouble, f"searches are exact meanwhile; {_MEND}")


def check_orphans(connection: AnyConnection, layout: Layout, dim: int) -> Iterator[Finding]:
    """Files that nothing refers to: left behind by a crash, they only take space."""
    if is_busy(layout.lock):  # its new files are in no catalogue yet
        yield Finding("ok", "orphans", "a writer is at work: files left over were not looked for")
        return
    for name in orphans(connection, layout):
        yield Finding("warning", "orphan", f"{layout.vectors / name} belongs to nothing", _MEND)
    for name in indexfiles.orphans(connection, layout):
        yield Finding("warning", "orphan", f"{layout.indexes / name} belongs to nothing", _MEND)


CHECKS: dict[str, Check] = {
    "catalog": check_catalog,
    "counters": check_counters,
    "segments": check_segments,
    "rows": check_rows,
    "items": check_items,
    "words": check_words,
    "roots": check_roots,
    "indexes": check_indexes,
    "orphans": check_orphans,
}
_PASSED = {
    "catalog": "the catalogue's pages and indexes are sound",
    "counters": "no vid can be given twice, and items are as many as were noted",
    "segments": "all vectors have their checksums",
    "rows": "every item has a vector",
    "items": "the catalogue's rows can be read",
    "words": "the full-text table matches the items",
    "roots": "all roots are known",
    "indexes": "all derived indexes are as they were written",
    "orphans": "no file is left over",
}


def next_vid(connection: AnyConnection) -> int:
    """The vid that the next upsert gets."""
    found = raw(connection).execute("SELECT value FROM meta WHERE key = 'next_vid'").fetchone()
    return int(found[0]) if found else 0


def load_ids(layout: Layout, segment: SegmentInfo) -> Vids | None:
    """The vids of a compacted segment, or ``None`` if they cannot be trusted."""
    try:
        return map_ids(layout, segment)
    except (OSError, CollectionCorrupt):
        return None


def items_without_row(connection: AnyConnection, layout: Layout) -> Vids:
    """Vids of live items that no segment has a row for, ascending. Those of an unreadable ``.ids`` file are among them."""
    live = live_vids(connection)
    housed: NDArray[np.bool_] = np.zeros(len(live), dtype=np.bool_)
    for segment in read_segments(connection):
        if segment.has_ids:
            ids = load_ids(layout, segment)
            if ids is not None:
                housed |= np.isin(live, ids, assume_unique=True)
        else:
            housed |= (live >= segment.base_vid) & (live < segment.base_vid + segment.nrows)
    return live[~housed]


def live_vids(connection: AnyConnection) -> Vids:
    """All live vids, ascending."""
    cursor = raw(connection).execute("SELECT vid FROM item ORDER BY vid")
    return np.fromiter((vid for (vid,) in cursor), dtype=np.int64)
