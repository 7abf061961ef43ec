"""A small SQL condition → a tree, and SQL for the catalogue with every value bound.

Fields are ``id kind group root path size mtime width height taken text``; any other name is a key of an item's
``meta``, dots lead into nested objects, and ``meta.size`` is the key where a field has the same name. Truth has three
values, as in SQL: what is compared with something missing (or JSON null) is unknown, and only what is true is found.

- A number is compared with numbers only, a text with texts, ``true`` and ``false`` with these. ``=`` between two types
  is false, ``<`` unknown: ``price < 50`` and ``not price < 50`` both leave out a price of ``"ask"``.
- ``in`` is ``=`` with each. ``like`` has ``%`` and ``_`` and takes ASCII letters of both cases for the same; it also
  reads whole numbers as text.
- ``mtime`` and ``taken`` are compared with Unix seconds or with a date: ``'2023'``, ``'2023-05'``, ``'2023-05-01'``,
  ``'2023-05-01 10:30'``, with seconds, with ``Z`` or an offset (UTC otherwise). A date is the whole time that it names:
  ``taken = '2023'`` is any moment of that year, ``taken <= '2023-05'`` reaches to the end of May.
- ``"Acme"`` in double quotes is a field on the left and a text on the right of an operator. ``:name`` is a parameter,
  in ``id in :ids`` a list.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from mmsearch.store.column import Field
from mmsearch.store.filter_syntax import Tree, Value, name_of, number, parse, refuse, value_of
from mmsearch.store.filter_tree import (
    MIRRORED,
    All,
    Missing,
    Node,
    Not,
    Op,
    Some,
    among,
    json_path,
    like,
    with_field,
    with_value,
)
from mmsearch.types import Json

if TYPE_CHECKING:  # SQLAlchemy takes longer to import than columns in memory to answer
    from sqlalchemy.engine.default import DefaultDialect

    from mmsearch.store.filter_compare import Condition, FilterColumns

__all__ = ["compile_filter", "filter_sql", "filter_tree", "tree_sql"]

MAX_LIST = 5_000


def filter_tree(where: str, params: Mapping[str, Json] | None = None) -> Node:
    """The condition ``where`` as a tree.

    ``params`` are the values of ``:name``. Raises :class:`FilterError` that names what it cannot take. About 1 ms.
    """
    try:
        return _Reader(params or {}).condition(parse(where))
    except RecursionError:
        refuse("it is nested too deeply")


def compile_filter(where: str, params: Mapping[str, Json] | None = None, *, columns: FilterColumns) -> Condition:
    """The condition ``where`` over ``columns``, to be put into a ``SELECT … WHERE``.

    Raises :class:`FilterError`. A few ms.

    >>> from mmsearch.store.schema import item
    >>> str(compile_filter("width >= 640 and kind = 'image'", columns=item.c))
    'item.width >= :param_1 AND item.kind = :param_2'
    """
    from mmsearch.store.filter_compare import condition

    try:
        return condition(filter_tree(where, params), columns)
    except RecursionError:
        refuse("it is nested too deeply")


def filter_sql(where: str, params: Mapping[str, Json] | None = None) -> tuple[str, tuple[Any, ...]]:
    """The condition as SQLite's own text over the table ``item``, with a ``?`` for every value, and the values.

    >>> filter_sql("width >= 640 and kind = 'image'")
    ('item.width >= ? AND item.kind = ?', (640, 'image'))
    """
    return tree_sql(filter_tree(where, params))


def tree_sql(node: Node) -> tuple[str, tuple[Any, ...]]:
    """:func:`filter_sql` of a tree."""
    from mmsearch.store.filter_compare import condition
    from mmsearch.store.schema import item

    try:
        compiled = condition(node, item.c).compile(dialect=_dialect(), compile_kwargs={"render_postcompile": True})
    except RecursionError:
        refuse("it is nested too deeply")
    values = compiled.construct_params()
    return str(compiled), tuple(values[name] for name in compiled.positiontup or ())


@cache
def _dialect() -> DefaultDialect:
    from sqlalchemy.dialects.sqlite import dialect

    return dialect(paramstyle="qmark")


_COLUMNS = {
    **dict.fromkeys(("id", "kind", "group", "root", "text"), "text"),
    **dict.fromkeys(("size", "width", "height"), "number"),
    "path": "path",
    "taken": "taken",
    "mtime": "mtime",
}
_OPS: dict[type[exp.Expr], Op] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}


class _Reader:
    def __init__(self, params: Mapping[str, Json]) -> None:
        self._params = params

    # --- the tree -------------------------------------------------------------------------------------------------

    def condition(self, node: Tree) -> Node:
        """Our tree for a node of the parser's. Raises :class:`FilterError`."""
        found = self._condition(node)
        return Not(found) if node.args.get("negate") else found

    def _condition(self, node: Tree) -> Node:
        if isinstance(node, exp.Paren):
            return self.condition(node.this)
        if isinstance(node, exp.Not):
            return Not(self.condition(node.this))
        if isinstance(node, exp.And | exp.Or):
            parts = tuple(self.condition(part) for part in node.flatten())
            return All(parts) if isinstance(node, exp.And) else Some(parts)
        if type(node) in _OPS:
            return self._comparison(_OPS[type(node)], node.this, node.expression)
        if isinstance(node, exp.Like):
            return like(self._field(node.this), self._value(node.expression))
        if isinstance(node, exp.Between):
            field = self._field(node.this)
            low, high = self._value(node.args["low"]), self._value(node.args["high"])
            return All((with_value(operator.ge, field, low), with_value(operator.le, field, high)))
        if isinstance(node, exp.In):
            return among(self._field(node.this), self._values(node))
        if isinstance(node, exp.Is):
            if not isinstance(node.expression, exp.Null):
                refuse("'is' can only be followed by null or not null")
            return Missing(self._field(node.this))
        name = name_of(node)
        if name is not None:
            short = str(name)[:40]
            refuse(f"{short!r} alone is no condition", f"compare it with something, as in  {short} = true")
        return refuse(f"{_describe(node)} is no condition")

    def _comparison(self, op: Op, left: Tree, right: Tree) -> Node:
        left, right = left.unnest(), right.unnest()
        a, b = name_of(left), name_of(right)
        if b is not None and not b.quoted and (a is None or a.quoted):  # 50 > price, "Acme" = brand
            left, right, a, b, op = right, left, b, a, MIRRORED.get(op, op)
        if a is None:
            simple = isinstance(left, exp.Literal | exp.Placeholder | exp.Boolean | exp.Null)
            refuse("a comparison needs a field" if simple else f"{_describe(left)} is no field", "as in  price < 50")
        if b is None or b.quoted:
            return with_value(op, self._field(left), self._value(right))
        return with_field(op, self._field(left), self._field(right))

    def _field(self, node: Tree) -> Field:
        name = name_of(node.unnest())
        if name is None:
            refuse(f"{_describe(node)} is no field")
        parts = name.parts
        kind = _COLUMNS.get(parts[0]) if len(parts) == 1 else None
        if kind is not None:
            return Field(str(name), kind, "mtime_ns" if kind == "mtime" else parts[0])
        keys = parts[1:] if parts[0] == "meta" and len(parts) > 1 else parts
        return Field(str(name), "meta", json_path(keys))

    def _values(self, node: exp.In) -> list[Value]:
        if isinstance(node.args.get("field"), exp.Placeholder):  # id in :ids
            nodes = [node.args["field"]]
        elif any(node.args.get(arg) for arg in ("field", "query", "unnest")):
            refuse("'in' needs a list of values", "as in  brand in ('Acme', 'Bolt')  or  id in :ids")
        else:
            nodes = node.expressions
        values: list[Value] = []
        for one in nodes:
            given = self._parameter(one) if isinstance(one, exp.Placeholder) else None
            if isinstance(given, list | tuple | set | frozenset):
                values += [value_of(each) for each in given]
            else:
                values.append(self._value(one))
        if len(values) > MAX_LIST:
            refuse(f"a list of {len(values):,} values is too long, {MAX_LIST:,} are the most")
        return values

    def _value(self, node: Tree) -> Value:
        node = node.unnest()
        negative = False
        while isinstance(node, exp.Neg):
            negative, node = not negative, node.this.unnest()
        if isinstance(node, exp.Literal) and not node.is_string:
            return number(node.name, negative)
        if isinstance(node, exp.Placeholder):
            value = value_of(self._parameter(node))
            if not negative:
                return value
            if value.kind == "number":
                return value_of(-value.value)
        if not negative:
            name = name_of(node)
            if name is not None and name.quoted:
                return value_of(str(name))
            if isinstance(node, exp.Literal):
                return value_of(node.name)
            if isinstance(node, exp.Boolean):
                return value_of(bool(node.this))
            if isinstance(node, exp.Null):
                return value_of(None)
        return refuse(f"{_describe(node)} stands where a value is needed", "texts go into single quotes: 'like this'")

    def _parameter(self, node: exp.Placeholder) -> Json:
        name = node.name
        if name not in self._params:
            given = ", ".join(map(str, self._params)) or "none"
            refuse(f"no value is given for :{name[:40]}", f"parameters: {given}"[:200])
        return self._params[name]


def _describe(node: Tree) -> str:
    name = name_of(node)
    if name is not None:
        return f"the field {str(name)[:40]!r}"
    if isinstance(node, exp.Literal):
        return repr(node.name[:40])
    if isinstance(node, exp.Sub | exp.Neg):
        return "arithmetic (a name with a minus in it goes into double quotes)"
    if type(node) in _OPS:
        return "a comparison inside a comparison"
    if isinstance(node, exp.Tuple):
        return "a list"
    if isinstance(node, exp.Boolean):
        return str(node.this).lower()
    return "a parameter" if isinstance(node, exp.Placeholder) else f"{type(node).__name__.lower()!r}"
