"""Each thing that ``verify`` can find is provoked, named, and mended as far as it can be."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import CollectionCorrupt
from mmsearch.store import Change, IndexInfo, Store
from mmsearch.types import Draft
from tests.store.model import DIM, Model, SmallStore, caption, clean, photo, vectors

Put = Callable[[Sequence[Draft]], list[int]]


@pytest.fixture
def full(store: Store, model: Model, put: Put) -> Store:
    """Segment 3: rows of items 0 to 19 without 5, compacted; segment 2: items 20 to 29, open."""
    put([photo(f"{n}.jpg") for n in range(19)] + [caption("note", "apple pie", meta={"brand": "lemon"})])
    put([photo(f"{n}.jpg") for n in range(20, 30)])
    kill = Change(deletes=[5])
    with store.writer() as writer:
        writer.commit(kill)
        writer.compact()
    model.apply(kill)
    clean(store)
    return store


def rows_of(store: Store, segment: int) -> Path:
    return store.path / "vectors" / f"{segment:08d}.f16"


def sql(store: Store, *statements: str) -> None:
    """Meddles with the catalogue behind the store's back."""
    connection = sqlite3.connect(store.path / "catalog.db")
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def bad(store: Store) -> list[tuple[str, str]]:
    return [(one.level, one.what) for one in store.verify() if one.level != "ok"]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def lost(store: Store, model: Model, vids: Sequence[int]) -> None:
    """Asserts that repair sets aside just these vids, keeps everything else, and leaves a clean collection."""
    gone = {vid: model.items[vid] for vid in vids}
    store.repair()
    clean(store)
    model.apply(Change(deletes=list(vids)))
    for vid in vids:
        del model.rows[vid]
    with store.snapshot() as snapshot:
        failures = list(snapshot.failures())
        assert {one.path for one in failures} == {item.path or item.id for item in gone.values()}
        assert {(one.reason, one.size, one.mtime_ns) for one in failures} <= {("corrupt_vector", -1, -1)}
        for one in failures:
            model.failures[one.root, one.path] = one
            (item,) = json.loads(one.detail.split("lost: ")[1])
            assert (item["id"], item["meta"]) in [(item.id, item.meta) for item in gone.values()]
        model.compare(snapshot)
    assert [one for one in store.repair() if one.level != "ok"] == []


def test_the_fixture_is_as_described(full: Store) -> None:
    with full.snapshot() as snapshot:
        assert [(one.id, one.base_vid, one.nrows, one.has_ids) for one in snapshot.segments()] == [
            (3, 0, 16, True), (4, 17, 3, True), (2, 20, 10, False),
        ]  # fmt: skip


def test_every_check_says_that_it_passed(full: Store) -> None:
    findings = full.verify()
    assert {one.level for one in findings} == {"ok"}
    assert [one.what for one in findings] == [
        "catalog", "counters", "segments", "rows", "items", "words", "roots", "indexes", "orphans",
    ]  # fmt: skip
    assert all(one.detail for one in findings)


@pytest.mark.parametrize("at", [0, 5 * DIM * 2 + 3, 10 * DIM * 2 - 1])
def test_one_flipped_bit(full: Store, model: Model, at: int) -> None:
    flip(rows_of(full, 2), at)
    assert bad(full) == [("error", "segment_crc")]
    lost(full, model, range(20, 30))  # all rows under one checksum


def test_a_flipped_bit_costs_one_checksum_of_rows(tmp_path: Path) -> None:
    with Store.create(tmp_path / "big", dim=2, model="toy", fingerprint="f") as store:
        rows = np.random.default_rng(0).random((1000, 2), np.float32)
        with store.writer() as writer:
            writer.commit(Change([caption(str(n), "") for n in range(1000)], rows))
        flip(rows_of(store, 1), 300 * 4)
        store.repair()
        with store.snapshot() as snapshot:
            assert snapshot.live().vids.tolist() == [*range(256), *range(512, 1000)]
            assert np.array_equal(snapshot.fetch([600]), rows[[600]].astype(np.float16).astype(np.float32))
        clean(store)


def test_a_short_file(full: Store, model: Model) -> None:
    path = rows_of(full, 3)
    path.write_bytes(path.read_bytes()[:-1])
    assert bad(full) == [("error", "segment_short")]
    with full.snapshot() as snapshot:  # who needs no rows is not hurt
        assert snapshot.count() == 29
        with pytest.raises(CollectionCorrupt, match="catalogue promises 256"):
            snapshot.fetch([20, 3])
        assert np.array_equal(snapshot.fetch([20]), [model.rows[20]])
    lost(full, model, [0, 1, 2, 3, 4, *range(6, 17)])


def test_a_missing_file(full: Store, model: Model) -> None:
    full.close()
    rows_of(full, 2).unlink()
    assert bad(full) == [("error", "segment_missing")]
    with full.snapshot() as snapshot:
        assert snapshot.count() == 29
        with pytest.raises(CollectionCorrupt, match=r"00000002\.f16 is missing"):
            list(snapshot.blocks())
        assert np.array_equal(snapshot.fetch([3]), [model.rows[3]])
    lost(full, model, range(20, 30))


@pytest.mark.parametrize("harm", ["remove", "flip", "cut"])
def test_ids_that_can_be_known_again(full: Store, model: Model, harm: str) -> None:
    path = full.path / "vectors" / "00000003.ids"
    data = path.read_bytes()
    full.close()
    if harm == "remove":
        path.unlink()
    elif harm == "flip":
        flip(path, 8)
    else:
        path.write_bytes(data[:-1])
    assert bad(full) == [("error", "ids"), ("error", "rows")]
    lost(full, model, [])
    assert path.read_bytes() == data


def test_ids_that_nobody_knows(full: Store, model: Model) -> None:
    with full.writer() as writer:
        writer.commit(Change(deletes=[9]))
    model.apply(Change(deletes=[9]))
    full.close()
    (full.path / "vectors" / "00000003.ids").unlink()
    assert bad(full) == [("error", "ids"), ("error", "rows")]
    lost(full, model, [vid for vid in range(17) if vid in model.items])


def test_bytes_beyond_the_committed_ones_are_harmless(full: Store, model: Model, put: Put) -> None:
    for segment in (2, 3):
        with rows_of(full, segment).open("ab") as file:
            file.write(b"the dead tail of a crash" * 50)
    clean(full)
    put([photo(f"later{n}.jpg") for n in range(3)])
    clean(full)
    with full.snapshot() as snapshot:
        model.compare(snapshot)


def test_leftover_files(full: Store, model: Model) -> None:
    (full.path / "vectors" / "00000077.f16").write_bytes(b"x")
    (full.path / "vectors" / "notes.txt").write_bytes(b"x")
    (full.path / "indexes").mkdir()
    (full.path / "indexes" / "image-1.faiss").write_bytes(b"x")
    assert bad(full) == [("warning", "orphan")] * 3
    assert sorted(one.detail.rsplit("/", 1)[1] for one in full.repair() if one.what == "orphan") == [
        "00000077.f16 removed", "image-1.faiss removed", "notes.txt removed",
    ]  # fmt: skip
    lost(full, model, [])


def test_leftovers_are_not_judged_beside_a_writer(full: Store) -> None:
    (full.path / "vectors" / "00000077.f16").write_bytes(b"perhaps just being written")
    with full.writer(), SmallStore.open(full.path) as other:
        assert bad(other) == []
        assert "a writer is at work" in other.verify()[-1].detail
    assert bad(full) == [("warning", "orphan")]


def test_an_item_without_a_row(full: Store, model: Model) -> None:
    sql(full, "UPDATE item SET vid = 5 WHERE vid = 6")
    assert bad(full) == [("error", "rows"), ("warning", "words")]
    model.items[5] = model.items.pop(6)
    lost(full, model, [5])


def test_checksums_that_are_missing_or_too_many(full: Store, model: Model) -> None:
    sql(full, "DELETE FROM batch WHERE segment = 2", "INSERT INTO batch VALUES (50, 0, 1, 7)")
    assert bad(full) == [("error", "checksums"), ("warning", "checksums")]
    lost(full, model, range(20, 30))


def test_a_counter_that_would_give_a_vid_twice(full: Store, model: Model, put: Put) -> None:
    sql(full, "UPDATE meta SET value = 25 WHERE key = 'next_vid'")
    assert bad(full) == [("error", "counters"), ("error", "counters")]
    lost(full, model, [])
    assert put([photo("next.jpg")]) == [30]
    clean(full)


def test_two_open_segments(full: Store, model: Model) -> None:
    sql(full, "UPDATE segment SET sealed = 0")
    assert bad(full) == [("error", "counters")]
    lost(full, model, [])


def test_words_that_are_wrong(full: Store, model: Model) -> None:
    sql(full, "DELETE FROM item WHERE vid = 0", "INSERT INTO words (rowid, text) VALUES (500, 'stray')")
    del model.items[0]
    assert bad(full) == [("warning", "counters"), ("warning", "words")]  # neither is as many as there were
    lost(full, model, [])


def test_a_root_without_a_folder(full: Store) -> None:
    sql(full, "DELETE FROM root")
    assert bad(full) == [("warning", "roots")]


def test_an_index_inside_sqlite(full: Store, model: Model) -> None:
    full.close()  # connections remember the schema
    sql(
        full,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX item_kind ON item (size)' WHERE name = 'item_kind'",
    )
    assert bad(full)[0] == ("error", "catalog")
    lost(full, model, [])


def damage_page(store: Store, table: str) -> None:
    """Overwrites the head of a table's first page."""
    connection = sqlite3.connect(store.path / "catalog.db")
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.close()
    store.close()
    with (store.path / "catalog.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)


def test_items_that_sqlite_cannot_read(full: Store) -> None:
    damage_page(full, "item")
    with SmallStore.open(full.path) as store:
        assert [what for _, what in bad(store)] == ["catalog", "counters", "rows", "items", "roots"]
        with pytest.raises(CollectionCorrupt, match="the catalogue is damaged"):
            store.repair()


def test_a_catalogue_that_sqlite_cannot_read(full: Store) -> None:
    damage_page(full, "segment")
    assert bad(full) == [("error", "catalog")]
    damage_page(full, "meta")
    with pytest.raises(CollectionCorrupt, match="the catalogue is damaged"):
        SmallStore.open(full.path)


INDEX = IndexInfo("image", "", 0, 0, upto_vid=20, recipe="HNSW32", faiss_version="1.15.1")


def test_an_index_file_is_kept_whole(full: Store) -> None:
    with full.writer() as writer:
        first = writer.put_index(INDEX, lambda path: path.write_bytes(b"first") and None)
        second = writer.put_index(INDEX, lambda path: path.write_bytes(b"second") and None)
    assert (second.bytes, second.recipe, second.upto_vid) == (6, "HNSW32", 20)
    assert first.file != second.file
    assert [path.name for path in (full.path / "indexes").iterdir()] == [second.file]
    with full.snapshot() as snapshot:
        assert snapshot.indexes() == [second]
    clean(full)
    with full.writer() as writer:
        writer.drop_index("image")
        writer.drop_index("text")
    assert list((full.path / "indexes").iterdir()) == []
    clean(full)


@pytest.mark.parametrize("harm", ["remove", "flip", "cut"])
def test_an_index_file_that_is_not_as_it_was(full: Store, model: Model, harm: str) -> None:
    with full.writer() as writer:
        kept = writer.put_index(INDEX, lambda path: path.write_bytes(b"whatever faiss writes") and None)
    path = full.path / "indexes" / kept.file
    if harm == "remove":
        path.unlink()
    elif harm == "flip":
        flip(path, 3)
    else:
        path.write_bytes(b"what")
    assert [one for one in bad(full) if one[1] != "orphan"] == [("warning", "index")]
    lost(full, model, [])
    with full.snapshot() as snapshot:
        assert snapshot.indexes() == []
    assert list((full.path / "indexes").iterdir()) == []


def test_verify_beside_a_compaction_looks_again(full: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmsearch.store.verify as module

    original, calls = module.check_segments, []

    def slow(*args: object) -> object:
        if not calls:
            with full.writer() as writer:
                writer.commit(Change(deletes=[20]))
                writer.compact()
        calls.append(args)
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setitem(module.CHECKS, "segments", slow)
    with SmallStore.open(full.path) as reader:
        assert bad(reader) == []
    assert len(calls) == 2
    assert vectors([1]).shape == (1, DIM)
