"""One field against a value or another field → SQL with the three-valued truth that ``filters.py`` promises."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import TEXT, Boolean, ColumnElement, and_, case, cast, literal, literal_column, null, or_, type_coerce

from mmsearch.store.filter_syntax import Name, Value, refuse
from mmsearch.store.moments import Moment, moment
from mmsearch.store.strings import pack

Condition: TypeAlias = ColumnElement[bool]
Op: TypeAlias = Callable[[Any, Any], Any]


class Field(NamedTuple):
    """One side of a comparison. ``kind``: ``text number path taken mtime meta``; ``type``: a meta field's JSON type."""

    name: Name
    kind: str
    sql: ColumnElement[Any]
    type: ColumnElement[Any] | None = None


MIRRORED = {operator.lt: operator.gt, operator.gt: operator.lt, operator.le: operator.ge, operator.ge: operator.le}
_TYPES = {"number": ("integer", "real"), "text": ("text",), "bool": ("true", "false"), "other": ("array", "object")}
_NS = 1_000_000_000
MAX_PATTERN = 50_000
"""Bytes of a pattern behind ``like``: SQLite's own limit."""


def _constant(value: bool) -> Condition:
    return literal_column(str(int(value)), Boolean)


def _by_type(field: Field, known: Mapping[str, Condition], otherwise: Condition | None) -> Condition:
    """The condition for the type a meta field has, ``otherwise`` for other types; unknown where it is missing."""
    whens: dict[Any, Condition] = {}
    for kind, names in _TYPES.items():
        for name in names:
            found = known.get(name, known.get(kind, otherwise))
            if found is not None:
                whens[literal_column(f"'{name}'")] = found
    return case(whens, value=field.type) if whens else type_coerce(null(), Boolean)


def _when_unequal(op: Op) -> Condition | None:
    """What a comparison of two types gives: they are never equal, and neither is the greater one."""
    return _constant(op is operator.ne) if op in (operator.eq, operator.ne) else None


def with_value(op: Op, field: Field, value: Value) -> Condition:
    if field.kind == "meta":
        if value.kind == "bool":
            if op not in (operator.eq, operator.ne):
                refuse(f"{field.name} is compared with {value.spelt.lower()} by = or != only")
            hit = op(field.type, literal_column(f"'{str(value.value).lower()}'"))
        else:
            hit = op(field.sql, literal(_bound(value)))
        return _by_type(field, {value.kind: hit}, _when_unequal(op))
    if field.kind in ("taken", "mtime"):
        return _with_moment(op, field, value)
    return _plain(op, field, literal(_matching(op, field, value)))


def _plain(op: Op, field: Field, other: ColumnElement[Any]) -> Condition:
    result: Condition = op(field.sql, other)
    return result


def _bound(value: Value) -> Any:
    return pack(value.value) if value.kind == "text" else value.value


def _matching(op: Op, field: Field, value: Value) -> Any:
    """The value as the field's column holds it. Raises :class:`FilterError` where the types do not go together."""
    if field.kind == "number":
        if value.kind != "number":
            refuse(f"{field.name} is a number, and {value.spelt[:40]!r} is not", f"as in  {field.name} > 640")
        return value.value
    if value.kind == "bool" or (value.kind == "number" and op not in (operator.eq, operator.ne)):
        refuse(f"{field.name} is a text, and {value.spelt[:40]} is not", "texts go into single quotes: 'like this'")
    text = value.spelt if value.kind == "number" else value.value
    return _raw_path(text) if field.kind == "path" else pack(text)


def _raw_path(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _with_moment(op: Op, field: Field, value: Value) -> Condition:
    found = moment(value.value) if value.kind == "text" else None
    if value.kind == "number":
        found = Moment.of_seconds(value.value)
    if found is None:
        hint = "as in '2023', '2023-05-01', '2023-05-01 10:30'"
        refuse(f"{field.name} is a time, and {value.spelt[:40]!r} is not", hint)
    first, after = (literal(ns if field.kind == "mtime" else _seconds(ns)) for ns in found)
    if found.first == found.after:
        return _plain(op, field, first)
    if op is operator.eq:
        return and_(field.sql >= first, field.sql < after)
    if op is operator.ne:
        return or_(field.sql < first, field.sql >= after)
    if op in (operator.lt, operator.ge):
        return _plain(op, field, first)
    return field.sql >= after if op is operator.gt else field.sql < after


def _seconds(ns: float) -> float:
    return ns // _NS if isinstance(ns, int) and ns % _NS == 0 else ns / _NS


def with_field(op: Op, left: Field, right: Field) -> Condition:
    if left.kind != "meta" and right.kind == "meta":
        left, right, op = right, left, MIRRORED.get(op, op)
    if right.kind == "meta":

        def inner(kind: str, hit: Condition) -> Condition:
            return _by_type(right, {kind: hit}, _when_unequal(op))

        hit = op(left.sql, right.sql)
        known = {"number": inner("number", hit), "text": inner("text", hit)}
        if op in (operator.eq, operator.ne):
            known["bool"] = inner("bool", op(left.type, right.type))
        return _by_type(left, known, _by_type(right, {}, _when_unequal(op)))
    kind, other = _comparable(right)
    if left.kind == "meta":
        unequal = _when_unequal(op)
        missing = None if unequal is None else case((other.is_not(None), unequal))
        return _by_type(left, {kind: op(left.sql, other)}, missing)
    left_kind, one = _comparable(left)
    if left_kind != kind:
        refuse(f"{left.name} is a {left_kind}, {right.name} a {kind}")
    result: Condition = op(one, other)
    return result


def _comparable(field: Field) -> tuple[str, ColumnElement[Any]]:
    """A column as a ``text`` or ``number`` that can be compared with another: paths as text, times in seconds."""
    if field.kind == "path":
        return "text", cast(field.sql, TEXT)
    if field.kind == "mtime":
        return "number", field.sql / literal(1e9)
    return ("text" if field.kind == "text" else "number"), field.sql


def is_in(field: Field, values: Sequence[Value]) -> Condition:
    if not values:
        return _constant(False)
    if field.kind in ("taken", "mtime"):
        return or_(*(_with_moment(operator.eq, field, value) for value in values))
    if field.kind != "meta":
        return field.sql.in_([literal(_matching(operator.eq, field, value)) for value in values])
    known: dict[str, Condition] = {}
    for kind in ("number", "text"):
        same = [literal(_bound(value)) for value in values if value.kind == kind]
        if same:
            known[kind] = field.sql.in_(same)
    for value in values:
        if value.kind == "bool":
            known[str(value.value).lower()] = _constant(True)
    return _by_type(field, known, _constant(False))


def like(field: Field, value: Value) -> Condition:
    if value.kind != "text":
        refuse(f"'like' needs a text, and {value.spelt[:40]} is none", "as in  brand like 'ac%'")
    if len(value.value.encode("utf-8", "surrogatepass")) > MAX_PATTERN:
        refuse(f"a pattern of {len(value.value):,} characters is too long", f"{MAX_PATTERN:,} bytes are the most")
    pattern = literal(_bound(value))
    if field.kind == "meta":
        hit = field.sql.like(pattern)
        return _by_type(field, {"text": hit, "integer": hit}, None)
    if field.kind not in ("text", "path"):
        refuse(f"{field.name} is no text, so 'like' cannot be used on it", f"as in  {field.name} >= …")
    return _comparable(field)[1].like(pattern)


def json_path(keys: Sequence[str]) -> str:
    """``$."a"."b"``; the path is bound like any other value."""
    for key in keys:
        if '"' in key:
            refuse(f"the field name {key[:40]!r} has a double quote in it", "SQLite's JSON paths cannot say that")
    return "$" + "".join(f'."{_escaped(key)}"' for key in keys)


def _escaped(key: str) -> str:
    # SQLite compares a path with the key as it is spelt in the JSON text: what UTF-8 cannot hold is escaped there, see dump_meta
    return json.dumps(key, ensure_ascii=isinstance(pack(key), bytes))[1:-1]
