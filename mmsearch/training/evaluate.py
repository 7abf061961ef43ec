"""Recall at k between pictures and captions, with bootstrap intervals over the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Interval = tuple[float, float, float]
KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Ranks:
    """0-based rank of the right answer: `text` per caption, `image` per picture (its best caption)."""

    text: Ints
    image: Ints
    owner: Ints


def ranks(images: Matrix, texts: Matrix, owner: Ints) -> Ranks:
    """Rank every answer by inner product; ties count against the right answer.

    `images` (n, dim) and `texts` (m, dim) are unit rows; `owner[j]` is the picture that caption j describes. Cost: an
    (m, n) float32 matrix.
    """
    scores = texts @ images.T
    right = scores[np.arange(len(texts)), owner]
    text_ranks = (scores >= right[:, None]).sum(axis=1) - 1
    best = np.full(len(images), -np.inf, np.float32)
    np.maximum.at(best, owner, right)
    foreign = owner[:, None] != np.arange(len(images))[None, :]
    image_ranks = ((scores >= best[None, :]) & foreign).sum(axis=0)
    return Ranks(text=text_ranks.astype(np.int64), image=image_ranks.astype(np.int64), owner=owner)


def recalls(found: Ranks, ks: Sequence[int] = KS) -> dict[str, float]:
    """Share of queries whose right answer is among the first k: `text_to_image_r{k}` and `image_to_text_r{k}`."""
    out = {f"text_to_image_r{k}": float((found.text < k).mean()) for k in ks}
    out |= {f"image_to_text_r{k}": float((found.image < k).mean()) for k in ks}
    return out


def intervals(found: Ranks, ks: Sequence[int] = KS, *, rounds: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Each recall as (value, low, high): the 95% percentile bootstrap that redraws pictures with all their captions.

    The captions of one picture are hard or easy together, so redrawing single captions would give intervals too narrow.
    """
    rng = np.random.default_rng(seed)
    n = len(found.image)
    counts = np.bincount(found.owner, minlength=n).astype(np.float64)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=rounds).astype(np.float64)
    out: dict[str, Interval] = {}
    for k in ks:
        hits = np.bincount(found.owner, weights=(found.text < k).astype(np.float64), minlength=n)
        draws = (weights @ hits) / (weights @ counts)
        out[f"text_to_image_r{k}"] = _interval(float((found.text < k).mean()), draws)
        draws = weights @ (found.image < k).astype(np.float64) / n
        out[f"image_to_text_r{k}"] = _interval(float((found.image < k).mean()), draws)
    return out


def zero_shot(images: Matrix, prompts: Mapping[str, Matrix], truth: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether each picture is nearest to its own class; a class is the normalised mean of its prompts' unit rows."""
    names = sorted(prompts)
    centres = np.stack([prompts[name].mean(axis=0) for name in names])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    guess = (images @ centres.T).argmax(axis=1)
    right: npt.NDArray[np.bool_] = np.array([names[g] == t for g, t in zip(guess, truth, strict=True)])
    return right


def share(hits: npt.NDArray[np.bool_], *, rounds: int = 1000, seed: int = 0) -> Interval:
    """A mean of yes/no outcomes as (value, low, high), 95% percentile bootstrap."""
    rng = np.random.default_rng(seed)
    draws = rng.binomial(len(hits), float(hits.mean()), size=rounds) / len(hits)
    return _interval(float(hits.mean()), draws)


def _interval(value: float, draws: npt.NDArray[np.float64]) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return value, float(low), float(high)
