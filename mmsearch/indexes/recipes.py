"""The approximate indexes that can be built, each as one line of data: what FAISS is told, how large it gets, how it is tuned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.indexes import axes
from mmsearch.indexes._library import library
from mmsearch.indexes.axes import Gathers
from mmsearch.types import Vectors, Vids

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRAIN_PER_LIST = 64
_ADD_ROWS = 16384
_SEED = 1234


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to build an index.

    ``key`` is FAISS's factory string for ``n`` rows of ``dim`` numbers, ``bytes`` what a row takes in it, ``usual`` says that
    the planner tries it unasked. ``knob`` is what widens a search: ``lists`` or ``beam``. ``keep`` is the share of the rows'
    directions that are kept, those of the largest variance; what they miss, the stored rows put right. Where ``each`` is given,
    the index is put together by :mod:`.axes` and ``key`` is what it amounts to: codes for so many kept directions each.
    """

    name: str
    key: Callable[[int, int], str]
    bytes: Callable[[int], float]
    knob: str
    what: str
    usual: bool = True
    keep: float = 1.0
    each: int = 0

    def kept(self, dim: int) -> int:
        """Of ``dim`` directions, how many are kept."""
        return max(round(dim * self.keep), 1)


def lists(n: int) -> int:
    """How many lists an inverted file of ``n`` rows has: the power of two nearest to twice the root."""
    return int(2 ** max(round(math.log2(max(2 * math.sqrt(n), 1))), 2))


def _codes(dim: int, numbers: int) -> int:
    """4-bit codes when each stands for so many numbers; FAISS wants the dimension divided evenly."""
    count = max(dim // numbers, 1)
    while dim % count:
        count -= 1
    return count


RECIPES: Mapping[str, Recipe] = {
    one.name: one
    for one in (
        Recipe(
            "ivf-axes",
            lambda n, dim: f"IVF{lists(n)},PQ{_codes(dim // 2, 2)}x4fs",
            lambda dim: _codes(dim // 2, 2) / 2 + 8,
            "lists",
            "inverted lists about the mean, 4-bit codes over the leading half of the axes, strong ones with weak ones",
            keep=0.5,
            each=2,
        ),
        Recipe(
            "ivf-pq2",
            lambda n, dim: f"IVF{lists(n)},PQ{_codes(dim, 2)}x4fs",
            lambda dim: _codes(dim, 2) / 2 + 8,
            "lists",
            "inverted lists of 4-bit codes, one for two numbers, scanned in registers",
        ),
        Recipe(
            "ivf-pca-pq2",
            lambda n, dim: f"IVF{lists(n)},PQ{_codes(dim, 2)}x4fs",
            lambda dim: _codes(dim // 2, 2) / 2 + 8,
            "lists",
            "the same over half the dimensions, by principal components: a quarter byte a number",
            usual=False,
            keep=0.5,
        ),
        Recipe(
            "ivf-pq4",
            lambda n, dim: f"IVF{lists(n)},PQ{_codes(dim, 4)}x4fs",
            lambda dim: _codes(dim, 4) / 2 + 8,
            "lists",
            "inverted lists with one code for four numbers: as small, without the projection",
            usual=False,
        ),
        Recipe(
            "ivf-rabitq",
            lambda n, dim: f"IVF{lists(n)},RaBitQfs2",
            lambda dim: dim / 4 + 28 + 8,
            "lists",
            "inverted lists of RaBitQ codes, two bits a number",
            usual=False,
        ),
        Recipe(
            "ivf-sq8",
            lambda n, dim: f"IVF{lists(n)},SQ8",
            lambda dim: dim + 8,
            "lists",
            "inverted lists of 8-bit numbers: large, few candidates needed",
        ),
        Recipe(
            "hnsw-sq8",
            lambda n, dim: "HNSW32,SQ8",
            lambda dim: dim + 2 * 32 * 4 + 8 + 8,
            "beam",
            "a graph over 8-bit numbers: slow to build, at its best beyond a million rows",
            usual=False,
        ),
    )
}
"""By name, the usual winner first."""


def build(
    recipe: Recipe,
    rows: Gathers,
    vids: Vids,
    dim: int,
    *,
    threads: int = 1,
    step: Callable[[float], None] | None = None,
) -> Any:
    """A FAISS index (inner product) over these rows; position ``i`` in it is ``vids[i]``.

    ``step`` is called with the share that is done, 0 to 1. CPU seconds for 100,000 /
    1,000,000 rows of 512 numbers: 8 / 100 with lists, 60 / 600 with a graph.
    """
    faiss = library()

    faiss.omp_set_num_threads(threads)
    kept = recipe.kept(dim)
    if recipe.each:
        return axes.build(rows, vids, dim, lists(len(vids)), kept, _codes(kept, recipe.each), step)
    made = faiss.index_factory(kept, recipe.key(len(vids), kept), faiss.METRIC_INNER_PRODUCT)
    inverted = faiss.try_extract_index_ivf(made)
    if inverted is not None:
        inverted.cp.max_points_per_centroid = _TRAIN_PER_LIST
        inverted.cp.min_points_per_centroid = 1  # FAISS would print a warning
        inverted.cp.niter = 10
        inverted.cp.seed = _SEED
        if hasattr(inverted, "pq"):
            inverted.pq.cp.min_points_per_centroid = 1
    wanted = _TRAIN_PER_LIST * (inverted.nlist if inverted is not None else 256)
    chosen = np.sort(np.random.default_rng(_SEED).permutation(len(vids))[: max(wanted, 16384)])
    sample = _wide(rows, vids[chosen])
    if kept < dim:
        made = faiss.IndexPreTransform(_projection(faiss, sample, kept), made)
    made.train(sample)
    for start in range(0, len(vids), _ADD_ROWS):
        made.add(_wide(rows, vids[start : start + _ADD_ROWS]))
        if step is not None:
            step(min((start + _ADD_ROWS) / len(vids), 1.0))
    return made


def _projection(faiss: Any, sample: Vectors, kept: int) -> Any:
    """Onto the first principal directions, about the origin, then turned at random so that all codes get as much variance.

    Not FAISS's own PCA: that takes the mean off queries too, which changes the order of inner products.
    """
    directions = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :kept]
    turned = directions @ np.linalg.qr(np.random.default_rng(_SEED).standard_normal((kept, kept)))[0]
    made = faiss.LinearTransform(sample.shape[1], kept, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(turned.T, dtype=np.float32).ravel(), made.A)
    made.is_trained = True
    return made


def _wide(rows: Gathers, vids: Vids) -> Vectors:
    return np.ascontiguousarray(rows.gather(vids), dtype=np.float32)


def widest(recipe: Recipe, index: Any) -> int:
    """The largest setting of the knob that makes sense: all lists, or a beam as wide as the index."""
    faiss = library()

    return int(faiss.extract_index_ivf(index).nlist) if recipe.knob == "lists" else max(int(index.ntotal), 1)


def parameters(recipe: Recipe, probe: int, candidates: int, selector: Any) -> Any:
    """FAISS's search parameters for a setting of the knob, for the index itself: without the projection in front."""
    faiss = library()

    extra = {} if selector is None else {"sel": selector}
    if recipe.knob == "lists":
        return faiss.SearchParametersIVF(nprobe=probe, **extra)
    return faiss.SearchParametersHNSW(efSearch=max(probe, candidates), **extra)
