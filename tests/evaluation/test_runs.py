"""Runs over a collection of known vectors: every figure is what a matrix product gives."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mmsearch as mm
from mmsearch import evaluation
from mmsearch.evaluation import Captions, Judgements, Run

N = 60


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    images = unit(rng.standard_normal((N, 32)))
    return images, unit(images + 0.25 * rng.standard_normal((N, 32)))


@pytest.fixture
def gallery(shop, vectors):
    images, texts = vectors
    shop.add(mm.Item(id=f"p{n}.jpg", image=b"-", group=f"g{n // 2}", meta={"sku": n // 3}, vector=row)
             for n, row in enumerate(images))
    shop.add(mm.Item(id=f"t{n}", text=f"words {n}", vector=row) for n, row in enumerate(texts))
    return shop


def ranks(queries, rows):
    scores = queries @ rows.astype(np.float16).astype(np.float32).T
    return (scores > np.diag(scores)[:, None]).sum(axis=1)


def test_text_to_image_recall_is_that_of_the_matrix_product(gallery, vectors):
    images, texts = vectors
    given = Judgements({f"t{n}": mm.vector(texts[n]) for n in range(N)}, {f"t{n}": {f"p{n}.jpg": 1} for n in range(N)})
    cases = evaluation.cases(given, gallery)
    (row,) = evaluation.compare([evaluation.run(gallery, cases)], cases, ["recall@1", "recall@5", "mrr"])
    found = ranks(texts, images)
    assert row.scores["recall@1"].value == pytest.approx((found < 1).mean())
    assert 0.3 < row.scores["recall@1"].value < 0.95
    assert row.scores["recall@5"].value == pytest.approx((found < 5).mean())
    assert row.scores["mrr"].value == pytest.approx((1 / (found + 1)).mean())
    assert row.scores["mrr"].low < row.scores["mrr"].value < row.scores["mrr"].high
    assert row.ms > 0


def test_stored_items_as_queries_and_image_to_text(gallery, vectors):
    images, texts = vectors
    captions = Captions({f"p{n}.jpg": (f"words  {n}",) for n in range(N)})
    cases = evaluation.cases(captions, gallery, task="image-text")
    found = evaluation.measure(evaluation.run(gallery, cases).ranked, cases, ["success@1"])["success@1"]
    stored = images.astype(np.float16).astype(np.float32)
    assert found.mean() == pytest.approx((ranks(unit(stored), texts) < 1).mean())
    asked = evaluation.cases(captions, gallery, task="text-image")
    assert [c.relevant for c in asked] == [{f"p{n}.jpg": 1} for n in range(N)]
    assert asked[3].query == mm.text("words  3")


def test_items_of_a_group_find_each_other_and_never_themselves(gallery, vectors):
    images, _ = vectors
    cases = evaluation.cases_by_group(gallery)
    assert len(cases) == N
    ranked = evaluation.run(gallery, cases, depth=N).ranked
    scores = images.astype(np.float16).astype(np.float32)
    scores = scores @ scores.T
    for n in (0, 7, 31):
        order = [m for m in np.argsort(-scores[n], kind="stable") if m != n]
        assert list(ranked[f"p{n}.jpg"]) == [f"p{m}.jpg" for m in order]
    assert len(evaluation.cases_by_group(gallery, "sku")[0].relevant) == 2


def test_two_runs_are_compared_query_by_query(gallery, vectors):
    given = Judgements({"a": mm.item("t1"), "b": mm.item("t2")}, {"a": {"p1.jpg": 1}, "b": {"p2.jpg": 1}})
    cases = evaluation.cases(given, gallery)
    good, bad = Run("good", {"a": ("p1.jpg",), "b": ("p2.jpg",)}), Run("bad", {"a": ("p9.jpg",), "b": ("p2.jpg",)})
    first, second = evaluation.compare([good, bad], cases, ["recall@1"])
    assert (first.scores["recall@1"].value, first.scores["recall@1"].p) == (1.0, None)
    assert second.scores["recall@1"].difference == -0.5
    assert second.scores["recall@1"].p == 1.0
    assert json.loads(evaluation.to_json([first, second]))[1]["scores"]["recall@1"]["difference"] == -0.5
    assert evaluation.to_csv([first]).splitlines()[1].startswith("good,2,0.000,recall@1,1.000000,1.000000")


def test_a_run_survives_its_file(tmp_path):
    run = Run("mine", {"q 1": ("a b", "c\n\td\\n"), "q2": ("caf\udce9\u2028",)})
    evaluation.write_run(run, tmp_path / "run")
    assert evaluation.read_run(tmp_path / "run") == run
    (tmp_path / "blanks").write_text("q Q0 b 2 0.5 x\nq Q0 a 1 0.9 x\n")
    assert evaluation.read_run(tmp_path / "blanks").ranked == {"q": ("a", "b")}


def test_settings_reach_the_search_and_unknown_ones_are_refused(gallery):
    cases = evaluation.cases(Judgements({"a": mm.item("t1")}, {"a": {"p1.jpg": 1}}), gallery)
    assert len(evaluation.run(gallery, cases, where="sku = 0").ranked["a"]) == 3
    with pytest.raises(mm.UsageError, match="no such setting"):
        evaluation.run(gallery, cases, wher="sku = 0")


def test_what_the_collection_lacks_is_named(gallery, shop):
    lacking = Judgements({"a": mm.text("x")}, {"a": {"nobody": 1}})
    with pytest.raises(mm.UsageError, match="1 of 1 judged items.*nobody"):
        evaluation.cases(lacking, gallery)
    with pytest.raises(mm.UsageError, match="'a' is no item"):
        evaluation.cases(Judgements({"a": mm.item("a")}, {"a": {"p1.jpg": 1}}), gallery)
    with pytest.raises(mm.UsageError, match=r"no picture.*'x\.jpg'"):
        evaluation.cases(Captions({"x.jpg": ("y",)}), gallery)
    with pytest.raises(mm.UsageError, match="none of the captions"):
        evaluation.cases(Captions({"p1.jpg": ("y",)}), gallery, task="image-text")
    with pytest.raises(mm.UsageError, match="no two items"):
        evaluation.cases_by_group(gallery, "nothing")
    with pytest.raises(mm.UsageError, match="no task"):
        evaluation.cases(lacking, gallery, task="sound-image")


def test_captions_find_pictures_by_the_end_of_their_path(shop, paint):
    shop.sync(mm.Folder(paint("photos/deep/red.png", "red").parent.parent))
    (case,) = evaluation.cases(Captions({"red.png": ("a red thing",)}), shop)
    assert case.relevant == {"deep/red.png": 1}


def test_zero_shot_tells_colours_apart(shop, paint):
    for colour in ("red", "green", "blue"):
        for shade in (0, 30):
            shop.add([mm.Item(id=f"{colour}{shade}", image=paint(f"{colour}/{shade}.png", colour, shade=shade),
                              meta={"colour": colour})])
    truth = evaluation.labels_of(shop, "colour")
    found = evaluation.zero_shot(shop, ["red", "green", "blue"], truth, templates=["{}", "a {} thing"])
    assert found.top1 == (1.0, 1.0, 1.0)
    assert found.guesses["red0"][0] == "red"
    swapped = {**truth, "red0": "blue", "red30": "blue"}
    worse = evaluation.zero_shot(shop, ["red", "green", "blue"], swapped, templates=["{}"])
    assert worse.top1.value == pytest.approx(4 / 6)
    assert worse.by_label == {"blue": 0.5, "green": 1.0}
    with pytest.raises(mm.UsageError, match="'blue' is no label"):
        evaluation.zero_shot(shop, ["red", "green"], truth)


def test_a_plot_is_written(tmp_path, gallery):
    pytest.importorskip("matplotlib")
    cases = evaluation.cases(Judgements({"a": mm.item("t1")}, {"a": {"p1.jpg": 1}}), gallery)
    rows = evaluation.compare([evaluation.run(gallery, cases), evaluation.run(gallery, cases, name="again")], cases)
    evaluation.plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
