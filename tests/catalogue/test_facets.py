"""Facets against a count in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.catalogue.facets import column, count
from mmsearch.types import FacetValue, VidSet


def as_counts(facet):
    return {value.value: value.count for value in facet.values}


def test_values_and_counts_of_all_items(products):
    brand, sizes, stock = products.facets(["brand", "sizes", "in_stock"])
    assert as_counts(brand) == {"a": 40, "b": 40, "c": 40}
    assert (brand.type, brand.missing, brand.more) == ("text", 1, 0)
    assert as_counts(sizes) == {"S": 120, "M": 60}
    assert as_counts(stock) == {True: 90, False: 30}
    assert stock.type == "bool"


def test_products_are_counted_once_each(products):
    (brand, sizes) = products.facets(["brand", "sizes"], group_by="group", where="price < 30")
    assert as_counts(brand) == {"a": 10, "b": 10, "c": 10}
    assert as_counts(sizes) == {"S": 30, "M": 15}
    assert products.facets(["brand"], group_by="group", kind="any")[0].missing == 1


def test_numbers_become_ranges_that_hold_everything(products):
    (price,) = products.facets(["price"], group_by="group")
    assert price.type == "number"
    assert 3 <= len(price.values) <= 7
    for at, value in enumerate(price.values):
        last = at == len(price.values) - 1
        assert value.count == sum(value.low <= n < value.high or (last and n == value.high) for n in range(60))
    assert sum(value.count for value in price.values) == 60
    (few,) = products.facets(["price"], where="price in (3, 5)", group_by="group")
    assert few.values == (FacetValue(3, 1), FacetValue(5, 1))


def test_under_a_query_only_the_nearest_are_counted(products, rows):
    query = mm.vector(rows[7, 0])
    nearest = products.search(query, k=12)
    (brand,) = products.facets(["brand"], query=query, among=12)
    assert as_counts(brand) == dict(Counter(hit.meta["brand"] for hit in nearest if "brand" in hit.meta))


def test_the_catalogues_own_fields_and_the_limit(products):
    kind, group = products.facets(["kind", "group"], kind="any", limit=5)
    assert as_counts(kind) == {"image": 121, "text": 120}
    assert (len(group.values), group.more, group.missing) == (5, 55, 1)


def test_mixed_types_stay_apart(shop):
    rows = np.eye(32, dtype=np.float32)
    for n, value in enumerate([1, True, "1", 1.0, None, {"a": 1}, [], ["x", "x", 2]]):
        shop.add([mm.Item(id=str(n), text="t", meta={"v": value}, vector=rows[n])])
    (facet,) = shop.facets(["v"], kind="text")
    assert sorted((type(one.value).__name__, one.count) for one in facet.values) == [
        ("bool", 1), ("int", 1), ("int", 2), ("str", 1), ("str", 1),
    ]  # fmt: skip
    assert facet.missing == 3


def test_an_index_on_groups_changes_nothing_but_the_way(products, rows):
    query, fields = mm.vector(rows[7, 0] + rows[8, 2]), {"photo": 1, "title": 1}
    before = products.search(query, fields=fields, k=20).ids
    products.index_groups()
    products.index_groups()
    assert products.search(query, fields=fields, k=20).ids == before
    with products._store.snapshot() as snapshot:
        plan = snapshot._raw.execute('EXPLAIN QUERY PLAN SELECT vid FROM item WHERE "group" IN (?)', ("p1",)).fetchall()
    assert "item_group" in plan[0][3]
    assert all(one.level == "ok" for one in products.verify())


@pytest.mark.parametrize("name", ['a"b', "it's", "", "a\\b", "a\0b"])
def test_names_that_no_path_can_hold_are_refused(products, name):
    with pytest.raises(mm.FilterError):
        products.facets([name])


def test_counting_is_a_sum_over_codes():
    found = column([("x", np.array([3, 9])), ("y", np.array([4])), ("x", np.array([5]))])
    counts, missing = count(found, VidSet([3, 4, 5, 7]))
    assert dict(zip(found.values, counts.tolist(), strict=True)) == {"x": 2, "y": 1}
    assert missing == 1
