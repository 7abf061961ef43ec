"""Changes of meta without encoding, upserts and deletes with a status for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmsearch as mm
from mmsearch.catalogue.patch import merged
from mmsearch.types import ItemStatus

RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
"""The table of test cases in RFC 7386, appendix A."""


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7386)
def test_the_cases_of_the_standard(target, patch, result):
    assert merged(target, patch) == result


JSON = st.recursive(
    st.none() | st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)


@given(JSON, JSON)
def test_a_patch_applied_twice_changes_nothing_more(target, patch):
    once = merged(target, patch)
    assert merged(once, patch) == once


def test_a_patch_of_one_item_leaves_rows_and_the_rest(products, toy):
    before = products.get("p3#title")
    encoded = toy.texts_encoded
    assert products.update_meta({"p3#title": {"price": 999, "in_stock": None, "new": {"a": 1}}, "nobody": {"x": 1}}) == [
        ItemStatus("p3#title", "updated"),
        ItemStatus("nobody", "not_found"),
    ]
    after = products.get("p3#title")
    assert after.meta == {"brand": "a", "price": 999, "sizes": ["S", "M"], "new": {"a": 1}}
    assert (after.vid, after.text, after.group) == (before.vid, before.text, before.group)
    assert toy.texts_encoded == encoded
    assert products.update_meta({"p3#title": {"price": 999}}) == [ItemStatus("p3#title", "unchanged")]
    assert products.verify() == [] or all(one.level == "ok" for one in products.verify())


def test_a_group_is_changed_as_a_whole_and_filters_words_and_facets_follow(products, rows):
    query = mm.vector(rows[5, 0])
    assert products.search(query, where="brand = 'zebra'").ids == []
    assert products.facets(["brand"])[0].values[0].count == 41 - 1
    status = products.update_meta({"p5": {"brand": "zebra"}, "p6": {"brand": "zebra"}}, by="group")
    assert [one.status for one in status] == ["updated", "updated"]
    assert sorted(products.search(query, where="brand = 'zebra'", k=20).ids) == [
        f"p{n}#photo-{m}" for n in (5, 6) for m in (1, 2)
    ]
    brands = {value.value: value.count for value in products.facets(["brand"])[0].values}
    assert brands == {"a": 38, "b": 40, "c": 38, "zebra": 4}
    assert {hit.group for hit in products.search("zebra", lexical=100, k=4, kind="image")} == {"p5", "p6"}
    assert "p5" not in {hit.group for hit in products.search("c", lexical=100, k=40, kind="image")}  # its old brand


def test_what_is_no_object_is_refused_before_anything_changes(products):
    with pytest.raises(mm.UsageError, match="not an object"):
        products.update_meta({"p1#title": {"price": 1}, "p2#title": [1]})
    assert products.get("p1#title").meta["price"] == 1
    with pytest.raises(mm.UsageError, match="not JSON"):
        products.update_meta({"p1#title": {"price": float("nan")}})


def test_each_upsert_has_its_status(shop, paint, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    items = [
        mm.Item("a", image=paint("a.png", "red")),
        mm.Item("b", image=b"no picture at all"),
        mm.Item("c", text="green"),
        mm.Item("d", image=broken),
    ]
    status = shop.upsert(items)
    assert [(one.id, one.status) for one in status] == [("a", "added"), ("b", "failed"), ("c", "added"), ("d", "failed")]
    assert all(one.detail for one in status if one.status == "failed")
    again = shop.upsert([mm.Item("c", text="blue"), mm.Item("b", image=paint("b.png", "blue"))])
    assert [(one.id, one.status) for one in again] == [("c", "updated"), ("b", "added")]
    assert shop.search("blue", k=1).ids == ["b"]
    assert [(one.id, one.status) for one in shop.discard(["a", "zz", "c"])] == [
        ("a", "deleted"), ("zz", "not_found"), ("c", "deleted"),
    ]  # fmt: skip
    assert len(shop) == 1


def test_several_liked_and_disliked(products, rows):
    stored = rows.astype(np.float16).astype(np.float64)
    liked, disliked = [("p1", 0), ("p2", 1)], [("p3", 0)]
    query = sum(stored[int(name[1:]), at] / np.linalg.norm(stored[int(name[1:]), at]) for name, at in liked) / 2
    query -= 0.25 * stored[3, 0] / np.linalg.norm(stored[3, 0])
    photos = {f"p{n}#photo-{m + 1}": float(stored[n, m] @ query) for n in range(60) for m in range(2)}
    out = {f"{name}#photo-{at + 1}" for name, at in liked + disliked}
    expected = sorted((id for id in photos if id not in out), key=lambda id: -photos[id])[:8]
    found = products.similar(["p1#photo-1", "p2#photo-2"], unlike=["p3#photo-1"], k=9)
    assert [id for id in found.ids if id != "alone"][:8] == expected
    assert not out & set(found.ids)


def test_a_look_is_completed_under_a_filter(products):
    hits = products.similar("p4#photo-1", where="brand = 'b'", group_by="group", k=30)
    assert {hit.meta["brand"] for hit in hits} == {"b"}
    assert len(hits) == 20
