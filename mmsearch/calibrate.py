"""Relevance fitted on a collection's own pairs of pictures and texts, for encoders and subjects that nobody has measured.

Texts that share a group with an image (captions, descriptions) are asked as queries; half of the images are taken away, as if
they were not there; the hits say which heights and leads are right (:mod:`mmsearch.relevance`). Other pairs' texts are the bank.
A collection may have nothing to gain from the bank: then the cosine alone is kept. Which of the two is decided on parts that
the fit has not seen, by how well the best hit's relevance tells queries with an answer from those without.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.relevance import Background, Calibration, Floats
from mmsearch.store import Snapshot
from mmsearch.types import Kind, Vectors, Vids

__all__ = ["LEAST", "Pairs", "dumped", "fit_pairs", "loaded", "own_pairs"]

KEPT = "calibration"
"""Name of the catalogue's small value that holds a collection's own calibration."""
LEAST = 100
"""Fewer groups with both a picture and a text say too little."""
_MOST = 2000
_DEPTH = 10


def dumped(calibration: Calibration, fingerprint: str) -> str:
    """As it is kept: with the encoder that it was fitted for."""
    return json.dumps({"fingerprint": fingerprint, **{name: round(value, 6) for name, value in asdict(calibration).items()}})


def loaded(kept: str | None, fingerprint: str) -> Calibration | None:
    """As it was kept; ``None`` where there is none, or one of another encoder."""
    found = json.loads(kept) if kept else {}
    return Calibration(**found) if found.pop("fingerprint", None) == fingerprint else None


class Pairs(NamedTuple):
    """Pictures ``(n, dim)``, texts ``(m, dim)``, and ``owner`` ``(m,)``: the number of the group of each; ``group`` ``(n,)``
    likewise."""

    images: Vectors
    group: NDArray[np.int64]
    texts: Vectors
    owner: NDArray[np.int64]


def own_pairs(snapshot: Snapshot) -> Pairs:
    """Those of a collection, at most 2,000 texts spread evenly. Raises :class:`UsageError` for fewer than 100 groups."""
    vids = snapshot.live(Kind.TEXT).vids
    chosen = vids[:: max(1, -(-len(vids) // _MOST))]
    texts = [(record.vid, record.group) for record in snapshot.records(chosen) if record.group is not None]
    names = sorted({group for _, group in texts})
    images = [(vid, group) for vid, _, kind, group in snapshot.members(names) if kind is Kind.IMAGE]
    numbers = {group: at for at, group in enumerate(sorted({group for _, group in images}))}
    asked = [(vid, numbers[group]) for vid, group in texts if group in numbers]
    if len(numbers) < LEAST:
        raise UsageError(
            f"the collection has {len(numbers)} groups with a picture and a text, and a calibration needs {LEAST}",
            hint="index captions with --captions, or a manifest with texts",
        )
    return Pairs(
        snapshot.fetch([vid for vid, _ in images]),
        np.array([numbers[group] for _, group in images]),
        snapshot.fetch([vid for vid, _ in asked]),
        np.array([number for _, number in asked]),
    )


def fit_pairs(pairs: Pairs, bank: Vectors | None = None, *, seed: int = 0) -> Calibration:
    """The calibration of these pairs; ``bank`` ``(b, dim)`` is used where the pairs' own texts are not (``None``: they are).

    With its own texts as the bank, a third of the groups is the bank at a time, a third is asked and a third is judged, in turns;
    with another bank it is halves. Costs some products of ``texts × images × dim``: seconds for 2,000 texts.
    """
    rng = np.random.default_rng(seed)
    n = int(pairs.group.max()) + 1
    shown = np.zeros(n, dtype=np.bool_)
    shown[rng.permutation(n)[: n // 2]] = True
    parts = 3 if bank is None else 2
    place = rng.permutation(n) % parts
    gallery = np.flatnonzero(shown[pairs.group])
    turns = []
    for turn in range(parts):
        asked = [np.flatnonzero(place[pairs.owner] == (turn + step) % parts) for step in range(parts)]
        background = Background.of(pairs.texts[asked[2]] if bank is None else bank, pairs.images[gallery])
        turns.append([_hits(pairs, queries, gallery, shown, background) for queries in asked[:2]])
    auc = {}
    for lead in (True, False):
        chances = [_fitted([fit], lead).relevance(held.features).reshape(-1, held.depth).max(axis=1) for fit, held in turns]
        auc[lead] = float(np.mean([_auc(best, held.answered) for best, (_, held) in zip(chances, turns, strict=True)]))
    return _fitted([fit for fit, _ in turns], auc[True] >= auc[False])


class _Hits(NamedTuple):
    """The first hits of some queries, one query after another."""

    features: Floats
    right: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    answered: NDArray[np.bool_]
    depth: int


def _hits(
    pairs: Pairs, queries: NDArray[np.int64], gallery: Vids, shown: NDArray[np.bool_], background: Background
) -> _Hits:
    images = pairs.images[gallery]
    cosines = pairs.texts[queries] @ images.T
    depth = min(_DEPTH, len(gallery))
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :depth]
    scores = np.take_along_axis(cosines, order, axis=1).astype(np.float64)
    hub = background.hubness(images)[order]
    features = np.stack([scores - background.mean, scores - hub], axis=2) / background.deviation
    right = pairs.group[gallery][order] == pairs.owner[queries][:, None]
    ranks = np.tile(np.arange(1, depth + 1), len(queries))
    return _Hits(features.reshape(-1, 2), right.ravel(), ranks, shown[pairs.owner[queries]], depth)


def _fitted(parts: list[_Hits], lead: bool) -> Calibration:
    features = np.concatenate([one.features for one in parts])
    if not lead:
        features = features * [1.0, 0.0]
    right, ranks = np.concatenate([one.right for one in parts]), np.concatenate([one.ranks for one in parts])
    made = Calibration.fit(features, right, ranks)
    return made if lead else replace(made, lead=0.0)


def _auc(chance: Floats, answered: NDArray[np.bool_]) -> float:
    """How often a query with an answer has a higher best relevance than one without; equal ones count half."""
    yes, no = chance[answered], np.sort(chance[~answered])
    if not len(yes) or not len(no):
        return 0.5
    below = np.searchsorted(no, yes, "left")
    upto = np.searchsorted(no, yes, "right")
    return float((below + upto).mean() / (2 * len(no)))
