"""Made vectors that behave like CLIP's, where real ones are too few: clusters of pictures, and texts beside them.

Pictures and texts lie in two narrow cones (the *modality gap*). Around the cones' axes the variance decays as a power of the
direction's number; pictures come in clusters of uneven sizes, clusters in topics; a text shares ``AGREE`` of its deviation
with the picture it is about and has the rest for itself, in directions of its own. The constants were set by eye so that the
figures of :func:`figures` come near those of 1,126 real pairs (a fashion ViT-B/32), given in brackets there; nothing
was set by looking at how an index does on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

DECAY, SHOULDER = 1.25, 4.0
AXIS_IMAGE, AXIS_TEXT, AXES = 0.74, 0.62, 0.17
CLUSTER, TOPIC = 0.55, 0.25
AGREE = 0.56
PER_CLUSTER = 100
_BLOCK = 65536


@dataclass(frozen=True)
class Made:
    """``rows`` ``(n, dim)`` pictures; queries that are not among them; ``learn``: texts to train on, others than ``texts``."""

    rows: Floats
    images: Floats
    texts: Floats
    learn: Floats


def make(n: int, *, dim: int = 512, queries: int = 1000, learn: int = 10_000, seed: int = 0) -> Made:
    """``n`` pictures, ``queries`` new pictures and new texts, ``learn`` more texts; all unit float32. 10 s a million at 512."""
    rng = np.random.default_rng(seed)
    world = _World(rng, max(n // PER_CLUSTER, 8), dim)
    rows = np.empty((n, dim), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        rows[start : start + _BLOCK] = world.pictures(world.meanings(min(_BLOCK, n - start)))
    about = world.meanings(queries + learn)
    texts = world.texts(about)
    return Made(rows, world.pictures(world.meanings(queries)), texts[:queries], texts[queries:])


class _World:
    def __init__(self, rng: np.random.Generator, clusters: int, dim: int) -> None:
        self._rng, self._dim = rng, dim
        spectrum = (np.arange(dim) + SHOULDER) ** (-DECAY)
        self._scale = np.sqrt(spectrum / spectrum.sum()).astype(np.float32)
        self._images, self._own = self._rotation(), self._rotation()
        first, second = self._images[-1], self._own[-1]
        self._axis_image = first
        self._axis_text = AXES * first + np.sqrt(1 - AXES**2, dtype=np.float32) * second
        topics = self._around(max(clusters // 50, 4))
        owner = rng.integers(len(topics), size=clusters)
        self._centres = np.sqrt(TOPIC) * topics[owner] + np.sqrt(CLUSTER - TOPIC) * self._around(clusters)
        weight = (np.arange(clusters) + 10.0) ** -0.7
        self._weight = np.cumsum(rng.permutation(weight / weight.sum()))

    def _rotation(self) -> Floats:
        return np.linalg.qr(self._rng.standard_normal((self._dim, self._dim)))[0].astype(np.float32)

    def _around(self, n: int) -> Floats:
        return self._rng.standard_normal((n, self._dim), dtype=np.float32) * self._scale

    def meanings(self, n: int) -> Floats:
        cluster = np.minimum(np.searchsorted(self._weight, self._rng.random(n)), len(self._centres) - 1)
        return np.asarray(self._centres[cluster] + np.sqrt(1 - CLUSTER) * self._around(n), dtype=np.float32)

    def pictures(self, meanings: Floats) -> Floats:
        return _unit(AXIS_IMAGE * self._axis_image + np.float32(np.sqrt(1 - AXIS_IMAGE**2)) * (meanings @ self._images))

    def texts(self, meanings: Floats) -> Floats:
        said = AGREE * (meanings @ self._images) + np.sqrt(1 - AGREE**2) * (self._around(len(meanings)) @ self._own)
        return _unit(AXIS_TEXT * self._axis_text + np.float32(np.sqrt(1 - AXIS_TEXT**2)) * said)


def _unit(rows: NDArray[np.floating]) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def figures(images: Floats, texts: Floats) -> dict[str, float]:
    """What the generator was held against; the real pairs' figures in brackets."""
    between, across, own = images[:500] @ images[500:1000].T, texts[:500] @ images[500:1000].T, texts[:500] @ texts[500:1000].T
    spectrum = np.linalg.svd(images - images.mean(0), compute_uv=False) ** 2
    spectrum /= spectrum.sum()
    best = np.sort(texts[:300] @ images.T, axis=1)[:, -10]
    return {
        "image_image": float(between.mean()),  # (0.55)
        "image_image_deviation": float(between.std()),  # (0.10)
        "text_image": float(across.mean()),  # (0.08)
        "text_image_deviation": float(across.std()),  # (0.07)
        "text_text": float(own.mean()),  # (0.38)
        "directions": float(1 / (spectrum**2).sum()),  # (33: participation ratio)
        "variance_in_16": float(spectrum[:16].sum()),  # (0.55)
        "variance_in_64": float(spectrum[:64].sum()),  # (0.83)
        "tenth_best_in_deviations": float((best.mean() - across.mean()) / across.std()),  # (2.7)
    }
