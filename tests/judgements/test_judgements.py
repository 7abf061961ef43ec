"""Feedback: what is kept, how it moves a query, and that it is forgotten when asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.encoders.toy import COLOURS
from mmsearch.errors import ItemNotFound, QueryError
from mmsearch.judgements import LIKED, UNLIKED, Judgement, moved, normalised, pair_key, text_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture of each colour, and a few of two colours; to be copied."""
    folder = tmp_path_factory.mktemp("shop") / "c"
    with mm.Collection.open(folder, create=True, model="toy") as collection:
        items = [mm.Item(name, image=Image.new("RGB", (32, 32), rgb)) for name, rgb in COLOURS.items()]
        for one, other in (("red", "blue"), ("red", "green"), ("blue", "green")):
            picture = Image.new("RGB", (32, 32), COLOURS[one])
            picture.paste(COLOURS[other], (16, 0, 32, 32))
            items.append(mm.Item(f"{one}-{other}", image=picture))
        collection.add([*items, mm.Item("words", text="red and blue")])
    return folder


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Iterator[mm.Collection]:
    shutil.copytree(made, tmp_path / "c")
    with mm.Collection.open(tmp_path / "c") as collection:
        yield collection


def test_the_formula_is_rocchios() -> None:
    rng = np.random.default_rng(0)
    query, *rows = rng.normal(size=(5, 8)).astype(np.float32)
    found = moved(query, rows[:2], rows[2:])
    total = query.astype(float)
    total += LIKED * (rows[0].astype(float) + rows[1]) / 2 - UNLIKED * (rows[2].astype(float) + rows[3]) / 2
    np.testing.assert_allclose(found, total / np.sqrt((total**2).sum()), atol=1e-6)
    assert moved(query, [], []) is not None
    np.testing.assert_allclose(moved(query, [], []), query / np.linalg.norm(query), atol=1e-6)
    unit = query / np.linalg.norm(query)
    np.testing.assert_array_equal(moved(unit, [-unit], [], weight=(1.0, 0.0)), unit)  # they cancel out: it stays


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("A  Cat", "a cat", True), ("\tcat\n", "CAT", True), ("Straße", "STRASSE", True), ("ﬁre", "fire", True),
     ("cat", "cats", False)],
)
def test_texts_that_count_as_the_same(one: str, other: str, same: bool) -> None:
    assert (normalised(one) == normalised(other)) is same


def test_only_one_plain_text_can_be_judged(shop: mm.Collection) -> None:
    assert text_of(mm.text("A Cat")) == "a cat"
    for query in (mm.text("a") + mm.text("b"), -mm.text("a"), mm.item("red")):
        assert text_of(query) is None
        with pytest.raises(QueryError, match="one text"):
            shop.judge(query, like=["red"])
    with pytest.raises(ItemNotFound, match="nobody"):
        shop.judge("red", like=["nobody"])
    assert shop.judgements() == []


def test_later_queries_move_by_what_was_said(shop: mm.Collection) -> None:
    before = shop.search("red", k=15)
    assert shop.judge("red", like=["red-blue"], unlike=["red-green"]) == Judgement("red", ("red-blue",), ("red-green",))
    after = shop.search("  RED ", k=15)
    assert after.ids.index("blue") < before.ids.index("blue")
    assert after.ids.index("red-blue") < after.ids.index("red-green")
    assert before.ids.index("green") <= after.ids.index("green")
    with shop._store.snapshot() as snapshot:  # the scores are those of the formula, by brute force
        rows = {record.id: snapshot.fetch([record.vid])[0] for record in snapshot.by_id(before.ids).values()}
    target = moved(shop.encoder.encode_texts(["red"])[0], [rows["red-blue"]], [rows["red-green"]])
    for hit in after:
        assert hit.score == pytest.approx(float(rows[hit.id] @ target), abs=2e-3)
    assert shop.search("red", k=15, judged=False).ids == before.ids
    assert [hit.score for hit in shop.search("red", k=15, judged=False)] == [hit.score for hit in before]
    assert shop.search("reddish", k=15).ids == shop.search("reddish", k=15, judged=False).ids
    assert shop.search_many(["blue", "red"], k=15)[1].ids == after.ids
    assert shop.search("red", kind="text").hits == shop.search("red", kind="text", judged=False).hits  # pictures move no texts


def test_what_is_said_last_counts_and_is_forgotten(shop: mm.Collection) -> None:
    before = shop.search("red", k=15).ids
    shop.judge("red", like=["red", "blue"])
    shop.judge("Red", like=["green"], unlike=["blue"])
    assert shop.judgements() == [Judgement("red", ("red", "green"), ("blue",))]
    shop.judge("a", like=["pink"])
    assert [one.query for one in shop.judgements()] == ["a", "red"]
    assert shop.judgements(" A") == [Judgement("a", ("pink",))]
    assert shop.judgements("b") == []
    path = shop.path
    shop.close()
    with mm.Collection.open(path) as again:  # another process
        assert again.judgements()[1] == Judgement("red", ("red", "green"), ("blue",))
        assert again.forget("RED") is True
        assert again.forget("red") is False
        assert again.search("red", k=15).ids == before
        assert [one.query for one in again.judgements()] == ["a"]


def test_judged_items_may_be_deleted(shop: mm.Collection) -> None:
    before = shop.search("red", k=5, judged=False).ids
    shop.judge("red", like=["gray"])
    shop.delete(["gray"])
    assert shop.search("red", k=5).ids == before


def test_relevance_is_of_the_query_as_asked(shop: mm.Collection) -> None:
    plain = {hit.id: hit.relevance for hit in shop.search("red", k=15, relevance=True)}
    shop.judge("red", like=["red-blue"])
    judged = {hit.id: hit.relevance for hit in shop.search("red", k=15, relevance=True)}
    assert judged == pytest.approx(plain, abs=1e-3)


def test_pairs_that_are_no_duplicates(shop: mm.Collection) -> None:
    assert pair_key("b", "a") == pair_key("a", "b") != pair_key("a", "c")
    shop.keep_apart("red", "orange")
    shop.keep_apart("orange", "red")
    assert shop.kept_apart() == [("orange", "red")]
    shop.keep_apart("red", "orange", forget=True)
    assert shop.kept_apart() == []
    with pytest.raises(QueryError):
        shop.keep_apart("red", "red")
    with pytest.raises(ItemNotFound):
        shop.keep_apart("red", "nobody")


def test_they_travel_with_an_archive(shop: mm.Collection, tmp_path: Path) -> None:
    shop.judge("red", like=["red-blue"])
    shop.keep_apart("red", "orange")
    shop.export(tmp_path / "a.tar")
    mm.Collection.import_archive(tmp_path / "a.tar", tmp_path / "d")
    with mm.Collection.open(tmp_path / "d") as copy:
        assert copy.judgements() == shop.judgements()
        assert copy.kept_apart() == [("orange", "red")]
