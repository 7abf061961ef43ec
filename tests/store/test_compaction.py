"""Compaction: what it gives back, what it keeps, and that readers live through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mmsearch.errors import CollectionCorrupt, ItemNotFound
from mmsearch.store import Change, Store
from mmsearch.store.store import _TRIES
from mmsearch.types import Draft
from tests.store.model import DIM, Model, SmallStore, clean, photo, vectors

Put = Callable[[Sequence[Draft]], list[int]]


def kill(store: Store, model: Model, vids: Sequence[int]) -> None:
    change = Change(deletes=list(vids))
    with store.writer() as writer:
        writer.commit(change)
    model.apply(change)


def test_space_is_given_back_and_vids_persist(store: Store, model: Model, put: Put) -> None:
    for start in range(0, 100, 10):
        put([photo(f"{n}.jpg", meta={"pad": "x" * 500}) for n in range(start, start + 10)])
    kill(store, model, [vid for vid in range(100) if vid % 4])
    with store.snapshot() as snapshot:
        before = snapshot.size_on_disk()
    with store.writer() as writer:
        report = writer.compact()
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        after = snapshot.size_on_disk()
        assert [(one.nrows, one.has_ids, one.sealed) for one in snapshot.segments()] == [(16, True, True), (9, True, True)]
    assert (report.segments_before, report.segments_after, report.rows_dropped) == (5, 2, 75)
    assert before - after >= 75 * DIM * 2 + 20_000  # and the catalogue's free pages
    clean(store)
    assert put([photo("new.jpg")]) == [100]
    with store.snapshot() as snapshot:
        model.compare(snapshot)


def test_rows_lie_in_one_piece_within_a_segment_that_was_never_compacted(store: Store, model: Model, put: Put) -> None:
    for start in range(0, 48, 16):
        put([photo(f"{n}.jpg") for n in range(start, start + 16)])
    kill(store, model, [20])
    with store.snapshot() as snapshot:
        for first, last in [(0, 15), (3, 3), (16, 31), (17, 20)]:
            base, rows = snapshot.span(first, last)
            assert base <= first
            wanted = np.array([vid for vid in range(first, last + 1) if vid != 20])
            np.testing.assert_array_equal(rows[wanted - base], snapshot.gather(wanted))
        assert [snapshot.span(*ends) for ends in [(15, 16), (0, 47), (40, 48), (-1, 3)]] == [None] * 4
    with store.writer() as writer:
        writer.compact()
    with store.snapshot() as snapshot:
        assert snapshot.span(16, 31) is None, "its vids have a gap"
        assert snapshot.span(0, 15) is not None


def test_untouched_segments_stay(store: Store, model: Model, put: Put) -> None:
    for start in range(0, 48, 16):
        put([photo(f"{n}.jpg") for n in range(start, start + 16)])
    put([photo("open.jpg")])
    kill(store, model, [20])
    with store.snapshot() as snapshot:
        ids = [one.id for one in snapshot.segments()]
    with store.writer() as writer:
        report = writer.compact()
    assert (report.segments_before, report.segments_after, report.rows_dropped) == (1, 1, 1)
    with store.snapshot() as snapshot:
        assert [one.id for one in snapshot.segments()] == [ids[0], 5, ids[2], ids[3]]
        model.compare(snapshot)


def test_nothing_to_do_is_nothing_done(store: Store, put: Put) -> None:
    put([photo("a.jpg")])
    for _ in range(2):
        with store.writer() as writer:
            report = writer.compact()
        assert (report.segments_before, report.segments_after, report.rows_dropped) == (0, 0, 0)
    clean(store)


def test_small_segments_become_one(store: Store, model: Model, put: Put) -> None:
    for n in range(6):
        put([photo(f"{n}.jpg"), photo("gone.jpg", version=n)])
        with store.writer() as writer:
            writer.compact()
    kill(store, model, model.apply(Change()) or [model.next_vid - 1])
    for _ in range(2):
        with store.writer() as writer:
            writer.compact()
        with store.snapshot() as snapshot:
            model.compare(snapshot)
            assert [one.nrows for one in snapshot.segments()] == [6]


def test_a_collection_that_lost_everything(store: Store, model: Model, put: Put) -> None:
    put([photo(f"{n}.jpg") for n in range(40)])
    kill(store, model, range(40))
    with store.writer() as writer:
        assert writer.compact().rows_dropped == 40
        assert list((store.path / "vectors").iterdir()) == []
    clean(store)
    assert put([photo("a.jpg")]) == [40]
    with store.snapshot() as snapshot:
        model.compare(snapshot)
        assert snapshot.segments()[0].id == 2  # numbers are not given twice: a reader may have the old file mapped
        with pytest.raises(ItemNotFound):
            snapshot.fetch([39])


def test_leftover_files_are_removed(store: Store, put: Put) -> None:
    put([photo("a.jpg")])
    (store.path / "vectors" / "00000099.f16").write_bytes(b"left by a crash")
    with store.writer() as writer:
        writer.compact()
    assert [path.name for path in (store.path / "vectors").iterdir()] == ["00000001.f16"]


def test_damage_is_not_given_a_fresh_checksum(store: Store, put: Put) -> None:
    put([photo(f"{n}.jpg") for n in range(10)])
    path = store.path / "vectors" / "00000001.f16"
    data = bytearray(path.read_bytes())
    data[33] ^= 4
    path.write_bytes(data)
    with store.writer() as writer:
        writer.commit(Change(deletes=[0]))
        with pytest.raises(CollectionCorrupt, match=r"00000001\.f16 is damaged, and is not copied"):
            writer.compact()
    with store.snapshot() as snapshot:
        assert snapshot.count() == 9


def test_a_snapshot_too_late_for_its_files_begins_again(
    store: Store, model: Model, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compaction between the begin of the read transaction and the mapping of the files."""
    put([photo(f"{n}.jpg") for n in range(20)])
    kill(store, model, [3])
    reader = SmallStore.open(store.path)
    mapped = reader._map
    races = []

    def slow(segments: list[object], again: bool) -> object:
        if not races:
            races.append(segments)
            with store.writer() as writer:
                writer.compact()
        return mapped(segments, again)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "_map", slow)
    with reader.snapshot() as snapshot:
        model.compare(snapshot)
        assert snapshot.segments() != races[0]
    reader.close()
    assert _TRIES > 2


def test_rows_keep_their_order_over_segments_of_both_kinds(store: Store, model: Model, put: Put) -> None:
    put([photo(f"{n}.jpg") for n in range(20)])
    kill(store, model, [0, 7, 19])
    with store.writer() as writer:
        writer.compact()
    put([photo(f"new{n}.jpg") for n in range(20)])
    order = np.random.default_rng(1).permutation(sorted(model.items)).tolist()
    with store.snapshot() as snapshot:
        assert np.array_equal(snapshot.fetch(order), np.stack([model.rows[vid] for vid in order]))
        for dead in (0, 7, 19):
            with pytest.raises(ItemNotFound):
                snapshot.fetch([dead])
    assert vectors([]).shape == (0, DIM)
