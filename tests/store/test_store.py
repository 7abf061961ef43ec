"""What single calls do, with the values that come out."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmsearch
from mmsearch.errors import (
    CollectionCorrupt,
    CollectionExists,
    CollectionNotFound,
    ItemNotFound,
    StorageError,
    UsageError,
)
from mmsearch.store import Change, Move, Store, Touch
from mmsearch.store.rows import dump_meta
from mmsearch.types import Draft, Failure, Kind, VidSet
from tests.store.model import DIM, Model, SmallStore, caption, clean, photo, stored, vector, vectors

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
Put = Callable[[Sequence[Draft]], list[int]]


def test_create_and_open_tell_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "shop"
    assert not Store.exists(folder)
    with Store.create(folder, dim=512, model="mini", fingerprint="abc") as made:
        info = made.info
    assert Store.exists(folder)
    with Store.open(folder) as opened:
        assert opened.info == info
    assert (info.format_version, info.dim, info.dtype, info.model, info.fingerprint) == (1, 512, "float16", "mini", "abc")
    assert info.mmsearch_version == mmsearch.__version__
    assert sorted(path.name for path in folder.iterdir() if "-" not in path.name) == ["LOCK", "catalog.db", "vectors"]


def test_create_refuses_a_second_time(store: Store) -> None:
    with pytest.raises(CollectionExists):
        Store.create(store.path, dim=DIM, model="toy", fingerprint="f1")
    clean(store)


def test_what_a_killed_create_leaves_is_no_collection(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "catalog.db.new").write_bytes(b"half a catalogue")
    assert not Store.exists(folder)
    with Store.create(folder, dim=3, model="toy", fingerprint="f") as made:
        clean(made)
    assert not (folder / "catalog.db.new").exists()


def test_open_names_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFound, match="no collection in"):
        Store.open(tmp_path)
    (tmp_path / "catalog.db").write_bytes(b"this is no database, whatever its name says" * 50)
    with pytest.raises(CollectionCorrupt, match="damaged"):
        Store.open(tmp_path)


def test_open_refuses_a_catalogue_that_lost_its_meta(store: Store) -> None:
    store.close()
    with sqlite3.connect(store.path / "catalog.db") as connection:
        connection.execute("DELETE FROM meta WHERE key = 'dim'")
    connection.close()
    with pytest.raises(CollectionCorrupt, match="'dim'"):
        Store.open(store.path)


@pytest.mark.parametrize("name", ["with space", "a?b#c%20d", "caf\udce9", "日本", "-x", "new\nline"])
def test_the_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    with Store.create(tmp_path / name, dim=2, model="toy", fingerprint="f") as made:
        with made.writer() as writer:
            writer.commit(Change([caption("a", "word")], np.ones((1, 2), np.float32)))
        clean(made)
        with made.snapshot() as snapshot:
            assert snapshot.count() == 1


def test_an_upsert_replaces_and_gets_a_new_vid(store: Store, model: Model, put: Put) -> None:
    assert put([photo("a.jpg"), photo("b.jpg")]) == [0, 1]
    assert put([photo("a.jpg", version=1), photo("c.jpg")]) == [2, 3]
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        assert snapshot.live().vids.tolist() == [1, 2, 3]
        assert snapshot.records([0]) == []
        assert np.array_equal(snapshot.fetch([0]), stored(vectors(["a.jpg"])))  # dead, and still stored


def test_of_two_upserts_with_one_id_the_later_counts(store: Store, model: Model, put: Put) -> None:
    assert put([photo("a.jpg"), photo("b.jpg"), photo("a.jpg", version=9)]) == [0, 1, 2]
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        assert snapshot.by_id(["a.jpg"])["a.jpg"].vid == 2


def test_items_may_swap_their_ids(store: Store, model: Model, put: Put) -> None:
    a, b, c = put([photo("apple.jpg"), photo("lemon.jpg"), photo("melon.jpg")])
    moves = [
        Move(a, "lemon.jpg", "photos", "lemon.jpg", 1, 2),
        Move(b, "apple.jpg", "photos", "apple.jpg", 3, 4, "fruit", {"brand": "mango"}),
    ]
    change = Change(moves=moves, touches=[Touch(c, 5, 6, {"brand": "grapefruit"}, None)])
    with store.writer() as writer:
        writer.commit(change)
    model.apply(change)
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        assert snapshot.by_id(["lemon.jpg"])["lemon.jpg"].vid == a
        assert [vid for vid, _ in snapshot.search_text("mango", 5)] == [b]


def test_a_move_onto_another_item_replaces_it(store: Store, model: Model, put: Put) -> None:
    a, b = put([photo("a.jpg"), photo("b.jpg")])
    change = Change(moves=[Move(a, "b.jpg", "photos", "b.jpg", 1, 2)])
    with store.writer() as writer:
        writer.commit(change)
    model.apply(change)
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        assert snapshot.live().vids.tolist() == [a]


def test_two_claims_to_one_id_are_refused(store: Store, put: Put) -> None:
    a, b = put([photo("a.jpg"), photo("b.jpg")])
    moves = [Move(a, "c.jpg", None, None, 0, 0), Move(b, "c.jpg", None, None, 0, 0)]
    with store.writer() as writer, pytest.raises(UsageError, match="same id"):
        writer.commit(Change(moves=moves))


def test_touch_keeps_what_it_is_not_given(store: Store, put: Put) -> None:
    (vid,) = put([photo("a.jpg", group="g", meta={"brand": "apple"})])
    with store.writer() as writer:
        writer.commit(Change(touches=[Touch(vid, 1, 2)]))
    with store.snapshot() as snapshot:
        (record,) = snapshot.records([vid])
    assert (record.size, record.mtime_ns, record.group, record.meta) == (1, 2, "g", {"brand": "apple"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((1, DIM), np.float32), r"2 items of 8 dimensions came with vectors of shape \(1, 8\)"),
        (np.zeros((2, 3), np.float32), r"shape \(2, 3\)"),
        (None, r"shape \(0, 8\)"),
        (np.array([[0.5] * DIM, [np.nan] * DIM], np.float32), "vector of item 'b' is not finite"),
        (np.array([[1e30] * DIM, [0.5] * DIM], np.float32), "vector of item 'a' is not finite"),
    ],
)
def test_bad_vectors_change_nothing(store: Store, rows: np.ndarray | None, message: str) -> None:
    with store.writer() as writer:
        with pytest.raises(UsageError, match=message):
            writer.commit(Change([caption("a", "x"), caption("b", "y")], rows))
        assert writer.commit(Change([caption("a", "x")], vectors(["a"]))) == [0]
    clean(store)


@pytest.mark.parametrize("meta", [{"price": float("nan")}, {"when": object()}, {"n": float("inf")}])
def test_meta_that_is_not_json_is_refused_by_name(store: Store, meta: dict[str, object]) -> None:
    with store.writer() as writer, pytest.raises(UsageError, match="meta of item 'sku-1'"):
        writer.commit(Change([caption("sku-1", "x", meta=meta)], vectors([0])))


STRANGE = ["caf\udce9.jpg", "\ud800", "a\0b", "日本/写真.jpg", " ", "\n", "\udcff" * 3, "x" * 5000, "12", "'; DROP TABLE item"]


def test_any_string_survives_in_every_column(store: Store, model: Model, put: Put) -> None:
    strings = STRANGE + [chr(code) for code in (0xE9, 0x2028, 0x10FFFF, 0xDC80, 0xDFFF)]
    drafts = [caption(one, one, group=one, meta={one: one, "list": [one, {one: 1}]}) for one in strings]
    put(drafts)
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        assert list(snapshot.by_id(strings)) == strings
    store.close()
    clean(store)


def test_paths_that_are_not_utf8(store: Store, model: Model, put: Put) -> None:
    put([photo("dir\udcff/caf\udce9.jpg"), photo("dir\udcff/b.jpg"), photo("dir/b.jpg")])
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        assert sorted(row[0] for row in snapshot.stats("photos", "dir\udcff")) == ["dir\udcff/b.jpg", "dir\udcff/caf\udce9.jpg"]


def test_stats_below_a_folder(store: Store, put: Put) -> None:
    put([photo(path) for path in ("a", "a.jpg", "a/b.jpg", "a/b/c.jpg", "a0/x.jpg", "a-b/x.jpg", "b/a/x.jpg")])
    with store.snapshot() as snapshot:

        def below(folder: str) -> list[str]:
            return sorted(path for path, *_ in snapshot.stats("photos", folder))

        assert below("a") == below("a/") == ["a", "a/b.jpg", "a/b/c.jpg"]
        assert below("a/b") == ["a/b/c.jpg"]
        assert below("a/b.jpg") == ["a/b.jpg"]
        assert below("none") == []
        assert len(below("")) == 7
        assert list(snapshot.stats("other")) == []


def test_several_items_of_one_file(store: Store, model: Model, put: Put) -> None:
    rows = [replace(photo("rows.csv"), id=f"sku-{n}", digest=None) for n in range(3)]
    put(rows)
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        assert [record.id for record in snapshot.by_path("photos", ["rows.csv"])["rows.csv"]] == ["sku-0", "sku-1", "sku-2"]


def test_failures_are_kept_and_forgiven(store: Store) -> None:
    one = Failure("photos", "caf\udce9.jpg", "truncated", "image ends at byte 12", 12, 99, 2)
    two = Failure("other", "x", "not_image", "empty \udcff", 0, 1)
    with store.writer() as writer:
        writer.commit(Change(failures=[one, two]))
        writer.commit(Change(failures=[replace(one, tries=3)]))
    with store.snapshot() as snapshot:
        assert list(snapshot.failures()) == [two, replace(one, tries=3)]
        assert list(snapshot.failures("photos")) == [replace(one, tries=3)]
    with store.writer() as writer:
        writer.commit(Change(forgiven=[("photos", "caf\udce9.jpg"), ("nowhere", "x")]))
    with store.snapshot() as snapshot:
        assert list(snapshot.failures()) == [two]


def test_roots(store: Store, put: Put) -> None:
    put([photo("a.jpg"), photo("a.jpg", root="more", version=1), caption("t", "apple")])
    with store.writer() as writer:
        writer.add_root("more", "/m\udcff")
        writer.add_root("more", "/m\udcff")
        with pytest.raises(UsageError, match="'photos' is /pictures already"):
            writer.add_root("photos", "/elsewhere")
        with pytest.raises(UsageError, match="no root 'gone'"):
            writer.move_root("gone", "/x")
        writer.move_root("photos", "/elsewhere")
        writer.commit(Change(failures=[Failure("more", "x", "empty", "", 0, 0)]))
    with store.snapshot() as snapshot:
        assert snapshot.roots() == {"more": "/m\udcff", "photos": "/elsewhere"}
    with store.writer() as writer:
        assert writer.remove_root("more") == 1
    with store.snapshot() as snapshot:
        assert snapshot.roots() == {"photos": "/elsewhere"}
        assert [record.id for record in snapshot.records(snapshot.live().vids)] == ["t"]
        assert list(snapshot.failures()) == []
        assert snapshot.search_text("jpg", 9) == []
    clean(store)


def test_small_named_values(store: Store) -> None:
    with store.writer() as writer:
        writer.set_meta("index", "a\udcff")
        writer.set_meta("dim", "my own, not the store's")
    with store.snapshot() as snapshot:
        assert (snapshot.meta("index"), snapshot.meta("dim"), snapshot.meta("none")) == ("a\udcff", "my own, not the store's", None)
    with store.writer() as writer:
        writer.set_meta("index", None)
    with Store.open(store.path) as again, again.snapshot() as snapshot:
        assert (snapshot.meta("index"), again.info.dim) == (None, DIM)


def test_fields_name_what_a_filter_can_use(store: Store, put: Put) -> None:
    put([photo("a.jpg", meta={"price": 3.5, "brand": "Acme", "new": True, "color": {"name": "red"}, "tags": ["x"], "no": None})])
    with store.snapshot() as snapshot:
        fields = snapshot.fields()
    assert {key: fields[key] for key in ("price", "brand", "new", "color.name", "id", "width", "taken")} == {
        "price": "number", "brand": "text", "new": "bool", "color.name": "text", "id": "text", "width": "number", "taken": "time",
    }  # fmt: skip
    assert "tags" not in fields


def test_select_gives_the_vids_that_match(store: Store, put: Put) -> None:
    put([photo(f"{n}.jpg", meta={"price": n}) for n in range(9)] + [caption("t", "apple", meta={"price": 4})])
    with store.snapshot() as snapshot:
        assert snapshot.select("price >= :low and price < 6", {"low": 4}).vids.tolist() == [4, 5, 9]
        assert snapshot.select("price = 4", kind=Kind.TEXT).vids.tolist() == [9]
        assert snapshot.select("price > 100").vids.tolist() == []


def test_words(store: Store, put: Put) -> None:
    put(
        [
            caption("t0", "A cat sleeps on a red sofa"),
            caption("t1", "Two dogs and a cat"),
            photo("Holidays 2019/IMG_0042.jpg", meta={"camera": "Canon EOS", "place": {"city": "Zürich"}, "iso": 400}),
            caption("t3", "dogs dogs dogs"),
        ]
    )
    with store.snapshot() as snapshot:

        def found(query: str, k: int = 10, within: list[int] | None = None) -> list[int]:
            return [vid for vid, _ in snapshot.search_text(query, k, None if within is None else VidSet(within))]

        assert found("cats") == [1, 0]  # the shorter text first
        assert found("sleeping CAT", 1) == [0]
        assert found("cat dog", 1) == [1]  # the only one with both
        assert sorted(found("cat dog")) == [0, 1, 3]
        assert found("cat dog", within=[0, 3]) == [3, 0]
        assert found("holiday") == found("0042") == found("canon") == found("zurich") == [2]
        assert found("400") == found("jpg") == found('" OR * NEAR(') == found("") == found("cat", 0) == []
        scores = [score for _, score in snapshot.search_text("dogs", 10)]
        assert scores == sorted(scores, reverse=True)
        assert all(score > 0 for score in scores)


def test_fetch_names_the_vid_that_has_no_row(store: Store, put: Put) -> None:
    put([photo("a.jpg")])
    with store.snapshot() as snapshot:
        for vid in (-1, 1, 10**9):
            with pytest.raises(ItemNotFound, match=str(vid)):
                snapshot.fetch([0, vid])
        assert snapshot.fetch([]).shape == (0, DIM)
        assert snapshot.fetch([0, 0]).shape == (2, DIM)


def test_blocks_are_views_of_the_file(store: Store, put: Put) -> None:
    put([photo(f"{n}.jpg") for n in range(40)])
    with store.snapshot() as snapshot:
        parts = [(vids.tolist(), rows) for vids, rows in snapshot.blocks(16)]
        assert sum((vids for vids, _ in parts), []) == list(range(40))
        for vids, rows in parts:
            assert rows.dtype == np.float16
            assert not rows.flags.owndata
            assert not rows.flags.writeable
            assert np.array_equal(rows.astype(np.float32), stored(vectors([f"{n}.jpg" for n in vids])))


def test_a_snapshot_does_not_change(store: Store, model: Model, put: Put) -> None:
    put([photo("a.jpg"), photo("b.jpg")])
    with store.snapshot() as before:
        generation = before.generation
        with store.writer() as writer:
            writer.commit(Change([photo("a.jpg", version=1)], vectors(["x"]), deletes=[1]))
            writer.compact()
        model.compare(before)
        assert before.generation == generation
    with store.snapshot() as after:
        assert after.generation > generation
        assert after.live().vids.tolist() == [2]


def test_snapshots_in_many_threads(store: Store, model: Model, put: Put) -> None:
    put([photo(f"{n}.jpg") for n in range(50)])
    errors: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(3):
                with store.snapshot() as snapshot:
                    model.compare(snapshot)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_segments_are_sealed_at_their_size(store: Store, put: Put) -> None:
    for start in range(0, 50, 10):
        put([photo(f"{n}.jpg") for n in range(start, start + 10)])
    with store.snapshot() as snapshot:
        assert [(one.base_vid, one.nrows, one.sealed) for one in snapshot.segments()] == [
            (0, 20, True),
            (20, 20, True),
            (40, 10, False),
        ]
        files = sorted(path.stat().st_size for path in (store.path / "vectors").iterdir())
        assert files == [10 * DIM * 2, 20 * DIM * 2, 20 * DIM * 2]
        assert snapshot.size_on_disk() == sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())


def test_a_writer_inside_a_writer_is_an_error(store: Store) -> None:
    with store.writer(), pytest.raises(UsageError, match="has a writer already"), store.writer():
        pass
    with store.writer() as writer:
        writer.set_meta("works", "again")


def test_the_wal_is_gone_after_writing(store: Store, put: Put) -> None:
    put([photo("a.jpg")])
    wal = store.path / "catalog.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0


def test_only_one_dimension_is_not_too_few(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one dimension"):
        Store.create(tmp_path / "zero", dim=0, model="toy", fingerprint="f")
    with SmallStore.create(tmp_path / "one", dim=1, model="toy", fingerprint="f") as made:
        with made.writer() as writer:
            writer.commit(Change([caption("a", "x")], np.array([[0.25]], np.float32)))
        with made.snapshot() as snapshot:
            assert snapshot.fetch([0]).tolist() == [[0.25]]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        Store.create(tmp_path / "file" / "c", dim=DIM, model="toy", fingerprint="f")


def test_vectors_are_what_float16_keeps(store: Store) -> None:
    rows = np.stack([vector(0), vector(1) * 1e-6])
    with store.writer() as writer:
        writer.commit(Change([caption("a", ""), caption("b", "")], rows.astype(np.float32)))
    with store.snapshot() as snapshot:
        assert np.array_equal(snapshot.fetch([1, 0]), stored(rows)[[1, 0]])
        assert np.abs(snapshot.fetch([0])[0] - rows[0]).max() < 2**-11


@given(meta=st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_meta_is_written_as_json_writes_it(meta: dict[str, object]) -> None:
    expected = json.dumps(meta, sort_keys=True, ensure_ascii=False)
    try:
        expected.encode()
    except UnicodeEncodeError:
        expected = json.dumps(meta, sort_keys=True)
    assert dump_meta(meta, "a") == expected


def test_meta_that_json_cannot_say_is_refused() -> None:
    circular: dict[str, object] = {}
    circular["a"] = circular
    for bad in (circular, {"a": float("nan")}, {"a": float("-inf")}, {"a": {1, 2}}, {"a": b"x"}, {(1, 2): 3}, {"a": 1, 2: 3}):
        with pytest.raises(UsageError, match="the meta of item 'x' is not JSON"):
            dump_meta(bad, "x")
    assert dump_meta({"a": True, "b": None, "c": [1.5, -0.0]}, "x") == '{"a": true, "b": null, "c": [1.5, -0.0]}'
