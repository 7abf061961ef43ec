"""Items and failures to and from Parquet. The columns stand in ``docs/archive.md``.

What comes from an archive is not trusted: a few kilobytes of Parquet may unpack to terabytes, so cells are counted while they
still lie in a dictionary, before they are unpacked.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmsearch.backup.manifest import DAMAGED, MAX_TABLE
from mmsearch.errors import CollectionCorrupt, MissingExtra
from mmsearch.store.rows import dump_meta
from mmsearch.types import Draft, Failure, Kind

ITEM = {
    "id": "text", "kind": "text", "root": "text", "path": "bytes", "size": "int64", "mtime_ns": "int64", "digest": "bytes",
    "group": "text", "width": "int64", "height": "int64", "taken": "int64", "text": "text", "meta": "text",
}  # fmt: skip
FAILURE = {
    "root": "text", "path": "bytes", "reason": "text", "detail": "text", "size": "int64", "mtime_ns": "int64", "tries": "int64",
}  # fmt: skip
_NEEDED = ("id", "kind", "meta")


def pyarrow() -> Any:
    """The package, with its Parquet part loaded. Raises :class:`MissingExtra`."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("archives need pyarrow", hint="pip install 'mmsearch[parquet]'") from None
    return pyarrow


def dump_items(items: Sequence[Draft]) -> bytes:
    """A part of items as Parquet: the same bytes for equal items under one version of pyarrow."""
    columns: dict[str, list[Any]] = {name: [getattr(one, name) for one in items] for name in ITEM if name not in ("kind", "meta")}
    columns["kind"] = [one.kind.value for one in items]
    columns["meta"] = [dump_meta(one.meta, one.id) for one in items]
    columns["path"] = [None if path is None else os.fsencode(path) for path in columns["path"]]
    return _dump(columns, ITEM)


def dump_failures(failures: Sequence[Failure]) -> bytes:
    """A part of failures as Parquet."""
    columns: dict[str, list[Any]] = {name: [getattr(one, name) for one in failures] for name in FAILURE}
    columns["path"] = [os.fsencode(path) for path in columns["path"]]
    return _dump(columns, FAILURE)


def _dump(columns: Mapping[str, list[Any]], kinds: Mapping[str, str]) -> bytes:
    pa = pyarrow()
    arrays = []
    for name, kind in kinds.items():
        values = columns[name]
        if kind == "text":
            arrays.append(_text_column(pa, values))
        else:
            arrays.append(pa.array(values, type=pa.binary() if kind == "bytes" else pa.int64()))
    out = io.BytesIO()
    table = pa.Table.from_arrays(arrays, names=list(kinds))
    pa.parquet.write_table(table, out, compression="zstd", use_dictionary=False, write_statistics=False, store_schema=False)
    return out.getvalue()


def _text_column(pa: Any, values: list[str | None]) -> Any:
    """Strings; bytes for the whole column where one of them holds what UTF-8 cannot say."""
    try:
        return pa.array(values, type=pa.string())
    except UnicodeEncodeError:
        return pa.array([None if one is None else one.encode("utf-8", "surrogatepass") for one in values], type=pa.binary())


def load_items(data: bytes, rows: int) -> list[Draft]:
    """The items of a part that must have so many. Raises :class:`CollectionCorrupt`."""
    columns = _load(data, ITEM, rows)
    try:
        return [_draft(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _bad(str(error)) from None


def _draft(row: dict[str, Any]) -> Draft:
    if not row["id"]:
        raise ValueError("an item has no id")
    meta = json.loads(row["meta"], parse_constant=_no_constant)
    if not isinstance(meta, dict):
        raise ValueError(f"the meta of item {row['id'][:80]!r} is no object")
    path = row["path"]
    if path is not None:
        path = os.fsdecode(path)
        if "\0" in path or (row["root"] is not None and (os.path.isabs(path) or ".." in path.split("/"))):
            raise ValueError(f"the path of item {row['id'][:80]!r} leads out of its root")
    return Draft(**{**row, "kind": Kind(row["kind"]), "path": path, "meta": meta})


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def load_failures(data: bytes, rows: int) -> list[Failure]:
    """The failures of a part that must have so many. Raises :class:`CollectionCorrupt`."""
    columns = _load(data, FAILURE, rows)
    columns["path"] = [os.fsdecode(path) for path in columns["path"]]
    return [Failure(*row) for row in zip(*columns.values(), strict=True)]


def _load(data: bytes, kinds: Mapping[str, str], rows: int) -> dict[str, list[Any]]:
    pa = pyarrow()
    words = [name for name, kind in kinds.items() if kind != "int64"]
    try:
        file = pa.parquet.ParquetFile(io.BytesIO(data), read_dictionary=words, memory_map=False)
        about = file.metadata
        if about.num_rows != rows or file.schema_arrow.names != list(kinds):
            raise ValueError(f"a table has {about.num_rows} rows and the columns {file.schema_arrow.names}"[:200])
        if sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups)) > MAX_TABLE:
            raise ValueError("a table is too large")
        table = file.read()
        left = MAX_TABLE
        columns: dict[str, list[Any]] = {}
        for name, kind in kinds.items():
            column = table.column(name)
            if kind != "int64":
                left -= _cells(pa, column)
                if left < 0:
                    raise ValueError("a table unpacks to too much")
            columns[name] = _values(pa, column, kind, name)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise _bad(str(error)) from None
    needed = _NEEDED if kinds is ITEM else FAILURE.keys()
    if any(name in needed and None in values for name, values in columns.items()):
        raise _bad("a needed value is missing")
    return columns


def _cells(pa: Any, column: Any) -> int:
    """Bytes of a column's cells, counted without unpacking them."""
    total = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            lengths = pa.compute.binary_length(chunk.dictionary).cast(pa.int64())
            total += pa.compute.sum(lengths.take(chunk.indices)).as_py() or 0
        elif pa.types.is_null(chunk.type):
            continue
        else:
            total += chunk.nbytes
    return total


def _values(pa: Any, column: Any, kind: str, name: str) -> list[Any]:
    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    allowed = {"int64": (pa.int64(),), "bytes": (pa.binary(),), "text": (pa.string(), pa.binary())}[kind]
    if value_type not in allowed:
        raise ValueError(f"the column {name} is of {column.type}")
    values: list[Any] = column.to_pylist()
    if kind == "text" and value_type == pa.binary():
        return [None if one is None else one.decode("utf-8", "surrogatepass") for one in values]
    return values


def _bad(said: str) -> CollectionCorrupt:
    return CollectionCorrupt(f"a table of the archive cannot be read: {' '.join(said.split())[:160]}", hint=DAMAGED)
