"""One prepared search: it must say what the general one says, from any thread, wherever rows lie."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmsearch.indexes.asking import SINGLE, TOGETHER, Desks
from mmsearch.indexes.exact import ArrayRows
from mmsearch.indexes.faiss import FaissIndex, Filters
from mmsearch.indexes.saved import Ann, Plan, Setting
from mmsearch.testing.indexes import brute_force, unit_rows
from mmsearch.types import VidSet

DIM, COUNT = 16, 400
VECTORS = unit_rows(COUNT, DIM, 21)
VIDS = np.arange(5, COUNT + 5, dtype=np.int64)
ROWS = ArrayRows(VIDS, VECTORS)


class Scattered(ArrayRows):
    """As from several files: there is no one array."""

    def span(self, first, last):
        return None


def made(recipe, candidates=COUNT):
    plan = Plan(recipe, (Setting(10**6, 4096, candidates),), exact_below=0)
    return FaissIndex.build(ROWS, VIDS, DIM, recipe=recipe, plan=plan)


@pytest.fixture(scope="module")
def ann():
    return made("ivf-axes")


@pytest.mark.parametrize("rows", [ROWS, Scattered(VIDS, VECTORS)], ids=["one array", "scattered"])
@pytest.mark.parametrize("recipe", ["ivf-axes", "ivf-pq2", "ivf-pca-pq2", "hnsw-sq8"])
def test_one_by_one_and_together_are_what_brute_force_says(recipe, rows):
    index = FaissIndex(rows, made(recipe))
    asked = unit_rows(20, DIM, 3)
    within = VidSet(VIDS)
    together = index.search(asked, 7, within=within)
    for at, row in enumerate(brute_force(asked, VIDS, VECTORS, 7)):
        single = index.search(asked[at : at + 1], 7, within=within)
        assert single.row(0)[1].tolist() == together.row(at)[1].tolist() == [vid for vid, _ in row]
        np.testing.assert_allclose(single.row(0)[0], [score for _, score in row], atol=1e-5)
        np.testing.assert_array_equal(single.row(0)[0], together.row(at)[0])
        assert not single.exact


def test_equal_scores_come_in_the_order_of_vids():
    same = np.repeat(unit_rows(40, DIM, 4), 10, axis=0)
    index = FaissIndex(ArrayRows(VIDS, same), FaissIndex.build(ArrayRows(VIDS, same), VIDS, DIM, recipe="ivf-axes",
                       plan=Plan("ivf-axes", (Setting(10**6, 4096, COUNT),), exact_below=0)))  # fmt: skip
    found = index.search(same[200:201], 15, within=VidSet(VIDS)).row(0)[1]
    assert found[:10].tolist() == list(range(205, 215))
    assert sorted(found[10:].tolist()) == found[10:].tolist()


def test_fewer_candidates_than_were_asked_for_are_enough(ann):
    """A filter that leaves 30 rows, of which 20 are wanted, with room for 400."""
    index = FaissIndex(ROWS, ann)
    few = VIDS[::13]
    asked = unit_rows(1, DIM, 8)
    found = index.search(asked, 20, within=VidSet(few))
    expected = brute_force(asked, few, VECTORS[::13], 20)[0]
    assert found.row(0)[1].tolist() == [vid for vid, _ in expected]
    assert not found.exact, "the index answered"


def test_threads_do_not_write_on_each_others_desks(ann):
    filters, within = Filters(), VidSet(VIDS)
    asked = unit_rows(200, DIM, 6)
    alone = [FaissIndex(ROWS, ann).search(asked[at : at + 1], 5, within=within).row(0)[1].tolist() for at in range(200)]

    def turn(at):
        return FaissIndex(ROWS, ann, filters).search(asked[at : at + 1], 5, within=within).row(0)[1].tolist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(turn, range(200))) == alone


def test_what_was_worked_out_is_kept_for_the_set_it_was_worked_out_for(ann):
    filters = Filters()
    first = filters.way(ann, VIDS, 5)
    assert filters.way(ann, VIDS, 5) is first
    assert filters.way(ann, VIDS, 6) is not first
    copy = VIDS.copy()
    assert filters.way(ann, copy, 5) is not first
    for k in range(1, 40):
        filters.way(ann, VIDS, k)
    again = filters.way(ann, VIDS, 5)
    assert again is not first
    assert (again.setting, again.depth) == (first.setting, first.depth)


def test_desks_are_few(ann):
    desks = Desks()
    one = desks.of(ann.entry, VIDS, DIM, 40, 1)
    assert desks.of(ann.entry, VIDS, DIM, 40, 1) is one
    for k in range(2, 12):
        desks.of(ann.entry, VIDS, DIM, 40, k)
    assert desks.of(ann.entry, VIDS, DIM, 40, 1) is not one


def test_faiss_is_told_which_way_to_scan(ann):
    index = FaissIndex(ROWS, ann)
    index.search(unit_rows(1, DIM, 1), 3, within=VidSet(VIDS))
    assert ann.entry.inner.implem == SINGLE
    index.search(unit_rows(3, DIM, 1), 3, within=VidSet(VIDS))
    assert ann.entry.inner.implem == TOGETHER


def test_the_position_is_not_the_vid():
    """Gaps in the vids, rows that the index does not hold between those that it does."""
    vids = VIDS[::2]
    ann = FaissIndex.build(ROWS, vids, DIM, recipe="ivf-axes", plan=Plan("ivf-axes", (Setting(10**6, 4096, COUNT),), exact_below=0))
    half = Ann(ann.index, ann.vids, ann.upto, ann.plan)
    asked = unit_rows(3, DIM, 2)
    found = [FaissIndex(ROWS, half).search(asked[at : at + 1], 9, within=VidSet(vids)).row(0)[1].tolist() for at in range(3)]
    assert found == [[vid for vid, _ in row] for row in brute_force(asked, vids, VECTORS[::2], 9)]


def test_rows_that_are_gone_are_never_asked_for(ann):
    """The first rows were deleted and compacted away; fewer candidates than there is room for."""

    class Compacted(Scattered):
        def gather(self, vids):
            assert (vids >= 200).all()
            return super().gather(vids)

    left = VIDS[VIDS >= 200][::5]
    asked = unit_rows(1, DIM, 12)
    found = FaissIndex(Compacted(VIDS, VECTORS), ann).search(asked, 10, within=VidSet(left))
    assert found.row(0)[1].tolist() == [vid for vid, _ in brute_force(asked, left, VECTORS[left - 5], 10)[0]]


def test_rows_are_compared_where_the_setting_that_a_filter_calls_for_costs_more(ann):
    """Ten of a hundred rows are as deep as a hundred: by that setting's time, and three times as many lists."""
    plan = Plan("ivf-axes", (Setting(10, 4, 20, {}, 0.1), Setting(100, 8, 200, {}, 1.0), Setting(1000, 12, 400, {}, 9.0)), 2)
    index = FaissIndex(ROWS, Ann(ann.index, ann.vids, ann.upto, plan))
    asked = unit_rows(1, DIM, 7)

    def exact(rows, k):
        return index.search(asked, k, within=VidSet(VIDS[:rows])).exact

    assert not exact(COUNT, 10)
    assert exact(60, 10), "2 rows cost what the first setting does: the second, filtered, costs as much as 60"
    assert not exact(61, 10)
    unmeasured = Plan("ivf-axes", (Setting(1000, 4, 200),), 50)
    index = FaissIndex(ROWS, Ann(ann.index, ann.vids, ann.upto, unmeasured))
    assert exact(150, 10)
    assert not exact(151, 10)


def test_a_row_that_is_not_a_number_brings_no_hit_of_an_earlier_query():
    plan = Plan("ivf-axes", (Setting(10**6, 4096, COUNT),), exact_below=0)
    damaged = VECTORS.copy()
    damaged[50:] = np.nan
    index = FaissIndex(ArrayRows(VIDS, damaged), FaissIndex.build(ROWS, VIDS, DIM, recipe="ivf-axes", plan=plan))
    within = VidSet(VIDS)
    index.search(VECTORS[:1], 60, within=within)
    found = index.search(VECTORS[1:2], 60, within=within).row(0)[1]
    assert len(set(found.tolist())) == len(found)
    assert set(found.tolist()) <= set(VIDS[:50].tolist())
