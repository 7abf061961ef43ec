"""The full-text table: which words of an item are found, and BM25 search over them.

The table is contentless: it keeps no copy of the words (a fifth less file, a tenth more rows per second than one with
content, measured over 131k captions), so taking a row out needs the same words again. :func:`words` therefore depends
on nothing but the stored row, and must give the same answer for ever; a change of it is a migration that calls
:func:`rebuild`.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable
from typing import Any

import numpy as np

from mmsearch.store.rows import json_list
from mmsearch.store.sqlite import ROW_ERRORS, unreadable
from mmsearch.types import VidSet

CREATE_WORDS = (
    "CREATE VIRTUAL TABLE words USING fts5(text, name, meta, content='', tokenize=\"porter unicode61 remove_diacritics 2\")"
)
_INSERT = "INSERT INTO words (rowid, text, name, meta) VALUES (?, ?, ?, ?)"
_DELETE = "INSERT INTO words (words, rowid, text, name, meta) VALUES ('delete', ?, ?, ?, ?)"
_SOURCE = "SELECT vid, id, path, text, meta FROM item"
_CHUNK = 4096
_TOKEN = re.compile(r"\w+")


def words(vid: int, id: str | bytes, path: bytes | None, text: str | bytes | None, meta: str) -> tuple[Any, ...]:
    """The indexed row of an item's stored columns: its text; its path's words, or its id's; all strings of its meta.

    Raises :class:`CollectionCorrupt` for a damaged row.
    """
    try:
        return _words(vid, id, path, text, meta)
    except ROW_ERRORS as error:
        raise unreadable(f"item {vid}", error) from error


_QUOTED = re.compile(r'"[^"]*"(:?)')


def _words(vid: int, id: str | bytes, path: bytes | None, text: str | bytes | None, meta: str) -> tuple[Any, ...]:
    if path is None:
        name = _plain(id)
    else:
        stem, _, ending = path.rpartition(b".")
        name = (path if b"/" in ending or not stem else stem).decode("utf-8", "replace")
    return vid, None if text is None else _plain(text), name.replace("_", " "), "" if meta == "{}" else _strings(meta)


def _plain(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _strings(meta: str) -> str:
    if "\\" not in meta and "" not in _QUOTED.findall(meta):
        return ""  # each quoted part is a key: numbers alone are not worth parsing, which is a twelfth of a bulk add
    found: list[str] = []
    _gather(json.loads(meta).values(), found)
    joined = " ".join(found)
    return joined.encode("utf-8", "replace").decode() if "\\ud" in meta else joined


def _gather(values: Iterable[Any], found: list[str]) -> None:
    for value in values:  # in the stored order, which sort_keys has made
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            _gather(value.values(), found)
        elif isinstance(value, list):
            _gather(value, found)


def add(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    """Indexes whole rows of ``item``. About 10 µs a row."""
    connection.executemany(_INSERT, [words(row[0], row[1], row[4], row[12], row[13]) for row in rows])


def add_vids(connection: sqlite3.Connection, vids: Iterable[int]) -> None:
    """Indexes stored items."""
    connection.executemany(_INSERT, [words(*row) for row in _stored(connection, vids)])


def remove(connection: sqlite3.Connection, vids: Iterable[int]) -> None:
    """Takes items out. Must run before their rows change or go."""
    connection.executemany(_DELETE, [words(*row) for row in _stored(connection, vids)])


def _stored(connection: sqlite3.Connection, vids: Iterable[int]) -> list[tuple[Any, ...]]:
    return connection.execute(f"{_SOURCE} WHERE vid IN (SELECT value FROM json_each(?))", (json_list(vids),)).fetchall()


def rebuild(connection: sqlite3.Connection) -> None:
    """Makes the table anew from the items. Some 90k items a second."""
    connection.execute("DROP TABLE IF EXISTS words")
    connection.execute(CREATE_WORDS)
    source = connection.execute(f"{_SOURCE} ORDER BY vid")
    while rows := source.fetchmany(_CHUNK):
        connection.executemany(_INSERT, [words(*row) for row in rows])


def mismatches(connection: sqlite3.Connection) -> int:
    """How many items the table lacks, plus how many it has too many. Two index scans."""
    missing, extra = (
        connection.execute(f"SELECT count(*) FROM (SELECT {a} EXCEPT SELECT {b})").fetchone()[0]
        for a, b in (("vid FROM item", "id FROM words_docsize"), ("id FROM words_docsize", "vid FROM item"))
    )
    return int(missing + extra)


def search(connection: sqlite3.Connection, query: str, k: int, within: VidSet | None = None) -> list[tuple[int, float]]:
    """The ``k`` best items as ``(vid, score)``, best first; scores are BM25, higher is better.

    The query is plain words, no syntax. Items that have all of them are asked for first (5 ms at a million items where
    words are frequent); only if these are fewer than ``k``, those that have any (85 ms).
    """
    terms = ['"' + token + '"' for token in _TOKEN.findall(query.encode("utf-8", "replace").decode().replace("_", " "))]
    if not terms or k < 1:
        return []
    found = _match(connection, " AND ".join(terms), k, within)
    if len(found) < k and len(terms) > 1:
        found = _match(connection, " OR ".join(terms), k, within)
    return found


def _match(connection: sqlite3.Connection, expression: str, k: int, within: VidSet | None) -> list[tuple[int, float]]:
    cursor = connection.execute(
        "SELECT rowid, -bm25(words) AS score FROM words WHERE words MATCH ? ORDER BY score DESC, rowid", (expression,)
    )
    if within is None:
        return cursor.fetchmany(k)
    found: list[tuple[int, float]] = []
    while len(found) < k and (rows := cursor.fetchmany(_CHUNK)):
        inside = within.mask(np.array([vid for vid, _ in rows], dtype=np.int64))
        found += [row for row, is_inside in zip(rows, inside, strict=True) if is_inside]
    return found[:k]
