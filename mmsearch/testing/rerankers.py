"""What every reranker must do. Subclass :class:`RerankerConformance`, give it ``build``, and pytest runs the rest.

    class TestMine(RerankerConformance):
        def build(self):
            return MyReranker()
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsearch.encoders.toy import ToyEncoder
from mmsearch.protocols import RerankContext, Reranker
from mmsearch.testing.indexes import unit_rows
from mmsearch.types import Hit, Kind, Query, Vectors, text


class RerankerConformance:
    """Nothing invented, nothing lost unless it says so, ``rerank`` and ranks that fit the order."""

    dim = 24
    drops = False
    """Whether it may leave hits out."""

    def build(self) -> Reranker:
        raise NotImplementedError

    def query(self) -> Query:
        """What is asked; override where a text means nothing to the reranker."""
        return text("red")

    def hits(self, n: int, *, start: int = 1) -> tuple[list[Hit], RerankContext]:
        """``n`` hits with falling cosines, and what goes with them."""
        rows = unit_rows(n, self.dim, 1)
        target = unit_rows(1, self.dim, 2)[0]
        rows = np.asarray(rows[np.argsort(-(rows @ target), kind="stable")])
        return self.given(rows, start), RerankContext(target, rows, ToyEncoder(self.dim))

    def given(self, rows: Vectors, start: int = 1) -> list[Hit]:
        target = unit_rows(1, self.dim, 2)[0]
        return [
            Hit(start + at, f"i{at}", Kind.TEXT, float(row @ target), 100 + at, text=f"word{at}", meta={"price": at % 7})
            for at, row in enumerate(rows)
        ]

    @pytest.mark.parametrize("n", [0, 1, 2, 3, 60])
    def test_gives_back_what_it_was_given(self, n: int) -> None:
        hits, context = self.hits(n)
        got = self.build().rerank(self.query(), hits, context)
        by_vid = {hit.vid: hit for hit in hits}
        assert len({hit.vid for hit in got}) == len(got)
        assert len(got) <= n if self.drops else len(got) == n
        for hit in got:
            assert replace(hit, rank=0, rerank=None) == replace(by_vid[hit.vid], rank=0, rerank=None)

    @pytest.mark.parametrize("start", [1, 41])
    def test_ranks_and_values_fit_the_order(self, start: int) -> None:
        hits, context = self.hits(30, start=start)
        got = self.build().rerank(self.query(), hits, context)
        assert [hit.rank for hit in got] == list(range(start, start + len(got)))
        values = [hit.rerank for hit in got]
        assert all(value is not None and np.isfinite(value) for value in values)
        assert (np.diff(np.array(values, dtype=np.float64)) <= 1e-9).all()

    def test_the_same_again_and_nothing_changed(self) -> None:
        hits, context = self.hits(40)
        before, rows = list(hits), context.vectors.copy()
        reranker = self.build()
        first = reranker.rerank(self.query(), hits, context)
        assert reranker.rerank(self.query(), hits, context) == first
        assert hits == before
        np.testing.assert_array_equal(context.vectors, rows)

    def test_equal_items_keep_their_order(self) -> None:
        row = unit_rows(1, self.dim, 3)
        rows = np.repeat(row, 5, axis=0)
        hits = [replace(hit, text="same", meta={}) for hit in self.given(rows)]
        got = self.build().rerank(self.query(), hits, RerankContext(row[0], rows, ToyEncoder(self.dim)))
        assert [hit.vid for hit in got] == [hit.vid for hit in hits[: len(got)]]
