"""Approximate indexes against brute force: at full width they must agree, through filters, deletes, updates and new rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.indexes import saved
from mmsearch.indexes.exact import ArrayRows
from mmsearch.indexes.faiss import FaissIndex, Filters
from mmsearch.indexes.recipes import RECIPES, lists
from mmsearch.indexes.saved import Plan, Setting
from mmsearch.testing.indexes import VectorIndexConformance, brute_force, unit_rows
from mmsearch.types import VidSet

WIDE = 10**6


def widest_plan(recipe):
    """Every list, every candidate: what is found is what there is."""
    return Plan(recipe, (Setting(WIDE, 4096, WIDE),), exact_below=0)


@pytest.mark.parametrize("recipe", RECIPES)
class TestEveryRecipe(VectorIndexConformance):
    recall = 0.99  # a graph may leave a row without a way to it

    @pytest.fixture(autouse=True)
    def _name(self, recipe):
        self.recipe = recipe

    def build(self, vids, vectors):
        rows = ArrayRows(vids, vectors)
        plan = widest_plan(self.recipe)
        return FaissIndex(rows, FaissIndex.build(rows, vids, vectors.shape[1], recipe=self.recipe, plan=plan))


class TestSaved(VectorIndexConformance):
    """Through the file and back."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def build(self, vids, vectors):
        rows = ArrayRows(vids, vectors)
        ann = FaissIndex.build(rows, vids, vectors.shape[1], recipe="ivf-pq2", plan=widest_plan("ivf-pq2"))
        if ann.index is None:  # of a few rows there is nothing to keep
            return FaissIndex(rows, ann)
        FaissIndex(rows, ann).save(self.folder / "one.faiss")
        return FaissIndex(rows, saved.read(self.folder / "one.faiss"))


DIM, OLD, NEW = 16, 300, 60
VECTORS = unit_rows(OLD + NEW, DIM, 11)
ALL = np.arange(0, 2 * (OLD + NEW), 2, dtype=np.int64)
ROWS = ArrayRows(ALL, VECTORS)


@pytest.fixture(scope="module")
def anns():
    return {
        name: FaissIndex.build(ROWS, ALL[:OLD], DIM, recipe=name, plan=widest_plan(name))
        for name in ("ivf-pq2", "ivf-rabitq", "ivf-sq8")
    }


@settings(max_examples=60, deadline=None)
@given(
    recipe=st.sampled_from(["ivf-pq2", "ivf-rabitq", "ivf-sq8"]),
    live=st.lists(st.booleans(), min_size=OLD + NEW, max_size=OLD + NEW),
    k=st.integers(1, 400),
    seed=st.integers(0, 1000),
    queries=st.integers(1, 3),
)
def test_full_probe_and_tail_equal_brute_force(anns, recipe, live, k, seed, queries):
    """Rows of the index that are gone are deletes, updates and filters; those behind it are new."""
    keep = np.array(live)
    asked = unit_rows(queries, DIM, seed)
    found = FaissIndex(ROWS, anns[recipe]).search(asked, k, within=VidSet(ALL[keep]))
    expected = brute_force(asked, ALL[keep], VECTORS[keep], k)
    for at, row in enumerate(expected):
        assert found.row(at)[1].tolist() == [vid for vid, _ in row]
        np.testing.assert_allclose(found.row(at)[0], [score for _, score in row], atol=1e-5)


def test_a_narrow_search_is_widened_until_k_are_found(anns):
    plan = Plan("ivf-sq8", (Setting(WIDE, 1, 10),), exact_below=0)
    ann = saved.Ann(anns["ivf-sq8"].index, ALL[:OLD], int(ALL[OLD - 1]) + 1, plan)
    opposite = -VECTORS[:1]  # what is allowed lies in lists that the query looks at last
    nearest = np.argsort(-(VECTORS[:OLD] @ VECTORS[0]))[:30]
    found = FaissIndex(ROWS, ann).search(opposite, 25, within=VidSet(ALL[np.sort(nearest)]))
    assert found.counts.tolist() == [25]
    truth = brute_force(opposite, ALL[np.sort(nearest)], VECTORS[np.sort(nearest)], 25)[0]
    assert set(found.row(0)[1].tolist()) == {vid for vid, _ in truth}


def test_it_says_whether_every_row_was_compared(anns):
    plan = Plan("ivf-sq8", (Setting(20, 1, 20),), exact_below=30)
    index = FaissIndex(ROWS, saved.Ann(anns["ivf-sq8"].index, ALL[:OLD], int(ALL[OLD - 1]) + 1, plan))
    asked = unit_rows(1, DIM, 5)
    assert not index.search(asked, 5, within=VidSet(ALL)).exact
    assert index.search(asked, 5, within=VidSet(ALL[:25])).exact, "a few rows are compared one by one"
    assert index.search(asked, 26, within=VidSet(ALL)).exact, "no setting reaches as deep"
    assert index.search(asked, 5, within=VidSet(ALL[:50])).exact, "with one row in six allowed, 5 are as deep as 30"
    assert index.search(asked, 5, within=VidSet(ALL[OLD:])).exact, "all of them are newer than the index"


def test_candidates_come_in_the_order_of_their_stored_rows(anns):
    """One candidate more than asked for, from coarse codes: the scores are those of the rows all the same."""
    plan = Plan("ivf-pq2", (Setting(WIDE, 4096, 40),), exact_below=0)
    index = FaissIndex(ROWS, saved.Ann(anns["ivf-pq2"].index, ALL[:OLD], int(ALL[OLD - 1]) + 1, plan))
    asked = unit_rows(4, DIM, 8)
    found = index.search(asked, 10, within=VidSet(ALL))
    for at in range(4):
        scores, vids = found.row(at)
        np.testing.assert_allclose(scores, VECTORS[vids // 2] @ asked[at], atol=1e-6)
        assert (np.diff(scores) <= 0).all()


def test_filters_are_kept_for_the_set_they_were_made_for(anns):
    filters = Filters()
    first, second = ALL[:100], ALL[100:200]
    one = filters.of(anns["ivf-sq8"], first, first)
    assert filters.of(anns["ivf-sq8"], first, first) is one
    assert filters.of(anns["ivf-sq8"], second, second) is not one
    for at in range(10):
        filters.of(anns["ivf-sq8"], second, ALL[at:])
    assert filters.of(anns["ivf-sq8"], first, first) is not one


def test_rows_that_the_index_should_hold_and_does_not_are_found_all_the_same(anns):
    """A set that was not meant for this index: the rows of another kind."""
    ann = anns["ivf-sq8"]
    half = saved.Ann(ann.index, ALL[:OLD], int(ALL[-1]) + 1, ann.plan)  # it says that it reaches to the end
    asked = unit_rows(3, DIM, 6)
    found = FaissIndex(ROWS, half).search(asked, 10, within=VidSet(ALL))
    for at, row in enumerate(brute_force(asked, ALL, VECTORS, 10)):
        assert found.row(at)[1].tolist() == [vid for vid, _ in row]


@pytest.mark.parametrize("recipe", RECIPES)
def test_bytes_are_as_promised(recipe, tmp_path):
    n, dim = 4000, 32
    vids = np.arange(n, dtype=np.int64)
    rows = ArrayRows(vids, unit_rows(n, dim, 3))
    saved.write(FaissIndex.build(rows, vids, dim, recipe=recipe), tmp_path / "i")
    promised = RECIPES[recipe].bytes(dim) + 8  # and the vid
    fixed = lists(n) * dim * 4 + 4096
    assert n * promised * 0.95 <= (tmp_path / "i").stat().st_size <= n * promised * 1.15 + fixed * 2


def test_a_plan_survives_the_file(tmp_path):
    vids = np.arange(300, dtype=np.int64)
    rows = ArrayRows(vids, unit_rows(300, DIM, 3))
    plan = Plan("ivf-sq8", (Setting(10, 2, 30, {"image": 0.97}, 0.1), Setting(100, 4, 300)), 77)
    saved.write(FaissIndex.build(rows, vids, DIM, recipe="ivf-sq8", plan=plan), tmp_path / "i")
    assert saved.read(tmp_path / "i").plan == plan


@pytest.mark.parametrize("damage", ["empty", "another", "short"])
def test_what_is_not_an_index_is_refused(damage, tmp_path):
    vids = np.arange(300, dtype=np.int64)
    rows = ArrayRows(vids, unit_rows(300, DIM, 3))
    path = tmp_path / "i"
    saved.write(FaissIndex.build(rows, vids, DIM, recipe="ivf-sq8"), path)
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "another": b"PK" + data[2:], "short": data[: len(data) // 2]}[damage])
    with pytest.raises(ValueError, match=r".+"):
        saved.read(path)
