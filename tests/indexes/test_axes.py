"""Lists over the leading axes: every step against the definition, and the index's own scores against arithmetic."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from mmsearch.indexes import axes
from mmsearch.indexes.asking import Entry
from mmsearch.indexes.exact import ArrayRows
from mmsearch.testing.indexes import unit_rows

DIM, KEPT, CODES, LISTS, COUNT = 32, 16, 8, 12, 3000


def clustered(seed: int) -> np.ndarray:
    """Unit rows about a few directions, all in one cone, as pictures lie."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, DIM)) * 0.7 + 2 * rng.standard_normal(DIM)
    rows = centres[rng.integers(20, size=COUNT)] + rng.standard_normal((COUNT, DIM)) * np.linspace(1.0, 0.2, DIM)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    return clustered(1)


@pytest.fixture(scope="module")
def known(rows):
    vids = np.arange(COUNT)
    return axes.learn(ArrayRows(vids, rows), vids, DIM, LISTS, KEPT, CODES)


def test_strong_axes_go_with_weak_ones():
    variance = 2.0 ** -np.arange(12)
    order = axes.shares(variance, 4)
    assert sorted(order.tolist()) == list(range(12))
    products = np.log2(variance[order].reshape(4, 3).prod(axis=1))
    in_line = np.log2(variance.reshape(4, 3).prod(axis=1))
    assert np.ptp(products) <= 3 < np.ptp(in_line)


def test_directions_find_the_clusters_that_there_are():
    rng = np.random.default_rng(3)
    true = np.eye(2, 8, dtype=np.float32)
    rows = np.repeat(true, 40, axis=0) + rng.normal(0, 0.01, (80, 8)).astype(np.float32)
    found = axes.directions(rows, 2)
    own = axes.nearest(true, found)
    assert sorted(own.tolist()) == [0, 1]
    np.testing.assert_allclose(found[own], true, atol=0.01)


def test_the_axes_are_orthonormal_and_hold_most_of_the_rows(rows, known):
    np.testing.assert_allclose(known.axes.T @ known.axes, np.eye(KEPT), atol=1e-4)
    best = np.linalg.svd(rows, compute_uv=False)[:KEPT] ** 2
    assert ((rows @ known.axes) ** 2).sum() == pytest.approx(best.sum(), rel=1e-3)


def test_scores_keep_their_order_when_rows_are_taken_from_the_mean(rows, known):
    """What is stored, asked with queries divided by the weights, gives inner products along the axes less one number a query."""
    stored, own = known.put(rows)
    queries = unit_rows(5, DIM, 9)
    told = (queries @ known.axes / known.weight) @ stored.T
    true = (queries @ known.axes) @ (rows @ known.axes).T
    left = true - told
    np.testing.assert_allclose(left, np.repeat(left[:, :1], COUNT, axis=1), atol=1e-4)
    assert np.bincount(own, minlength=LISTS).min() > 0


def loss(rest, along, books, codes):
    """The definition: squared length of the error, what lies along the row counted PARALLEL times."""
    said = np.concatenate([book[codes[:, at]] for at, book in enumerate(books)], axis=1)
    error = rest - said
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    return (error**2).sum(axis=1) + (axes.PARALLEL - 1) * (error * along).sum(axis=1) ** 2


def test_codes_are_better_for_scores_than_the_nearest_ones(rows, known):
    stored, own = known.put(rows)
    rest = stored - known.centres[own]
    books = np.random.default_rng(2).normal(0, rest.std(), (CODES, 16, KEPT // CODES)).astype(np.float32)
    chosen = axes.written_down(rest, stored, books)
    nearest = np.stack(
        [
            ((rest[:, None, 2 * at : 2 * at + 2] - book) ** 2).sum(axis=2).argmin(axis=1)
            for at, book in enumerate(books)
        ],
        axis=1,
    )
    assert (loss(rest, stored, books, chosen) <= loss(rest, stored, books, nearest) + 1e-5).all()
    assert loss(rest, stored, books, chosen).mean() < 0.97 * loss(rest, stored, books, nearest).mean()


def test_without_a_preference_codes_are_the_nearest_and_lie_as_faiss_has_them(rows, known, monkeypatch):
    monkeypatch.setattr(axes, "PARALLEL", 1.0)
    quantizer = faiss.ProductQuantizer(KEPT, CODES, 4)
    quantizer.cp.min_points_per_centroid = 1
    quantizer.train(known.rest)
    books = faiss.vector_to_array(quantizer.centroids).reshape(CODES, 16, -1)
    ours = axes.packed(axes.written_down(known.rest, known.rest, books))
    assert (ours == quantizer.compute_codes(known.rest)).mean() > 0.999, "but for ties"


@pytest.mark.parametrize(("kept", "codes"), [(16, 8), (15, 5)])
def test_the_index_scores_rows_by_what_is_written_of_them(rows, kept, codes):
    """FAISS's scores, through its registers and tables of 8 bits, against arithmetic on the centres and codes."""
    vids = np.arange(COUNT)
    made = axes.build(ArrayRows(vids, rows), vids, DIM, LISTS, kept, codes)
    entry = Entry(made)
    asked = entry.turned(unit_rows(4, DIM, 5))
    scores, found = np.empty((4, COUNT), dtype=np.float32), np.empty((4, COUNT), dtype=np.int64)
    wanted = faiss.SearchParametersIVF(nprobe=LISTS)
    entry.inner.search_c(4, *map(faiss.swig_ptr, (asked,)), COUNT, faiss.swig_ptr(scores), faiss.swig_ptr(found), wanted)
    assert (np.sort(found, axis=1) == vids).all(), "every row once"

    known = axes.learn(ArrayRows(vids, rows), vids, DIM, LISTS, kept, codes)
    stored, own = known.put(rows)
    books = faiss.vector_to_array(entry.inner.pq.centroids).reshape(codes, 16, -1)
    written = axes.written_down(stored - known.centres[own], stored / known.weight**2, books)
    said = known.centres[own] + np.concatenate([book[written[:, at]] for at, book in enumerate(books)], axis=1)
    for at in range(4):
        true = said[found[at]] @ asked[at]
        assert np.abs(true - scores[at]).max() < 0.03 * np.ptp(true)
    assert ((stored - said) ** 2).sum() < 0.5 * (stored**2).sum()


def test_fewer_lists_are_needed_than_by_inner_product_alone():
    """Queries from another cone: what the lists are looked for by leaves out what all rows share."""
    rows = clustered(4)
    rng = np.random.default_rng(5)
    queries = rows[rng.integers(COUNT, size=100)] - rows.mean(axis=0) + 0.4 * rng.standard_normal((100, DIM)).astype(np.float32) / 6
    vids = np.arange(COUNT)
    known = axes.learn(ArrayRows(vids, rows), vids, DIM, LISTS, KEPT, CODES)
    own = known.put(rows)[1]
    truth = np.argsort(-(queries @ rows.T), axis=1)[:, :10]

    def found(scores):
        first = np.argsort(-scores, axis=1)[:, :3]
        return np.mean([np.isin(own[truth[at]], first[at]).mean() for at in range(len(queries))])

    ours = found((queries @ known.axes / known.weight) @ known.centres.T)
    means = np.stack([rows[own == at].mean(axis=0) for at in range(LISTS)])
    assert ours >= found(queries @ means.T) - 0.02
    assert ours > 0.6
