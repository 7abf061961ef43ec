"""Inverted lists over the leading axes of the rows: what a search reads is made small, since reading is what it costs.

With ``P`` the first axes of the rows' second moments and ``m`` their mean, a row is stored as ``P (x - m)`` and a query asks with
``P q``: what that leaves out, ``<q, m>``, is the same for every row, so the order stays. Rows are put together by their
direction, but a list is looked for by where its mean lies *from ``m``*. Rows of one kind share most of their direction, and queries
of the other kind hardly differ along it: taken from the mean, lists come in a better order (ten find what fifteen did). All lists'
centres have one length, so that this order is the order in which FAISS visits them.

A 4-bit code stands for few axes at a time: a strong one goes with a weak one, so that all codes have as much to tell (the
eigenvalue allocation of Ge, He, Ke and Sun, Optimized Product Quantization, CVPR 2013). Before that, axes are weighted by the
root of their length in rows: queries are long where rows are, so an error there costs more. What is written down of a row is
chosen by what it does to scores, not to distances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.indexes._library import library
from mmsearch.types import Vectors, Vids

LEAD = 3
"""Lists are found by a third as many axes as there are dimensions. With half as many they find 0.003 more of what is looked for,
but these no longer stay in the processor's cache, and the search is slower.
"""
PARALLEL = 3.0
"""How much more an error along a row counts than one across it. At 60 candidates of 100,000 × 512: recall + 0.003."""
_PER_LIST = 200  # rows to learn a list from; with 64 it takes a fifth more lists to find as much
_MOST = 2**19
_ROUNDS = 16
_SECOND = 65536  # rows that the axes and codes are learned from
_BLOCK = 8192
_SEED = 1234


class Gathers(Protocol):
    """Gives stored rows by vid."""

    def gather(self, vids: Vids) -> NDArray[np.float16]: ...


@dataclass(frozen=True, eq=False)
class Layout:
    """What was learned: ``axes`` ``(dim, kept)`` orthonormal, in the order of codes; the ``weight`` ``(kept,)`` of each; ``mean``
    ``(kept,)`` of the rows along them; ``lead`` which of them lists are found by; ``groups`` ``(lists, kept)`` directions that rows
    are put together by; ``centres`` ``(lists, kept)``, 0 but along ``lead``; ``rest`` a sample of what the centres leave of rows.

    All but ``mean`` and ``groups`` are weighted: rows are multiplied by the weights and queries divided.
    """

    axes: Vectors
    weight: NDArray[np.float32]
    mean: NDArray[np.float32]
    lead: NDArray[np.int64]
    groups: Vectors
    centres: Vectors
    rest: Vectors

    def put(self, rows: Vectors) -> tuple[Vectors, NDArray[np.int64]]:
        """Rows ``(n, dim)`` → what is stored of them ``(n, kept)``, and the list of each."""
        along = rows @ self.axes
        return (along - self.mean) * self.weight, nearest(along, self.groups)


def build(
    rows: Gathers, vids: Vids, dim: int, lists: int, kept: int, codes: int, step: Callable[[float], None] | None = None
) -> Any:
    """A FAISS index (``IndexPreTransform`` over fast-scan codes) of these rows; position ``i`` in it is ``vids[i]``.

    ``kept`` axes in ``codes`` codes of 4 bits, which divide them evenly. CPU seconds for 100,000 / 1,000,000 rows of
    512 numbers: 10 / 150.
    """
    faiss = library()

    known = learn(rows, vids, dim, lists, kept, codes)
    flat = faiss.IndexFlatIP(kept)
    flat.add(known.centres)
    made = faiss.IndexIVFPQ(flat, kept, lists, codes, 4, faiss.METRIC_INNER_PRODUCT)
    made.pq.cp.min_points_per_centroid = 1
    made.pq.train(known.rest)
    made.is_trained = True
    books = faiss.vector_to_array(made.pq.centroids).reshape(codes, 16, -1)
    for part in _blocks(vids):
        stored, own = known.put(_wide(rows, part))
        written = packed(written_down(stored - known.centres[own], stored / known.weight**2, books))
        keys = np.arange(made.ntotal, made.ntotal + len(part), dtype=np.int64)
        _fill(faiss, made, own, keys, written)
        if step is not None:
            step(made.ntotal / len(vids))
    return _assembled(faiss, made, known)


def _fill(faiss: Any, made: Any, own: NDArray[np.int64], keys: Vids, written: NDArray[np.uint8]) -> None:
    order = np.argsort(own, kind="stable")
    keys, written = keys[order], written[order]
    present, starts, counts = np.unique(own[order], return_index=True, return_counts=True)
    pointer = faiss.swig_ptr
    for at, start, count in zip(present.tolist(), starts.tolist(), counts.tolist(), strict=True):
        made.invlists.add_entries(at, count, pointer(keys[start:]), pointer(written[start:]))
    made.ntotal += len(own)


def _assembled(faiss: Any, slow: Any, known: Layout) -> Any:
    """The same codes in the order in which registers take them, behind the axes, its lists found by the leading ones only."""
    fast = faiss.IndexIVFPQFastScan(slow, 32)
    leading = faiss.IndexFlatIP(len(known.lead))
    leading.add(np.ascontiguousarray(known.centres[:, known.lead]))
    picked = faiss.RemapDimensionsTransform(known.axes.shape[1], len(known.lead), False)
    faiss.copy_array_to_vector(known.lead.astype(np.int32), picked.map)
    turned = faiss.LinearTransform(*known.axes.shape, False)
    faiss.copy_array_to_vector(np.ascontiguousarray((known.axes / known.weight).T, dtype=np.float32).ravel(), turned.A)
    turned.is_trained = True
    finder = _owning(faiss.IndexPreTransform(picked, leading), picked, leading)
    fast.quantizer = finder
    return _owning(faiss.IndexPreTransform(turned, _owning(fast, finder)), turned, fast)


def _owning(outer: Any, *parts: Any) -> Any:
    """``outer`` frees its parts from now on, as it does after it was read from a file."""
    for part in parts:
        part.this.disown()
    outer.own_fields = True
    return outer


def learn(rows: Gathers, vids: Vids, dim: int, lists: int, kept: int, codes: int) -> Layout:
    """Axes, lists and the shares of codes, from a sample of at most 200 rows a list."""
    chosen = np.random.default_rng(_SEED).permutation(len(vids))[: max(min(_PER_LIST * lists, _MOST), _SECOND)]
    few = np.sort(vids[chosen[:_SECOND]])
    sample = _wide(rows, few)
    axes = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :kept].astype(np.float32)
    leading = min(max(dim // LEAD, 1), kept)
    many = np.sort(vids[chosen])
    along = np.concatenate([_wide(rows, part) @ axes for part in _blocks(many)])
    groups = directions(along, lists)
    turned = sample @ axes
    mean = turned.mean(axis=0)
    own = nearest(turned, groups)
    stored = turned - mean
    centres = np.zeros((lists, kept), dtype=np.float32)
    centres[:, :leading] = _unit(_means(along, nearest(along, groups), groups)[:, :leading] - mean[:leading])
    told = np.einsum("ij,ij->i", stored, centres[own])
    centres *= max(float(told.mean()), 1e-3)
    weight = (stored**2).mean(axis=0) ** 0.25
    weight /= weight.mean()
    rest, centres = (stored - centres[own]) * weight, centres * weight
    order = shares(rest.var(axis=0), codes)
    lead = np.argsort(order)[:leading]
    cut = np.ascontiguousarray
    return Layout(cut(axes[:, order]), weight[order], mean[order], lead, cut(groups[:, order]), cut(centres[:, order]),
                  cut(rest[:, order]))  # fmt: skip


def written_down(rest: Vectors, along: Vectors, books: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``(n, codes)``: the entries of ``books`` ``(codes, 16, each)`` that say what is ``rest`` ``(n, kept)``.

    Not the nearest ones: an error along the row itself (``along``, any length) counts :data:`PARALLEL` times, since the
    queries that find a row point its way (the score-aware loss of Guo et al., Accelerating Large-Scale Inference with
    Anisotropic Vector Quantization, ICML 2020). One round over the codes, each chosen in the light of all others.
    """
    codes, _, each = books.shape
    along = _unit(along)
    out = np.empty((len(rest), codes), dtype=np.uint8)
    every = np.arange(len(rest))
    errors = []
    for code in range(codes):
        part, book = rest[:, code * each : (code + 1) * each], books[code]
        out[:, code] = np.argmin((book**2).sum(axis=1) - 2 * part @ book.T, axis=1)
        errors.append(part - book[out[:, code]])
    parallel = np.einsum("ij,ij->i", np.concatenate(errors, axis=1), along)
    for code in range(codes):
        own = slice(code * each, (code + 1) * each)
        part, book, toward = rest[:, own], books[code], along[:, own]
        said = toward @ book.T
        others = parallel - np.einsum("ij,ij->i", errors[code], toward)
        whole = others + np.einsum("ij,ij->i", part, toward)  # as if this code said nothing
        lost = (book**2).sum(axis=1) - 2 * part @ book.T + (PARALLEL - 1) * (whole[:, None] - said) ** 2
        out[:, code] = np.argmin(lost, axis=1)
        parallel = whole - said[every, out[:, code]]
    return out


def packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(n, codes)`` of 4 bits → ``(n, ceil(codes / 2))`` bytes as FAISS has them: the first code is the lower half.

    >>> packed(np.array([[1, 2, 3]], dtype=np.uint8)).tolist()
    [[33, 3]]
    """
    if codes.shape[1] % 2:
        codes = np.concatenate([codes, np.zeros((len(codes), 1), dtype=np.uint8)], axis=1)
    return np.ascontiguousarray(codes[:, ::2] | codes[:, 1::2] << 4)


def directions(rows: Vectors, lists: int) -> Vectors:
    """Spherical k-means: ``(lists, dim)`` unit centres of ``rows``. In numpy, whose matrix product knows the processor.

    >>> directions(np.array([[1.0, 0.1], [1.0, -0.1], [-0.1, 1.0], [0.1, 1.0]], dtype=np.float32), 2).round(1).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    rng = np.random.default_rng(_SEED)
    centres = _unit(rows[rng.permutation(len(rows))[:lists]])
    for _ in range(_ROUNDS):
        centres = _unit(_means(rows, nearest(rows, centres), centres, rng))
    return centres


def nearest(rows: Vectors, centres: Vectors) -> NDArray[np.int64]:
    """``(n,)``: the centre with the largest inner product with each row."""
    out = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), _BLOCK):
        out[start : start + _BLOCK] = np.argmax(rows[start : start + _BLOCK] @ centres.T, axis=1)
    return out


def _means(rows: Vectors, own: NDArray[np.int64], centres: Vectors, rng: np.random.Generator | None = None) -> Vectors:
    """The mean of each list's rows. An empty list keeps its centre, or with ``rng`` begins anew at some row."""
    order = np.argsort(own, kind="stable")
    present, starts, counts = np.unique(own[order], return_index=True, return_counts=True)
    means = centres.copy() if rng is None else rows[rng.integers(len(rows), size=len(centres))]
    means[present] = np.add.reduceat(rows[order], starts, axis=0) / counts[:, None]
    return means


def shares(variance: NDArray[np.floating], codes: int) -> NDArray[np.int64]:
    """In what order axes go into codes of equally many: the strongest left goes to the code whose product of variances is least.

    >>> shares(np.array([8.0, 4.0, 2.0, 1.0]), 2).tolist()
    [0, 3, 1, 2]
    """
    size = len(variance) // codes
    held: list[list[int]] = [[] for _ in range(codes)]
    weight = np.zeros(codes)
    told = np.log(np.maximum(variance, 1e-12)) - np.log(max(float(variance.min()), 1e-12))
    for axis in np.argsort(-variance, kind="stable").tolist():
        open_ = [code for code in range(codes) if len(held[code]) < size]
        code = min(open_, key=lambda one: (weight[one], one))
        held[code].append(axis)
        weight[code] += told[axis]
    return np.array([axis for one in held for axis in one], dtype=np.int64)


def _unit(rows: Vectors) -> Vectors:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def _blocks(vids: Vids) -> Iterator[Vids]:
    for start in range(0, len(vids), _BLOCK):
        yield vids[start : start + _BLOCK]


def _wide(rows: Gathers, vids: Vids) -> Vectors:
    return np.ascontiguousarray(rows.gather(vids), dtype=np.float32)
