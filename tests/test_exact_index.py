"""Exact search through the conformance suite, over memory and over a real store."""

import numpy as np

from mmsearch.indexes import exact
from mmsearch.indexes.exact import ArrayRows, ExactIndex
from mmsearch.testing.indexes import VectorIndexConformance


class TestExact(VectorIndexConformance):
    def build(self, vids, vectors):
        return ExactIndex(ArrayRows(vids, vectors))


class TestExactInSmallBlocks(VectorIndexConformance):
    """Ties and filters across the borders of blocks."""

    def build(self, vids, vectors):
        class Small(ArrayRows):
            def blocks(self, rows=0):
                return super().blocks(64)

        return ExactIndex(Small(vids, vectors))


def test_only_the_allowed_rows_are_gathered_when_they_are_few(monkeypatch):
    monkeypatch.setattr(exact, "GATHER_ROWS", 3)
    vids = np.arange(1000, dtype=np.int64)
    vectors = np.random.default_rng(0).standard_normal((1000, 8)).astype(np.float32)

    class NoStreaming(ArrayRows):
        def blocks(self, rows=0):
            raise AssertionError("a scan of everything for seven rows")

    within = exact.VidSet([5, 17, 300, 301, 302, 800, 999])
    found = ExactIndex(NoStreaming(vids, vectors)).search(vectors[[17]], 3, within=within)
    scores = vectors.astype(np.float16).astype(np.float32)[within.vids] @ vectors[17]
    assert found.row(0)[1].tolist() == within.vids[np.argsort(-scores)[:3]].tolist()
