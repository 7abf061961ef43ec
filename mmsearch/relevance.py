"""From cosine to relevance: a number from 0 to 1 that says how likely a hit is right, and where the answer ends.

A cosine alone says little: for one query 0.31 is a perfect answer, for another all items have 0.33, and each model has
its own scale. So a hit is judged against a *background*: a bank of queries as anybody might ask (ours stands in
``query_bank.txt``). Of a hit with cosine ``s`` two things are taken::

    height = (s - m) / d              m, d: mean and deviation of the bank's cosines with a sample of the items
    lead   = (s - hub) / d            hub = t · log Σ_b exp(cos(item, b) / t): how well the item answers the bank's queries

and a logistic function makes them a probability: ``relevance = 1 / (1 + exp(-(bias + a · height + b · lead)))``. ``hub`` is
the soft maximum of inverted softmax (Smith et al., ICLR 2017) and of QB-Norm (Bogolin et al., CVPR 2022). Its weights are
fitted once for each encoder on pairs that are known to belong together; ``calibrations.json`` holds those that we measured, and
:meth:`Calibration.fit` makes others. Figures and alternatives stand in ``docs/relevance.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmsearch.errors import UsageError
from mmsearch.protocols import Encoder
from mmsearch.types import Vectors

__all__ = ["DEFAULT", "Background", "Calibration", "bank_vectors", "calibration_of", "calibrations", "query_bank"]

Floats = NDArray[np.float64]
TEMPERATURE = 0.01
"""t in ``hub``: cosines closer together than this count as equal."""
CUT_LOSS = 0.01
"""``cut`` is set so that this share of the right hits falls below it."""
_SAMPLE = 2048


# --- the bank ---------------------------------------------------------------------------------------------------


@cache
def query_bank() -> tuple[str, ...]:
    """The generic queries of the package, in the order of the file."""
    text = (files("mmsearch") / "query_bank.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


def bank_vectors(encoder: Encoder, folder: Path | None = None, *, sentences: Sequence[str] | None = None) -> Vectors:
    """``(n, dim)`` unit rows of the bank under this encoder; kept in ``folder``, where one is given, as a ``.npy`` file.

    The first call of an encoder costs as much as encoding 1,500 short texts: a second with ``mini``, half a minute with
    a large model on a CPU. A file that cannot be read is made again; one that cannot be written is nobody's loss.
    """
    lines = list(query_bank() if sentences is None else sentences)
    spec = encoder.spec
    name = hashlib.sha256("\n".join((spec.fingerprint, *lines)).encode()).hexdigest()[:24]
    place = None if folder is None else folder / f"bank-{name}.npy"
    if place is not None and place.exists():
        try:
            rows = np.load(place, allow_pickle=False)
        except (OSError, ValueError):
            rows = None
        if rows is not None and rows.shape == (len(lines), spec.dim) and np.isfinite(rows).all():
            return np.asarray(rows, dtype=np.float32)
    made = np.concatenate([encoder.encode_texts(lines[at : at + 64]) for at in range(0, len(lines), 64)])
    if place is not None:
        _keep(made, place)
    return made


def _keep(rows: Vectors, place: Path) -> None:
    """Write the file whole or not at all: several processes may do so at once."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".tmp", delete=False) as out:
            np.save(out, rows, allow_pickle=False)
        os.replace(out.name, place)
    except OSError:
        return


# --- the background ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """What is usual: a bank of queries ``(b, dim)``, and mean and deviation of its cosines with the items."""

    bank: Vectors
    mean: float
    deviation: float

    @classmethod
    def of(cls, bank: Vectors, items: Vectors) -> Background:
        """From the bank's rows and a sample of the items' ``(n, dim)``; more than 2,048 items are thinned evenly.

        Raises :class:`UsageError` for fewer than two rows of either. O(b · n · dim): 0.1 s for 1,500 × 2,048 × 512.
        """
        if len(bank) < 2 or len(items) < 2:
            raise UsageError("a background needs at least two queries and two items")
        step = -(-len(items) // _SAMPLE)
        cosines = np.asarray(bank, dtype=np.float32) @ np.asarray(items[::step], dtype=np.float32).T
        return cls(bank, float(cosines.mean()), max(float(cosines.std()), 1e-6))

    def hubness(self, items: Vectors) -> Floats:
        """``(n,)``: how well each item answers the queries of the bank; a soft maximum of cosines. O(b · n · dim)."""
        scaled = (np.asarray(items, dtype=np.float32) @ self.bank.T).astype(np.float64) / TEMPERATURE
        top = scaled.max(axis=1, keepdims=True)
        return np.asarray(TEMPERATURE * (top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))))

    def features(self, scores: ArrayLike, items: Vectors) -> Floats:
        """``(n, 2)``: height and lead of hits with the cosines ``scores`` ``(n,)`` and stored rows ``items`` ``(n, dim)``."""
        cosines = np.asarray(scores, dtype=np.float64)
        return np.stack([cosines - self.mean, cosines - self.hubness(items)], axis=1) / self.deviation


# --- the calibration --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calibration:
    """The fitted logistic function. ``cut`` is the relevance below which ``cutoff="auto"`` drops a hit.

    ``pairs`` says how many right hits it was fitted on, 0 for one that was not fitted. ``hub_weight`` is how much of ``hub``
    the reranker ``fast`` takes from a cosine with our bank: 0 until ``benchmarks/rerank.py`` has shown a gain.
    """

    height: float
    lead: float
    bias: float
    cut: float
    pairs: int = 0
    hub_weight: float = 0.0

    def relevance(self, features: Floats) -> Floats:
        """``(n,)`` from 0 to 1, of :meth:`Background.features` ``(n, 2)``."""
        logit = self.bias + features @ np.array([self.height, self.lead])
        return np.asarray(0.5 * (1 + np.tanh(logit / 2)))  # 1 / (1 + exp(-logit)), which never overflows

    @classmethod
    def fit(cls, features: Floats, right: ArrayLike, ranks: ArrayLike) -> Calibration:
        """From the hits of many queries, right ones and wrong: ``(n, 2)``, ``(n,)`` bools, ``(n,)`` ranks from 1.

        A hit weighs ``1 / rank²``: the first hits are those whose relevance is looked at, and each query has many wrong
        ones behind them. Ridge logistic regression by Newton's method. The cut leaves out :data:`CUT_LOSS` of the right
        hits. Raises :class:`UsageError` when hits are all right or all wrong.
        """
        truth = np.asarray(right, dtype=np.float64)
        if not 0 < truth.sum() < len(truth):
            raise UsageError("a calibration is fitted on right hits and on wrong ones")
        weights = 1.0 / np.asarray(ranks, dtype=np.float64) ** 2
        bias, height, lead = logistic(features, truth, weights)
        plain = cls(height, lead, bias, cut=0.0, pairs=int(truth.sum()))
        found = plain.relevance(features)[truth > 0]
        return cls(height, lead, bias, cut=float(np.quantile(found, CUT_LOSS)), pairs=len(found))


def logistic(features: Floats, right: Floats, weights: Floats, *, ridge: float = 1e-3) -> list[float]:
    """Bias and slopes of the weighted logistic regression of ``right`` ``(n,)`` on ``features`` ``(n, f)``.

    Newton's method on the log-loss plus ``ridge / 2 · |slopes|²``; some ten steps of O(n · f²).
    """
    columns = np.column_stack([np.ones(len(features)), features])
    penalty = ridge * np.array([0.0] + [1.0] * features.shape[1])
    found = np.zeros(columns.shape[1])
    for _ in range(100):
        chance = 0.5 * (1 + np.tanh(columns @ found / 2))
        slope = columns.T @ (weights * (chance - right)) + penalty * found
        curve = (columns * (weights * chance * (1 - chance))[:, None]).T @ columns + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curve, slope)
        found = found - step * min(1.0, 10.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return [float(value) for value in found]


DEFAULT = Calibration(height=2.995, lead=2.18, bias=-11.694, cut=0.0215)
"""For encoders that were not measured: fitted on a fashion CLIP (ViT-B/32). Both features are in units of the background, so
that it carries over in part; ``pairs`` is 0, since it says nothing sure of them."""


@cache
def calibrations() -> dict[str, Calibration]:
    """Those that were measured, by the encoder's fingerprint: ``calibrations.json``, written by ``benchmarks/relevance.py``."""
    found = json.loads((files("mmsearch") / "calibrations.json").read_text(encoding="utf-8"))
    return {fingerprint: Calibration(**fields) for fingerprint, fields in found.items()}


def calibration_of(fingerprint: str) -> Calibration:
    """The calibration of an encoder; :data:`DEFAULT`, whose ``pairs`` is 0, for one that was never measured."""
    return calibrations().get(fingerprint, DEFAULT)
