"""Drafts, records and failures to and from the catalogue's rows, as plain tuples in the order of the columns."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from mmsearch.errors import UsageError
from mmsearch.store.sqlite import ROW_ERRORS, unreadable
from mmsearch.store.strings import pack, pack_or_none, unpack, unpack_or_none
from mmsearch.types import Draft, Failure, Json, Kind, Record

Row: TypeAlias = tuple[Any, ...]

FS_ENCODING = sys.getfilesystemencoding()
FS_ERRORS = sys.getfilesystemencodeerrors()
"""What ``os.fsdecode`` uses: decoding with them directly costs a third of the call."""

ITEM_COLUMNS = 'vid, id, kind, root, path, size, mtime_ns, digest, "group", width, height, taken, text, meta'
SHOWN_COLUMNS = 'vid, id, kind, "group", root, path, text, meta'
_IMAGE = Kind.IMAGE
_KINDS = {kind.value: kind for kind in Kind}
_DECODER = json.JSONDecoder()


def _encoder() -> Callable[[Any], str]:
    """JSON as ``json.dumps(…, sort_keys=True, ensure_ascii=False, allow_nan=False)`` writes it. The same C encoder, made once:
    ``dumps`` makes a new one each time, four fifths of what a small object costs.
    """
    checked = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False)
    make, quoted = (getattr(json.encoder, name, None) for name in ("c_make_encoder", "c_encode_basestring"))
    if make is None or quoted is None:
        return checked.encode
    try:  # without marks for what is inside itself: that is a RecursionError then
        encode = make(None, checked.default, quoted, None, ": ", ", ", True, False, False)
    except TypeError:  # another Python's own business
        return checked.encode
    return lambda value: "".join(encode(value, 0))


_encode = _encoder()


def dump_meta(meta: Mapping[str, Json], id: str) -> str:
    """JSON for the ``meta`` column. Raises :class:`UsageError` for what JSON cannot say (NaN, other objects).

    SQLite refuses a whole query when one row holds ``NaN``: it must never get in.
    """
    if not meta:
        return "{}"
    try:
        text = _encode(meta)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the meta of item {id!r} is not JSON: {error}") from None
    if isinstance(pack(text), bytes):  # lone surrogates: escaped they are valid text
        return json.dumps(meta, sort_keys=True)
    return text


def load_meta(text: str) -> dict[str, Json]:
    """The ``meta`` column as a new dict. Raises ``ValueError`` for a damaged one."""
    if text == "{}":
        return {}
    loaded: dict[str, Json]
    try:
        loaded, end = _DECODER.raw_decode(text)  # half the time of json.loads, which looks for white space on either side
    except ValueError:
        end = -1
    if end != len(text):
        loaded = json.loads(text)
    if not isinstance(loaded, dict):
        raise ValueError("the meta is no object")
    return loaded


def item_row(vid: int, draft: Draft) -> Row:
    """The row of ``item`` for a draft."""
    return (
        vid,
        pack(draft.id),
        "image" if draft.kind is _IMAGE else "text",  # .value goes through a descriptor of Python's
        pack_or_none(draft.root),
        None if draft.path is None else draft.path.encode(FS_ENCODING, FS_ERRORS),
        draft.size,
        draft.mtime_ns,
        draft.digest,
        pack_or_none(draft.group),
        draft.width,
        draft.height,
        draft.taken,
        pack_or_none(draft.text),
        dump_meta(draft.meta, draft.id),
    )


def record(row: Row) -> Record:
    """A row selected as ``ITEM_COLUMNS``. Raises :class:`CollectionCorrupt` for a damaged one."""
    try:
        return _record(row)
    except ROW_ERRORS as error:
        raise unreadable(f"item {row[0]}", error) from error


def _record(row: Row) -> Record:
    vid, id, kind, root, path, size, mtime_ns, digest, group, width, height, taken, text, meta = row
    return Record(
        vid=vid,
        id=unpack(id),
        kind=_KINDS[kind],
        root=unpack_or_none(root),
        path=None if path is None else path.decode(FS_ENCODING, FS_ERRORS),
        size=size,
        mtime_ns=mtime_ns,
        digest=digest,
        group=unpack_or_none(group),
        width=width,
        height=height,
        taken=taken,
        text=unpack_or_none(text),
        meta=load_meta(meta),
    )


class Shown(NamedTuple):
    """What a hit shows of an item; made in a third of the time of a :class:`Record`."""

    vid: int
    id: str
    kind: Kind
    group: str | None
    root: str | None
    path: str | None
    text: str | None
    meta: dict[str, Json]


def shown(row: Row) -> Shown:
    """A row selected as ``SHOWN_COLUMNS``. Raises :class:`CollectionCorrupt` for a damaged one."""
    vid, id, kind, group, root, path, text, meta = row
    try:
        return Shown(
            vid,
            unpack(id),
            _KINDS[kind],
            unpack_or_none(group),
            unpack_or_none(root),
            None if path is None else path.decode(FS_ENCODING, FS_ERRORS),
            unpack_or_none(text),
            load_meta(meta),
        )
    except ROW_ERRORS as error:
        raise unreadable(f"item {vid}", error) from error


def failure_row(failure: Failure) -> Row:
    """The row of ``failure``."""
    return (
        pack(failure.root),
        os.fsencode(failure.path),
        failure.reason,
        pack(failure.detail),
        failure.size,
        failure.mtime_ns,
        failure.tries,
    )


def failure(row: Row) -> Failure:
    """A whole row of ``failure``. Raises :class:`CollectionCorrupt` for a damaged one."""
    root, path, reason, detail, size, mtime_ns, tries = row
    try:
        return Failure(unpack(root), os.fsdecode(path), reason, unpack(detail), size, mtime_ns, tries)
    except ROW_ERRORS as error:
        raise unreadable("a failure", error) from error


def json_list(values: Iterable[int]) -> str:
    """Integers for ``json_each(?)``: one bound value for any number of them."""
    return "[" + ",".join(map(str, values)) + "]"


def marks(values: Sequence[object]) -> str:
    """As many ``?`` as there are values."""
    return ",".join("?" * len(values))
