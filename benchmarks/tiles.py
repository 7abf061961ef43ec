"""``rerank="tiles"``: does looking at parts find small things, does it harm plain photos, and what do ``tiles`` and ``model`` cost?

    python benchmarks/tiles.py --data FOLDER [--model mini]

``composed``: pictures of three photos of ``flickr8k-dev`` on a blurred fourth (as in ``heatmap.py``); each photo's caption asks
for the picture that holds it. ``plain``: 300 photos, the first caption asks. All pictures are looked at. ``box``: share of the
right pictures whose best tile holds the middle of the photo that was asked for. ``ms``: for 50 hits not met before, and met
before; ``model`` is the same encoder as a second one, which changes nothing in the order and costs what one of its size does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from _pairs import parser
from _report import row
from heatmap import compose, flickr
from PIL import Image

from mmsearch import models
from mmsearch.protocols import RerankContext, Reranker
from mmsearch.rerankers.model import ModelReranker
from mmsearch.rerankers.tiles import TilesReranker
from mmsearch.types import Hit, Kind, Vectors, text

PICTURES = 60


def answers(encoder, pictures: Sequence[Image.Image], rows: Vectors, queries: Vectors, share: float) -> list[list[Hit]]:
    """All pictures for each query, in the order of tiles; 0 leaves the cosine's order."""
    reranker = TilesReranker(top=len(pictures), share=share, load=lambda hit, encoder: (pictures[hit.vid], pictures[hit.vid].size))
    found = []
    for query in queries:
        scores = rows @ query
        hits = [Hit(at, str(n), Kind.IMAGE, float(scores[n]), int(n)) for at, n in enumerate(np.argsort(-scores), 1)]
        found.append(reranker.rerank(text("a text"), hits, RerankContext(query, rows, encoder)))
    return found


def cost(encoder, reranker: Reranker, pictures: Sequence[Image.Image], rows: Vectors, query) -> list[float]:
    """Milliseconds for 50 hits, new and met before."""
    scores = rows @ query
    hits = [Hit(at, str(n), Kind.IMAGE, float(scores[n]), int(n)) for at, n in enumerate(np.argsort(-scores)[:50], 1)]
    out = []
    for _ in range(2):
        began = time.perf_counter()
        reranker.rerank(text("a text"), hits, RerankContext(query, rows, encoder))
        out.append(round(1000 * (time.perf_counter() - began), 1))
    return out


def main() -> None:
    args = parser(__doc__).parse_args()
    encoder = models.resolve(args.model)
    photos, captions = flickr(args.data / "flickr8k-dev.zip", 300)
    texts = encoder.encode_texts(captions)
    rng = np.random.default_rng(2)
    made, asked, truth, boxes = [], [], [], []
    for number in range(PICTURES):
        *three, back = rng.choice(len(photos), 4, replace=False).tolist()
        picture, places = compose([photos[at] for at in three], photos[back], rng)
        made.append(picture)
        asked += three
        truth += [number] * 3
        boxes += places
    for name, pictures, queries, right, places in (
        ("composed", made, texts[asked], truth, boxes),
        ("plain", photos, texts, list(range(len(photos))), None),
    ):
        rows = np.concatenate([encoder.encode_images([encoder.preparer(p) for p in pictures[at : at + 32]])
                               for at in range(0, len(pictures), 32)])
        for share in (0.0, 0.25, 0.5, 0.75):
            found = answers(encoder, pictures, rows, queries, share)
            ranks = np.array([[hit.vid for hit in hits].index(n) for hits, n in zip(found, right, strict=True)])
            figures = {f"recall@{k}": float((ranks < k).mean()) for k in (1, 5, 10)}
            if places is not None:
                figures["box"] = float(np.mean([_holds(next(h for h in hits if h.vid == n), box)
                                                for hits, n, box in zip(found, right, places, strict=True)]))
            row("tiles", seed=2, set=name, model=args.model, pictures=len(pictures), queries=len(queries), share=share, **figures)
        if name == "plain":
            load = lambda hit: pictures[hit.vid]  # noqa: B023, E731
            tiles = TilesReranker(load=lambda hit, encoder: (pictures[hit.vid], pictures[hit.vid].size))  # noqa: B023
            for rung, reranker in (("tiles", tiles), ("model", ModelReranker(encoder, load=load))):
                ms = cost(encoder, reranker, pictures, rows, queries[0])
                row("tiles.cost", seed=2, rung=rung, model=args.model, hits=50, ms=ms)


def _holds(hit: Hit, box: tuple[int, int, int, int]) -> bool:
    if hit.box is None:
        return False
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    left, top, width, height = hit.box
    return left <= x < left + width and top <= y < top + height


if __name__ == "__main__":
    main()
