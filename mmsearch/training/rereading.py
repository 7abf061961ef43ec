"""Learns what ``deep`` knows beside the head, both in one pass over training's pictures: a memory and a second reading."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmsearch.encoders.reading import Reading, hidden
from mmsearch.encoders.recall import Recall
from mmsearch.training.matching_data import Ints

Matrix = npt.NDArray[np.float32]
PAIRS, WIDTH, RIDGE = 512, 4096, 3000.0
SHARPNESS, STRENGTH, HUB, SECOND = 20.0, 0.4, 0.5, 0.3
"""From the middle of a flat field on flickr8k-dev, with version 2's features (``benchmarks/mini/RESULTS.md``, rows 33 and 34).
Training photos cannot tell, since the towers know them.
"""


def said_of(texts: Matrix, owner: Ints, count: int) -> Matrix:
    """Unit rows (count, dim) of the mean of what was said of each picture; zeros where nothing was."""
    sums = np.zeros((count, texts.shape[1]), np.float32)
    np.add.at(sums, owner, texts)
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def learn_memory(pictures: Matrix, said: Matrix, pairs: int = PAIRS, seed: int = 0) -> Recall:
    """Clusters of pictures (n, dim) that look alike and are spoken of alike: k-means over both halves of the pair."""
    import faiss

    both = np.concatenate([pictures, said], axis=1)
    found = faiss.Kmeans(both.shape[1], min(pairs, len(both)), niter=15, seed=seed, min_points_per_centroid=1)
    found.train(both)
    place = found.index.search(both, 1)[1][:, 0]
    count = np.bincount(place, minlength=found.k)
    used = np.flatnonzero(count)
    keys, values = (np.zeros((found.k, part.shape[1]), np.float32) for part in (pictures, said))
    np.add.at(keys, place, pictures)
    np.add.at(values, place, said)
    keys, values = keys[used], np.asarray(values[used] / count[used, None], dtype=np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    return Recall(keys, values, (count[used] / count.sum()).astype(np.float32), SHARPNESS, STRENGTH, HUB, SECOND)


def learn_reading(pooled: Matrix, said: Matrix, width: int = WIDTH, ridge: float = RIDGE) -> Reading:
    """The least squares of the docstring in :mod:`mmsearch.encoders.reading`, over features brought to one scale.

    ``pooled`` (n, pooled) are feature maps, ``said`` (n, dim) the targets, less their mean: what is said of any picture tells
    nothing. Solves one (width, width) system: 10 s.
    """
    mean, spread = pooled.mean(axis=0), pooled.std(axis=0) + 1e-3
    x = hidden(pooled, mean, spread, width)
    middle, scale = x.mean(axis=0), x.std(axis=0) + 1e-3
    x = (x - middle) / scale
    gram = x.T @ x + ridge * np.eye(x.shape[1], dtype=np.float32)
    weights = np.linalg.solve(gram, x.T @ (said - said.mean(axis=0))) / scale[:, None]
    weights = weights.astype(np.float16).astype(np.float32)  # as they are stored
    return Reading(mean, spread, weights, np.asarray(-middle @ weights, dtype=np.float32))
