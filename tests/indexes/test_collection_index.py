"""A collection with a derived index: what is new is found at once, what is gone never, and a broken file hurts nobody."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.collection import indexing, routing
from mmsearch.indexes import planner
from mmsearch.testing.indexes import brute_force, unit_rows

DIM, ROWS = 32, 3000


@pytest.fixture(autouse=True)
def _small_collections_count(monkeypatch):
    easy(monkeypatch)


def easy(patch):
    """Build for a few thousand items too, whatever comparing every row would take, and ask fewer questions."""
    patch.setattr(planner, "FEWEST", 300)
    patch.setattr(planner, "WORTH", 1e9)
    patch.setattr(planner, "DEPTHS", (10, 100))
    patch.setattr(planner, "_TIMED", 10)
    patch.setattr(indexing, "_QUERIES", 150)


def items(first, vectors):
    return [mm.Item(id=f"i{first + n}", image=b"-", meta={"n": first + n}, vector=row) for n, row in enumerate(vectors)]


@pytest.fixture(scope="module")
def vectors():
    return unit_rows(ROWS, DIM, 1)


@pytest.fixture(scope="module")
def built(tmp_path_factory, vectors):
    """Made once; each test has a copy."""
    where = tmp_path_factory.mktemp("built") / "c"
    with mm.Collection.open(where, create=True, model=f"toy:{DIM}") as one, pytest.MonkeyPatch.context() as patch:
        easy(patch)
        one.add(items(0, vectors))
        one.add([mm.Item(id=f"t{n}", text=f"text {n}", vector=row) for n, row in enumerate(unit_rows(150, DIM, 2))])
        assert one.build_index(recipes=["ivf-sq8"], recall=0.9, kind="image") == {"image": one.status().indexes[0].reason}
    return where


@pytest.fixture
def place(tmp_path, built):
    shutil.copytree(built, tmp_path / "c")
    return tmp_path / "c"


@pytest.fixture
def collection(place):
    with mm.Collection.open(place) as one:
        yield one


def found(collection, query, **more):
    return collection.search(mm.vector(query), kind="image", exact=False, **more)


def test_it_is_used_and_says_so(collection, vectors):
    queries = unit_rows(40, DIM, 3)
    expected = brute_force(queries, np.arange(ROWS), vectors, 10)
    right = 0
    for query, truth in zip(queries, expected, strict=True):
        hits = found(collection, query)
        assert not hits.exact
        assert not any(hit.exact for hit in hits)
        assert hits.candidates == ROWS
        right += len({f"i{vid}" for vid, _ in truth} & set(hits.ids))
        exact = collection.search(mm.vector(query), kind="image", exact=True)
        assert exact.exact
        assert exact.ids == [f"i{vid}" for vid, _ in truth]
        scores = dict(zip(exact.ids, (hit.score for hit in exact), strict=True))
        assert all(hit.score == pytest.approx(scores[hit.id], abs=1e-6) for hit in hits if hit.id in scores)
    assert right >= 0.88 * 400


def test_status_says_what_searches_run_on_and_why(collection):
    images, texts = collection.status().indexes
    assert (images.kind, images.recipe, images.rows, images.tail, images.gone) == ("image", "ivf-sq8", ROWS, 0, 0)
    assert set(images.recall) == {"image", "text"}
    assert min(images.recall.values()) >= 0.9
    assert "ivf-sq8 answers in" in images.reason
    assert (texts.kind, texts.recipe, texts.rows) == ("text", "exact", 150)
    assert "newer rows" not in collection.status().reason


def test_a_commit_is_searchable_at_once(collection):
    new = unit_rows(3, DIM, 9)
    collection.add(items(9000, new))
    for n, row in enumerate(new):
        hits = found(collection, row)
        assert not hits.exact
        assert hits[0].id == f"i{9000 + n}"
    assert collection.status().indexes[0].tail == 3
    assert "3 newer rows are compared one by one" in collection.status().reason


def test_what_is_deleted_or_replaced_never_comes_back(collection, vectors):
    collection.delete(["i5"])
    collection.add(items(6, -vectors[6:7]))
    assert "i5" not in found(collection, vectors[5], k=50).ids
    assert "i6" not in found(collection, vectors[6], k=50).ids
    assert found(collection, -vectors[6])[0].id == "i6"


@pytest.mark.parametrize(("where", "count"), [("n < 1500", 1500), ("n < 300", 300), ("n < 12", 12), ("n < 4", 4), ("n < 0", 0)])
def test_a_filter_gives_k_whenever_k_exist(collection, vectors, where, count):
    hits = found(collection, vectors[2999], where=where)
    assert len(hits) == min(10, count)
    assert all(hit.meta["n"] < count for hit in hits)


def test_the_first_questions_of_a_process_do_not_wait_for_it(place, vectors, monkeypatch):
    monkeypatch.setattr(routing, "_READING", 1e4)  # a file so large that opening it takes minutes
    with mm.Collection.open(place) as fresh:
        kinds = [fresh.search(mm.vector(vectors[0]), kind="image").exact for _ in range(2)]
        assert kinds == [True, True]
        fresh._index_files.spend(1000.0)  # as if many had been asked
        assert not fresh.search(mm.vector(vectors[0]), kind="image").exact


@pytest.mark.parametrize("how", ["missing", "damaged", "short"])
def test_a_bad_file_means_exact_answers_and_a_new_one(place, vectors, how):
    (path,) = (place / "indexes").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if how != "missing":
        path.write_bytes(bytes(data) if how == "damaged" else bytes(data)[:-7])
    with mm.Collection.open(place) as again:
        hits = found(again, vectors[7])
        assert hits.exact
        assert hits[0].id == "i7"
        assert again.index_due() == ["images: its file is damaged"]
        again.build_index(recipes=["ivf-sq8"], kind="image")
        assert again.index_due() == []
        assert not found(again, vectors[7]).exact
        assert [one.level for one in again.verify()] == ["ok"] * len(again.verify())


def test_dropping_it_leaves_nothing_behind(collection, place, vectors):
    collection.drop_index()
    assert list((place / "indexes").iterdir()) == []
    assert found(collection, vectors[3]).exact
    assert collection.status().indexes[0].recipe == "exact"


def test_it_is_due_when_much_is_new_or_gone(collection):
    assert collection.index_due() == []
    collection.delete([f"i{n}" for n in range(950)])
    assert collection.index_due() == ["images: 950 of its items are live no more"]
    collection.build_index(recipes=["ivf-sq8"], recall=0.9, kind="image")
    collection.add(items(20_000, unit_rows(240, DIM, 4)))
    assert collection.index_due() == ["images: 240 of 2,290 items came after it was built"]


def test_writers_and_searches_go_on_while_it_is_built(collection, vectors, monkeypatch):
    """The build is stopped in its middle, and everything else is done meanwhile."""
    inside, go_on = threading.Event(), threading.Event()
    real = planner.choose

    def slow(*args):
        inside.set()
        assert go_on.wait(20)
        return real(*args)

    monkeypatch.setattr(planner, "choose", slow)
    thread = threading.Thread(target=lambda: collection.build_index(recipes=["ivf-sq8"], recall=0.9, kind="image"))
    thread.start()
    assert inside.wait(20)
    collection.add(items(7000, -vectors[:1]))
    collection.delete(["i1"])
    assert found(collection, -vectors[0])[0].id == "i7000"
    go_on.set()
    thread.join(30)
    assert found(collection, -vectors[0])[0].id == "i7000"
    assert "i1" not in found(collection, vectors[1], k=30).ids
    assert collection.status().indexes[0].tail == 1
    assert collection.status().indexes[0].gone == 1


def test_compaction_does_not_disturb_it(collection, vectors):
    collection.delete([f"i{n}" for n in range(0, 600, 2)])
    collection.compact()
    hits = found(collection, vectors[1])
    assert not hits.exact
    assert hits[0].id == "i1"


def test_a_small_collection_goes_without(tmp_path, monkeypatch):
    monkeypatch.undo()
    with mm.Collection.open(tmp_path / "c", create=True, model="toy:16") as small:
        small.add([mm.Item(id=f"i{n}", image=b"-", vector=row) for n, row in enumerate(unit_rows(200, 16, 1))])
        decided = small.build_index()
        assert "200 rows are compared one by one" in decided["image"]
        assert small.status().indexes[0].reason == decided["image"]
        assert small.search(mm.vector(unit_rows(1, 16, 1)[0])).exact


def test_what_cannot_be_meant_is_refused(collection):
    with pytest.raises(mm.errors.UsageError, match="no recipe is called 'fast'"):
        collection.build_index(recipes=["fast"])
    with pytest.raises(mm.errors.UsageError, match="recall is 1.5"):
        collection.build_index(recall=1.5)


def test_bench_measures_every_way(collection):
    lines = collection.bench(recipes=["ivf-pq2"], kind="image")["image"]
    assert [one.name for one in lines] == ["exact", "ivf-sq8", "ivf-pq2"]
    assert [one.current for one in lines] == [False, True, False]
    exact, current, _ = lines
    assert {kind: one.value for kind, one in exact.recall.items()} == {"image": 1.0, "text": 1.0}
    assert all(0.85 <= one.value <= 1.0 for one in current.recall.values())
    assert current.bytes > exact.bytes == 0
    assert exact.speed.p50 <= exact.speed.p99
