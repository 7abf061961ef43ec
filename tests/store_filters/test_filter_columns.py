"""Columns in memory against SQLite: for any condition over any rows both must find the same, true or false."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from mmsearch.errors import FilterError
from mmsearch.store import Change, Snapshot, Store, Touch, columns, fieldcache, roster
from mmsearch.store.column import ColumnBuilder, Type
from mmsearch.store.fieldcache import FieldCache
from mmsearch.store.filter_masks import NotInColumns, rows_where
from mmsearch.store.filter_tree import Node, Not, fields_of
from mmsearch.store.filtering import select
from mmsearch.store.filters import filter_sql, filter_tree, tree_sql
from mmsearch.store.roster import vids_where
from mmsearch.store.rows import dump_meta
from mmsearch.store.schema import metadata
from mmsearch.store.sqlite import raw
from mmsearch.store.strings import pack_or_none
from mmsearch.store.tracking import MOST, REMOVED, TRACK
from mmsearch.types import Draft, Kind
from tests.store_filters import test_filter_oracle as oracle

# --- what is drawn: what numbers and texts can be at their worst ------------------------------------------------------

EDGES = [0, 1, -1, 50, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 2**64 + 1, 10**30]
REALS = [-0.0, 0.1, 0.5, 50.0, 1e15 + 0.5, 2.0**53, 2.0**63, -(2.0**63), 1e20, 1e308, 5e-324, 0.1 + 0.2, 12.34]
WHOLE = ["", "a", "A", "ab", "AB", "aé", "aÉ", "İ", "ſ", "s", "K", "k", "%", "_", "a\nb", "😺", "1", "50"]
TEXTS = [*WHOLE, "a\0b", "\udce9", "\ud83d"]
numbers = st.sampled_from(EDGES) | st.sampled_from(REALS) | st.integers(-3, 60) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.sampled_from(TEXTS) | st.text(max_size=3)
scalars = st.one_of(numbers, texts, st.booleans())
objects = st.dictionaries(st.sampled_from(["x", "y"]), scalars, max_size=2)
inner = st.one_of(scalars, st.none(), st.lists(scalars, max_size=2), objects)
tame = st.one_of(st.integers(-3, 60), st.sampled_from([0.5, 12.34, 50.0]), st.sampled_from(WHOLE[:12]), st.booleans(), st.none())
sorts = [st.sampled_from(EDGES[:9]), numbers, texts, st.sampled_from(WHOLE), st.booleans(), tame, inner]
columns_of_one_kind = st.sampled_from(sorts)
FIELDS = ["a", "b", "c", "a.x", "meta.size", "size", "width", "taken", "mtime", "group", "root", "kind", "text", "path", "id"]


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows in which each key of meta has values of a sort of its own, as fields have."""
    count = draw(st.integers(0, 8))
    keys = ["a", "b", "c", "size"]
    chosen = [draw(columns_of_one_kind) for _ in keys]
    rows = []
    for at in range(count):
        meta = {key: draw(sort) for key, sort in zip(keys, chosen, strict=True) if draw(st.integers(0, 5))}
        rows.append({**draw(oracle.rows), "meta": meta, "group": draw(st.none() | texts), "id": f"{at}"})
    return rows


@st.composite
def leaves(draw: st.DrawFn) -> Any:
    field = draw(st.sampled_from(FIELDS))
    shape = draw(st.sampled_from(["value", "value", "value", "in", "null", "between", "like", "fields"]))
    if shape == "null":
        return ("null", field)
    if shape == "fields":
        return ("fields", draw(oracle.operators), field, draw(st.sampled_from(FIELDS)))
    if shape == "like":
        return ("like", field, draw(st.text("aAbéÉsSkK1%_\n", max_size=6)))
    value = st.sampled_from(list(oracle.DATES)) | numbers if field in ("taken", "mtime") else scalars
    if shape == "in":
        return ("in", field, draw(st.lists(value, max_size=4)))
    if shape == "between":
        return ("between", field, draw(value), draw(value))
    return ("value", draw(oracle.operators), field, draw(value))


class Bound(oracle.Writer):
    """Writes every value as a parameter: these have spellings that are no literals."""

    def value(self, value: Any) -> str:
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f":{name}"


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    joined = st.recursive(
        leaves(),
        lambda part: st.one_of(st.tuples(st.sampled_from(["and", "or"]), part, part), st.tuples(st.just("not"), part)),
        max_leaves=5,
    )
    writer = Bound(draw)
    return writer.write(draw(joined)), writer.params


# --- both ways --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        yield raw(connection)
    engine.dispose()


def fill(database: sqlite3.Connection, table: list[dict[str, Any]]) -> None:
    database.execute("DELETE FROM item")
    for at, row in enumerate(table):
        taken = None if row["taken"] is None else row["taken"] // oracle.NS
        path = None if row["path"] is None else os.fsencode(row["path"])
        texts = [pack_or_none(row[name]) for name in ("group", "root", "text")]
        values = (3 * at + 1, row["id"], row["kind"], path, row["size"], row["mtime"], row["width"], row["height"], taken, *texts)
        database.execute(
            'INSERT INTO item (vid, id, kind, path, size, mtime_ns, width, height, taken, "group", root, text, meta)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, dump_meta(row["meta"], "x")),
        )


def by_sqlite(database: sqlite3.Connection, node: Node) -> list[int]:
    return vids_where(database, *tree_sql(node)).tolist()


def by_columns(database: sqlite3.Connection, node: Node, wanted: bool) -> list[int] | None:
    """By columns alone, whichever fields these are of; ``None`` where they do not tell."""
    cache = FieldCache()
    live = cache.roster(database, 1)
    assert live is not None
    known = cache.columns(database, live, [one for one in fields_of(node) if one.kind != "path"])
    if any(one.source not in known for one in fields_of(node)):
        return None
    try:
        return live.vids[rows_where(node, known, wanted)].tolist()
    except NotInColumns:
        return None


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), condition=conditions(), kind=st.sampled_from([None, Kind.IMAGE, Kind.TEXT]))
def test_columns_find_what_sqlite_finds(
    database: sqlite3.Connection, table: list[dict[str, Any]], condition: tuple[str, dict[str, Any]], kind: Kind | None
) -> None:
    where, params = condition
    try:
        node = filter_tree(where, params)
    except FilterError:
        reject()
    fill(database, table)
    for wanted in (True, False):
        found = by_columns(database, node, wanted)
        expected = by_sqlite(database, node if wanted else Not(node))
        assert found is None or found == expected, (where, params, wanted)
    both = by_sqlite(database, node)
    expected = [vid for vid in both if kind is None or table[vid // 3]["kind"] == kind.value]
    assert select(database, 1, FieldCache(), where, params, kind).vids.tolist() == expected


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=st.lists(oracle.rows, min_size=1, max_size=6), condition=oracle.written())
def test_columns_find_what_the_evaluator_finds(
    database: sqlite3.Connection, table: list[dict[str, Any]], condition: tuple[Any, str, dict[str, Any]]
) -> None:
    node, where, params = condition
    full = [{**row, "id": f"{at}"} for at, row in enumerate(table)]
    fill(database, full)
    found = select(database, 1, FieldCache(), where, params, None)
    assert [vid // 3 for vid in found.vids.tolist()] == [at for at, row in enumerate(full) if oracle.evaluate(node, row) is True]


ROW = {"kind": "image", "group": None, "root": None, "text": None, "path": None, "taken": None, "mtime": None}
PLAIN = {**ROW, "size": None, "width": None, "height": None}
ANSWERED: list[tuple[list[Any], str, dict[str, Any]]] = [
    ([2**53, 2**53 + 1, 2**63 - 1], "a > :p", {"p": 2.0**53}),
    ([2**53, 2**53 + 1, 2**63 - 1], "a = :p", {"p": 2**53 + 1}),
    ([2.0**53, 2.0**53 + 2, 0.5], "a < :p", {"p": 2**53 + 1}),
    ([2.0**53, 2.0**53 + 2, 0.5], "a >= :p", {"p": 2**53 + 1}),
    *(([0, 1, 2, 3], f"a {op} 1.5", {}) for op in ("<", "<=", "=", "!=", ">", ">=")),
    *(([0, 1, 2, 3], f"a {op} :p", {"p": p}) for op in ("<", ">=", "=") for p in (1e300, -1e300, float("inf"))),
    ([0.1, 0.1 + 0.2, -0.0, 0], "a = 0 or a = :p", {"p": 0.3}),
    (["a", "Ä", "ä", "\u017f", "\u212a", "k"], "a like 'K' or a like 's' or a like 'ä'", {}),  # a long s, the sign of kelvin
    (["a", 1, 1.0, True, None, [1], {"x": 1}], "not a = 1", {}),
    (["a", 1, 1.0, True, None, [1], {"x": 1}], "a != true", {}),
    (["a", 1, 1.0, True, None, [1], {"x": 1}], "a in :p", {"p": ["a", 1, True, "b"]}),
    (["a", 1, 1.0, True, None, [1], {"x": 1}], "not a in :p", {"p": []}),
]


@pytest.mark.parametrize(("values", "where", "params"), ANSWERED)
def test_these_are_answered_by_columns(
    database: sqlite3.Connection, values: list[Any], where: str, params: dict[str, Any]
) -> None:
    """And not handed to SQLite, which would make the comparison above an empty one."""
    fill(database, [{**PLAIN, "id": f"{at}", "meta": {"a": value}} for at, value in enumerate(values)])
    node = filter_tree(where, params)
    assert by_columns(database, node, True) == by_sqlite(database, node)
    assert by_columns(database, node, False) == by_sqlite(database, Not(node))


@pytest.mark.parametrize("op", ["=", "!=", "<", "<=", ">", ">="])
def test_two_fields_of_any_types(database: sqlite3.Connection, op: str) -> None:
    values = [1, 1.0, 2, 0.5, True, False, None, "a", "b", [1], {"x": 1}]
    pairs = [{"a": one, "b": other} for one in values for other in values]
    fill(database, [{**PLAIN, "size": 1 if at % 2 else None, "id": f"{at}", "meta": meta} for at, meta in enumerate(pairs)])
    for where in (f"a {op} b", f"a {op} size", f"id {op} a", f"size {op} b"):
        node = filter_tree(where)
        assert by_columns(database, node, True) == by_sqlite(database, node), where
        assert by_columns(database, node, False) == by_sqlite(database, Not(node)), where


@pytest.mark.parametrize(
    ("values", "where", "params"),
    [
        ([2**63, 1], "a > 5", {}),
        ([2**53 + 1, 0.5], "a > 5", {}),
        (["a\0b", "a"], "a = 'a'", {}),
        (["a\0b", "a"], "a like 'a'", {}),
        (["\udce9", "a"], "a < 'b'", {}),
        (["a", "b"], "a < :p", {"p": "\udce9"}),
        (["a", 12], "a like '1%'", {}),
        (["aaaa"], "a like '%a%a%a%a%a%b'", {}),
        ([2**53 + 1], "a < b", {}),
    ],
)
def test_these_are_left_to_sqlite(
    database: sqlite3.Connection, values: list[Any], where: str, params: dict[str, Any]
) -> None:
    fill(database, [{**PLAIN, "id": f"{at}", "meta": {"a": value, "b": 0.5}} for at, value in enumerate(values)])
    node = filter_tree(where, params)
    assert by_columns(database, node, True) is None
    assert select(database, 1, FieldCache(), where, params, None).vids.tolist() == by_sqlite(database, node)


@pytest.mark.parametrize("where", ["group > 'a'", "group like ''", "group = 'a'", "group < a", "group in ('a')"])
def test_a_text_that_is_kept_as_bytes_is_left_to_sqlite(database: sqlite3.Connection, where: str) -> None:
    rows = [{**PLAIN, "id": f"{at}", "meta": {"a": "b"}, "group": group} for at, group in enumerate(["b", None, "\udce9", "a"])]
    fill(database, rows)
    node = filter_tree(where)
    assert by_columns(database, node, True) is None
    assert select(database, 1, FieldCache(), where, {}, None).vids.tolist() == by_sqlite(database, node)


@given(values=st.lists(inner, max_size=30), cut=st.integers(0, 30))
@example(values=["a", 1, 2.5, None, "b", "a"], cut=2)
def test_a_column_that_grows_is_the_one_read_at_once(values: list[Any], cut: int) -> None:
    vids = np.arange(len(values), dtype=np.int64)
    whole, first = ColumnBuilder(), ColumnBuilder()
    whole.add(values)
    first.add(values[:cut])
    before = first.column(vids[:cut])
    texts = dict(before.texts)
    second = ColumnBuilder(before)
    second.add(values[cut:])
    once, grown = whole.column(vids), second.column(vids)
    assert before.texts == texts, "who still has the former column must not see it change"
    assert grown.types.tolist() == once.types.tolist()
    assert (grown.texts, grown.vague, grown.odd, grown.text_bytes) == (once.texts, once.vague, once.odd, once.text_bytes)
    if not once.vague:
        assert [None if one is None else one.tolist() for one in (grown.numbers, grown.codes)] == [
            None if one is None else one.tolist() for one in (once.numbers, once.codes)
        ]
        for at in np.flatnonzero(np.isin(once.types, [Type.INTEGER, Type.REAL])).tolist():
            assert once.numbers is not None
            assert once.numbers[at].item() == values[at]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), name=st.sampled_from(["a", "b", "a.x", "meta.size", "size", "taken", "group", "kind"]))
def test_codes_are_the_values_of_the_items(database: sqlite3.Connection, table: list[dict[str, Any]], name: str) -> None:
    fill(database, table)
    values_of = [oracle.look_up(row, name) for row in table]
    if name == "taken":
        values_of = [None if row["taken"] is None else row["taken"] // oracle.NS for row in table]
    expected: dict[tuple[bool, Any], tuple[type, set[int]]] = {}
    for at in sorted(range(len(table)), key=lambda at: isinstance(values_of[at], float)):  # 1 before 1.0: 1 is shown
        value = values_of[at]
        if isinstance(value, str | int | float):
            expected.setdefault((isinstance(value, bool), value), (type(value), set()))[1].add(3 * at + 1)
    cache, field = FieldCache(), columns.named(name)
    live = cache.roster(database, 1)
    assert live is not None
    column = cache.columns(database, live, [field])[field.source]
    coded = columns.coded(column)
    assert (coded is None) == bool(np.equal(column.types, Type.OTHER).any() or column.vague)
    if coded is None:
        return
    vids, codes, values = coded
    assert vids.tolist() == sorted(vids.tolist())
    found: dict[tuple[bool, Any], tuple[type, set[int]]] = {}
    for vid, code in zip(vids.tolist(), codes.tolist(), strict=True):
        value = values[code]
        found.setdefault((isinstance(value, bool), value), (type(value), set()))[1].add(vid)
    assert found == expected


# --- from commit to commit --------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "c", dim=2, model="toy", fingerprint="f") as made:
        yield made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is read of the table, row by row, to make columns: one entry a row."""
    seen: list[tuple[str, ...]] = []
    pieces: Callable[..., Iterator[list[list[Any]]]] = fieldcache._pieces

    def counted(database: sqlite3.Connection, fields: list[Any], vids: Any) -> Iterator[list[list[Any]]]:
        for values in pieces(database, fields, vids):
            seen.extend([tuple(field.source for field in fields)] * len(values[0]))
            yield values

    monkeypatch.setattr(fieldcache, "_pieces", counted)
    return seen


def put(store: Store, prices: dict[str, Any], **more: Any) -> list[int]:
    drafts = [Draft(id=id, kind=Kind.IMAGE, meta={"price": price, "n": 1}) for id, price in prices.items()]
    with store.writer() as writer:
        return writer.commit(Change(upserts=drafts, vectors=np.ones((len(drafts), 2), dtype=np.float32), **more))


def cheap(snapshot: Snapshot, most: int = 5) -> list[int]:
    found = snapshot.select("price < :p", {"p": most}).vids.tolist()
    assert found == vids_where(snapshot._raw, *filter_sql("price < :p", {"p": most})).tolist()
    return found


def test_a_commit_that_adds_reads_the_new_rows_only(store: Store, read: list[tuple[str, ...]]) -> None:
    put(store, {f"{n}": n for n in range(100)})
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 1, 2, 3, 4]
        assert snapshot.select("price < 3 and n = 1").vids.tolist() == [0, 1, 2]
        assert read == [('$."price"',)] * 100 + [('$."n"',)] * 100
    read.clear()
    put(store, {"x": 3, "y": 300})
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 1, 2, 3, 4, 100]
        assert cheap(snapshot, 2) == [0, 1]
        assert read == [('$."price"',)] * 2


def test_a_removal_reads_nothing(store: Store, read: list[tuple[str, ...]]) -> None:
    put(store, {f"{n}": n for n in range(100)})
    with store.snapshot() as snapshot:
        cheap(snapshot)
    read.clear()
    put(store, {"1": 4}, deletes=[0, 99])  # and replaces the item "1"
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [2, 3, 4, 100]
        assert snapshot.live().vids.tolist() == [*range(2, 99), 100]
        assert len(read) == 1


def test_removals_are_taken_from_the_list_while_that_reaches_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    many = MOST + 100
    put(store, {f"{n}": n for n in range(many)})
    scans: list[int] = []
    rows = roster._rows

    def counted(database: sqlite3.Connection, after: int) -> Any:
        scans.append(after)
        return rows(database, after)

    monkeypatch.setattr(roster, "_rows", counted)

    def live_after(deletes: list[int]) -> list[int]:
        put(store, {f"{n}": n for n in deletes[:1]}, deletes=deletes)  # the first is replaced, the others go
        with store.snapshot() as snapshot:
            assert snapshot.select("price >= 0").vids.tolist() == snapshot.live().vids.tolist()
            return snapshot.live().vids.tolist()

    with store.snapshot() as snapshot:
        assert len(snapshot.select("price >= 0")) == many
    expected = list(range(many))
    scans.clear()
    for number, deletes in enumerate([[3], [0, 1, 5], [], [many - 1, 7], list(range(10, 10 + MOST - 20))]):
        expected = [vid for vid in expected if vid not in deletes] + ([many + number] if deletes else [])
        many += 0 if deletes else -1  # nothing was put: the next one has this vid
        assert live_after(deletes) == expected
    assert -1 not in scans, "none of this needed all vids"
    scans.clear()
    gone = expected[:MOST // 2]
    with store.writer() as writer:  # more than the list holds, and what came before falls off it
        for at in (0, 1):
            writer.commit(Change(deletes=gone[at::2]))
            writer.commit(Change(deletes=list(range(10**6, 10**6 + 2 * MOST))))  # that never were
    with store.snapshot() as snapshot:
        assert snapshot.live().vids.tolist() == [vid for vid in expected if vid not in gone]
        assert -1 not in scans


def test_more_removals_than_are_listed(store: Store) -> None:
    put(store, {f"{n}": n for n in range(2 * MOST)})
    with store.snapshot() as snapshot:
        assert len(cheap(snapshot, 2 * MOST)) == 2 * MOST
    with store.writer() as writer:
        writer.commit(Change(deletes=[1]))
        writer.commit(Change(deletes=list(range(MOST + 1))))
    with store.snapshot() as snapshot:
        assert cheap(snapshot, 2 * MOST) == list(range(MOST + 1, 2 * MOST))
    put(store, {}, deletes=[MOST + 5])
    with store.snapshot() as snapshot:
        assert cheap(snapshot, MOST + 8) == [MOST + at for at in (1, 2, 3, 4, 6, 7)]


@pytest.mark.parametrize("listed", ["", "x", "5", "0 1", "0 1 2 3", None, "0 99999999999999999999 1"])
def test_a_list_of_removals_that_is_none(store: Store, listed: str | None) -> None:
    """Whatever stands there, the number of items that was noted must come out, or all are read anew."""
    put(store, {f"{n}": n for n in range(10)})
    with store.snapshot() as snapshot:
        cheap(snapshot)
    put(store, {}, deletes=[1, 4])
    with sqlite3.connect(store.path / "catalog.db") as other:
        other.execute("DELETE FROM meta WHERE key = ?", (REMOVED,))
        if listed is not None:
            other.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (REMOVED, listed))
    other.close()
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 2, 3]
    put(store, {}, deletes=[2])
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 3]


def test_an_item_that_is_changed_in_place_is_noticed(store: Store, read: list[tuple[str, ...]]) -> None:
    put(store, {f"{n}": n for n in range(10)})
    with store.snapshot() as snapshot:
        cheap(snapshot)
    with store.writer() as writer:
        writer.commit(Change(touches=[Touch(7, None, None, {"price": 1})]))
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 1, 2, 3, 4, 7]
    read.clear()
    with store.writer() as writer:
        writer.set_meta("a", "b")
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 1, 2, 3, 4, 7]
        assert read == [], "another commit touched no item"


def test_a_change_by_a_writer_that_keeps_no_track_is_noticed(store: Store) -> None:
    put(store, {f"{n}": n for n in range(10)})
    with store.snapshot() as snapshot:
        cheap(snapshot)
    with sqlite3.connect(store.path / "catalog.db") as older:
        older.execute("""UPDATE item SET meta = '{"price": 1}' WHERE vid = 8""")
        older.execute("DELETE FROM item WHERE vid = 2")
        older.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
    older.close()
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 1, 3, 4, 8]
        assert snapshot.live().vids.tolist() == [0, 1, *range(3, 10)]
    put(store, {"x": 0})  # the track goes on from there, and another reader that was at the first state sees the whole
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 1, 3, 4, 8, 10]


def test_an_older_snapshot_sees_what_it_saw(store: Store) -> None:
    put(store, {f"{n}": n for n in range(10)})
    with store.snapshot() as old:
        assert cheap(old) == [0, 1, 2, 3, 4]
        put(store, {"x": 1}, deletes=[0], touches=[Touch(9, None, None, {"price": 2})])
        with store.snapshot() as new:
            assert cheap(new) == [1, 2, 3, 4, 9, 10]
            assert cheap(old) == [0, 1, 2, 3, 4]
            assert old.live().vids.tolist() == list(range(10))
            assert cheap(new, 2) == [1, 10]


def test_columns_stay_within_their_bytes(store: Store, read: list[tuple[str, ...]]) -> None:
    put(store, {f"{n}": n for n in range(1000)})
    store._fields = FieldCache(budget=40_000)  # two columns of 17 bytes an item, and not a third
    with store.snapshot() as snapshot:
        for where in ("price < 5", "n < 5", "price < 6", "n < 6"):
            snapshot.select(where)
        assert len(read) == 2000, "both fit"
        snapshot.select("missing < 5")  # 9 bytes an item: "price", used longest ago, has to go
        read.clear()
        snapshot.select("n < 7 and missing < 3")
        assert read == []
        assert cheap(snapshot, 7) == list(range(7))
        assert read == [('$."price"',)] * 1000


def test_a_field_of_many_long_texts_is_not_kept(store: Store, read: list[tuple[str, ...]]) -> None:
    put(store, {f"{n}": f"{n} " + "x" * 100 for n in range(1000)})
    store._fields = FieldCache(budget=100_000)
    with store.snapshot() as snapshot:
        assert snapshot.select("price like '%7 %'").vids.tolist() == list(range(7, 1000, 10))
        tried = len(read)
        assert tried < 1000
        assert snapshot.select("price like '%8 %' and n = 1").vids.tolist() == list(range(8, 1000, 10))
        assert len([one for one in read if '$."price"' in one]) == tried, "it is not tried again"


def test_texts_that_nobody_has_any_more_do_not_cost_the_column(store: Store, read: list[tuple[str, ...]]) -> None:
    store._fields = FieldCache(budget=8 * 5000)  # 5,000 bytes of texts: 45 short ones
    for round_ in range(4):
        put(store, {f"{n}": f"text {n} of round {round_}" for n in range(30)})
        with store.snapshot() as snapshot:
            assert len(snapshot.select(f"price = 'text 7 of round {round_}'")) == 1
            assert store._fields._kept['$."price"'].column is not None
    assert len(read) == 30 + 3 * (30 + 30), "texts of two rounds are too many together: all that are left were read anew"


def test_kind_is_known_without_reading(store: Store, read: list[tuple[str, ...]]) -> None:
    put(store, {"a": 1, "b": 9})
    with store.writer() as writer:
        writer.commit(Change(upserts=[Draft(id="t", kind=Kind.TEXT, text="x")], vectors=np.ones((1, 2), dtype=np.float32)))
    with store.snapshot() as snapshot:
        assert snapshot.select("kind = 'text' or kind like 'TEX_'").vids.tolist() == [2]
        assert snapshot.select("kind != 'text'").vids.tolist() == [0, 1]
        assert read == []


def test_values_too_long_to_be_joined_are_left_to_sqlite(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {"a": 1, "b": 9})

    def too_big(*_: Any) -> Iterator[list[list[Any]]]:
        raise sqlite3.DataError("string or blob too big")
        yield

    monkeypatch.setattr(fieldcache, "_pieces", too_big)
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0]


def test_the_record_of_changes_is_one_small_row(store: Store) -> None:
    vids = put(store, {"a": 1})
    put(store, {"b": 1}, deletes=vids)
    with store.writer() as writer:
        writer.commit(Change(upserts=[Draft(id="t", kind=Kind.TEXT, text="x")], vectors=np.ones((1, 2), dtype=np.float32)))
    put(store, {"b": 2}, touches=[Touch(2, 2, 3)])  # a new version of "b", and the text is touched
    with store.snapshot() as snapshot:
        last = snapshot.generation
        kept = snapshot._raw.execute("SELECT value FROM meta WHERE key = ?", (TRACK,)).fetchall()
        assert kept == [(f"{last} {last} {last} 1 1",)]
        assert [snapshot.count(kind) for kind in (None, Kind.IMAGE, Kind.TEXT)] == [2, 1, 1]
    with store.writer() as writer:
        writer.set_meta("a", "b")
    with store.snapshot() as snapshot:
        kept = snapshot._raw.execute("SELECT value FROM meta WHERE key = ?", (TRACK,)).fetchall()
        assert kept == [(f"{last + 1} {last} {last} 1 1",)]


@pytest.mark.parametrize("record", ["", "x", "1 2", "9 9 9 9 9 9", "-1", b"\xff", None])
def test_a_record_that_is_none_means_that_anything_may_have_changed(store: Store, record: Any) -> None:
    put(store, {"a": 1, "b": 9})
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0]
    with sqlite3.connect(store.path / "catalog.db") as other:
        other.execute("""UPDATE item SET meta = '{"price": 1}' WHERE vid = 1""")
        if record is None:
            other.execute("DELETE FROM meta WHERE key = ?", (TRACK,))
        else:
            other.execute("UPDATE meta SET value = ? WHERE key = ?", (record, TRACK))
        other.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
    other.close()
    with store.snapshot() as snapshot:
        assert cheap(snapshot) == [0, 1]
        assert snapshot.count() == 2
    put(store, {"c": 2})
    with store.snapshot() as snapshot:
        assert (snapshot.count(), snapshot.count(Kind.TEXT), cheap(snapshot)) == (3, 0, [0, 1, 2])
    assert [one for one in store.verify() if one.level != "ok"] == []


def test_verify_counts_what_was_noted(store: Store) -> None:
    put(store, {"a": 1, "b": 9})
    with store.snapshot() as snapshot:
        last = snapshot.generation
    with sqlite3.connect(store.path / "catalog.db") as other:
        other.execute("UPDATE meta SET value = ? WHERE key = ?", (f"{last} 0 0 3 0", TRACK))
    other.close()
    (finding,) = (one for one in store.verify() if one.level != "ok")
    assert (finding.what, finding.detail) == ("counters", "2 images and 0 texts are live, and 3 and 0 were noted")
    store.repair()
    assert [one for one in store.verify() if one.level != "ok"] == []
    with store.snapshot() as snapshot:
        assert snapshot.count(Kind.IMAGE) == 2
