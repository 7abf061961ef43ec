"""Zero-shot classification: each label becomes a query made of templates, each picture gets the label nearest to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.evaluation.cases import everything
from mmsearch.evaluation.statistics import Interval, bootstrap
from mmsearch.types import Kind, Query, text

if TYPE_CHECKING:
    from mmsearch.collection import Collection

TEMPLATES = ("{}", "a photo of {}")
"""Sentences around a label; their vectors are averaged (Radford et al., ICML 2021, section 3.1.4). Two did better than seven
with ``mini``: docs/relevance.md."""


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Accuracy among the first 1 and 5 labels with 95% intervals, of each label, and every picture's labels, best first."""

    top1: Interval
    top5: Interval
    by_label: Mapping[str, float]
    guesses: Mapping[str, tuple[str, ...]]


def prompt(label: str, templates: Sequence[str] = TEMPLATES) -> Query:
    """The query for a label: the sum of its sentences' unit vectors."""
    queries = [text(template.format(label)) for template in templates]
    return Query(tuple(term for query in queries for term in query.terms))


def zero_shot(
    collection: Collection, labels: Sequence[str], truth: Mapping[str, str], *, templates: Sequence[str] = TEMPLATES
) -> ZeroShot:
    """Classify the pictures of ``truth`` (id → its right label) into ``labels``.

    One search over all pictures for each label: O(labels × pictures). Raises :class:`UsageError` for a truth that is no
    label or a picture that is not in the collection.
    """
    unknown = sorted(set(truth.values()) - set(labels))
    if unknown or not truth:
        what = f"{unknown[0]!r} is no label" if unknown else "no picture has a label"
        raise UsageError(f"{what}, so nothing can be classified right", hint="one label a line in the file of labels")
    places = {id: at for at, id in enumerate(truth)}
    scores = np.full((len(labels), len(truth)), -np.inf)
    for at, label in enumerate(labels):
        for hit in collection.search(prompt(label, templates), kind=Kind.IMAGE, k=len(collection)):
            if hit.id in places:
                scores[at, places[hit.id]] = hit.score
    missing = [id for id, at in places.items() if not np.isfinite(scores[0, at])]
    if missing:
        raise UsageError(f"{len(missing)} labelled pictures are not in the collection, such as {missing[0]!r}")
    order = np.argsort(-scores, axis=0, kind="stable")
    guesses = {id: tuple(labels[n] for n in order[:5, at]) for id, at in places.items()}
    top1 = np.array([guesses[id][0] == label for id, label in truth.items()], dtype=np.float64)
    top5 = np.array([label in guesses[id] for id, label in truth.items()], dtype=np.float64)
    return ZeroShot(bootstrap(top1), bootstrap(top5), _by_label(top1, truth), guesses)


def labels_of(collection: Collection, field: str) -> dict[str, str]:
    """Id → label of all pictures: a field of meta, ``group``, or ``folder`` for the name of the file's folder."""
    found = {}
    for hit in everything(collection, Kind.IMAGE):
        if field == "folder":
            value = hit.path.rsplit("/", 2)[-2] if hit.path and hit.path.count("/") > 1 else None
        else:
            value = hit.group if field == "group" else hit.meta.get(field)
        if value is not None:
            found[hit.id] = str(value)
    return found


def _by_label(right: NDArray[np.float64], truth: Mapping[str, str]) -> dict[str, float]:
    shares: dict[str, list[float]] = {}
    for one, label in zip(right.tolist(), truth.values(), strict=True):
        shares.setdefault(label, []).append(one)
    return {label: sum(hits) / len(hits) for label, hits in sorted(shares.items())}
