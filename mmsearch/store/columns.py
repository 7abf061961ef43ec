"""One field of all items at once, by the raw cursor: what facets count, and which items belong together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import FilterError
from mmsearch.store.column import Column, Field, Type
from mmsearch.store.rows import marks
from mmsearch.store.sqlite import raw
from mmsearch.store.strings import pack, unpack
from mmsearch.types import Json, Kind, Vids

if TYPE_CHECKING:
    from mmsearch.store.writer import Writer

_PLAIN = {
    **dict.fromkeys(("id", "kind", "group", "root", "text"), "text"),
    **dict.fromkeys(("size", "width", "height", "taken"), "number"),
}
_CHUNK = 500


def named(field: str) -> Field:
    """The field of this name. Raises :class:`FilterError` for a name that no path can hold."""
    if field in _PLAIN:
        return Field(field, _PLAIN[field], field)
    name = field.removeprefix("meta.")
    if not name or any(char in name for char in "\"'\0\\") or not name.isprintable():
        raise FilterError(f"the field {field[:40]!r} has no name that can be counted", hint="mmsearch status --fields lists names")
    keys = name.split(".")
    return Field(name, "meta", "$" + "".join(f'."{key}"' for key in keys))


def coded(column: Column) -> tuple[Vids, NDArray[np.int32], tuple[Json, ...]] | None:
    """The vids that have a value, ascending, the code of each one's, and the values by code; some may be nobody's.

    ``None`` where the column does not tell: it has lists, or what it cannot hold. 0.1 s a million items.
    """
    types = column.types
    if column.vague or np.equal(types, Type.OTHER).any():
        return None
    codes = np.full(len(types), -1, dtype=np.int32)
    values: list[Json] = []
    for type_, value in ((Type.FALSE, False), (Type.TRUE, True)):
        codes[types == type_] = len(values)
        values.append(value)
    if column.numbers is not None:
        inside = (types == Type.INTEGER) | (types == Type.REAL)
        different, mine = np.unique(column.numbers[inside], return_inverse=True)
        codes[inside] = mine + len(values)
        whole = set(np.unique(column.numbers[types == Type.INTEGER]).tolist())  # 1 and 1.0 are one value, shown as 1
        values += [int(one) if one in whole else one for one in different.tolist()]
    if column.codes is not None:
        inside = types == Type.TEXT
        codes[inside] = column.codes[inside] + len(values)
        values += column.texts
    present = codes >= 0
    return column.vids[present], codes[present], tuple(values)


def values(database: sqlite3.Connection, field: str) -> Iterator[tuple[Json, Vids]]:
    """Each value of a field and the vids that have it, a list's elements one by one; a value may come more than once.

    0.5 to 1 s for a million items.
    """
    source = named(field).source
    plain = source in _PLAIN
    type_of, value_of = ("'plain'", f'"{source}"') if plain else ("json_type(meta, ?)", "json_extract(meta, ?)")
    bound = () if plain else (source, source)
    found = database.execute(f"SELECT {type_of}, {value_of}, group_concat(vid) FROM item GROUP BY 1, 2", bound)
    for json_type, value, joined in found:
        if value is None or json_type in (None, "null", "object"):
            continue
        vids = np.fromstring(joined, dtype=np.int64, sep=",")
        for one in _elements(json_type, value):
            yield one, vids


def _elements(json_type: str, value: Any) -> list[Json]:
    if json_type == "array":
        return list(dict.fromkeys(one for one in json.loads(value) if isinstance(one, str | int | float)))
    if json_type in ("true", "false"):
        return [json_type == "true"]
    return [unpack(value) if isinstance(value, bytes) else value]


def members(database: sqlite3.Connection, groups: Sequence[str]) -> Iterator[tuple[int, str, Kind, str]]:
    """``(vid, id, kind, group)`` of all items of these groups. Reads the whole table for each 500 groups, 0.3 s a million
    items, unless :func:`index_groups` has been here.
    """
    for start in range(0, len(groups), _CHUNK):
        part = [pack(group) for group in groups[start : start + _CHUNK]]
        found = database.execute(f'SELECT vid, id, kind, "group" FROM item WHERE "group" IN ({marks(part)})', part)
        for vid, id, kind, group in found:
            yield vid, unpack(id), Kind(kind), unpack(group)


def index_groups(writer: Writer) -> None:
    """An SQLite index on ``group``, if there is none; SQLite keeps it up to date. (One on an expression over ``meta`` is not to
    be had: with ``trusted_schema=OFF`` SQLite lets no JSON function into a schema.)
    """
    with writer.transaction() as connection:
        raw(connection).execute('CREATE INDEX IF NOT EXISTS item_group ON item ("group") WHERE "group" IS NOT NULL')
