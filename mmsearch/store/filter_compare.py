"""A condition's tree → SQL with the three-valued truth that ``filters.py`` promises."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from sqlalchemy import TEXT, Boolean, ColumnElement, and_, case, cast, func, literal, literal_column, not_, null, or_, type_coerce

from mmsearch.store.column import Field
from mmsearch.store.filter_tree import (
    EQUALITY,
    All,
    Among,
    Compare,
    CompareFields,
    Like,
    Missing,
    Node,
    Not,
    Op,
    Scalar,
    family,
)

Condition: TypeAlias = ColumnElement[bool]
_TYPES = {"number": ("integer", "real"), "text": ("text",), "bool": ("true", "false"), "other": ("array", "object")}


class FilterColumns(Protocol):
    """The columns of the ``item`` table by name: ``item.c``."""

    def __getitem__(self, name: str, /) -> ColumnElement[Any]: ...


class _Side(NamedTuple):
    """A field in SQL. ``type``: a meta field's JSON type."""

    field: Field
    sql: ColumnElement[Any]
    type: ColumnElement[Any] | None = None


def condition(node: Node, columns: FilterColumns) -> Condition:
    """The tree over ``columns``."""
    if isinstance(node, Not):
        return not_(condition(node.part, columns))
    if isinstance(node, Compare):
        return _with_value(node.op, _side(node.field, columns), node.value)
    if isinstance(node, CompareFields):
        return _with_field(node.op, _side(node.left, columns), _side(node.right, columns))
    if isinstance(node, Among):
        return _is_in(_side(node.field, columns), node.values)
    if isinstance(node, Like):
        return _like(_side(node.field, columns), literal(node.pattern))
    if isinstance(node, Missing):
        return _side(node.field, columns).sql.is_(None)
    parts = [condition(part, columns) for part in node.parts]
    return and_(*parts) if isinstance(node, All) else or_(*parts)


def _side(field: Field, columns: FilterColumns) -> _Side:
    if field.kind != "meta":
        return _Side(field, columns[field.source])
    meta = columns["meta"]
    return _Side(field, func.json_extract(meta, field.source), func.json_type(meta, field.source))


def _constant(value: bool) -> Condition:
    return literal_column(str(int(value)), Boolean)


def _by_type(side: _Side, known: Mapping[str, Condition], otherwise: Condition | None) -> Condition:
    """The condition for the type a meta field has, ``otherwise`` for other types; unknown where it is missing."""
    whens: dict[Any, Condition] = {}
    for kind, names in _TYPES.items():
        for name in names:
            found = known.get(name, known.get(kind, otherwise))
            if found is not None:
                whens[literal_column(f"'{name}'")] = found
    return case(whens, value=side.type) if whens else type_coerce(null(), Boolean)


def _when_unequal(op: Op) -> Condition | None:
    """What a comparison of two types gives: they are never equal, and neither is the greater one."""
    return _constant(op is operator.ne) if op in EQUALITY else None


def _with_value(op: Op, side: _Side, value: Scalar) -> Condition:
    if side.field.kind != "meta":
        plain: Condition = op(side.sql, literal(value.value))
        return plain
    if value.kind == "bool":
        hit = op(side.type, literal_column(f"'{str(value.value).lower()}'"))
    else:
        hit = op(side.sql, literal(value.value))
    return _by_type(side, {value.kind: hit}, _when_unequal(op))


def _with_field(op: Op, left: _Side, right: _Side) -> Condition:
    if right.field.kind == "meta":

        def inner(kind: str, hit: Condition) -> Condition:
            return _by_type(right, {kind: hit}, _when_unequal(op))

        hit = op(left.sql, right.sql)
        known = {"number": inner("number", hit), "text": inner("text", hit)}
        if op in EQUALITY:
            known["bool"] = inner("bool", op(left.type, right.type))
        return _by_type(left, known, _by_type(right, {}, _when_unequal(op)))
    other = _comparable(right)
    if left.field.kind == "meta":
        unequal = _when_unequal(op)
        missing = None if unequal is None else case((other.is_not(None), unequal))
        return _by_type(left, {family(right.field): op(left.sql, other)}, missing)
    result: Condition = op(_comparable(left), other)
    return result


def _comparable(side: _Side) -> ColumnElement[Any]:
    """A column as a text or number that can be compared with another: paths as text, times in seconds."""
    if side.field.kind == "path":
        return cast(side.sql, TEXT)
    return side.sql / literal(1e9) if side.field.kind == "mtime" else side.sql


def _is_in(side: _Side, values: tuple[Scalar, ...]) -> Condition:
    if not values:
        return _constant(False)
    if side.field.kind != "meta":
        return side.sql.in_([literal(value.value) for value in values])
    known: dict[str, Condition] = {}
    for kind in ("number", "text"):
        same = [literal(value.value) for value in values if value.kind == kind]
        if same:
            known[kind] = side.sql.in_(same)
    for value in values:
        if value.kind == "bool":
            known[str(value.value).lower()] = _constant(True)
    return _by_type(side, known, _constant(False))


def _like(side: _Side, pattern: ColumnElement[Any]) -> Condition:
    if side.field.kind != "meta":
        return _comparable(side).like(pattern)
    hit = side.sql.like(pattern)
    return _by_type(side, {"text": hit, "integer": hit}, None)
