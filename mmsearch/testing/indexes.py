"""What every index must do. Subclass :class:`VectorIndexConformance`, give it ``build``, and pytest runs the rest.

    class TestMine(VectorIndexConformance):
        recall = 0.95

        def build(self, vids, vectors):
            return MyIndex(ArrayRows(vids, vectors))
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.protocols import VectorIndex
from mmsearch.types import Neighbors, Vectors, Vids, VidSet


def unit_rows(n: int, dim: int, seed: int) -> Vectors:
    """``(n, dim)`` random directions, rounded to float16 as a store keeps them."""
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float16).astype(np.float32)


def brute_force(queries: Vectors, vids: Vids, rows: Vectors, k: int) -> list[list[tuple[int, float]]]:
    """The oracle: all cosines in float64, sorted by (-score, vid)."""
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    return [sorted(zip(vids.tolist(), row.tolist(), strict=True), key=lambda p: (-p[1], p[0]))[:k] for row in scores]


class VectorIndexConformance:
    """Values against brute force: who is found, with which score, and how many."""

    dim = 24
    recall = 1.0
    tolerance = 1e-5

    def build(self, vids: Vids, vectors: Vectors) -> VectorIndex:
        raise NotImplementedError

    @pytest.fixture
    def rows(self) -> tuple[Vids, Vectors]:
        vids = np.cumsum(np.random.default_rng(1).integers(1, 4, 700)).astype(np.int64)  # gaps, as after deletes
        return vids, unit_rows(700, self.dim, 2)

    def check(self, found: Neighbors, queries: Vectors, vids: Vids, rows: Vectors, k: int) -> None:
        hit = total = 0
        by_vid = dict(zip(vids.tolist(), rows, strict=True))
        for i, expected in enumerate(brute_force(queries, vids, rows, k)):
            scores, got = found.row(i)
            assert len(got) == len(expected) == len(set(got.tolist()))
            assert (np.diff(scores) <= 0).all()
            truth = [float(queries[i] @ by_vid[vid]) for vid in got.tolist()]
            np.testing.assert_allclose(scores, truth, atol=self.tolerance)
            hit += len({vid for vid, _ in expected} & set(got.tolist()))
            total += len(expected)
        assert hit >= self.recall * total

    @pytest.mark.parametrize("k", [1, 10, 200])
    def test_finds_what_brute_force_finds(self, rows: tuple[Vids, Vectors], k: int) -> None:
        queries = unit_rows(7, self.dim, 3)
        self.check(self.build(*rows).search(queries, k), queries, *rows, k)

    @pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
    def test_a_filter_gives_k_of_the_allowed(self, rows: tuple[Vids, Vectors], share: float) -> None:
        vids, vectors = rows
        keep: NDArray[np.bool_] = np.random.default_rng(4).random(len(vids)) < share
        queries = unit_rows(5, self.dim, 5)
        found = self.build(vids, vectors).search(queries, 5, within=VidSet(vids[keep]))
        self.check(found, queries, vids[keep], vectors[keep], 5)

    def test_what_is_left_out_never_comes_back(self, rows: tuple[Vids, Vectors]) -> None:
        """As after deletes and updates: the very rows that the queries are nearest to are not in the set."""
        vids, vectors = rows
        queries = unit_rows(4, self.dim, 12)
        gone = np.unique((queries @ vectors.T).argsort(axis=1)[:, -60:])
        keep = np.setdiff1d(np.arange(len(vids)), gone)
        found = self.build(vids, vectors).search(queries, 8, within=VidSet(vids[keep]))
        self.check(found, queries, vids[keep], vectors[keep], 8)

    def test_k_beyond_what_there_is_gives_all_once(self, rows: tuple[Vids, Vectors]) -> None:
        vids, vectors = rows[0][:9], rows[1][:9]
        found = self.build(vids, vectors).search(unit_rows(2, self.dim, 6), 50)
        assert found.counts.tolist() == [9, 9]
        assert sorted(found.row(1)[1].tolist()) == vids.tolist()

    def test_an_empty_filter_gives_nothing(self, rows: tuple[Vids, Vectors]) -> None:
        found = self.build(*rows).search(unit_rows(1, self.dim, 7), 5, within=VidSet([]))
        assert found.counts.tolist() == [0]

    def test_equal_scores_come_in_the_order_of_vids(self) -> None:
        vids = np.arange(10, 310, 10, dtype=np.int64)
        vectors = np.repeat(unit_rows(1, self.dim, 9), len(vids), axis=0)
        found = self.build(vids, vectors).search(vectors[:1], 4)
        assert found.row(0)[1].tolist() == [10, 20, 30, 40]
