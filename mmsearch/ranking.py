"""What happens to the nearest items before they are shown: rerankers, relevance, the cut.

:class:`Ranking` is what a caller asks for, :class:`Finisher` does it to the hits of one search. The order is fixed: ``rerank``
(``fast`` or a second model), ``boost``, ``collapse``, ``diversity``, then relevance and ``cutoff``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from mmsearch.cache import Cache
from mmsearch.errors import QueryError
from mmsearch.protocols import Encoder, RerankContext, Reranker
from mmsearch.rerankers._later import Later
from mmsearch.store import Snapshot
from mmsearch.types import Hit, Kind, Query, Timer, Vectors

if TYPE_CHECKING:
    from mmsearch.relevance import Calibration

__all__ = ["Finisher", "Ranking", "RankingOptions"]

MIN_TEXTS = 200
"""From so many texts in a collection on, they are the bank instead of the generic queries."""
TEXT_WEIGHT = 0.4
"""How much of the hub goes with such a bank; see docs/relevance.md."""
_MAX_TEXTS = 2000
_SAMPLE = 512


class RankingOptions(TypedDict, total=False):
    """The keyword arguments of a search that become a :class:`Ranking`."""

    rerank: str | Reranker | None
    diversity: float
    collapse: bool | float
    boost: str | None
    cutoff: float | Literal["auto"] | None
    relevance: bool
    lexical: float
    candidates: int
    fields: Mapping[str, float] | str | None
    judged: bool
    exact: bool | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the nearest items are ordered and cut.

    ``rerank``
        ``"fast"``, ``"deep"`` (mini's matching head, or ``"deep:/path"`` a matching model), ``"model:NAME"`` (a second encoder
        by its name), a :class:`mmsearch.protocols.Reranker`, or the name of
        a registered one.
    ``diversity``
        0 (none) to 1: variety among the first hits (:mod:`mmsearch.rerankers.mmr`).
    ``collapse``
        Only the best of near-duplicates stays; a number is the cosine from which on two items count as such.
    ``boost``
        A formula over the items' fields that is added: ``"in_stock * 0.2"`` (:mod:`mmsearch.rerankers.boost`).
    ``cutoff``
        Hits with less relevance than this, from 0 to 1, are left out; ``"auto"``: where the encoder's calibration puts it.
    ``relevance``
        Set it on the hits though nothing is cut by it.
    ``lexical``
        How much words in texts, names and meta count beside the vectors: 0 not at all, 1 as much.
    ``candidates``
        How many of the nearest items are looked at; more where the page asks for more.
    ``fields``
        Weights of a product's parts, ``{"photo": 1, "title": 0.6}``, or the name of weights that were saved: one hit per
        product, by the weighted sum of its best photo's, title's … standardised cosines (:mod:`mmsearch.catalogue.fields`).
    ``judged``
        Whether what was said of this query's answers moves it (:meth:`mmsearch.Collection.judge`).
    ``exact``
        ``True``: every row is compared. ``False``: a derived index is used where there is one. Left out, it is used as soon
        as opening it pays, which for the first query of a process it mostly does not.
    """

    rerank: str | Reranker | None = None
    diversity: float = 0.0
    collapse: bool | float = False
    boost: str | None = None
    cutoff: float | Literal["auto"] | None = None
    relevance: bool = False
    lexical: float = 0.0
    candidates: int = 100
    fields: Mapping[str, float] | str | None = None
    judged: bool = True
    exact: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.cutoff, str) and self.cutoff != "auto":
            raise QueryError(f"cutoff is {self.cutoff!r}, and must be 'auto' or a number from 0 to 1")
        for name, value in (("cutoff", self.cutoff), ("diversity", self.diversity)):
            if isinstance(value, int | float) and not 0 <= value <= 1:
                raise QueryError(f"{name} is {value}, and must be from 0 to 1")
        if not (self.lexical >= 0 and math.isfinite(self.lexical)):
            raise QueryError(f"lexical is {self.lexical}, and must be 0 or a larger number")
        if self.candidates < 1:
            raise QueryError(f"candidates is {self.candidates}, and must be at least 1")

    @property
    def reorders(self) -> bool:
        """Whether more than the page has to be looked at."""
        return bool(self.rerank or self.diversity or self.collapse or self.boost)

    @property
    def depth(self) -> int:
        """How many hits are looked at beyond the page, 0 for none."""
        return self.candidates if self.reorders else 0

    @property
    def judges(self) -> bool:
        """Whether relevance is wanted."""
        return self.relevance or self.cutoff is not None


class Finisher:
    """Applies a ranking to the hits of one search. ``banks`` is the folder where encoded query banks are kept."""

    def __init__(
        self, ranking: Ranking, snapshot: Snapshot, encoder: Callable[[], Encoder], cache: Cache, banks: Path | None
    ) -> None:
        self.ranking = ranking
        self._snapshot, self._encoder, self._cache, self._banks = snapshot, encoder, cache, banks

    @classmethod
    def of(cls, ranking: Ranking, snapshot: Snapshot, encoder: Callable[[], Encoder], cache: Cache) -> Finisher | None:
        """The finisher of a ranking, ``None`` where there is nothing to do. Banks are kept in the user's data folder."""
        if not (ranking.reorders or ranking.judges):
            return None
        from mmsearch.settings import data_path

        return cls(ranking, snapshot, encoder, cache, data_path() / "banks")

    def __call__(self, query: Query, hits: Sequence[Hit], vector: NDArray[np.float32], timer: Timer | None = None) -> list[Hit]:
        """The hits in their new order, ``relevance`` and ``rerank`` set where they were asked for, and what each rung gave
        them in ``stages``. ``timer`` gets the rungs' milliseconds, each with what it took to make the rung ready.
        """
        timer = Timer() if timer is None else timer
        ladder = self._ladder(query, vector, timer)
        left = list(hits)
        rows: dict[int, NDArray[np.float32]] = {}
        if left:
            with timer.stage("fetch"):
                vids = [hit.vid for hit in left]
                rows = dict(zip(vids, self._snapshot.fetch(vids), strict=True))
        later = Later(self._encoder)
        given: dict[int, dict[str, float]] = {vid: {} for vid in rows}
        for name, reranker in ladder:
            if left:
                with timer.stage(name):
                    left = reranker.rerank(query, left, RerankContext(vector, _stack(rows, left), later))
                _note(given, name, left)
        if self.ranking.judges and left:
            with timer.stage("relevance"):
                left = self._judged(query, vector, left, rows)
            _note(given, "relevance", left)
        return [replace(hit, stages=given[hit.vid]) for hit in left]

    def _ladder(self, query: Query, vector: NDArray[np.float32], timer: Timer) -> list[tuple[str, Reranker]]:
        """The rungs that were asked for, lowest first, with their names."""
        from mmsearch.rerankers.boost import BoostReranker
        from mmsearch.rerankers.collapse import CollapseReranker
        from mmsearch.rerankers.mmr import MMRReranker

        wanted = self.ranking
        out: list[tuple[str, Reranker]] = []
        if isinstance(wanted.rerank, str):
            with timer.stage(name := f"rerank:{_short(wanted.rerank)}"):  # a bank or a model may have to be loaded
                out.append((name, self._named(wanted.rerank, query, vector)))
        elif wanted.rerank is not None:
            out.append((f"rerank:{type(wanted.rerank).__name__}", wanted.rerank))
        if wanted.boost:
            out.append(("boost", BoostReranker(wanted.boost)))
        if wanted.collapse:
            found = CollapseReranker() if wanted.collapse is True else CollapseReranker(wanted.collapse)
            out.append(("collapse", found))
        if wanted.diversity:
            out.append(("diversity", MMRReranker(wanted.diversity)))
        return out

    def _named(self, name: str, query: Query, vector: NDArray[np.float32]) -> Reranker:
        if name == "fast":
            from mmsearch.relevance import calibration_of
            from mmsearch.rerankers.fast import FastReranker

            if not _has_text(query):
                return FastReranker()
            texts = self._texts()
            if len(texts) >= MIN_TEXTS:
                return FastReranker(_others(texts, vector), weight=TEXT_WEIGHT)
            weight = calibration_of(self._encoder().spec.fingerprint).hub_weight
            return FastReranker(self._bank() if weight else None, weight=weight)
        if name.startswith("model:"):
            top = self.ranking.candidates
            return self._cache.get(("model", name, top), lambda: _second_model(name.removeprefix("model:"), top))
        if name == "tiles":
            from mmsearch.rerankers.tiles import TilesReranker

            top = self.ranking.candidates
            return self._cache.get(("tiles", top), lambda: TilesReranker(top=top))
        if name == "deep" or name.startswith("deep:"):
            from mmsearch.matchers import deep_reranker

            return deep_reranker(name, self._snapshot, self._cache)
        from mmsearch import registry

        made: Reranker = registry.load("rerankers", name)()
        return made

    # --- relevance ---

    def _judged(
        self, query: Query, vector: NDArray[np.float32], hits: list[Hit], rows: dict[int, NDArray[np.float32]]
    ) -> list[Hit]:
        from mmsearch.relevance import Background

        if not _has_text(query) or any(hit.kind is not Kind.IMAGE for hit in hits):
            raise QueryError(
                "relevance is measured for texts that look for images, and for nothing else yet",
                hint="leave the cutoff out, or ask by text with kind image",
            )
        count = self._snapshot.count(Kind.IMAGE)
        if count < 2:  # nothing to be unusual among
            return hits
        texts = self._texts()
        own = len(texts) >= MIN_TEXTS
        # made anew when the collection has doubled: what is usual changes slowly
        key = ("background", self._snapshot.generation if own else count.bit_length())
        bank = texts if own else self._bank()
        background = self._cache.get(key, lambda: Background.of(bank, self._sample()))
        asked = self._as_asked(query, vector)
        if own and len(rest := _others(texts, asked)) < len(texts):
            background = replace(background, bank=rest)
        calibration = self._calibration()
        scores = [hit.score for hit in hits] if asked is vector else _stack(rows, hits) @ asked
        features = background.features(scores, _stack(rows, hits))
        judged = [
            replace(hit, relevance=float(value))
            for hit, value in zip(hits, calibration.relevance(features), strict=True)
        ]
        cut = calibration.cut if self.ranking.cutoff == "auto" else self.ranking.cutoff
        if cut is None:
            return judged
        kept = [hit for hit in judged if hit.relevance is not None and hit.relevance >= float(cut)]
        return [replace(hit, rank=at) for at, hit in enumerate(kept, min(hit.rank for hit in hits))]

    def _as_asked(self, query: Query, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """The query's vector before judgements have moved it: calibrations know nothing of a moved one."""
        from mmsearch.judgements import key_of, text_of

        text = text_of(query) if self.ranking.judged else None
        if text is None or self._snapshot.meta(key_of(text)) is None:
            return vector
        asked = query.terms[0].value
        return self._cache.get(("text", asked), lambda: self._encoder().encode_texts([asked])[0])

    def _calibration(self) -> Calibration:
        """The collection's own, where it has one, else that of the encoder."""
        from mmsearch.calibrate import KEPT, loaded
        from mmsearch.relevance import calibration_of

        fingerprint = self._encoder().spec.fingerprint
        return loaded(self._snapshot.meta(KEPT), fingerprint) or calibration_of(fingerprint)

    def _bank(self) -> Vectors:
        from mmsearch.relevance import bank_vectors

        encoder = self._encoder()
        return self._cache.get(("bank", encoder.spec.fingerprint), lambda: bank_vectors(encoder, self._banks))

    def _texts(self) -> Vectors:
        """Rows of the collection's own texts, at most 2,000 spread evenly: the nearest thing to what is asked of it."""

        def rows() -> Vectors:
            vids = self._snapshot.live(Kind.TEXT).vids
            return self._snapshot.fetch(vids[:: max(1, -(-len(vids) // _MAX_TEXTS))].tolist())

        return self._cache.get(("texts", self._snapshot.generation), rows)

    def _sample(self) -> Vectors:
        """Rows of images spread evenly over the collection."""
        vids = self._snapshot.live(Kind.IMAGE).vids
        return self._snapshot.fetch(vids[:: max(1, -(-len(vids) // _SAMPLE))].tolist())


def _short(name: str) -> str:
    """A rung's name: of ``deep:/path`` no more than ``deep``, since a server tells no folder of its own."""
    return "deep" if name.startswith("deep:") else name


def _note(given: dict[int, dict[str, float]], name: str, hits: Sequence[Hit]) -> None:
    for hit in hits:
        value = hit.relevance if name == "relevance" else hit.rerank
        if value is not None:
            given[hit.vid][name] = float(value)


def _second_model(name: str, top: int) -> Reranker:
    """Kept by the collection's cache, and with it the rows of all pictures that it has encoded."""
    from mmsearch import models
    from mmsearch.rerankers.model import ModelReranker

    return ModelReranker(models.resolve(name), top=top)


def _stack(rows: dict[int, NDArray[np.float32]], hits: Sequence[Hit]) -> Vectors:
    return np.stack([rows[hit.vid] for hit in hits])


def _others(texts: Vectors, vector: NDArray[np.float32]) -> Vectors:
    """The texts but the query itself, which is no competitor of its own."""
    return texts[texts @ vector < 0.999]


def _has_text(query: Query) -> bool:
    return any(term.what == "text" for term in query.terms)
