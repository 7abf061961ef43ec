"""Random conditions over random rows: SQLite must find what a small evaluator with three truth values finds."""

from __future__ import annotations

import calendar
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.store.filters import compile_filter
from mmsearch.store.schema import item, metadata

# --- the evaluator ----------------------------------------------------------------------------------------------------

Truth = bool | None
NS = 10**9


def at(*parts: int) -> int:
    return calendar.timegm((*parts, 0, 0, 0)[:6]) * NS


DATES = {
    "2023": (at(2023, 1, 1), at(2024, 1, 1)),
    "2023-05": (at(2023, 5, 1), at(2023, 6, 1)),
    "2023-12": (at(2023, 12, 1), at(2024, 1, 1)),
    "2023-05-01": (at(2023, 5, 1), at(2023, 5, 2)),
    "2023-05-01 10:30": (at(2023, 5, 1, 10, 30), at(2023, 5, 1, 10, 31)),
    "2023-05-01T10:30:15Z": (at(2023, 5, 1, 10, 30, 15), at(2023, 5, 1, 10, 30, 16)),
    "2023-05-01 12:30:15+02:00": (at(2023, 5, 1, 10, 30, 15), at(2023, 5, 1, 10, 30, 16)),
    "2023-05-01 10:30:15.5": (at(2023, 5, 1, 10, 30, 15) + NS // 2,) * 2,
}
MOMENTS = sorted({ns + delta for span in DATES.values() for ns in span for delta in (-NS, 0, NS // 2)})
TEXT_FIELDS = ("id", "kind", "group", "root", "text", "path")
NUMBER_FIELDS = ("size", "width", "height")
TIME_FIELDS = ("taken", "mtime")
META_FIELDS = ("a", "b", "a.x", "a.x.y", "meta.size", "meta.a", '"odd key"', "case", "date", '"b\'\\é"')
FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
OPS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def meta_keys(field: str) -> list[str]:
    keys = [key.strip('"') for key in field.split(".")]
    return keys[1:] if keys[0] == "meta" else keys


def look_up(row: dict[str, Any], field: str) -> Any:
    if field in TEXT_FIELDS + NUMBER_FIELDS:
        return row[field]
    if field in TIME_FIELDS:
        return None if row[field] is None else row[field] / NS  # kept in ns
    value: Any = row["meta"]
    for key in meta_keys(field):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def compare(op: str, a: Any, b: Any) -> Truth:
    if a is None or b is None:
        return None
    if type_of(a) != type_of(b) or type_of(a) == "other":
        return {"=": False, "!=": True}.get(op)
    if type_of(a) == "bool" and op not in ("=", "!="):
        return None
    return OPS[op](a, b)


def compare_time(op: str, ns: int | None, value: Any) -> Truth:
    if ns is None:
        return None
    first, after = DATES[value] if isinstance(value, str) else (round(value * NS),) * 2
    inside = first <= ns < after or ns == first
    return {
        "=": inside,
        "!=": not inside,
        "<": ns < first,
        ">=": ns >= first,
        ">": ns > first and not inside,
        "<=": ns <= first or inside,
    }[op]


def with_value(op: str, row: dict[str, Any], field: str, value: Any) -> Truth:
    if field in TIME_FIELDS:
        return compare_time(op, row[field], value)
    if field in TEXT_FIELDS and type_of(value) == "number":
        value = str(value)
    return compare(op, look_up(row, field), value)


def both(truths: list[Truth]) -> Truth:
    return False if False in truths else None if None in truths else True


def negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def lower(text: str) -> str:
    return re.sub("[A-Z]", lambda found: found[0].lower(), text)


def is_like(value: Any, pattern: str) -> Truth:
    if value is None or type_of(value) not in ("text", "number") or isinstance(value, float):
        return None
    parts = {"%": ".*", "_": "."}
    regex = "".join(parts.get(c, re.escape(c)) for c in lower(pattern))
    return re.fullmatch(regex, lower(str(value)), re.DOTALL) is not None


def evaluate(node: Any, row: dict[str, Any]) -> Truth:
    match node:
        case ("and", *parts):
            return both([evaluate(part, row) for part in parts])
        case ("or", *parts):
            return negated(both([negated(evaluate(part, row)) for part in parts]))
        case ("not", part):
            return negated(evaluate(part, row))
        case ("value", op, field, value):
            return with_value(op, row, field, value)
        case ("fields", op, a, b):
            return compare(op, look_up(row, a), look_up(row, b))
        case ("null", field):
            return look_up(row, field) is None
        case ("like", field, pattern):
            return is_like(look_up(row, field), pattern)
        case ("between", field, low, high):
            return both([with_value(">=", row, field, low), with_value("<=", row, field, high)])
        case ("in", field, values):
            return negated(both([negated(with_value("=", row, field, value)) for value in values]))
    raise AssertionError(node)


# --- conditions as text -----------------------------------------------------------------------------------------------


class Writer:
    """Writes a condition, each value in one of the ways in which it may be written."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.params: dict[str, Any] = {}

    def value(self, value: Any) -> str:
        how = self.draw(st.sampled_from(["literal", "literal", "quoted", "param", "parens"]))
        if how == "param":
            name = f"p{len(self.params)}"
            self.params[name] = value
            return f":{name}"
        if isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, str):
            quote = '"' if how == "quoted" and value else "'"
            text = quote + value.replace(quote, quote * 2) + quote
        else:
            text = repr(value)
        return f"({text})" if how == "parens" else text

    def write(self, node: Any) -> str:
        match node:
            case ("and" | "or" as word, *parts):
                return self.parens(self.spaced(word).join(map(self.write, parts)))
            case ("not", ("null", field)) if self.draw(st.booleans()):
                return f"{field} is not null"
            case ("not", ("like", field, pattern)) if self.draw(st.booleans()):
                return f"{field} not like {self.value(pattern)}"
            case ("not", ("between", field, low, high)) if self.draw(st.booleans()):
                return f"{field} not between {self.value(low)} and {self.value(high)}"
            case ("not", ("in", field, values)) if self.draw(st.booleans()):
                return f"{field} not in {self.list(values)}"
            case ("not", part):
                return self.parens(f"{self.spaced('not')}{self.parens(self.write(part))}")
            case ("value", op, field, value):
                if not field.startswith('"') and self.draw(st.booleans()):
                    return f"{self.value(value)}{self.sign(FLIPPED[op])}{field}"
                return f"{field}{self.sign(op)}{self.value(value)}"
            case ("fields", op, a, b):
                return f"{a} {self.sign(op)} {b}"
            case ("null", field):
                return f"{field} is null"
            case ("like", field, pattern):
                return f"{field} like {self.value(pattern)}"
            case ("between", field, low, high):
                return f"{field} between {self.value(low)} and {self.value(high)}"
            case ("in", field, values):
                return f"{field} in {self.list(values)}"
        raise AssertionError(node)

    def list(self, values: list[Any]) -> str:
        if self.draw(st.booleans()):
            return f"({', '.join(map(self.value, values))})"
        name = f"p{len(self.params)}"
        self.params[name] = values
        return f":{name}" if self.draw(st.booleans()) else f"(:{name})"

    def parens(self, text: str) -> str:
        return f"({text})"

    def spaced(self, word: str) -> str:
        return f" {self.draw(st.sampled_from([word, word.upper()]))}{self.draw(st.sampled_from([' ', '  ', chr(10)]))}"

    def sign(self, op: str) -> str:
        return self.draw(st.sampled_from({"=": ["=", " = ", " == "], "!=": ["!=", " <> "]}.get(op, [op, f" {op} "])))


# --- what is drawn ----------------------------------------------------------------------------------------------------

texts = st.sampled_from(["", "a", "A", "ab", "é", "É", "b'c", '"', "%", "_", "1", "2023", "x;--", "😺", "image"])
numbers = st.sampled_from([-1, 0, 1, 2, 50, 1.5, -0.5, 1e20, 2**53 + 1, 640])
scalars = st.one_of(texts, numbers, st.booleans())
operators = st.sampled_from(list(OPS))
metas = st.dictionaries(
    st.sampled_from(["a", "b", "size", "odd key", "case", "date", "b'\\é", "x"]),
    st.one_of(
        scalars,
        st.none(),
        st.lists(scalars, max_size=2),
        st.dictionaries(
            st.sampled_from(["x", "y"]),
            st.one_of(scalars, st.none(), st.dictionaries(st.sampled_from(["x", "y"]), scalars, max_size=2)),
            max_size=2,
        ),
    ),
    max_size=5,
)
moments = st.one_of(st.none(), st.sampled_from(MOMENTS))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


rows = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["image", "text"]),
        "group": maybe(texts),
        "root": maybe(texts),
        "text": maybe(texts),
        "path": maybe(st.one_of(texts, st.just("caf\udce9"))),
        "size": maybe(st.sampled_from([-1, 0, 1, 2, 50, 640])),
        "width": maybe(st.sampled_from([0, 1, 640])),
        "height": maybe(st.sampled_from([0, 1, 480])),
        "taken": moments.map(lambda ns: None if ns is None else ns // NS * NS),
        "mtime": moments,
        "meta": metas,
    }
)


@st.composite
def leaves(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(["text", "number", "time", "meta", "meta", "meta", "fields", "metas"]))
    if kind == "fields":
        pools = [(*NUMBER_FIELDS, *TIME_FIELDS), TEXT_FIELDS]
        pool = st.sampled_from(draw(st.sampled_from(pools)))
        return ("fields", draw(operators), draw(pool), draw(pool))
    if kind == "metas":
        bare = [field for field in META_FIELDS if field[0] != '"']
        one = draw(st.sampled_from(bare))
        other = draw(st.sampled_from([*bare, "width", "text", "path", "mtime", "taken"]))
        return ("fields", draw(operators), *draw(st.permutations([one, other])))
    pool_of = {"text": TEXT_FIELDS, "number": NUMBER_FIELDS, "time": TIME_FIELDS}
    field = draw(st.sampled_from(pool_of.get(kind, META_FIELDS)))
    shape = draw(st.sampled_from(["value", "value", "in", "null", "between", "like"]))
    if shape == "null":
        return ("null", field)
    if shape == "like" and kind in ("text", "meta"):
        return ("like", field, draw(st.text("aAbéÉ1%_", max_size=4)))
    value = {
        "text": texts,
        "number": numbers,
        "time": st.one_of(st.sampled_from(list(DATES)), st.sampled_from([ns // NS for ns in MOMENTS] + [0.25])),
    }.get(kind, scalars)
    if shape == "in":
        values = st.one_of(texts, st.integers(0, 2)) if kind == "text" else value
        return ("in", field, draw(st.lists(values, max_size=4)))
    if shape == "between" and kind != "meta":
        return ("between", field, draw(value), draw(value))
    if shape == "between":
        ordered = st.one_of(texts, numbers)
        return ("between", field, draw(ordered), draw(ordered))
    op = draw(operators)
    found = draw(value)
    if kind == "text" and op in ("=", "!=") and draw(st.booleans()):
        found = draw(st.integers(0, 2))
    return ("value", "=" if isinstance(found, bool) and op not in ("=", "!=") else op, field, found)


conditions = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
        st.tuples(st.just("and"), inner, inner, inner),
        st.tuples(st.just("not"), inner),
    ),
    max_leaves=6,
)


@st.composite
def written(draw: st.DrawFn) -> tuple[Any, str, dict[str, Any]]:
    node = draw(conditions)
    writer = Writer(draw)
    return node, writer.write(node), writer.params


# --- the test ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection, tables=[item])
        yield connection
    engine.dispose()


def insert(connection: sa.Connection, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    connection.execute(item.delete())
    full = [{**row, "vid": vid, "id": f"{vid}"} for vid, row in enumerate(table)]
    stored = []
    for row in full:
        kept = {key: value for key, value in row.items() if key != "mtime"}
        kept["mtime_ns"] = row["mtime"]
        kept["taken"] = None if row["taken"] is None else row["taken"] // NS
        kept["path"] = None if row["path"] is None else os.fsencode(row["path"])
        kept["meta"] = json.dumps(row["meta"], ensure_ascii=False, sort_keys=True)
        stored.append(kept)
    if stored:
        connection.execute(item.insert(), stored)
    return full


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(table=st.lists(rows, min_size=1, max_size=6), condition=written())
def test_sqlite_finds_what_the_evaluator_finds(
    connection: sa.Connection, table: list[dict[str, Any]], condition: tuple[Any, str, dict[str, Any]]
) -> None:
    node, where, params = condition
    full = insert(connection, table)
    compiled = compile_filter(where, params, columns=item.c)
    found = list(connection.scalars(sa.select(item.c.vid).where(compiled).order_by(item.c.vid)))
    assert found == [row["vid"] for row in full if evaluate(node, row) is True], where
