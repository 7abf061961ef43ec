"""A product's score is the weighted sum of its parts' standardised cosines; compared with the same sum worked out here."""

from __future__ import annotations

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.catalogue.fields import field_of
from mmsearch.types import Kind

WEIGHTS = {"photo": 1.0, "title": 0.6, "description": 0.3}


def oracle(rows, query, weights):
    """Each product's merit. The collection is smaller than the sample, so that the background is all of it."""
    stored = rows.astype(np.float16).astype(np.float32)
    cosines = stored @ (query / np.linalg.norm(query)).astype(np.float32)  # (60, 4)
    alone = (rows[0, 0] + rows[1, 1]) / np.linalg.norm(rows[0, 0] + rows[1, 1])
    lonely = float(alone.astype(np.float16).astype(np.float32) @ query / np.linalg.norm(query))
    columns = {"photo": [*cosines[:, :2].ravel(), lonely], "title": cosines[:, 2], "description": cosines[:, 3]}
    parts = {"photo": cosines[:, :2].max(axis=1), "title": cosines[:, 2], "description": cosines[:, 3]}
    merit = sum(weights[name] * (parts[name] - np.mean(columns[name])) / np.std(columns[name]) for name in weights)
    found = {f"p{n}": float(value) for n, value in enumerate(merit)}
    found["alone"] = weights.get("photo", 0) * (lonely - np.mean(columns["photo"])) / np.std(columns["photo"])
    return sorted(found.items(), key=lambda pair: -pair[1])


@pytest.mark.parametrize("weights", [WEIGHTS, {"title": 1.0}, {"photo": 0.2, "description": 2.0}])
def test_the_merit_is_the_weighted_sum(products, rows, weights):
    query = rows[7, 0] + 2 * rows[20, 2] + rows[31, 3]
    hits = products.search(mm.vector(query), fields=weights, k=61)
    expected = oracle(rows, query, weights)
    assert [hit.group or hit.id for hit in hits] == [name for name, _ in expected]
    np.testing.assert_allclose([hit.rerank for hit in hits], [value for _, value in expected], atol=2e-3)
    assert hits.exact


def test_one_hit_a_product_shown_by_its_best_photo(products, rows):
    query = mm.vector(rows[5, 1])
    hit = products.search(query, fields=WEIGHTS, k=1)[0]
    assert (hit.id, hit.group) == ("p5#photo-2", "p5")
    assert hit.best_match == "p5#photo-2"
    assert set(hit.matches) == {"p5#photo-2", "p5#title", "p5#description"}
    assert sum(hit.matches.values()) == pytest.approx(hit.rerank, abs=1e-4)
    assert hit.score == pytest.approx(1.0, abs=1e-3)


def test_it_is_told_when_a_text_matched_best(products, rows):
    hit = products.search(mm.vector(rows[9, 2]), fields=WEIGHTS, k=1)[0]
    assert hit.group == "p9"
    assert hit.kind is Kind.IMAGE
    assert hit.best_match == "p9#title"


def test_filters_pages_and_boosts_hold_for_products(products, rows):
    query = mm.vector(rows[3, 0] + rows[4, 2])
    whole = [hit.group for hit in products.search(query, fields=WEIGHTS, k=20, where="price < 20")]
    assert len(set(whole)) == 20
    assert all(int(group[1:]) < 20 for group in whole)
    pages = [products.search(query, fields=WEIGHTS, k=5, offset=at, where="price < 20") for at in (0, 5, 10, 15)]
    assert [hit.group for page in pages for hit in page] == whole
    boosted = products.search(query, fields=WEIGHTS, k=5, boost="price * 100")
    assert [hit.group for hit in boosted] == ["p59", "p58", "p57", "p56", "p55"]


def test_many_queries_are_as_many_single_ones(products, rows):
    queries = [mm.vector(rows[n, n % 4]) for n in range(6)]
    together = products.search_many(queries, fields=WEIGHTS, k=7)
    for query, hits in zip(queries, together, strict=True):
        alone = products.search(query, fields=WEIGHTS, k=7)
        assert hits.ids == alone.ids
        np.testing.assert_allclose([h.rerank for h in hits], [h.rerank for h in alone], atol=1e-4)


def test_saved_weights_have_a_name(products, rows):
    query = mm.vector(rows[9, 2])
    products.save_fields("shop", WEIGHTS)
    assert products.search(query, fields="shop").ids == products.search(query, fields=WEIGHTS).ids
    products.save_fields("shop", None)
    with pytest.raises(mm.UsageError, match="no weights"):
        products.search(query, fields="shop")


@pytest.mark.parametrize("weights", [{}, {"photo": 0}, {"photo": -1}, {"photo": float("nan")}, {"photo": "much"}])
def test_weights_that_are_none_are_refused(products, weights):
    if weights == {}:  # nothing asked for
        assert products.search("red", fields=None)
        return
    with pytest.raises(mm.QueryError):
        products.search("red", fields=weights)


@pytest.mark.parametrize(
    ("id", "kind", "field"),
    [
        ("sku-1#photo-2", "image", "photo"),
        ("sku#title", "text", "title"),
        ("sku#long description-11", "text", "long description"),
        ("a/b#c.jpg", "image", "photo"),
        ("sku#3", "text", "text"),
        ("plain", "image", "photo"),
    ],
)
def test_the_field_is_read_off_the_id(id, kind, field):
    assert field_of(id, Kind(kind)) == field
