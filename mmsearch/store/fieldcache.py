"""Fields of all live items, read once and kept as columns from commit to commit, in so many bytes."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmsearch.store.column import Column, ColumnBuilder, Field, Type
from mmsearch.store.roster import Roster, places, read_roster
from mmsearch.types import VidSet

BUDGET = 256 << 20
UNLIKE = ("id", "path", "text")
"""Plain fields that differ from item to item: their columns would cost more than they save."""
_PIECE = 8192
"""Items read at once. A tenth faster than all at once: the text that holds them stays in the processor's cache."""
_FIRST = 512
"""Items of the first piece, by which a field of long texts is found out before much of it is in memory."""
_SURE = 32_768
"""Items that are enough to tell whether the texts of a field differ from item to item."""
_ENTRY = 1024
"""Bytes that a column costs beside its arrays, so that names that no item has cannot pile up."""
_PER_ITEM = 21
"""Bytes of an item in a column that holds numbers and texts."""


class _Kept(NamedTuple):
    """A column, ``None`` where it is not worth its bytes, as of a generation."""

    generation: int
    column: Column | None


class FieldCache:
    """What is known of the fields of one store's items; shared by its snapshots, for any thread.

    A column is read by one scan of all items (0.5 s a million). After commits that only add it is extended by the new rows;
    after removals the rows that are left are kept; where an item was changed in place it is read anew. Two threads that want
    the same may both read it. ``budget`` is in bytes, for all columns; those used last stay. A field whose different texts
    take more than an eighth of it is not kept.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._roster: Roster | None = None
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def roster(self, database: sqlite3.Connection, generation: int) -> Roster | None:
        """The live items at the generation that ``database`` shows, ``None`` where a newer one is known already."""
        with self._lock:
            known = self._roster
        if known is not None and known.generation >= generation:
            return known if known.generation == generation else None
        found = read_roster(database, generation, known)
        with self._lock:
            if self._roster is None or self._roster.generation < generation:
                self._roster = found
        return found

    def columns(self, database: sqlite3.Connection, roster: Roster, fields: Iterable[Field]) -> dict[str, Column]:
        """The columns of these fields for the roster's items, by their ``source``; those that cannot be kept are left out."""
        found: dict[str, Column | None] = {}
        missing: dict[str, Field] = {}
        try:
            for field in fields:
                if field.source == "kind":  # is known without reading
                    found["kind"] = _kinds(roster)
                    continue
                kept = self._find(field.source, roster)
                if kept is not None and kept.column is None:
                    continue
                former = None if kept is None else kept.column
                column = None if former is None else _aligned(database, former, field, roster, self._most())
                if column is None:  # never read, or grown too large, maybe by texts that nobody has any more
                    missing[field.source] = field
                else:
                    found[field.source] = column
            if missing and len(missing) * len(roster.vids) * _PER_ITEM <= self._budget:
                read = _read(database, list(missing.values()), roster, self._most())
                found.update(zip(missing, read, strict=True))
        except sqlite3.DataError:  # values so long that some of them together are no string that SQLite makes
            pass
        for source, column in found.items():
            if source != "kind":
                self._keep(source, roster, column)
        return {source: column for source, column in found.items() if column is not None}

    def _most(self) -> int:
        return self._budget // 8

    def _find(self, source: str, roster: Roster) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(source)
            if kept is None or not roster.edited <= kept.generation <= roster.generation:
                return None
            self._kept.move_to_end(source)
            return kept

    def _keep(self, source: str, roster: Roster, column: Column | None) -> None:
        with self._lock:
            known = self._kept.get(source)
            if known is not None and known.generation > roster.generation:
                return
            self._kept[source] = _Kept(roster.generation, column)
            self._kept.move_to_end(source)
            size = sum(_bytes(one) for one in self._kept.values())
            while size > self._budget:
                size -= _bytes(self._kept.popitem(last=False)[1])


def _bytes(kept: _Kept) -> int:
    return _ENTRY + (0 if kept.column is None else kept.column.nbytes)


def _kinds(roster: Roster) -> Column:
    types = np.full(len(roster.vids), Type.TEXT, dtype=np.uint8)
    return Column(roster.vids, types, codes=np.where(roster.images, 0, 1).astype(np.int32), texts={"image": 0, "text": 1})


def _aligned(database: sqlite3.Connection, column: Column, field: Field, roster: Roster, most: int) -> Column | None:
    """The column for the roster's items, which are some of its own and newer ones. ``None`` where it has become too large."""
    if column.vids is roster.vids:
        return column
    last = int(column.vids[-1]) if len(column.vids) else -1
    old = int(np.searchsorted(roster.vids, last, side="right"))
    if old != len(column.vids):
        at = places(column.vids, roster.gone)
        if len(column.vids) - len(at) != old:  # more went away than the roster remembers
            at = np.flatnonzero(~VidSet(roster.vids[:old], is_sorted=True).mask(column.vids))
        column = column.without(at)
    builder = ColumnBuilder(column, plain=field.kind != "meta")
    for (values,) in _pieces(database, [field], roster.vids[old:]):
        builder.add(values)
        if builder.text_bytes > most:
            return None
    return builder.column(roster.vids)


def _read(database: sqlite3.Connection, fields: Sequence[Field], roster: Roster, most: int) -> list[Column | None]:
    """Columns by one scan; ``None`` for each that holds too much text."""
    builders: dict[int, ColumnBuilder] = {at: ColumnBuilder(plain=field.kind != "meta") for at, field in enumerate(fields)}
    done = 0
    while builders and done < len(roster.vids):
        chosen = list(builders)
        for values in _pieces(database, [fields[at] for at in chosen], roster.vids[done:]):
            done += len(values[0])
            for at, mine in zip(chosen, values, strict=True):
                builders[at].add(mine)
            if any(_too_large(one, done, len(roster.vids), most) for one in builders.values()):
                break
        builders = {at: one for at, one in builders.items() if not _too_large(one, done, len(roster.vids), most)}
    return [builders[at].column(roster.vids) if at in builders else None for at in range(len(fields))]


def _too_large(builder: ColumnBuilder, done: int, rows: int, most: int) -> bool:
    """Whether the texts take too much, or will: where half of the first ones are all different, so are those to come."""
    size, different = builder.text_bytes, len(builder.texts)
    return size > most or (done >= _SURE and different > done / 2 and size * rows > most * done)


def _pieces(database: sqlite3.Connection, fields: Sequence[Field], vids: Any) -> Iterator[list[list[Any]]]:
    """The fields' values of these live items, in pieces, as JSON has them."""
    parts = [_expression(field) for field in fields]
    chosen = ", ".join(f"group_concat({text})" for text, _ in parts)
    bound = [value for _, values in parts for value in values]
    # a range of the table's own key: SQLite walks it in that order
    statement = f"SELECT {chosen} FROM item WHERE vid BETWEEN ? AND ?"
    start, size = 0, _FIRST
    while start < len(vids):
        stop = min(start + size, len(vids))
        row = database.execute(statement, (*bound, int(vids[start]), int(vids[stop - 1]))).fetchone()
        yield [json.loads(f"[{joined or ''}]") for joined in row]
        start, size = stop, _PIECE


def _expression(field: Field) -> tuple[str, tuple[str, ...]]:
    """SQL that gives a field's value as JSON, and what is bound in it."""
    if field.kind == "meta":
        # "->" gives the JSON as it is spelt: SQLite's own text of a real has 15 digits, which is not all of it
        return "coalesce(meta -> ?, 'null')", (field.source,)
    name = f'item."{field.source}"'
    kind, value = ("text", f"json_quote({name})") if field.kind == "text" else ("integer", name)
    # what else may be there, a BLOB for a text that UTF-8 cannot hold, counts as an object
    return f"CASE typeof({name}) WHEN '{kind}' THEN {value} WHEN 'null' THEN 'null' ELSE '{{}}' END", ()
