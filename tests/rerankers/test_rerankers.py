"""Each reranker by the conformance suite, and by values that were worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.protocols import RerankContext
from mmsearch.rerankers.boost import BoostReranker, Formula
from mmsearch.rerankers.collapse import CollapseReranker
from mmsearch.rerankers.fast import FastReranker, expanded, hubness, k_reciprocal
from mmsearch.rerankers.mmr import MMRReranker
from mmsearch.rerankers.model import ModelReranker
from mmsearch.testing.indexes import unit_rows
from mmsearch.testing.rerankers import RerankerConformance
from mmsearch.types import Hit, Kind


class TestFastWithoutABank(RerankerConformance):
    def build(self):
        return FastReranker()


class TestFast(RerankerConformance):
    def build(self):
        return FastReranker(unit_rows(50, self.dim, 9))


class TestFastReciprocal(RerankerConformance):
    def build(self):
        return FastReranker(pictures="reciprocal")

    def query(self):
        return mm.item("i0")


class TestFastExpand(TestFastReciprocal):
    def build(self):
        return FastReranker(pictures="expand")


class TestMMR(RerankerConformance):
    def build(self):
        return MMRReranker(0.4)


class TestCollapse(RerankerConformance):
    drops = True

    def build(self):
        return CollapseReranker(0.3)


class TestBoost(RerankerConformance):
    def build(self):
        return BoostReranker("price * 0.1 - (price > 4)")


class TestModel(RerankerConformance):
    def build(self):
        return ModelReranker(ToyEncoder(32), top=20)


def hits_of(rows, target, **more):
    scores = rows @ target
    return [Hit(n + 1, f"i{n}", Kind.IMAGE, float(scores[n]), n, **more) for n in range(len(rows))]


def context(rows, target):
    return RerankContext(target, rows, ToyEncoder(32))


# --- fast -------------------------------------------------------------------------------------------------------


def test_hubness_is_the_soft_maximum_of_the_cosines_with_the_bank():
    rows, bank = unit_rows(20, 16, 1), unit_rows(30, 16, 2)
    cosines = rows.astype(np.float64) @ bank.T
    np.testing.assert_allclose(hubness(rows, bank), 0.01 * np.log(np.exp(cosines / 0.01).sum(axis=1)), atol=1e-6)
    assert (hubness(rows, bank) >= cosines.max(axis=1) - 1e-6).all()
    assert (hubness(rows, bank) <= cosines.max(axis=1) + 0.01 * np.log(30) + 1e-6).all()


def test_a_hub_falls_behind_what_answers_this_query_alone():
    target, hub, own = np.eye(16, dtype=np.float32)[:3]
    bank = np.stack([0.9 * hub + np.sqrt(1 - 0.81) * np.eye(16)[n] for n in range(3, 9)]).astype(np.float32)
    rows = np.stack([0.40 * target + np.sqrt(1 - 0.16) * hub, 0.35 * target + np.sqrt(1 - 0.35**2) * own]).astype(np.float32)
    hits = hits_of(rows, target)
    assert [hit.id for hit in FastReranker().rerank(mm.text("x"), hits, context(rows, target))] == ["i0", "i1"]
    got = FastReranker(bank, weight=0.5).rerank(mm.text("x"), hits, context(rows, target))
    assert [hit.id for hit in got] == ["i1", "i0"]
    assert got[1].rerank == pytest.approx(0.40 - 0.5 * hubness(rows, bank)[0], abs=1e-5)
    same = FastReranker(bank, weight=0.5).rerank(mm.item("x"), hits, context(rows, target))
    assert [hit.id for hit in same] == ["i0", "i1"]


def two_heaps(n=30, seed=0):
    """Two heaps of rows, a query in the first, and the strongest single hit in the second."""
    rng = np.random.default_rng(seed)
    centres = np.eye(16)[:2]
    rows = np.concatenate([centres[c] + 0.18 * rng.standard_normal((n, 16)) for c in (0, 1)])
    target = centres[0] + 0.55 * centres[1] + 0.25 * rng.standard_normal(16)
    unit = lambda x: (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)  # noqa: E731
    return unit(rows), unit(target), np.repeat([True, False], n)


@pytest.mark.parametrize("pictures", ["reciprocal", "expand"])
def test_neighbours_tell_which_heap_the_query_belongs_to(pictures):
    def precision(hits, right):
        return np.mean([right[hit.vid] for hit in hits[: right.sum()]])

    plain, better = [], []
    for seed in range(10):
        rows, target, right = two_heaps(seed=seed)
        hits = hits_of(rows, target)
        plain.append(precision(FastReranker().rerank(mm.item("q"), hits, context(rows, target)), right))
        better.append(precision(FastReranker(pictures=pictures).rerank(mm.item("q"), hits, context(rows, target)), right))
    assert np.mean(better) > np.mean(plain)


def test_expansion_by_hand():
    rows, target = unit_rows(8, 16, 3), unit_rows(1, 16, 4)[0]
    cosines = rows @ target
    moved = target.astype(np.float64)
    for n in np.argsort(-cosines)[:2]:
        moved = moved + max(cosines[n], 0) ** 3 * rows[n]
    np.testing.assert_allclose(expanded(target, rows, neighbours=2), rows @ (moved / np.linalg.norm(moved)), atol=1e-6)


def test_reciprocal_neighbours_by_sets():
    """With k2 = 1 and no growth of the sets, the distance is Jaccard's over sets written out one by one."""
    rows, target = unit_rows(12, 16, 5), unit_rows(1, 16, 6)[0]
    every = np.concatenate([target[None], rows]).astype(np.float64)
    distance = 1 - every @ every.T
    k1 = 2
    nearest = [set(np.argsort(row, kind="stable")[: k1 + 1].tolist()) for row in distance]
    mutual = [{j for j in nearest[i] if i in nearest[j]} | {i} for i in range(13)]
    one = [set(np.argsort(row, kind="stable")[:2].tolist()) for row in distance]
    half = [{j for j in one[i] if i in one[j]} | {i} for i in range(13)]
    weights = np.zeros((13, 13))
    for i in range(13):
        grown = set(mutual[i])
        for j in mutual[i]:
            if len(half[j] & mutual[i]) * 3 >= 2 * len(half[j]):
                grown |= half[j]
        for j in grown:
            weights[i, j] = np.exp(-distance[i, j])
        weights[i] /= weights[i].sum()
    expected = []
    for i in range(1, 13):
        shared = np.minimum(weights[0], weights[i]).sum()
        expected.append(1 - (0.3 * distance[0, i] + 0.7 * (1 - shared / (2 - shared))))
    np.testing.assert_allclose(k_reciprocal(target, rows, k1=k1, k2=1), expected, atol=1e-9)


def test_unknown_ways_are_refused():
    with pytest.raises(mm.UsageError, match="reciprocal, expand, none"):
        FastReranker(pictures="all")


# --- variety ----------------------------------------------------------------------------------------------------


def test_mmr_by_brute_force():
    rows, target = unit_rows(25, 16, 7), unit_rows(1, 16, 8)[0]
    scores = (rows @ target).astype(np.float64)
    close = (scores - scores.min()) / np.ptp(scores)
    taken = []
    for _ in range(25):
        left = [n for n in range(25) if n not in taken]
        merit = {n: 0.6 * close[n] - 0.4 * max([max(0.0, float(rows[n] @ rows[m])) for m in taken], default=0.0) for n in left}
        taken.append(max(left, key=lambda n: (merit[n], -n)))
    got = MMRReranker(0.4).rerank(mm.text("x"), hits_of(rows, target), context(rows, target))
    assert [hit.vid for hit in got] == taken


def test_no_diversity_is_the_order_of_closeness():
    rows, target = unit_rows(25, 16, 7), unit_rows(1, 16, 8)[0]
    hits = hits_of(rows, target)
    got = MMRReranker(0.0).rerank(mm.text("x"), hits, context(rows, target))
    assert [hit.vid for hit in got] == np.argsort(-(rows @ target), kind="stable").tolist()
    with pytest.raises(mm.UsageError, match="from 0 to 1"):
        MMRReranker(1.5)


def test_of_near_duplicates_the_best_stays():
    target, other = np.eye(16, dtype=np.float32)[:2]
    angles = np.array([0.1, 0.12, 0.5, 0.52, 1.0])
    rows = (np.cos(angles)[:, None] * target + np.sin(angles)[:, None] * other).astype(np.float32)
    got = CollapseReranker(0.99).rerank(mm.text("x"), hits_of(rows, target), context(rows, target))
    assert [(hit.rank, hit.id) for hit in got] == [(1, "i0"), (2, "i2"), (3, "i4")]
    with pytest.raises(mm.UsageError, match="threshold"):
        CollapseReranker(0.0)


# --- formulas ---------------------------------------------------------------------------------------------------

META = {"price": 40, "in_stock": True, "age_days": 10, "brand": "Acme", "shelf": {"row": 3}, "case": 2, "bad": "x", "none": None}


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("in_stock*0.2 - age_days*0.01", 0.1),
        ("-price / 100 + 1", 0.6),
        ("(price < 50) * 0.1 + (brand = 'Acme') * 0.05", 0.15),
        ("(price >= 50 or not in_stock) * 3", 0.0),
        ("price = 40 and brand != 'Bolt'", 1.0),
        ("shelf.row * 2 + meta.price", 46.0),
        ("missing * 5 + bad + none", 0.0),
        ("price / missing", 0.0),
        ("(bad > 3) + (missing = 0) + (brand != 3)", 0.0),
        ("case + score * 2", 2.6),
        ("2 - 3 - 4", -5.0),
        ("2 - (3 - 4)", 3.0),
        ("1e300 * 1e300", 0.0),
        ("true - false", 1.0),
        ("1 / 8 / 2", 0.0625),
    ],
)
def test_formulas(formula, value):
    hit = Hit(1, "a", Kind.IMAGE, 0.3, 7, meta=META)
    assert Formula(formula)(hit) == pytest.approx(value)


@pytest.mark.parametrize(
    "formula",
    ["", "price +", "sum(price)", "price; drop table item", "select 1", "price -- more", "price in (1, 2)", "(select 1)", "a b",
     "price ** 2", "price % 2", "'text' || 'more'", "(" * 40 + "1" + ")" * 40, "1" + " + 1" * 300, "price like 'a%'", "*", ":p",
     "cast(price as int)", "price::int", "a[1]", "case when 1 then 2 end", "x" * 3000],
)  # fmt: skip
def test_what_is_no_formula_is_refused(formula):
    with pytest.raises(mm.FilterError, match="boost cannot be used") as caught:
        Formula(formula)
    assert len(str(caught.value).splitlines()) == 1


def test_a_boost_reorders():
    rows, target = unit_rows(3, 16, 1), unit_rows(1, 16, 2)[0]
    hits = [Hit(n + 1, f"i{n}", Kind.IMAGE, 0.5 - n / 10, n, meta={"in_stock": n == 2}) for n in range(3)]
    got = BoostReranker("in_stock * 0.15").rerank(mm.text("x"), hits, context(rows, target))
    assert [(hit.id, round(hit.rerank, 6)) for hit in got] == [("i0", 0.5), ("i2", 0.45), ("i1", 0.4)]


# --- a second model ---------------------------------------------------------------------------------------------


def test_a_second_model_decides_and_encodes_nothing_twice(paint):
    colours = ["blue", "green", "red", "gone"]
    hits = [Hit(n + 1, c, Kind.IMAGE, 0.9 - n / 10, n, path=str(paint(f"{c}.png", c) if c != "gone" else "/no/such.png"))
            for n, c in enumerate(colours)]
    rows, target = unit_rows(4, 16, 1), unit_rows(1, 16, 2)[0]
    second = ToyEncoder(32)
    reranker = ModelReranker(second)
    got = reranker.rerank(mm.text("red"), hits, context(rows, target))
    assert [hit.id for hit in got][0] == "red"
    assert [hit.id for hit in got][-1] == "gone"
    expected = float(second.encode_texts(["red"])[0] @ second.encode_images([second.preparer(_open(hits[2].path))])[0])
    assert got[0].rerank == pytest.approx(expected)
    before = second.images_encoded
    again = reranker.rerank(mm.text("green") + mm.image(hits[1].path), hits, context(rows, target))
    assert again[0].id == "green"
    assert second.images_encoded == before + 1  # the query's picture alone


def _open(path):
    from PIL import Image

    return Image.open(path).convert("RGB")


def test_only_the_top_is_looked_at_and_the_rest_stays_behind(paint):
    hits = [Hit(n + 1, c, Kind.IMAGE, 0.9 - n / 10, n, path=str(paint(f"{c}.png", c)))
            for n, c in enumerate(["blue", "green", "red"])]
    rows, target = unit_rows(3, 16, 1), unit_rows(1, 16, 2)[0]
    got = ModelReranker(ToyEncoder(32), top=2).rerank(mm.text("red"), hits, context(rows, target))
    assert got[2].id == "red"
    with pytest.raises(mm.QueryError, match="stored item"):
        ModelReranker(ToyEncoder(32)).rerank(mm.item("a"), hits, context(rows, target))
