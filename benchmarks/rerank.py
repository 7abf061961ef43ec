"""What each rung of the rerank ladder does to the order of the first hundred hits, text → image, and what it costs.

    python benchmarks/rerank.py --data FOLDER

Pictures are parted at random into halves with their texts; all pictures are searched. ``split: tune`` rows are asked by the
texts of the first half and show a grid of weights for ``fast``; 0.4 was taken (docs/relevance.md says why). ``split: report``
rows are asked by the texts of the second half. Banks: the other half's texts (never one of a picture that is asked for); all
texts but the query's own, as in a collection that holds them; our generic queries. Differences are from the plain order,
query by query, with 95% intervals that redraw pictures and the p-value of the paired randomisation test. ``mmr`` and
``collapse`` are not meant to raise recall: the table shows what variety costs. Rows of ``rerank.alike`` ask with pictures
for pictures of the same sort, 400 queries among 1,500.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _pairs import Pairs, labelled, load, parser
from _report import row
from numpy.typing import NDArray

import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.evaluation import Case, Run, compare
from mmsearch.protocols import RerankContext, Reranker
from mmsearch.ranking import TEXT_WEIGHT
from mmsearch.rerankers.collapse import CollapseReranker
from mmsearch.rerankers.fast import FastReranker
from mmsearch.rerankers.mmr import MMRReranker
from mmsearch.types import Hit, Kind, Query, Vectors

DEPTH = 100
MEASURES = ("recall@1", "recall@5", "recall@10", "ndcg@10")
WEIGHTS = (0.3, 0.4, 0.5)


class FastByOthers:
    """``fast`` as a collection does it: the bank are its texts, thinned to 2,000, but the query's own."""

    def __init__(self, texts: Vectors, weight: float) -> None:
        self.texts, self.weight = texts[:: -(-len(texts) // 2000)], weight

    def rerank(self, query: Query, hits: Sequence[Hit], context: RerankContext) -> list[Hit]:
        others = self.texts[self.texts @ context.query_vector < 0.999]
        return FastReranker(others, weight=self.weight).rerank(query, hits, context)


def answers(pairs: Pairs, queries: NDArray[np.int64], name: str, ladder: Sequence[Reranker]) -> Run:
    """The ids found for some of the texts, after the rerankers, one behind the other."""
    toy = ToyEncoder()  # none of these rerankers asks for an encoder
    cosines = pairs.texts[queries] @ pairs.images.T
    found, seconds = {}, 0.0
    for scores, query in zip(cosines, queries, strict=True):
        near = np.argsort(-scores, kind="stable")[:DEPTH]
        hits = [Hit(at, str(n), Kind.IMAGE, float(scores[n]), int(n)) for at, n in enumerate(near, 1)]
        rows = {int(n): pairs.images[n] for n in near}
        began = time.perf_counter()
        for reranker in ladder:
            vectors = np.stack([rows[hit.vid] for hit in hits])
            hits = reranker.rerank(mm.text("a text"), hits, RerankContext(pairs.texts[query], vectors, toy))
        seconds += time.perf_counter() - began
        found[str(query)] = tuple(hit.id for hit in hits)
    return Run(name, found, seconds)


def report(pairs: Pairs, queries: NDArray[np.int64], rungs: dict[str, Sequence[Reranker]], split: str) -> None:
    cases = [
        Case(str(q), mm.text("a text"), {str(pairs.owner[q]): 1}, Kind.IMAGE, cluster=str(pairs.owner[q])) for q in queries
    ]
    runs = [answers(pairs, queries, name, ladder) for name, ladder in rungs.items()]
    for one in compare(runs, cases, MEASURES, rounds=300):
        figures = {}
        for name, score in one.scores.items():
            figures[name] = [round(value, 4) for value in (score.value, score.low, score.high)]
            if score.p is not None:
                gap = (score.difference, score.difference_low, score.difference_high, score.p)
                figures[f"{name} difference, low, high, p"] = [round(value, 4) for value in gap]
        row("rerank", seed=0, set=pairs.name, model=pairs.model, split=split, rung=one.run, queries=one.queries, ms=one.ms,
            **figures)


def alike(where: Path, fields: tuple[str, ...], model: str) -> None:
    """Image → image with the ways of ``fast`` for pictures."""
    images, labels = labelled(where, fields, model)
    sort = np.array(labels)
    queries = [n for n in np.random.default_rng(1).permutation(len(images)) if (sort == sort[n]).sum() > 1][:400]
    cases = [
        Case(str(q), mm.item(str(q)), {str(n): 1 for n in np.flatnonzero(sort == sort[q]) if n != q}, Kind.IMAGE, str(q))
        for q in queries
    ]
    toy, runs = ToyEncoder(), []
    for way in ("none", "expand", "reciprocal"):
        found, began = {}, time.perf_counter()
        for q in queries:
            scores = images @ images[q]
            scores[q] = -1
            near = np.argsort(-scores, kind="stable")[:DEPTH]
            hits = [Hit(at, str(n), Kind.IMAGE, float(scores[n]), int(n)) for at, n in enumerate(near, 1)]
            context = RerankContext(images[q], images[near], toy)
            found[str(q)] = tuple(hit.id for hit in FastReranker(pictures=way).rerank(mm.item(str(q)), hits, context))
        runs.append(Run(f"fast, pictures {way}", found, time.perf_counter() - began))
    for one in compare(runs, cases, ("precision@1", "precision@10", "map@100"), rounds=300):
        figures = {name: [round(value, 4) for value in (s.value, s.low, s.high)] for name, s in one.scores.items()}
        figures |= {f"{name} p": s.p for name, s in one.scores.items() if s.p is not None}
        row("rerank.alike", seed=0, set=where.stem, by=fields, model=model, rung=one.run, queries=one.queries, ms=one.ms, **figures)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--report", action="store_true", help="leave out the rows of split: tune")
    args = options.parse_args()
    for name, fields in (("myntra-15k.zip", ("article_type", "colour")), ("flipkart-1k.zip", ("category",))):
        if args.only in ("", "alike") and (args.data / name).exists():
            alike(args.data / name, fields, args.model)
    for pairs in load(args.data, args.model, args.only):
        half = np.random.default_rng(0).permutation(len(pairs.images)) % 2
        tune, held = (np.flatnonzero(half[pairs.owner] == which) for which in (0, 1))
        texts, others = "texts of other pictures", "all texts but the query's own"
        grid: dict[str, Sequence[Reranker]] = {"none": []}
        for bank, rows in ((texts, pairs.texts[held]), ("our bank", pairs.bank)):
            if rows is not None:
                grid |= {f"fast, {bank}, weight {weight}": [FastReranker(rows, weight=weight)] for weight in WEIGHTS}
        grid |= {f"fast, {others}, weight {weight}": [FastByOthers(pairs.texts, weight)] for weight in WEIGHTS}
        if not args.report:
            report(pairs, tune, grid, "tune")
        fast = FastReranker(pairs.texts[tune], weight=TEXT_WEIGHT)
        rungs: dict[str, Sequence[Reranker]] = {
            "none": [],
            f"fast, {texts}, weight {TEXT_WEIGHT}": [fast],
            f"fast, {others}, weight {TEXT_WEIGHT}": [FastByOthers(pairs.texts, TEXT_WEIGHT)],
            "mmr 0.3": [MMRReranker(0.3)],
            "collapse 0.97": [CollapseReranker()],
            "fast + collapse + mmr 0.3": [fast, CollapseReranker(), MMRReranker(0.3)],
        }
        if pairs.bank is not None:
            rungs[f"fast, our bank, weight {TEXT_WEIGHT}"] = [FastReranker(pairs.bank, weight=TEXT_WEIGHT)]
        report(pairs, held, rungs, "report")


if __name__ == "__main__":
    main()
