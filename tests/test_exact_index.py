"""Exact search through the conformance suite, over memory and over a real store."""

import ctypes
import gc
import sys
from typing import ClassVar

import numpy as np
import pytest

from mmsearch.indexes import exact, halves
from mmsearch.indexes.exact import ArrayRows, ExactIndex
from mmsearch.testing.indexes import VectorIndexConformance, brute_force, unit_rows
from mmsearch.types import VidSet


@pytest.fixture(autouse=True, params=["numpy", "kernel"])
def way(request, monkeypatch):
    """Both ways of scanning give the same answers."""
    monkeypatch.setattr(halves, "kernel_pays", lambda numbers: request.param == "kernel")


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


def test_the_kernel_is_imported_when_waiting_has_cost_as_much(monkeypatch):
    monkeypatch.undo()
    modules = {name: module for name, module in sys.modules.items() if name != "faiss"}
    monkeypatch.setattr(sys, "modules", modules)
    monkeypatch.setattr(halves, "_widened", 0)
    assert [halves.kernel_pays(40_000_000) for _ in range(3)] == [False, False, True]


def test_many_queries_at_once_are_a_matrix_product_with_the_same_answer():
    vids = np.arange(0, 900, 3, dtype=np.int64)
    vectors = unit_rows(300, 16, 4)
    queries = unit_rows(exact.PRODUCT_PAYS, 16, 5)
    index = ExactIndex(ArrayRows(vids, vectors))
    together = index.search(queries, 4)
    for at, expected in enumerate(brute_force(queries, vids, vectors, 4)):
        assert together.row(at)[1].tolist() == index.search(queries[at : at + 1], 4).row(0)[1].tolist()
        assert together.row(at)[1].tolist() == [vid for vid, _ in expected]


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


def test_searches_leave_nothing_behind_in_the_libraries_memory(way):
    """FAISS's wrapper kept 144 bytes of every query for ever; ``within`` makes a second scanner for each."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("the C library does not say how much of its memory is in use")
    libc.mallinfo2.restype = _MallInfo
    vids = np.arange(600, dtype=np.int64)
    index, within = ExactIndex(ArrayRows(vids, unit_rows(600, 16, 6))), VidSet(vids[::2], is_sorted=True)
    queries = unit_rows(8, 16, 7)

    def in_use_after(times):
        for _ in range(times):
            index.search(queries, 3, within=within)
        gc.collect()
        return libc.mallinfo2().uordblks

    before = in_use_after(20)
    assert (in_use_after(250) - before) / (250 * len(queries)) < 20


class _MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc; ``uordblks`` are the bytes in use."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]
    ]
