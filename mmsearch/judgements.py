"""What users said of answers: which items fit a query and which do not, and which pairs are no duplicates.

Judgements are kept among the catalogue's small values, one for each query, under its normalised text, so that no format
changes and they travel with every copy. A later query with the same text moves towards what was liked and away from what
was not (Rocchio, "Relevance feedback in information retrieval", in Salton, The SMART Retrieval System, 1971)::

    q' = q + LIKED · mean(liked rows) - UNLIKED · mean(disliked rows), brought back to length 1

The weights were measured by ``benchmarks/feedback.py``; docs/relevance.md has the table.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.store import Snapshot
from mmsearch.types import Kind, Query, Vectors

__all__ = ["LIKED", "PREFIX", "UNLIKED", "Judged", "Judgement", "key_of", "moved", "normalised", "pair_key", "read", "text_of"]

LIKED = 0.4
UNLIKED = 0.25
PREFIX = "judged:"
APART = "apart:"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was said of the answers to a query: ids that fit and ids that do not, in the order in which they were named."""

    query: str
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()

    def with_more(self, like: Iterable[str], unlike: Iterable[str]) -> Judgement:
        """This and more: what is said last of an item counts.

        >>> Judgement("a cat", ("1", "2"), ("3",)).with_more(["3"], ["2"])
        Judgement(query='a cat', like=('1', '3'), unlike=('2',))
        """
        more, less = dict.fromkeys(like), dict.fromkeys(unlike)
        return Judgement(
            self.query,
            tuple(id for id in dict.fromkeys([*self.like, *more]) if id not in less),
            tuple(id for id in dict.fromkeys([*self.unlike, *less]) if id not in more or id in less),
        )

    def dump(self) -> str:
        """As it is kept."""
        return json.dumps({"like": self.like, "unlike": self.unlike})

    @classmethod
    def load(cls, query: str, kept: str | None) -> Judgement:
        """As it was kept; an empty one where there is none."""
        found = json.loads(kept) if kept else {}
        return cls(query, tuple(found.get("like", ())), tuple(found.get("unlike", ())))


def normalised(text: str) -> str:
    """The text by which queries count as the same: compatibility forms, case and blanks do not matter.

    >>> normalised("  A CAT\\tasleep ")
    'a cat asleep'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_of(query: Query) -> str | None:
    """The normalised text of a query that is one text and nothing else; others cannot be judged."""
    if len(query.terms) != 1 or query.terms[0].what != "text" or query.terms[0].weight <= 0:
        return None
    return normalised(query.terms[0].value)


def key_of(text: str) -> str:
    """The name under which the judgement of a normalised text is kept."""
    return PREFIX + text


def pair_key(one: str, other: str) -> str:
    """The name under which it is kept that two items are no duplicates; the same in both orders."""
    return APART + json.dumps(sorted((one, other)))


def read(kept: Mapping[str, str]) -> list[Judgement]:
    """The judgements among the catalogue's small values, by query."""
    found = [(name.removeprefix(PREFIX), value) for name, value in kept.items() if name.startswith(PREFIX)]
    return [Judgement.load(query, value) for query, value in sorted(found)]


def pairs(kept: Mapping[str, str]) -> set[frozenset[str]]:
    """The pairs of ids that are no duplicates, among the catalogue's small values."""
    return {frozenset(json.loads(name.removeprefix(APART))) for name in kept if name.startswith(APART)}


def moved(
    vector: NDArray[np.float32],
    liked: Vectors | Sequence[NDArray[np.float32]],
    unliked: Vectors | Sequence[NDArray[np.float32]],
    *,
    weight: tuple[float, float] = (LIKED, UNLIKED),
) -> NDArray[np.float32]:
    """``(dim,)``: the query's unit vector after Rocchio's formula (above); itself where nothing was judged.

    ``weight`` are those of the mean liked and of the mean disliked row.
    """
    total = np.asarray(vector, dtype=np.float64)
    for rows, share in ((liked, weight[0]), (unliked, -weight[1])):
        if len(rows):
            total = total + share * np.mean(np.asarray(rows, dtype=np.float64), axis=0)
    norm = float(np.linalg.norm(total))
    return vector if norm < 1e-6 else (total / norm).astype(np.float32)


class Judged:
    """Wraps the function that gives queries their vectors: those that were judged are moved. 20 µs for a query that was not,
    nothing where no query ever was.

    ``kinds`` are those that are searched: what was said of pictures does not move a search of texts.
    """

    def __init__(self, embed: Callable[[Sequence[Query]], Vectors], snapshot: Snapshot, kinds: Sequence[Kind] | None) -> None:
        self._embed, self._snapshot, self._kinds = embed, snapshot, kinds

    def __call__(self, queries: Sequence[Query]) -> Vectors:
        """``(n, dim)`` unit rows."""
        rows = self._embed(queries)
        if not self._snapshot.keeps_any(PREFIX):
            return rows
        for at, query in enumerate(queries):
            text = text_of(query)
            kept = None if text is None else self._snapshot.meta(key_of(text))
            if text is not None and kept is not None:
                judgement = Judgement.load(text, kept)
                rows[at] = moved(rows[at], self._rows(judgement.like), self._rows(judgement.unlike))
        return rows

    def _rows(self, ids: Sequence[str]) -> Vectors | Sequence[NDArray[np.float32]]:
        """The rows of those that are still there and are searched."""
        found = self._snapshot.by_id(ids).values()
        vids = [record.vid for record in found if self._kinds is None or record.kind in self._kinds]
        return self._snapshot.fetch(vids) if vids else []
