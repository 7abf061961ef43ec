"""A linear map of query vectors, learned by InfoNCE from pairs of (query, right items); both towers stay as they are.

The loss of one query q with right items R among the rows x of a pool (van den Oord, Li, Vinyals 2018; several right answers
share the target as in Khosla et al., NeurIPS 2020):

    -1/|R| · Σ_{r in R} log( exp(s · x_r·q') / Σ_x exp(s · x·q') ),        q' = W q / |W q|

W starts at the identity, so that what is learned is a residual; ``s`` starts where it fits the identity best and is learned
too. Only numpy: a few seconds for a thousand pairs of 512 dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Vectors

__all__ = ["Fit", "Task", "fit", "loss_and_gradients"]

Floats = NDArray[np.float64]
BATCH, NEGATIVES = 256, 2048
RATE = 0.016
_SCALES = (5.0, 10.0, 20.0, 40.0, 80.0)


@dataclass(frozen=True, slots=True)
class Task:
    """Queries ``(n, dim)`` and for each the rows of the pool that answer it."""

    queries: Vectors
    right: Sequence[NDArray[np.int64]]

    def some(self, at: NDArray[np.int64]) -> Task:
        """The queries with these numbers."""
        return Task(self.queries[at], [self.right[n] for n in at])


@dataclass(frozen=True, slots=True)
class Fit:
    """``map`` is float32 ``(dim, dim)``; ``steps`` were made until the held-out ``loss`` was least; at step 0 it was ``before``."""

    map: NDArray[np.float32]
    steps: int
    loss: float
    before: float


def fit(
    learn: Task, stop: Task, pool: Vectors, *, rate: float | None = None, decay: float = 2.0, most: int = 400, seed: int = 0
) -> Fit:
    """The map with the least loss on ``stop`` while it learns ``learn``; the identity where nothing gets better.

    ``pool`` ``(m, dim)`` holds all right rows and others. Adam (Kingma, Ba, ICLR 2015) at ``rate``, by default 0.016 / dim: a
    step may turn a query by so much, whatever the dimension. ``decay`` pulls towards the identity. It ends when 8 looks at
    ``stop`` in a row bring nothing. O(steps · 256 · 2048 · dim).
    """
    rate = RATE / pool.shape[1] if rate is None else rate
    rng = np.random.default_rng(seed)
    dim = pool.shape[1]
    look = _negatives(np.concatenate(stop.right), len(pool), 2 * NEGATIVES, np.random.default_rng(seed + 1))
    scale = _best_scale(learn, pool, np.random.default_rng(seed + 2))
    weights, log_scale = np.eye(dim, dtype=np.float32), float(np.log(scale))
    adam = _Adam([(dim, dim), ()])
    before = best = _loss(weights, log_scale, stop, pool, look)
    kept, kept_step, idle = weights.copy(), 0, 0
    every = max(1, min(10, len(learn.queries) // 64))
    for step in range(1, most + 1):
        batch = learn.some(np.sort(rng.choice(len(learn.queries), min(BATCH, len(learn.queries)), replace=False)))
        rows = _negatives(np.concatenate(batch.right), len(pool), NEGATIVES, rng)
        _, slope, slope_scale = loss_and_gradients(weights, log_scale, batch.queries, _targets(batch, rows), pool[rows])
        move, move_scale = adam([slope, np.asarray(slope_scale)])
        weights = weights - np.float32(rate) * move - np.float32(rate * decay) * (weights - np.eye(dim, dtype=np.float32))
        log_scale -= 30 * rate * float(move_scale)
        if step % every:
            continue
        found = _loss(weights, log_scale, stop, pool, look)
        idle += 1
        if found < best - 1e-5:
            best, kept, kept_step, idle = found, weights.copy(), step, 0
        if idle >= 8:
            break
    return Fit(np.asarray(kept, dtype=np.float32), kept_step, best, before)


def loss_and_gradients(
    weights: NDArray[np.float32], log_scale: float, queries: Vectors, targets: NDArray[np.float32], rows: Vectors
) -> tuple[float, NDArray[np.float32], float]:
    """The mean loss, its gradient by the map ``(dim, dim)`` and by the logarithm of the scale.

    ``targets`` ``(n, m)`` are each query's shares over ``rows`` ``(m, dim)``; each line sums to 1. O(n · m · dim).
    """
    scale = np.float32(np.exp(log_scale))
    turned = queries @ weights.T
    length = np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    unit = turned / length
    cosines = unit @ rows.T
    logits = scale * cosines
    logits -= logits.max(axis=1, keepdims=True)
    spread = np.exp(logits)
    total = spread.sum(axis=1, keepdims=True)
    loss = -float((targets * (logits - np.log(total))).sum() / len(queries))
    error = (spread / total - targets) / len(queries)
    by_unit = scale * (error @ rows)
    by_turned = (by_unit - (by_unit * unit).sum(axis=1, keepdims=True) * unit) / length
    return loss, np.asarray(by_turned.T @ queries), float(scale * (error * cosines).sum())


class _Adam:
    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self._first = [np.zeros(shape, dtype=np.float32) for shape in shapes]
        self._second = [np.zeros(shape, dtype=np.float32) for shape in shapes]
        self._step = 0

    def __call__(self, slopes: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """How far to go, for a rate of 1."""
        self._step += 1
        out = []
        for at, slope in enumerate(slopes):
            self._first[at] = 0.9 * self._first[at] + 0.1 * slope
            self._second[at] = 0.98 * self._second[at] + 0.02 * slope**2
            mean, square = self._first[at] / (1 - 0.9**self._step), self._second[at] / (1 - 0.98**self._step)
            out.append(np.asarray(mean / (np.sqrt(square) + 1e-10), dtype=np.float32))
        return out


def _negatives(right: NDArray[np.int64], pool: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The right rows and others, ``most`` in all or a few more, sorted."""
    needed = np.unique(right)
    if pool <= max(most, len(needed)):
        return np.arange(pool)
    others = rng.choice(pool, max(0, most - len(needed)), replace=False)
    return np.union1d(needed, others)


def _targets(task: Task, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    out = np.zeros((len(task.queries), len(rows)), dtype=np.float32)
    for line, right in zip(out, task.right, strict=True):
        line[np.searchsorted(rows, right)] = 1 / len(right)
    return out


def _loss(weights: NDArray[np.float32], log_scale: float, task: Task, pool: Vectors, rows: NDArray[np.int64]) -> float:
    total = 0.0
    for start in range(0, len(task.queries), BATCH):
        part = task.some(np.arange(start, min(start + BATCH, len(task.queries))))
        total += len(part.queries) * _only_loss(weights, log_scale, part, pool[rows], rows)
    return total / len(task.queries)


def _only_loss(
    weights: NDArray[np.float32], log_scale: float, task: Task, rows: Vectors, numbers: NDArray[np.int64]
) -> float:
    turned = task.queries @ weights.T
    unit = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    logits = np.float32(np.exp(log_scale)) * (unit @ rows.T)
    logits -= logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -float((_targets(task, numbers) * (logits - total)).sum() / len(task.queries))


def _best_scale(task: Task, pool: Vectors, rng: np.random.Generator) -> float:
    some = task.some(np.sort(rng.choice(len(task.queries), min(512, len(task.queries)), replace=False)))
    rows = _negatives(np.concatenate(some.right), len(pool), NEGATIVES, rng)
    eye = np.eye(pool.shape[1], dtype=np.float32)
    return min(_SCALES, key=lambda scale: _only_loss(eye, float(np.log(scale)), some, pool[rows], rows))
