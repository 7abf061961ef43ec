"""Many queries at once are many single searches; and a collection is safe from many threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import mmsearch as mm

DIM = 32


@pytest.fixture
def full(shop):
    """90 images in 30 groups, 40 texts."""
    rows = np.random.default_rng(3).standard_normal((130, DIM))
    shop.add(
        mm.Item(id=f"i{n}", image=b"-", group=f"g{n // 3}", meta={"price": n}, vector=rows[n]) for n in range(90)
    )
    shop.add(mm.Item(id=f"t{n}", text=f"word{n % 7} and red", group=f"g{n}", vector=rows[90 + n]) for n in range(40))
    return shop


QUERIES = [
    "red", "blue green", mm.item("i3"), mm.text("red") - 0.4 * mm.text("blue green"), "red", mm.text("word3") + mm.item("t5"),
]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "any", "k": 25},
        {"kind": "text", "lexical": 1.0, "k": 5, "offset": 3},
        {"group_by": "group", "k": 30},
        {"where": "price < :p", "params": {"p": 40}, "k": 7, "boost": "price * 0.01"},
    ],
)
def test_many_are_as_many_single_ones(full, options):
    together = full.search_many(QUERIES, **options)
    assert len(together) == len(QUERIES)
    for query, hits in zip(QUERIES, together, strict=True):
        alone = full.search(query, **options)
        assert hits.ids == alone.ids
        assert hits.candidates == alone.candidates
        assert [hit.rank for hit in hits] == [hit.rank for hit in alone]
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in alone], atol=2e-6)


def test_pictures_and_texts_are_encoded_once_each_and_together(shop, toy, paint):
    shop.add([mm.Item(id=colour, image=paint(f"{colour}.png", colour)) for colour in ("red", "blue", "green")])
    calls = []
    encode = toy.encode_texts
    toy.encode_texts = lambda batch: calls.append(list(batch)) or encode(batch)
    queries = ["blue", "green", "blue", mm.image(paint("q.png", "red")), mm.image(paint("r.png", "green")) + mm.text("cyan")]
    before = toy.images_encoded
    found = shop.search_many(queries, k=1)
    assert [hits[0].id for hits in found] == ["blue", "green", "blue", "red", "green"]
    assert calls == [["blue", "cyan", "green"]]
    assert toy.images_encoded - before == 2
    shop.search_many(["blue", "green"])
    assert len(calls) == 1


def test_nothing_asked_is_nothing_answered(full):
    assert full.search_many([]) == []


def test_one_bad_query_is_raised_for_all(full):
    with pytest.raises(mm.ItemNotFound, match="nobody"):
        full.search_many(["red", mm.item("nobody")])
    with pytest.raises(mm.QueryError, match="empty"):
        full.search_many(["red", " "])


def test_eight_threads_search_and_filter_while_one_adds(full):
    """Each answer is one committed state: a batch of ten is seen whole or not at all, and filters hold."""
    rows = np.random.default_rng(4).standard_normal((200, DIM))
    wrong: list[str] = []
    done = threading.Event()

    def write():
        try:
            for batch in range(8):
                at = range(batch * 10, batch * 10 + 10)
                full.add(
                    [mm.Item(id=f"n{n}", image=b"-", meta={"new": True, "batch": batch}, vector=rows[n]) for n in at], wait=20
                )
        finally:
            done.set()

    def read(seed: int):
        last, turn = 0, 0
        while not done.is_set() or turn < 3:
            turn += 1
            hits = full.search(f"red word{turn % 5}", k=100, where="new = true")
            if len(hits) % 10 or len(hits) < last or any(not hit.meta["new"] for hit in hits):
                wrong.append(f"{len(hits)} after {last}")
            last = len(hits)
            many = full.search_many(["red", mm.item(f"i{seed}")], k=5, where="price < 50")
            if [len(one) for one in many] != [5, 5] or any(hit.meta["price"] >= 50 for one in many for hit in one):
                wrong.append("the filter")

    def guarded(work, *args):
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
            wrong.append(repr(error))

    threads = [threading.Thread(target=guarded, args=(read, n)) for n in range(8)]
    threads.append(threading.Thread(target=guarded, args=(write,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert full.search("red", where="new = true", k=1).candidates == 80


def test_two_threads_that_write_wait_for_each_other(full):
    rows = np.random.default_rng(5).standard_normal((40, DIM))
    wrong: list[str] = []

    def write(start: int):
        try:
            for n in range(start, start + 10):
                full.add([mm.Item(id=f"w{n}", image=b"-", vector=rows[n])], wait=30)
        except Exception as error:  # noqa: BLE001
            wrong.append(repr(error))

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(f"w{n}" in full for n in range(40)) == 40
