"""Measures against values worked out by hand, and against a plain loop over random rankings."""

from __future__ import annotations

import math

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.evaluation import Case, measure

NAMES = ("recall@1", "recall@5", "success@1", "success@5", "precision@5", "f1@5", "mrr", "mrr@2", "map", "ndcg@5", "ndcg@10")


def case(id, relevant):
    return Case(id, mm.text("x"), relevant, mm.Kind.IMAGE, id)


def by_hand(found, relevant, name):
    """The definitions in the docstring of the module, written as loops."""
    what, _, cut = name.partition("@")
    depth = int(cut) if cut else len(found)
    top = found[:depth]
    right = [id for id in top if id in relevant]
    precision, recall = len(right) / depth if depth else 0.0, len(right) / len(relevant)
    if what == "recall":
        return recall
    if what == "success":
        return float(bool(right))
    if what == "precision":
        return precision
    if what == "f1":
        return 2 * precision * recall / (precision + recall) if right else 0.0
    if what == "mrr":
        return next((1 / rank for rank, id in enumerate(top, 1) if id in relevant), 0.0)
    if what == "map":
        hits = [rank for rank, id in enumerate(top, 1) if id in relevant]
        return sum(n / rank for n, rank in enumerate(hits, 1)) / len(relevant)
    gain = sum(relevant.get(id, 0) / math.log2(rank + 1) for rank, id in enumerate(top, 1))
    best = sorted(relevant.values(), reverse=True)[:depth]
    return gain / sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, 1))


def test_one_query_worked_out_on_paper():
    found = measure({"q": ["no", "b", "a", "nor", "c"]}, [case("q", {"a": 1, "b": 1, "d": 1})], NAMES)
    assert {name: round(float(values[0]), 4) for name, values in found.items()} == {
        "recall@1": 0.0, "recall@5": 0.6667, "success@1": 0.0, "success@5": 1.0, "precision@5": 0.4, "f1@5": 0.5,
        "mrr": 0.5, "mrr@2": 0.5, "map": 0.3889, "ndcg@5": 0.5307, "ndcg@10": 0.5307,
    }  # fmt: skip


def test_grades_weigh_in_ndcg_alone():
    first = measure({"q": ["a", "b"]}, [case("q", {"a": 1, "b": 3})], ["ndcg@10", "recall@1"])
    assert first["ndcg@10"][0] == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))
    assert first["recall@1"][0] == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_a_plain_loop_on_random_rankings(name):
    rng = np.random.default_rng(0)
    ids = [f"i{n}" for n in range(40)]
    cases = [case(f"q{q}", {ids[n]: int(rng.integers(1, 4)) for n in rng.permutation(40)[: 1 + q % 6]}) for q in range(60)]
    ranked = {c.id: [ids[n] for n in rng.permutation(40)[: rng.integers(10, 40)]] for c in cases}
    expected = [by_hand(ranked[c.id], c.relevant, name) for c in cases]
    np.testing.assert_allclose(measure(ranked, cases, [name])[name], expected, atol=1e-12)


def test_an_unanswered_query_counts_as_zero_and_any_string_is_an_id():
    odd = "caf\udce9 \x00\t中"
    found = measure({"q 1": [odd]}, [case("q 1", {odd: 1}), case("q\t2", {"x": 1})], ["recall@1", "map"])
    assert found["recall@1"].tolist() == [1.0, 0.0]
    assert found["map"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("name", "word"), [("recal@1", "no measure"), ("recall", "deep"), ("map@0", "no measure"), ("", "no m")])
def test_a_misspelt_measure_is_refused(name, word):
    with pytest.raises(mm.UsageError, match=word):
        measure({}, [], [name])
