"""A condition as a small tree of frozen values: what ``filters.py`` makes of a filter's text, before it is known whether
SQLite or columns in memory will answer it. Truth has three values; ``filters.py`` says when it is which.

Who builds leaves calls the functions below: they refuse what does not go together, and turn a date into bounds, so that both
ways of answering are given the same numbers.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from mmsearch.store.column import Field
from mmsearch.store.filter_syntax import Value, refuse
from mmsearch.store.moments import Moment, moment
from mmsearch.store.strings import pack

Op: TypeAlias = Callable[[Any, Any], Any]
"""One of ``operator.eq ne lt le gt ge``."""

MIRRORED = {operator.lt: operator.gt, operator.gt: operator.lt, operator.le: operator.ge, operator.ge: operator.le}
EQUALITY = (operator.eq, operator.ne)
MAX_PATTERN = 50_000
"""Bytes of a pattern behind ``like``: SQLite's own limit."""
_NS = 1_000_000_000


class Scalar(NamedTuple):
    """A value as the field holds it. ``kind``: ``number text bool``; a text that UTF-8 cannot hold, and a path, are bytes."""

    kind: str
    value: Any


class Compare(NamedTuple):
    """``field op value``."""

    op: Op
    field: Field
    value: Scalar


class CompareFields(NamedTuple):
    """``left op right``; if one of them is a key of ``meta``, the left one is."""

    op: Op
    left: Field
    right: Field


class Among(NamedTuple):
    """``field in values``; false where there are none."""

    field: Field
    values: tuple[Scalar, ...]


class Like(NamedTuple):
    """``field like pattern``."""

    field: Field
    pattern: str | bytes


class Missing(NamedTuple):
    """``field is null``: never unknown."""

    field: Field


class Not(NamedTuple):
    part: Node


class All(NamedTuple):
    """``and``."""

    parts: tuple[Node, ...]


class Some(NamedTuple):
    """``or``."""

    parts: tuple[Node, ...]


Node: TypeAlias = Compare | CompareFields | Among | Like | Missing | Not | All | Some


def fields_of(node: Node) -> Iterator[Field]:
    """Every field that a condition names, as often as it does."""
    if isinstance(node, All | Some):
        for part in node.parts:
            yield from fields_of(part)
    elif isinstance(node, Not):
        yield from fields_of(node.part)
    elif isinstance(node, CompareFields):
        yield from (node.left, node.right)
    else:
        yield node.field


# --- leaves -----------------------------------------------------------------------------------------------------------


def with_value(op: Op, field: Field, value: Value) -> Node:
    """``field op value``. Raises :class:`FilterError` where the two cannot be compared."""
    if field.kind == "meta":
        if value.kind == "bool" and op not in EQUALITY:
            refuse(f"{field.name} is compared with {value.spelt.lower()} by = or != only")
        return Compare(op, field, _scalar(value))
    if field.kind in ("taken", "mtime"):
        return _with_moment(op, field, value)
    return Compare(op, field, _matching(op, field, value))


def with_field(op: Op, left: Field, right: Field) -> Node:
    """``left op right``. Raises :class:`FilterError` where the two cannot be compared."""
    if left.kind != "meta" and right.kind == "meta":
        left, right, op = right, left, MIRRORED.get(op, op)
    if left.kind != "meta" and family(left) != family(right):
        refuse(f"{left.name} is a {family(left)}, {right.name} a {family(right)}")
    return CompareFields(op, left, right)


def family(field: Field) -> str:
    """What a column can be compared with, another of its family: ``text`` (paths too) or ``number`` (times, in seconds, too)."""
    return "text" if field.kind in ("text", "path") else "number"


def among(field: Field, values: Sequence[Value]) -> Node:
    """``field in values``. Raises :class:`FilterError` where one of them cannot be compared with the field."""
    if field.kind == "meta" or not values:
        return Among(field, tuple(map(_scalar, values)))
    if field.kind in ("taken", "mtime"):
        return Some(tuple(_with_moment(operator.eq, field, value) for value in values))
    return Among(field, tuple(_matching(operator.eq, field, value) for value in values))


def like(field: Field, value: Value) -> Node:
    """``field like pattern``. Raises :class:`FilterError` where either is no text."""
    if value.kind != "text":
        refuse(f"'like' needs a text, and {value.spelt[:40]} is none", "as in  brand like 'ac%'")
    if len(value.value.encode("utf-8", "surrogatepass")) > MAX_PATTERN:
        refuse(f"a pattern of {len(value.value):,} characters is too long", f"{MAX_PATTERN:,} bytes are the most")
    if field.kind not in ("meta", "text", "path"):
        refuse(f"{field.name} is no text, so 'like' cannot be used on it", f"as in  {field.name} >= …")
    return Like(field, pack(value.value))


def json_path(keys: Sequence[str]) -> str:
    """``$."a"."b"``; the path is bound like any other value."""
    for key in keys:
        if '"' in key:
            refuse(f"the field name {key[:40]!r} has a double quote in it", "SQLite's JSON paths cannot say that")
    return "$" + "".join(f'."{_escaped(key)}"' for key in keys)


def _escaped(key: str) -> str:
    # SQLite compares a path with the key as it is spelt in the JSON text: what UTF-8 cannot hold is escaped there, see dump_meta
    return json.dumps(key, ensure_ascii=isinstance(pack(key), bytes))[1:-1]


def _scalar(value: Value) -> Scalar:
    return Scalar(value.kind, pack(value.value) if value.kind == "text" else value.value)


def _matching(op: Op, field: Field, value: Value) -> Scalar:
    """The value as the field's column holds it. Raises :class:`FilterError` where the types do not go together."""
    if field.kind == "number":
        if value.kind != "number":
            refuse(f"{field.name} is a number, and {value.spelt[:40]!r} is not", f"as in  {field.name} > 640")
        return Scalar("number", value.value)
    if value.kind == "bool" or (value.kind == "number" and op not in EQUALITY):
        refuse(f"{field.name} is a text, and {value.spelt[:40]} is not", "texts go into single quotes: 'like this'")
    text = value.spelt if value.kind == "number" else value.value
    return Scalar("text", _raw_path(text) if field.kind == "path" else pack(text))


def _raw_path(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _with_moment(op: Op, field: Field, value: Value) -> Node:
    found = moment(value.value) if value.kind == "text" else None
    if value.kind == "number":
        found = Moment.of_seconds(value.value)
    if found is None:
        hint = "as in '2023', '2023-05-01', '2023-05-01 10:30'"
        refuse(f"{field.name} is a time, and {value.spelt[:40]!r} is not", hint)

    def by(op: Op, ns: float) -> Compare:
        return Compare(op, field, Scalar("number", ns if field.kind == "mtime" else _seconds(ns)))

    if found.first == found.after or op in (operator.lt, operator.ge):
        return by(op, found.first)
    if op is operator.eq:
        return All((by(operator.ge, found.first), by(operator.lt, found.after)))
    if op is operator.ne:
        return Some((by(operator.lt, found.first), by(operator.ge, found.after)))
    return by(operator.ge if op is operator.gt else operator.lt, found.after)


def _seconds(ns: float) -> float:
    return ns // _NS if isinstance(ns, int) and ns % _NS == 0 else ns / _NS
