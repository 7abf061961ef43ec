"""Rerankers, relevance, cut and words as a search applies them: against the parts used alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.ranking import TEXT_WEIGHT
from mmsearch.relevance import DEFAULT, Background, Calibration, bank_vectors
from mmsearch.rerankers.fast import hubness
from mmsearch.search import RRF_K

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rows():
    return unit(np.random.default_rng(0).standard_normal((150, 32)))


@pytest.fixture
def gallery(shop, rows):
    shop.add(mm.Item(id=f"i{n:03}", image=b"-", meta={"stock": n % 2}, vector=row) for n, row in enumerate(rows))
    return shop


@pytest.fixture
def colours(shop, paint):
    shop.add(mm.Item(id=f"{c}{n}", image=paint(f"{c}/{n}.png", c, shade=20 * n), meta={"n": n}) for c in COLOURS for n in range(3))
    return shop


@pytest.fixture(autouse=True)
def own_data_folder(monkeypatch, tmp_path):
    """Query banks are kept in the user's data folder: here it is a new one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def described(gallery, rows):
    """The gallery with 250 texts, near the pictures."""
    texts = unit(np.concatenate([rows, rows[:100]]) + 0.3 * np.random.default_rng(1).standard_normal((250, 32)))
    gallery.add(mm.Item(id=f"t{n:03}", text=f"text {n}", vector=row) for n, row in enumerate(texts))
    return gallery, texts.astype(np.float16).astype(np.float32)


def test_fast_takes_the_hub_back_by_the_collections_own_texts(described, rows, toy):
    gallery, texts = described
    stored = rows.astype(np.float16).astype(np.float32)
    target = toy.encode_texts(["a red thing"])[0]
    expected = stored @ target - TEXT_WEIGHT * hubness(stored, texts)
    near = set(np.argsort(-(stored @ target))[:100].tolist())
    order = [n for n in np.argsort(-expected) if n in near]
    hits = gallery.search("a red thing", kind="image", k=20, rerank="fast")
    assert hits.ids == [f"i{n:03}" for n in order[:20]]
    assert [hit.rank for hit in hits] == list(range(1, 21))
    np.testing.assert_allclose([hit.rerank for hit in hits], sorted(expected[order], reverse=True)[:20], atol=1e-4)
    np.testing.assert_allclose([hit.score for hit in hits], (stored @ target)[order[:20]], atol=1e-5)
    assert list(hits.timings) == ["encode", "filter", "search", "fetch", "rerank:fast"]


def test_each_rung_tells_its_time_and_what_it_gave(described, rows, toy):
    gallery, _ = described
    asked = {"kind": "image", "k": 100, "rerank": "fast"}
    fast = {hit.id: hit.rerank for hit in gallery.search("a red thing", **asked)}
    every = {"boost": "stock * 0.5", "collapse": 0.999, "diversity": 0.3, "relevance": True}
    hits = gallery.search("a red thing", **asked, **every)
    rungs = ["rerank:fast", "boost", "collapse", "diversity", "relevance"]
    assert list(hits.timings) == ["encode", "filter", "search", "fetch", *rungs]
    assert min(hits.timings.values()) > 0
    values = np.array([fast[id] + 0.5 * (int(id[1:]) % 2) for id in hits.ids])
    best = (values.max() - values.min(), values.min())
    for hit, boosted in zip(hits, values, strict=True):
        assert list(hit.stages) == rungs
        assert hit.stages["rerank:fast"] == pytest.approx(fast[hit.id], abs=1e-6)
        assert hit.stages["boost"] == hit.stages["collapse"] == pytest.approx(boosted, abs=1e-6)
        assert hit.stages["diversity"] == hit.rerank
        assert hit.stages["relevance"] == hit.relevance
    assert hits[0].stages["diversity"] == pytest.approx(0.7 * (values[0] - best[1]) / best[0], abs=1e-6)


def test_without_a_ladder_there_are_no_rungs(gallery):
    hits = gallery.search("a red thing")
    assert list(hits.timings) == ["encode", "filter", "search", "fetch"]
    assert all(hit.stages == {} for hit in hits)


def test_a_rung_of_the_callers_own_has_its_class_as_name_and_no_folder_is_told(gallery):
    from mmsearch.ranking import _short

    class Backwards:
        def rerank(self, query, hits, context):
            turned = list(reversed(hits))
            return [replace(hit, rank=at, rerank=float(-at)) for at, hit in enumerate(turned, 1)]

    hits = gallery.search("a red thing", k=3, candidates=5, rerank=Backwards(), boost="stock * 0 + 10")
    assert [hit.stages for hit in hits] == [{"rerank:Backwards": -n, "boost": 10.0 - n} for n in (1.0, 2.0, 3.0)]
    assert _short("deep:/home/me/blip") == "deep"


def test_the_querys_own_text_is_no_competitor(described, rows, toy):
    gallery, texts = described
    target = toy.encode_texts(["a red thing"])[0]
    before = gallery.search("a red thing", kind="image", k=100, rerank="fast")
    gallery.add([mm.Item(id="same", text="a red thing")])
    after = gallery.search("a red thing", kind="image", k=100, rerank="fast")
    assert [hit.rerank for hit in after] == pytest.approx([hit.rerank for hit in before], abs=1e-5)
    assert float(np.abs(texts @ target).max()) < 0.999


def test_fast_by_the_generic_bank_where_it_was_measured_to_help(gallery, rows, toy, monkeypatch):
    plain = gallery.search("a red thing", k=100)
    assert gallery.search("a red thing", k=100, rerank="fast").ids == plain.ids
    known = Calibration(height=1.0, lead=1.0, bias=0.0, cut=0.0, hub_weight=0.5)
    monkeypatch.setattr("mmsearch.relevance.calibrations", lambda: {toy.spec.fingerprint: known})
    stored = rows.astype(np.float16).astype(np.float32)
    expected = stored @ toy.encode_texts(["a red thing"])[0] - 0.5 * hubness(stored, bank_vectors(toy))
    found = {hit.id: hit.rerank for hit in gallery.search("a red thing", k=100, rerank="fast")}
    np.testing.assert_allclose(list(found.values()), [expected[int(id[1:])] for id in found], atol=1e-4)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_pages_of_a_reranked_answer_fit_together(described):
    gallery, _ = described
    whole = gallery.search("a red thing", k=30, rerank="fast", candidates=60)
    second = gallery.search("a red thing", k=10, offset=10, rerank="fast", candidates=60)
    assert second.ids == whole.ids[10:20]
    assert [hit.rank for hit in second] == list(range(11, 21))


def test_the_bank_is_kept_in_the_users_folder(gallery, toy, own_data_folder):
    gallery.search("a red thing", relevance=True)
    assert list(own_data_folder.rglob("bank-*.npy"))
    before = toy.texts_encoded
    with mm.Collection.open(gallery.path, model=toy) as again:
        again.search("a blue thing", relevance=True)
    assert toy.texts_encoded == before + 1


def test_relevance_is_that_of_the_background(gallery, rows, toy):
    stored = rows.astype(np.float16).astype(np.float32)
    target = toy.encode_texts(["a red thing"])[0]
    background = Background.of(bank_vectors(toy), stored)
    expected = DEFAULT.relevance(background.features(stored @ target, stored))
    hits = gallery.search("a red thing", k=150, relevance=True)
    assert len(hits) == 150
    found = {hit.id: hit.relevance for hit in hits}
    np.testing.assert_allclose([found[f"i{n:03}"] for n in range(150)], expected, atol=1e-3)
    assert all(hit.relevance is None for hit in gallery.search("a red thing"))


def test_relevance_is_judged_among_the_collections_own_texts_but_the_querys(described, rows, toy):
    gallery, texts = described
    stored = rows.astype(np.float16).astype(np.float32)
    target = toy.encode_texts(["a red thing"])[0]
    gallery.add([mm.Item(id="same", text="a red thing")])
    whole = Background.of(np.concatenate([texts, target[None]]), stored)
    background = Background(texts, whole.mean, whole.deviation)
    expected = DEFAULT.relevance(background.features(stored @ target, stored))
    found = {hit.id: hit.relevance for hit in gallery.search("a red thing", kind="image", k=150, relevance=True)}
    np.testing.assert_allclose([found[f"i{n:03}"] for n in range(150)], expected, atol=1e-3)


def test_the_cut_leaves_what_is_relevant_and_nothing_where_nothing_is(colours):
    every = colours.search("red", k=18, relevance=True)
    some = sorted(hit.relevance for hit in every)[9]
    kept = colours.search("red", k=18, cutoff=some)
    assert kept.ids == [hit.id for hit in every if hit.relevance >= some]
    assert [hit.rank for hit in kept] == list(range(1, len(kept) + 1))
    assert len(colours.search("red", k=18, cutoff=1.0)) == 0
    auto = colours.search("red", k=18, cutoff="auto")
    assert auto.ids == [hit.id for hit in every if hit.relevance >= DEFAULT.cut]
    assert len(colours.search("nothing of the kind whatsoever", k=18, cutoff="auto")) == 0


def test_boost_collapse_and_diversity(gallery, rows):
    query = mm.vector(rows[3])
    boosted = gallery.search(query, k=100, boost="stock * 2")
    assert all(hit.meta["stock"] == 1 for hit in list(boosted)[:40])
    gallery.add([mm.Item(id="copy", image=b"-", vector=rows[3])])
    assert set(gallery.search(query, k=2).ids) == {"i003", "copy"}
    single = gallery.search(query, k=2, collapse=True)
    assert len({"i003", "copy"} & set(single.ids)) == 1
    varied = gallery.search(query, k=10, diversity=0.9)
    assert varied.ids[0] in ("i003", "copy")
    assert set(varied.ids) != set(gallery.search(query, k=10).ids)


def test_words_find_what_the_vectors_cannot_see(shop, rows):
    shop.add(mm.Item(id=f"trips/{'germany' if n == 77 else 'elsewhere'}/{n}.jpg", image=b"-", vector=row)
             for n, row in enumerate(rows))
    plain = shop.search("germany", k=150)
    assert plain.ids.index("trips/germany/77.jpg") > 0
    worded = shop.search("germany", k=150, lexical=1.0)
    rank = plain.ids.index("trips/germany/77.jpg") + 1
    assert 1 / (RRF_K + 1) + 1 / (RRF_K + rank) > 1 / (RRF_K + 1)  # first among the words, and somewhere among the vectors
    assert worded[0].id == "trips/germany/77.jpg"
    assert sorted(worded.ids) == sorted(plain.ids)
    assert {hit.id: hit.score for hit in worded} == pytest.approx({hit.id: hit.score for hit in plain}, abs=1e-6)
    pages = [shop.search("germany", k=40, offset=at, lexical=1.0).ids for at in range(0, 160, 40)]
    assert sum(pages, []) == worded.ids
    assert shop.search("germany", k=5, lexical=1.0, group_by="group").ids == worded.ids[:5]


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"cutoff": "often"}, mm.QueryError, "auto"),
        ({"cutoff": 1.5}, mm.QueryError, "0 to 1"),
        ({"diversity": -1}, mm.QueryError, "0 to 1"),
        ({"lexical": -1}, mm.QueryError, "lexical"),
        ({"candidates": 0, "rerank": "fast"}, mm.QueryError, "at least 1"),
        ({"boost": "price +"}, mm.FilterError, "boost"),
        ({"rerank": "better"}, mm.UsageError, "better"),
        ({"kind": "any", "cutoff": "auto"}, mm.QueryError, "relevance"),
    ],
)
def test_what_has_no_meaning_is_refused(colours, options, error, word):
    colours.add([mm.Item(id="words", text="red")])
    with pytest.raises(error, match=word):
        colours.search("red", **options)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        colours.search("red", no_such_option=3)
    with pytest.raises(mm.QueryError, match="relevance"):
        colours.similar("red1", cutoff="auto")


def test_similar_takes_the_same_options(colours):
    assert len(colours.similar("red1", k=17, collapse=0.5)) < 17


def test_a_second_model_by_its_name(colours, paint):
    colours.add([mm.Item(id="green-ish", image=paint("x.png", "green"), meta={"n": 9})])
    hits = colours.search("green", k=19, rerank="model:toy")
    assert len(hits) == 19
    assert {hit.meta["n"] for hit in hits[:4]} == {0, 1, 2, 9}
    assert all(hit.rerank is not None for hit in hits)
    with pytest.raises(mm.ModelNotFound):
        colours.search("green", rerank="model:no such model")


def test_variety_among_stored_items_needs_no_model(colours, monkeypatch):
    def no_model(*args):
        raise mm.ModelError("the model is not here")

    monkeypatch.setattr(type(colours), "encoder", property(no_model))
    assert len(colours.similar("red1", k=5, diversity=0.5, boost="n")) == 5
