"""How much the head is trusted beside the rest, and what each part of ``deep`` is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmsearch.encoders.reading import Reading
from mmsearch.encoders.recall import Recall
from mmsearch.training.matching_data import Ints, View, Words
from mmsearch.training.matching_head import MatchingHead

Matrix = npt.NDArray[np.float32]
TOP = 50
WEIGHTS = (0.0, 0.002, 0.004, 0.007, 0.01, 0.014, 0.02, 0.03, 0.05, 0.1, 0.3)


@dataclass(frozen=True, slots=True)
class Outcome:
    """For each caption the 0-based rank of its picture: by the cosine (``before``), and among the first :data:`TOP`

    by the cosine with the mean row of its views (``views``), by what memory and second reading make of that (``reread``), and with
    the head's logit added (``after``). ``owner`` is the caption's picture.
    """

    before: Ints
    views: Ints
    reread: Ints
    after: Ints
    owner: Ints

    def summary(self) -> dict[str, Any]:
        """Recall@1, 5, 10 before and after with 95% intervals that redraw pictures, and those of the ratio of recall@1."""
        rng = np.random.default_rng(0)
        number = int(self.owner.max()) + 1
        weights = rng.multinomial(number, np.full(number, 1 / number), size=1000).astype(np.float64)
        out: dict[str, Any] = {}
        draws: dict[str, npt.NDArray[np.float64]] = {}
        counts = weights @ np.bincount(self.owner, minlength=number)
        for name, ranks in (("cosine", self.before), ("views", self.views), ("reread", self.reread), ("deep", self.after)):
            for k in (1, 5, 10):
                hits = np.bincount(self.owner, weights=(ranks < k).astype(np.float64), minlength=number)
                draws[f"{name} r{k}"] = (weights @ hits) / counts
                out[f"{name} r{k}"] = _interval(float((ranks < k).mean()), draws[f"{name} r{k}"])
        ratio = float((self.after < 1).mean() / max((self.before < 1).mean(), 1e-9))
        out["r1 ratio"] = _interval(ratio, draws["deep r1"] / np.maximum(draws["cosine r1"], 1e-9))
        return out


def judged(head: MatchingHead, view: View, words: Words, rows: Ints, top: int = TOP) -> tuple[Matrix, Matrix, Ints, Ints]:
    """For each caption of some pictures, among those pictures: the ``top`` nearest (m, top), their cosines, the head's logits.

    The fourth is each caption's right column, its picture's place in ``rows``.
    """
    captions = np.flatnonzero(np.isin(words.owner, rows))
    owner = np.searchsorted(rows, words.owner[captions])
    cosines = words.whole[captions] @ np.asarray(view.whole[rows], dtype=np.float32).T
    near = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    logits = np.empty(near.shape, np.float32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        parts = [rows[at : at + 100] for at in range(0, len(rows), 100)]
        seen = torch.cat([head.picture(*(torch.from_numpy(getattr(view, name)[part]).float() for name in
                                         ("grid", "local", "whole"))) for part in parts])  # fmt: skip
        for start in range(0, len(captions), 20):
            some = np.arange(start, min(start + 20, len(captions)))
            needed, place = np.unique(near[some], return_inverse=True)
            found = head.pairs(*head.text(*words.rows(captions[some])), seen[torch.from_numpy(needed)])
            logits[some] = np.take_along_axis(found.float().numpy(), place.reshape(len(some), -1), axis=1)
    return np.take_along_axis(cosines, near, axis=1), logits, near, owner


def ranks(scores: Matrix, near: Ints, owner: Ints) -> Ints:
    """0-based rank of the right column by ``scores`` over ``near``; ties count against it; what is not near has rank 10,000."""
    right = near == owner[:, None]
    own = np.where(right, scores, -np.inf).max(axis=1)
    found = (scores >= own[:, None]).sum(axis=1) - 1
    return np.where(right.any(axis=1), found, 10_000).astype(np.int64)


def settle(
    head: MatchingHead, memory: Recall, reading: Reading, view: View, words: Words, means: Matrix
) -> tuple[float, Outcome]:
    """Of :data:`WEIGHTS` the head's one with the best recall@1, and the ranks of a corpus' captions among all its pictures with it.

    ``means`` (n, dim) are the pictures' mean rows over the views. The corpus is one to choose by, not one to report alone.
    """
    cosines, logits, near, owner = judged(head, view, words, np.arange(len(view.whole)))
    mean = np.take_along_axis(words.whole @ means.T, near, axis=1)
    again = np.take_along_axis(memory.scores(words.whole, memory.rows(means, reading.rows(view.pooled()))), near, axis=1)
    weight = max(WEIGHTS, key=lambda weight: float((ranks(again + weight * logits, near, owner) < 1).mean()))
    before, views, reread, after = (ranks(scores, near, owner) for scores in (cosines, mean, again, again + weight * logits))
    return weight, Outcome(before, views, reread, after, owner)


def _interval(value: float, draws: npt.NDArray[np.float64]) -> list[float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return [round(float(x), 4) for x in (value, low, high)]
