"""The adapter: its file, what it does to queries, how it is learned, and that it is never switched on where it is worse."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmsearch as mm
from mmsearch.adapter import Adapter, dump, load
from mmsearch.errors import CollectionCorrupt, ModelMismatch, UsageError
from mmsearch.testing.indexes import unit_rows
from mmsearch.training.adapter import judge, learn, mcnemar, parts_of
from mmsearch.training.adapter_fit import Task, fit, loss_and_gradients
from mmsearch.training.adapter_pairs import Pair, read_pairs
from mmsearch.types import item, text, vector


def rotation(dim: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0].astype(np.float32)


# --- the value --------------------------------------------------------------------------------------------------


def test_it_turns_queries_of_its_kinds_and_no_others():
    turn, rows = rotation(8), unit_rows(5, 8, 1)
    adapter = Adapter("f", {"text": 3 * turn})
    np.testing.assert_allclose(adapter("text", rows), rows @ turn.T, atol=1e-3)
    np.testing.assert_allclose(adapter("text", rows[0]), adapter("text", rows)[0], atol=1e-6)
    assert adapter("image", rows) is rows
    assert adapter("item", rows) is rows


def test_it_comes_back_as_it_was_and_is_a_safetensors_file():
    from safetensors.numpy import load as standard

    adapter = Adapter("model", {"text": rotation(6), "image": rotation(6, 1)}, {"text": {"queries": 3}})
    back = load(dump(adapter))
    assert (back.model, back.about, back.fingerprint) == ("model", {"text": {"queries": 3}}, adapter.fingerprint)
    for kind, values in standard(adapter.to_bytes()).items():
        np.testing.assert_array_equal(values, adapter.maps[kind])
        np.testing.assert_array_equal(back.maps[kind], adapter.maps[kind])


def test_the_fingerprint_tells_maps_kinds_and_models_apart():
    turn = rotation(4)
    given = [("a", "text", turn), ("b", "text", turn), ("a", "image", turn), ("a", "text", turn.T)]
    made = [Adapter(model, {kind: values}) for model, kind, values in given]
    assert len({one.fingerprint for one in made}) == 4
    assert Adapter("a", {"text": turn}, {"learned": 1}).fingerprint == made[0].fingerprint


@given(st.data())
def test_a_damaged_file_is_refused_or_gives_finite_maps(data):
    whole = Adapter("model", {"text": np.eye(3, dtype=np.float32)}).to_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for broken in (bytes(damaged), whole[:cut]):
        try:
            found = Adapter.of_bytes(broken)
        except CollectionCorrupt:
            continue
        assert all(np.isfinite(values).all() for values in found.maps.values())


def test_nothing_kept_is_corrupt():
    with pytest.raises(CollectionCorrupt):
        load(None)
    with pytest.raises(CollectionCorrupt):
        load("no base64!")


# --- in a collection --------------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path):
    with mm.Collection.open(tmp_path / "shop", create=True, model="toy") as collection:
        collection.add([mm.Item(id=word, text=word) for word in ("red", "green", "blue")])
        yield collection


def swapped(shop: mm.Collection) -> Adapter:
    """What asks for green when red was said, and the other way round."""
    red, green = shop.vectors_of([text("red"), text("green")])
    gap = (red - green) / np.linalg.norm(red - green)
    return Adapter(shop.info.fingerprint, {"text": (np.eye(len(gap)) - 2 * np.outer(gap, gap)).astype(np.float32)})


def first(shop, query) -> str:
    return shop.search(query, kind="text", k=1)[0].id


def test_it_changes_texts_alone_and_can_be_undone(shop):
    assert first(shop, "red") == "red"  # which the cache of texts remembers
    shop.set_adapter(swapped(shop))
    assert first(shop, "red") == "green"
    assert [hits[0].id for hits in shop.search_many(["red", "blue", "green"], kind="text")] == ["green", "blue", "red"]
    assert first(shop, item("red")) == "red"
    assert first(shop, vector(shop.rows_of(["red"], "text")["red"])) == "red"
    np.testing.assert_allclose(shop.vectors_of([text("red")])[0], shop.rows_of(["red"], "text")["red"], atol=1e-3)
    shop.set_adapter(None)
    assert first(shop, "red") == "red"
    shop.set_adapter(shop.last_adapter())
    assert first(shop, "red") == "green"


def test_it_outlives_the_process_and_status_says_so(shop):
    adapter = swapped(shop)
    assert shop.status().adapter is None
    shop.set_adapter(adapter)
    with mm.Collection.open(shop.path) as again:
        assert again.status().adapter == adapter.fingerprint
        assert again.adapter().fingerprint == adapter.fingerprint
        assert first(again, "red") == "green"
    assert [finding for finding in shop.verify() if finding.level != "ok"] == []


def test_only_the_last_one_is_kept(shop):
    shop.set_adapter(swapped(shop))
    other = Adapter(shop.info.fingerprint, {"text": np.eye(shop.info.dim, dtype=np.float32)})
    shop.set_adapter(other)
    assert first(shop, "red") == "red"
    assert shop.last_adapter().fingerprint == other.fingerprint


def test_one_for_another_model_or_of_another_size_is_refused(shop):
    with pytest.raises(ModelMismatch):
        shop.set_adapter(Adapter("other", {"text": np.eye(shop.info.dim, dtype=np.float32)}))
    with pytest.raises(UsageError):
        shop.set_adapter(Adapter(shop.info.fingerprint, {"text": np.eye(2, dtype=np.float32)}))
    assert shop.adapter() is None


# --- learning ---------------------------------------------------------------------------------------------------


def test_the_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    weights = (np.eye(5) + 0.1 * rng.standard_normal((5, 5))).astype(np.float64)
    queries, rows = unit_rows(7, 5, 1).astype(np.float64), unit_rows(9, 5, 2).astype(np.float64)
    targets = rng.dirichlet(np.ones(9), 7)
    _, slope, slope_scale = loss_and_gradients(weights, 1.3, queries, targets, rows)

    def loss(w, s):
        return loss_and_gradients(w, s, queries, targets, rows)[0]

    for at in [(0, 0), (2, 3), (4, 1)]:
        step = np.zeros_like(weights)
        step[at] = 1e-5
        assert slope[at] == pytest.approx((loss(weights + step, 1.3) - loss(weights - step, 1.3)) / 2e-5, rel=1e-3, abs=1e-6)
    assert slope_scale == pytest.approx((loss(weights, 1.3 + 1e-5) - loss(weights, 1.3 - 1e-5)) / 2e-5, rel=1e-3)


def world(n: int, dim: int = 16):
    """Rows of items, and queries that lie a fixed rotation away from them."""
    rows = unit_rows(n, dim, 3)
    turn = np.eye(dim, dtype=np.float32)
    turn[:10, :10] = rotation(10, 4)
    return rows, rows @ turn.T


def finder(rows):
    def find(vectors):
        return [[f"i{n}" for n in np.argsort(-scores, kind="stable")[:10]] for scores in vectors @ rows.T]

    return find


def test_a_rotation_of_the_queries_is_learned_and_judged_better():
    rows, queries = world(400)
    pairs = [Pair("text", f"q{n}", (f"i{n}",)) for n in range(400)]
    found = learn("text", pairs, queries, {f"i{n}": row for n, row in enumerate(rows)}, rows[:0], finder(rows))
    verdict = found.verdict
    assert found.apart
    assert verdict.queries == 80
    assert verdict.after_r10 > verdict.before_r10 + 0.2
    assert verdict.better
    again = learn("text", pairs, queries, {f"i{n}": row for n, row in enumerate(rows)}, rows[:0], finder(rows))
    np.testing.assert_array_equal(again.fit.map, found.fit.map)


def test_clicks_without_sense_are_refused():
    rows, _ = world(200)
    queries = unit_rows(200, 16, 99)
    pairs = [Pair("text", f"q{n}", (f"i{n}",)) for n in range(200)]
    found = learn("text", pairs, queries, {f"i{n}": row for n, row in enumerate(rows)}, rows[:0], finder(rows))
    assert not found.verdict.better


def test_what_is_perfect_stays_the_identity_or_is_refused():
    rows, _ = world(200)
    pairs = [Pair("text", f"q{n}", (f"i{n}",)) for n in range(200)]
    found = learn("text", pairs, rows, {f"i{n}": row for n, row in enumerate(rows)}, rows[:0], finder(rows))
    assert found.verdict.before_r1 == 1.0
    assert not found.verdict.better


def test_too_few_pairs_teach_nothing():
    with pytest.raises(UsageError, match="fewer than 50"):
        learn("text", [Pair("text", "a", ("b",))], unit_rows(1, 4, 0), {}, unit_rows(3, 4, 1), finder(unit_rows(3, 4, 1)))


def test_the_fit_keeps_the_identity_where_stopping_queries_only_get_worse():
    rows = unit_rows(60, 8, 5)
    noise = Task(unit_rows(40, 8, 6), [np.array([n]) for n in range(40)])
    stop = Task(rows[40:], [np.array([n]) for n in range(40, 60)])
    found = fit(noise, stop, rows, rate=0.05, most=40)
    assert found.loss <= found.before
    if not found.steps:
        np.testing.assert_array_equal(found.map, np.eye(8, dtype=np.float32))


def test_the_verdict_counts_ranks():
    rows = unit_rows(30, 6, 7)
    pairs = [Pair("text", str(n), (f"i{n}",)) for n in range(30)]
    found = judge(pairs, rows, rotation(6, 8), finder(rows))
    changed = rows @ rotation(6, 8).T
    own = (changed * rows).sum(axis=1)
    ranks = (changed @ rows.T > own[:, None] + 1e-7).sum(axis=1)
    assert found.before_r1 == 1.0
    assert found.after_r1 == pytest.approx((ranks < 1).mean())
    assert found.after_r10 == pytest.approx((ranks < 10).mean())
    assert (found.won, found.lost) == (0, int((ranks >= 1).sum()))


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (9, 1), (5, 5), (3, 12), (40, 20)])
def test_mcnemar_is_the_binomial_test(won, lost):
    from scipy.stats import binomtest

    wanted = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(wanted)
    assert Fraction(mcnemar(0, 3)) == Fraction(1, 4)


def test_queries_of_one_item_go_into_one_part():
    pairs = [Pair("text", f"q{n}", (f"i{n // 3}",)) for n in range(300)]
    parts, apart = parts_of(pairs)
    assert apart
    items = [{pairs[at].ids[0] for at in part} for part in parts]
    assert not items[0] & items[1]
    assert not items[0] & items[2]
    assert not items[1] & items[2]
    assert sorted(np.concatenate(parts)) == list(range(300))
    assert [len(part) for part in parts] == pytest.approx([180, 60, 60], abs=6)


def test_clicks_that_tie_all_together_are_parted_query_by_query():
    pairs = [Pair("text", f"q{n}", ("best-seller", f"i{n}")) for n in range(100)]
    parts, apart = parts_of(pairs)
    assert not apart
    assert [len(part) for part in parts] == [60, 20, 20]


# --- the file of pairs ------------------------------------------------------------------------------------------


def test_pairs_are_read_and_those_of_one_query_put_together(tmp_path):
    file = tmp_path / "clicks.jsonl"
    lines = [{"query": " red  dress ", "id": "a"}, {"image": "x/y.jpg", "ids": ["b", "c"]}]
    lines.append({"query": "red dress", "id": "d", "at": 7})
    file.write_text("\ufeff" + "\n\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")
    assert read_pairs(file) == [Pair("text", "red dress", ("a", "d")), Pair("image", str(tmp_path / "x/y.jpg"), ("b", "c"))]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[1]", "no object"),
        ('{"id": "a"}', "neither a query nor an image"),
        ('{"query": "a", "image": "b", "id": "c"}', "both a query and an image"),
        ('{"query": "", "id": "c"}', "empty"),
        ('{"query": 7, "id": "c"}', "no text"),
        ('{"query": "a"}', "does not name its items"),
        ('{"query": "a", "id": 7}', "does not name its items"),
        ('{"query": "a", "ids": []}', "does not name its items"),
        ('{"query": "a", "ids": ["a", 7]}', "does not name its items"),
        ('{"query": "a", "id": "a", "ids": ["b"]}', "does not name its items"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_the_line_that_is_no_pair_is_named(tmp_path, line, why):
    file = tmp_path / "clicks.jsonl"
    file.write_text('{"query": "good", "id": "a"}\n' + line + "\n")
    with pytest.raises(UsageError, match=why) as error:
        read_pairs(file)
    assert "line 2" in str(error.value)


def test_a_file_without_pairs(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(UsageError, match="no pairs"):
        read_pairs(tmp_path / "empty.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00\x01\n")
    with pytest.raises(UsageError, match="line 1"):
        read_pairs(tmp_path / "bytes.jsonl")
