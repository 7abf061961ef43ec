"""What a judgement is worth: one right hit is liked (and one wrong one disliked), and the rest of the answer is measured.

    python benchmarks/feedback.py --data FOLDER [--model mini]

The simulated user asks, looks at the first 20 hits, likes the first right one and dislikes the first wrong one; the query moves
as :func:`mmsearch.judgements.moved` has it. Judged items are left out of both answers (the residual collection of Chang, Cirillo,
Razon, 1971), so that nothing is gained by showing what was liked. Queries without any right hit among the 20 are left out.

``shopsphere``: a product's description asks for products of the same colour and garment, by the words of their descriptions.
``myntra-15k``: "{colour} {article type}" asks for photos. ``flickr8k-dev``: a caption asks for the other captions of its photo.
Queries are parted at random: the grid of weights is shown on ``tune``, the package's weights are reported on ``report``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from _pairs import labelled, load, parser
from _report import row
from numpy.typing import NDArray

from mmsearch import models
from mmsearch.judgements import LIKED, UNLIKED, moved
from mmsearch.types import Vectors

LOOKED = 20
COLOURS = re.compile("black|white|blue|red|green|pink|grey|beige|cream|brown|yellow|purple|orange|navy")
GARMENTS = re.compile(
    "dress|t-shirt|jeans|shirt|top|trousers|skirt|jacket|sweater|shorts|blouse|coat|jumper|cardigan|leggings|hoodie|bra|shoes|bag"
)


class Task(NamedTuple):
    """Queries ``(q, dim)``, items ``(n, dim)``, which items are right ``(q, n)``, and which item is the query itself, or -1."""

    name: str
    queries: Vectors
    items: Vectors
    right: NDArray[np.bool_]
    own: NDArray[np.int64]


def tasks(args) -> Iterator[Task]:
    rng = np.random.default_rng(0)
    for pairs in load(args.data, args.model, args.only):
        if pairs.name == "shopsphere":
            sort = [_garment(line) for line in (args.data / "clip-vectors" / "shopsphere.jsonl").read_text().splitlines()]
            names = np.array(sort)
            asked = np.array([n for n, name in enumerate(sort) if name and (names == name).sum() >= 5])
            right = (names[asked][:, None] == names[None]) & (np.arange(len(names))[None] != asked[:, None])
            yield Task("shopsphere", pairs.texts[asked], pairs.images, right, asked)
        else:
            asked = rng.permutation(len(pairs.texts))[:1000]
            right = pairs.owner[asked][:, None] == pairs.owner[None]
            right[np.arange(len(asked)), asked] = False
            yield Task(pairs.name, pairs.texts[asked], pairs.texts, right, asked)
    if args.only in ("", "myntra-15k") and (args.data / "myntra-15k.zip").exists():
        images, labels = labelled(args.data / "myntra-15k.zip", ("colour", "article_type"), args.model, 4000)
        names = np.array(labels)
        kinds, counts = np.unique(names, return_counts=True)
        asked_for = [str(kind) for kind in kinds[counts >= 8]]
        texts = models.resolve(args.model).encode_texts([kind.replace("|", " ") for kind in asked_for])
        right = np.array(asked_for)[:, None] == names[None]
        yield Task("myntra-15k", texts, images, right, np.full(len(asked_for), -1))


def _garment(line: str) -> str:
    words = re.findall(r"[a-z-]+", json.loads(line)["description"].lower().split(".")[0])
    colour = next(filter(COLOURS.fullmatch, words), "")
    garment = next(filter(GARMENTS.fullmatch, words), "")
    return f"{colour} {garment}" if colour and garment else ""


def measure(task: Task, queries: NDArray[np.int64], move: Callable[..., NDArray[np.float32]], wrong: bool) -> tuple[list, list]:
    """Precision at 10 over what is left, before and after, of each query that has something to like."""
    before, after = [], []
    for q in queries:
        vector = task.queries[q]
        scores = task.items @ vector
        if task.own[q] >= 0:
            scores[task.own[q]] = -2
        seen = np.argsort(-scores, kind="stable")[:LOOKED]
        good = seen[task.right[q][seen]]
        bad = seen[~task.right[q][seen]]
        if not len(good) or task.right[q].sum() < 2:
            continue
        liked, unliked = task.items[good[:1]], task.items[bad[: int(wrong)]]
        judged = [*good[:1], *bad[: int(wrong)]] + ([task.own[q]] if task.own[q] >= 0 else [])
        most = min(10, int(task.right[q].sum()) - 1)
        for out, one in ((before, vector), (after, move(vector, liked, unliked))):
            scores = task.items @ one
            scores[judged] = -2
            out.append(float(task.right[q][np.argsort(-scores, kind="stable")[:10]].sum() / most))
    return before, after


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--report", action="store_true", help="leave out the rows of split: tune")
    args = options.parse_args()
    for task in tasks(args):
        half = np.random.default_rng(1).permutation(len(task.queries)) % 2
        for split, which in (("tune", 0), ("report", 1))[int(args.report) :]:
            queries = np.flatnonzero(half == which)
            grid = [(LIKED, UNLIKED)] if split == "report" else [(b, g) for b in (0.1, 0.2, 0.4, 0.7) for g in (0.0, 0.25, 0.5)]
            for liked, unliked in grid:
                for wrong in (False, True) if split == "report" else (True,):
                    before, after = measure(task, queries, lambda *rows: moved(*rows, weight=(liked, unliked)), wrong)  # noqa: B023
                    gain = np.array(after) - np.array(before)
                    rng = np.random.default_rng(0)
                    draws = [gain[rng.integers(0, len(gain), len(gain))].mean() for _ in range(1000)]
                    row("feedback", seed=1, set=task.name, split=split, liked=liked, unliked=unliked if wrong else None,
                        queries=len(gain), before=float(np.mean(before)), after=float(np.mean(after)), gain=float(gain.mean()),
                        interval=[round(float(end), 4) for end in np.percentile(draws, [2.5, 97.5])])


if __name__ == "__main__":
    main()
