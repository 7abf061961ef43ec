"""Searching: every answer is compared with a brute-force oracle over the rows that were stored."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.search import RRF_K, fuse

DIM = 32


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def rows():
    return unit(np.random.default_rng(0).standard_normal((120, DIM))).astype(np.float32)


@pytest.fixture
def full(shop, rows):
    """120 images with vectors: a price, a brand, and a group for every three of them; and 10 texts."""
    shop.add(
        mm.Item(
            id=f"i{n:03}",
            image=b"-",
            group=f"g{n // 3}",
            meta={"price": n, "brand": "ab"[n % 2], "shelf": {"full": n % 4 == 0}},
            vector=row,
        )
        for n, row in enumerate(rows)
    )
    shop.add(mm.Item(id=f"t{n}", text=f"text {n}", vector=rows[n] + 0.5 * rows[-1]) for n in range(10))
    return shop


def oracle(rows, query, keep=None):
    """Ids of the images, best first, by cosine with the float16 rows."""
    scores = rows.astype(np.float16).astype(np.float32) @ unit(query)
    order = sorted((n for n in range(len(rows)) if keep is None or keep(n)), key=lambda n: (-scores[n], n))
    return [f"i{n:03}" for n in order], scores


def test_ids_scores_and_ranks(full, rows):
    query = rows[5] + rows[50]
    ids, scores = oracle(rows, query)
    hits = full.search(mm.vector(query), k=20)
    assert hits.ids == ids[:20]
    np.testing.assert_allclose([hit.score for hit in hits], sorted(scores, reverse=True)[:20], atol=1e-6)
    assert [hit.rank for hit in hits] == list(range(1, 21))
    assert (hits.exact, hits.candidates) == (True, 120)
    assert set(hits.timings) == {"encode", "filter", "search", "fetch"}


def test_terms_add_up_with_their_signs_and_weights(full, rows):
    query = mm.item("i003") + 0.5 * mm.vector(rows[9]) - 0.25 * mm.item("i070")
    stored = rows.astype(np.float16).astype(np.float32)
    expected = unit(stored[3]) + 0.5 * rows[9] - 0.25 * unit(stored[70])
    assert full.search(query, k=15).ids == oracle(rows, expected)[0][:15]


def test_texts_and_images_are_terms_too(shop, toy, paint):
    for colour in ("red", "blue", "green"):
        shop.add([mm.Item(id=colour, image=paint(f"{colour}.png", colour))])
    assert shop.search("blue", k=1).ids == ["blue"]
    assert shop.search(mm.image(paint("query.png", "green")), k=1).ids == ["green"]
    both = shop.search(mm.text("red") + mm.image(paint("query.png", "green")), k=2).ids
    assert sorted(both) == ["green", "red"]
    assert shop.search(mm.text("red blue") - mm.text("red"), k=3).ids[0] == "blue"


@pytest.mark.parametrize(
    ("where", "params", "keep"),
    [
        ("price < 7", None, lambda n: n < 7),
        ("price >= :low and brand = 'a'", {"low": 60}, lambda n: n >= 60 and n % 2 == 0),
        ("shelf.full = true", None, lambda n: n % 4 == 0),
        ("price = 119", None, lambda n: n == 119),
    ],
)
def test_a_filter_gives_k_of_those_that_fit(full, rows, where, params, keep):
    hits = full.search(mm.vector(rows[0]), k=10, where=where, params=params)
    expected = oracle(rows, rows[0], keep)[0]
    assert hits.ids == expected[:10]
    assert hits.candidates == len(expected)


def test_pages_never_overlap_and_cover_everything(full, rows):
    pages = [full.search(mm.vector(rows[7]), k=7, offset=offset).ids for offset in range(0, 140, 7)]
    assert sum(pages, []) == oracle(rows, rows[7])[0]
    assert full.search(mm.vector(rows[7]), k=5, offset=118)[0].rank == 119


def test_one_hit_of_each_group_and_k_groups(full, rows):
    ids, _ = oracle(rows, rows[11])
    firsts, seen = [], set()
    for id in ids:
        if (group := int(id[1:]) // 3) not in seen:
            seen.add(group)
            firsts.append(id)
    assert full.search(mm.vector(rows[11]), k=15, group_by="group").ids == firsts[:15]
    assert full.search(mm.vector(rows[11]), k=10, offset=10, group_by="group").ids == firsts[10:20]
    assert full.search(mm.vector(rows[11]), k=60, group_by="group").ids == firsts
    assert len(full.search(mm.vector(rows[11]), k=10, group_by="brand")) == 2


def test_kinds_are_kept_apart_and_fused_by_rank(full, rows):
    assert all(hit.kind is mm.Kind.TEXT for hit in full.search(mm.vector(rows[0]), kind="text", k=50))
    images = full.search(mm.vector(rows[0]), kind="image", k=5).ids
    texts = full.search(mm.vector(rows[0]), kind="text", k=5).ids
    mixed = full.search(mm.vector(rows[0]), kind="any", k=10).ids
    assert sorted(mixed) == sorted(images + texts)
    assert [id for id in mixed if id[0] == "i"] == images
    assert [id for id in mixed if id[0] == "t"] == texts


def test_reciprocal_rank_fusion_by_hand():
    fused = fuse([[(1, 0.9), (2, 0.8)], [(3, 0.2), (4, 0.1), (5, 0.0)]])
    merit = {1: 1 / (RRF_K + 1), 3: 1 / (RRF_K + 1), 2: 1 / (RRF_K + 2), 4: 1 / (RRF_K + 2), 5: 1 / (RRF_K + 3)}
    assert [vid for vid, _ in fused] == sorted(merit, key=lambda vid: (-merit[vid], vid))


def test_similar_leaves_the_item_out_and_stays_in_its_kind(full, rows):
    ids, _ = oracle(rows, rows[42])
    assert ids[0] == "i042"
    assert full.similar("i042", k=5).ids == ids[1:6]
    assert full.similar("i042", k=5, where="brand = 'b'").ids == [i for i in ids if int(i[1:]) % 2][:5]
    assert all(hit.kind is mm.Kind.TEXT for hit in full.similar("t0", k=3))


def test_images_are_the_default_kind_where_there_are_any(shop, rows):
    shop.add([mm.Item(id="t", text="words", vector=rows[0])])
    assert shop.search(mm.vector(rows[0])).ids == ["t"]
    shop.add([mm.Item(id="i", image=b"-", vector=rows[1])])
    assert shop.search(mm.vector(rows[0])).ids == ["i"]


def test_a_commit_is_searchable_at_once_and_a_delete_too(full, rows):
    query = mm.vector(rows[3])
    assert full.search(query, k=1).ids == ["i003"]
    full.add([mm.Item(id="new", image=b"-", vector=rows[3])])
    assert set(full.search(query, k=2).ids) == {"i003", "new"}
    full.delete(["i003", "no such id"])
    assert full.search(query, k=1).ids == ["new"]
    full.add([mm.Item(id="new", image=b"-", vector=-rows[3])])
    assert "new" not in full.search(query, k=100).ids[:100]


def test_vectors_may_have_any_type_and_an_axis_too_many(shop, rows):
    given = [rows[0], rows[1].astype(np.float64), rows[2:3], rows[3].tolist()]
    shop.add([mm.Item(id=f"i{n}", image=b"-", vector=row) for n, row in enumerate(given)])
    shop.add([mm.Item(id=f"j{n}", image=b"-", vector=rows[n : n + 1]) for n in range(4, 6)])
    found = shop.search(mm.vector(rows[2]), k=6)
    assert len(found) == 6
    assert found[0].id == "i2"
    assert found[0].score == pytest.approx(1, abs=1e-3)


def test_the_collector_is_as_it_was(shop, rows):
    was_on = gc.isenabled()
    try:
        for on in (True, False):
            (gc.enable if on else gc.disable)()
            shop.add([mm.Item(id="a", image=b"-", vector=rows[0])])
            with pytest.raises(mm.UsageError):
                shop.add([mm.Item(id="a", image=b"-", vector=rows[0] * np.nan)])
            assert gc.isenabled() is on
    finally:
        (gc.enable if was_on else gc.disable)()


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda c: c.search(" "), mm.QueryError, "empty"),
        (lambda c: c.search("a", k=0), mm.QueryError, "at least 1"),
        (lambda c: c.search("a", offset=-1), mm.QueryError, "negative"),
        (lambda c: c.search(mm.item("nobody")), mm.ItemNotFound, "nobody"),
        (lambda c: c.search(mm.item("i001") - mm.item("i001")), mm.QueryError, "cancel"),
        (lambda c: c.search(mm.vector(np.ones(5))), mm.QueryError, "32"),
        (lambda c: c.search(mm.vector(np.full(DIM, np.nan))), mm.QueryError, "finite"),
        (lambda c: c.search("a", kind="video"), mm.UsageError, "image, text, any"),
        (lambda c: c.search("a", where="price <"), mm.FilterError, "condition"),
        (lambda c: c.search(mm.image(b"not a picture")), mm.ImageError, "image"),
        (lambda c: c.search(mm.text("a") * float("inf")), mm.QueryError, "finite"),
        (lambda c: c.get("nobody"), mm.ItemNotFound, "nobody"),
        (lambda c: c.add([mm.Item(id="x", text="y", vector=np.ones(3))]), mm.UsageError, "32"),
        (lambda c: c.add([mm.Item(id=f"x{n}", text="y", vector=np.ones(n)) for n in (32, 3)]), mm.UsageError, "3, 32"),
    ],
)
def test_what_has_no_meaning_is_refused(full, call, error, word):
    with pytest.raises(error, match=word) as caught:
        call(full)
    assert len(str(caught.value).splitlines()) <= 2


def test_an_empty_collection_has_no_hits(shop):
    assert len(shop.search("anything")) == 0
    assert len(shop.search("anything", kind="any", group_by="group")) == 0


def test_many_threads_search_while_one_writes(full, rows):
    failures = []

    def search(seed):
        try:
            for n in range(15):
                hits = full.search(mm.vector(rows[(seed * 15 + n) % 120]), k=10)
                assert len(hits) == 10
                assert hits[0].score > 0.999
        except BaseException as error:  # noqa: BLE001 - carried to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for n in range(10):
        full.add([mm.Item(id=f"more{n}", image=b"-", vector=rows[n])])
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(full) == 140
