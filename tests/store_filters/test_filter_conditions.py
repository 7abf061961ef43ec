from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmsearch.errors import FilterError
from mmsearch.store.filters import compile_filter
from mmsearch.store.moments import moment
from mmsearch.store.schema import item, metadata

ROWS: list[dict[str, Any]] = [
    {"id": "cat.jpg", "kind": "image", "path": "cat.jpg", "size": 100, "width": 640, "height": 480, "group": "s1"},
    {"id": "dog.jpg", "kind": "image", "path": "Dogs/dog.jpg", "size": 200, "width": 480, "height": 640, "group": "s2"},
    {"id": "text-1", "kind": "text", "path": None, "text": "A Red dress", "group": "s1"},
    {"id": "007", "kind": "text", "path": "caf\udce9.txt", "text": "it's 100%", "group": None},
]
METAS: list[dict[str, Any]] = [
    {"price": 40, "brand": "Acme", "in_stock": True, "attributes": {"color": "red"}, "Size": "XL", "size": 9},
    {"price": "40", "brand": "Bolt", "in_stock": False, "tags": ["a", "b"], "my-key": 1, "a.b": 2},
    {"price": 60.5, "brand": None, "attributes": "none", 'q"uote': 1},
    {},
]
TAKEN = [1_682_937_015, 1_704_067_199, None, 0]  # 2023-05-01 10:30:15, 2023-12-31 23:59:59


@pytest.fixture(scope="module")
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        for vid, (row, meta, taken) in enumerate(zip(ROWS, METAS, TAKEN, strict=True)):
            path = None if row["path"] is None else os.fsencode(row["path"])
            mtime = None if taken is None else taken * 10**9 + 5_000_000
            full = {**row, "vid": vid, "path": path, "taken": taken, "mtime_ns": mtime, "root": "r"}
            connection.execute(item.insert().values({**full, "meta": json.dumps(meta)}))
        yield connection
    engine.dispose()


def find(connection: sa.Connection, where: str, **params: Any) -> list[int]:
    condition = compile_filter(where, params, columns=item.c)
    return list(connection.scalars(sa.select(item.c.vid).where(condition).order_by(item.c.vid)))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('price < 50 and brand = "Acme"', [0]),
        ("price < 50", [0]),
        ("not price < 50", [2]),
        ("price = '40'", [1]),
        ("price != 40", [1, 2]),
        ("price is null", [3]),
        ("brand is null", [2, 3]),
        ("brand is not null", [0, 1]),
        ("attributes.color = 'red'", [0]),
        ("attributes is not null", [0, 2]),
        ("in_stock = true or in_stock = false", [0, 1]),
        ("in_stock = 1", []),
        ("tags = 'a'", []),
        ("tags != 'a'", [1]),
        ("Size = 'XL'", [0]),
        ("size = 100", [0]),
        ("meta.size = 9", [0]),
        ('"my-key" = 1', [1]),
        ('"a.b" = 2', [1]),
        ("a.b = 2", []),
        ("kind = 'image' and width > height", [0]),
        ("id = 007", [3]),
        ("id = 7", []),
        ("group in ('s1', 's3')", [0, 2]),
        ("group not in ('s1')", [1]),
        ("path like '%.JPG'", [0, 1]),
        ("path like 'dogs/%'", [1]),
        ("path = 'Dogs/dog.jpg'", [1]),
        ("path >= 'D' and path < 'E'", [1]),
        ("text like '%red%'", [2]),
        ("text = 'it''s 100%'", [3]),
        ("root = 'r' and not kind = 'image'", [2, 3]),
        ("taken >= '2023-01-01'", [0, 1]),
        ("taken = '2023-05-01'", [0]),
        ("taken <= '2023-12-31'", [0, 1, 3]),
        ("taken < '2023-12-31'", [0, 3]),
        ("taken between '2023-05' and '2023-12'", [0, 1]),
        ("taken = 0", [3]),
        ("mtime = '2023-05-01 10:30:15'", [0]),
        ("mtime > '2023-05-01 10:30:15'", [1]),
        ("mtime > taken", [0, 1, 3]),
        ("price between 30 and 50", [0]),
        ("((price) = ((40)))", [0]),
        ("price > -1 AND NOT (brand LIKE 'b%')", [0]),
        ("brand not like 'a%'", [1]),
        ("not brand like 'a%'", [1]),
        ("not brand not like 'a%'", [0]),
        ("price not between 30 and 50", [2]),
        ("not (price between 30 and 50)", [2]),
        ("brand not in ('Acme')", [1]),
        ("not brand in ('Acme')", [1]),
        ("not not brand = 'Acme'", [0]),
        ("not brand is null", [0, 1]),
        ("not brand is not null", [2, 3]),
        ("nothing = 1 or nothing != 1", []),
        ("id in ()", []),
        ("not id in ()", [0, 1, 2, 3]),
        ("width = 640.0", [0]),
        ("width < 1e999", [0, 1]),
        ("size = 99999999999999999999", []),
    ],
)
def test_finds(connection: sa.Connection, where: str, expected: list[int]) -> None:
    assert find(connection, where) == expected


def test_parameters(connection: sa.Connection) -> None:
    assert find(connection, "price < :p", p=50) == [0]
    assert find(connection, "price < :p", p=np.float32(50)) == [0]
    assert find(connection, "price > - :p", p=-50) == [2]
    assert find(connection, "brand = :select", select="Acme") == [0]
    assert find(connection, "id in :ids", ids=["cat.jpg", "007", "x"]) == [0, 3]
    assert find(connection, "id in (:ids, 'dog.jpg')", ids=("cat.jpg",)) == [0, 1]
    assert find(connection, "price in :prices", prices=[40, "40", True]) == [0, 1]
    assert find(connection, "path = :path", path="caf\udce9.txt") == [3]
    assert find(connection, "text = :text", text="\ud800") == []
    assert find(connection, "taken < :day", day=dt.date(2023, 5, 2)) == [0, 3]
    assert find(connection, "taken <= :t", t=dt.datetime(2023, 5, 1, 10, 30, 15)) == [0, 3]
    assert find(connection, "in_stock = :yes", yes=True) == [0]
    assert find(connection, "id in :ids", ids=[f"x{i}" for i in range(4_999)] + ["007"]) == [3]
    assert find(connection, "price in :ids", ids=[*range(41, 2_500), *map(str, range(2_000)), 60.5]) == [1, 2]


@pytest.mark.parametrize(
    "attack",
    [
        "' or '1'='1",
        "x'); drop table item; --",
        "' union select id from item --",
        "\\' or 1=1 --",
        '" or ""="',
        "%' or 1=1",
        ":p",
        "?",
        "\x00",
    ],
)
def test_values_are_never_sql(connection: sa.Connection, attack: str) -> None:
    quoted = attack.replace("'", "''")
    for where in (f"brand = '{quoted}'", f"id = '{quoted}'", f"path like '{quoted}'", f"group in ('{quoted}')"):
        assert find(connection, where) == []
        statement = str(compile_filter(where, columns=item.c))
        assert "drop" not in statement
        assert "union" not in statement
    assert find(connection, "brand = :p or id = :p or path = :p", p=attack) == []
    if '"' not in attack:
        assert find(connection, f'"{attack}" = 1') == []
        assert str(compile_filter(f'"{attack}" = 1', columns=item.c)) == str(compile_filter("x = 1", columns=item.c))


@pytest.mark.parametrize(
    ("where", "part"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("price", "'price' alone"),
        ("true", "true is no condition"),
        ("1 = 1", "needs a field"),
        ("'a' = 'a'", "needs a field"),
        ("price = null", "null equals nothing"),
        ("price in (1, null)", "null equals nothing"),
        ("price < true", "= or !="),
        ("lower(brand) = 'acme'", r"lower\(…\) is a function"),
        ("cast(price as text) = '1'", r"cast\(…\)"),
        ("price::int = 1", "'::'"),
        ("id in (select id from item)", "subquery"),
        ("exists (select 1)", r"exists\(…\)"),
        ("(select 1) = 1", "subquery"),
        ("price = 1; drop table item", "';'"),
        ("drop table item", "'table'"),
        ("price = 1 -- and more", "comment.*'and more'"),
        ("price /* x */ = 1", "comment"),
        ("price + 1 = 2", r"'\+'"),
        ("price = 1 - 1", "arithmetic"),
        ("my-key = 1", "arithmetic"),
        ("brand || 'x' = 'y'", r"'\|\|'"),
        ("brand = 'x", "quote is not closed"),
        ('brand = "x', "quote is not closed"),
        ("brand = ?", r"'\?'"),
        ("price = @x", "'@'"),
        ("price = :p", ":p"),
        ("price < 1 < 2", "comparison inside"),
        ("(price, brand) = (1, 2)", "list"),
        ("price in 5", "'5'|needs a list"),
        ("price in brand", "needs a list"),
        ("price between 1", "near '1'"),
        ("price is true", "'is'"),
        ("brand glob 'x'", "'glob'"),
        ("brand like 'x' escape '!'", "'escape'"),
        ("brand like 5", "like"),
        ("brand = 'x' collate nocase", "'collate'"),
        ("brand regexp 'x'", "'regexp'"),
        ("brand = x'00'", "'00'"),
        ("tags[0] = 'a'", r"'\['"),
        ("meta ->> 'a' = 1", "'->>'"),
        ("* = 1", r"'\*'"),
        ("width > 'x'", "width is a number"),
        ("width in (1, 'x')", "width is a number"),
        ("width like '6%'", "width is no text"),
        ("kind > 3", "kind is a text"),
        ("id = true", "id is a text"),
        ("taken > 'yesterday'", "taken is a time"),
        ("taken = '2023-13'", "taken is a time"),
        ("taken = '2023-02-30'", "taken is a time"),
        ("mtime like '2023%'", "mtime is no text"),
        ("taken = true", "taken is a time"),
        ("width = brand_ and width = kind", "width is a number, kind a text"),
        ('"a""b" = 1', "double quote"),
        ("order by price", "'ORDER BY'"),
        ("price = 1 or", "near"),
        ("case when price = 1 then 1 end = 1", "'when'"),
        ("pragma table_info", "'table_info'"),
        ("\ud800 = 1", "no meaning"),
    ],
)
def test_refuses_and_names_the_part(where: str, part: str) -> None:
    with pytest.raises(FilterError, match=part) as caught:
        compile_filter(where, columns=item.c)
    assert caught.value.hint
    assert len(f"{caught.value}\n{caught.value.hint}".splitlines()) <= 3
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", [None, {"a": 1}, float("nan"), b"x", object(), [1], [[1]]])
def test_refuses_parameters_that_are_no_values(value: Any) -> None:
    with pytest.raises(FilterError):
        compile_filter("price = :p", {"p": value}, columns=item.c)
    if value != [1]:
        with pytest.raises(FilterError):
            compile_filter("price in :p", {"p": [value]}, columns=item.c)


@pytest.mark.parametrize(
    "where",
    [
        "a = 1 or " * 2_000 + "a = 1",
        "(" * 5_000 + "a = 1",
        "(" * 21 + "a = 1" + ")" * 21,
        "not (" * 11 + "a = 1" + ")" * 11,
        "not " * 21 + "a = 1",
        "not " * 2_400 + "a = 1",
        "a = " + "- " * 4_000 + "1",
        "a" + ".a" * 4_000 + " = 1",
        "a in (" + "-1," * 3_000 + "1)",
        "a = '" + "x" * 10_001 + "'",
        "(a = 1 or " * 150 + "a = 1" + ")" * 150,
    ],
)
def test_size_is_limited(where: str) -> None:
    with pytest.raises(FilterError):
        compile_filter(where, columns=item.c)


def test_lists_are_limited(connection: sa.Connection) -> None:
    with pytest.raises(FilterError, match="5,001"):
        compile_filter("a in :p", {"p": list(range(5_001))}, columns=item.c)


def test_the_largest_allowed_runs(connection: sa.Connection) -> None:
    assert find(connection, " or ".join(["price = 40"] * 100)) == [0]
    assert find(connection, "(" * 20 + "price = 40" + ")" * 20) == [0]
    assert find(connection, "not (" * 10 + "price = 40" + ")" * 10) == [0]
    assert find(connection, " and ".join(["price != brand"] * 50)) == [0, 1]
    assert find(connection, "not " * 20 + "price = 40") == [0]
    assert find(connection, " and ".join(["not (not price != 40)"] * 30 + ["price in (- 1, - 2, 60.5)"])) == [2]


def test_a_deep_stack_of_the_caller_is_no_hindrance(connection: sa.Connection) -> None:
    def deeper(levels: int) -> list[int]:
        return find(connection, "(" * 20 + "price = 40" + ")" * 20) if levels == 0 else deeper(levels - 1)

    assert deeper(250) == [0]


_SCRAPS = r"""
a b.c price group "q" 'x' 1 -1.5 = != < <= > >= ( ) , . and or not in like between is null true :p ; -- /* */ + - * / %
|| :: select from case when end cast interval date any all exists [ ] { } ? @ $ ~ & | ^ ! \ ` as array struct map
lambda x -> => ** // <=> @> <@ # $$ e'x' x'0' n'x' 0x1 1e 1e5 .5 5. _ values escape similar unnest distinct
"""


@settings(max_examples=250, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(
            st.sampled_from(
                _SCRAPS.split()
            ),
            max_size=12,
        ).map(" ".join),
    )
)
@example("a = 1e")
@example("a = ٣")
@example("a in (b.c)")
@example("a.'x' = 1")
@example("a = 1 and")
@example("a..b = 1")
@example(".a = 1")
@example("a. = 1")
@example(":p = :p")
@example("a in :p.x")
@example("a : b = 1")
@example("(a = 1, b = 2)")
@example("not (a, b)")
def test_nonsense_is_refused_and_nothing_else(where: str) -> None:
    try:
        condition = compile_filter(where, {"p": 1}, columns=item.c)
    except FilterError:
        return
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection, tables=[item])
        connection.execute(item.insert().values(vid=1, id="1", kind="image", meta="{}"))
        list(connection.scalars(sa.select(item.c.vid).where(condition)))
    engine.dispose()


def test_moments() -> None:
    assert moment("1970") == (0, 365 * 86_400 * 10**9)
    assert moment("1970-01-01T00:00:00.000000001") == (1, 1)
    assert moment("1970-01-01 01:00+01:00") == (0, 60 * 10**9)
    assert moment("1969-12-31 23:59:59") == (-(10**9), 0)
    assert moment("2024-02-29") is not None
    for bad in ("", "20", "2023-2-1", "2023-02-29", "0000", "9999", "2023-01-01T25:00", "2023-01-01 10:00+99:00", "x"):
        assert moment(bad) is None, bad
