"""Weights are learned from answers that are known: what tells right from wrong gets the weight."""

from __future__ import annotations

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.evaluation import Case, learn_fields
from mmsearch.types import Kind

DIM = 32


@pytest.fixture
def told_by_title(shop):
    """60 products in 6 classes: titles lie near their class's direction, photos and descriptions anywhere."""
    random = np.random.default_rng(2)
    classes = np.linalg.qr(random.standard_normal((DIM, DIM)))[0][:6]
    items = []
    for n in range(60):
        title = classes[n % 6] + 0.15 * random.standard_normal(DIM)
        items += [
            mm.Item(f"p{n}#photo-1", image=b"-", group=f"p{n}", vector=random.standard_normal(DIM)),
            mm.Item(f"p{n}#title", text="t", group=f"p{n}", vector=title),
            mm.Item(f"p{n}#description", text="d", group=f"p{n}", vector=random.standard_normal(DIM)),
        ]
    shop.add(items)
    queries = [(at, classes[at] + 0.1 * random.standard_normal(DIM)) for at in range(6) for _ in range(3)]
    return shop, [
        Case(f"q{n}", mm.vector(row), {f"p{m}": 1 for m in range(60) if m % 6 == at}, Kind.IMAGE, cluster=f"q{n}")
        for n, (at, row) in enumerate(queries)
    ]


def test_the_field_that_tells_gets_the_weight(told_by_title):
    shop, cases = told_by_title
    found = learn_fields(shop, cases)
    assert found.weights["title"] == 1.0
    assert max(found.weights["photo"], found.weights["description"]) <= 0.3
    assert found.alone["title"] > 0.95 > found.equal > found.alone["photo"]
    assert found.score >= found.equal
    assert found.per_query.mean() == pytest.approx(found.score)


def test_its_figures_are_those_of_the_search(told_by_title):
    """nDCG@10 of equal weights, worked out from the answers themselves."""
    shop, cases = told_by_title
    fields = {"photo": 1, "title": 1, "description": 1}
    figures = []
    for case in cases:
        gains = [hit.group in case.relevant for hit in shop.search(case.query, fields=fields, k=10)]
        discount = 1 / np.log2(np.arange(2, 12))
        figures.append((gains * discount).sum() / discount.sum())
    np.testing.assert_allclose(learn_fields(shop, cases).per_query_equal, figures, atol=1e-9)


def test_products_can_be_left_out(told_by_title):
    shop, cases = told_by_title
    without = {case.id: frozenset(list(case.relevant)[1:]) for case in cases}
    found = learn_fields(shop, cases, without=without)
    assert found.alone["title"] == pytest.approx(1.0, abs=0.05), "one right product is left of each class, and is first"


def test_too_few_cases_are_refused(told_by_title):
    shop, cases = told_by_title
    with pytest.raises(mm.UsageError, match="folds"):
        learn_fields(shop, cases[:3])
