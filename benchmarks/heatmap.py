"""Does a heatmap's hottest point fall on what was asked for? Three photos on a backdrop, each asked for by its caption.

    python benchmarks/heatmap.py [--data FOLDER] [--model mini] [--pictures 60]

``demo`` are the photos that packages carry (``data/demo.json``, captions by us), ``flickr8k-dev`` (with ``--data``) photos with
the first of their five captions. Sizes and places are drawn by a seed: a photo's longer side is 30 to 50% of the picture's
shorter one, photos do not overlap, the backdrop is another photo, blurred.

``hit``: share of the questions for which the hottest point lies in the right photo's box; ``known_hit`` the same for those
whose caption the encoder, given the three photos apart, matches with the right one: what it does not know it cannot find.
``chance``: mean share of the picture that the right box covers. ``ms`` is per map, decoding excluded. ``occlusion`` (grey squares
over the picture, how far the cosine falls) is there for comparison; ``gradients`` and ``patches`` run where the model runs in
torch.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _report import row
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mmsearch import models
from mmsearch.errors import UsageError
from mmsearch.explain import heatmap
from mmsearch.explain.windows import spread, windows
from mmsearch.protocols import Encoder

ROOT = Path(__file__).parent.parent
CANVAS = (640, 480)
Box = tuple[int, int, int, int]


class Question(NamedTuple):
    """A composed picture, the vector of what is asked, where it is, and whether the encoder knows it apart."""

    picture: Image.Image
    vector: NDArray[np.float32]
    box: Box
    known: bool


def demo() -> tuple[list[Image.Image], list[str]]:
    """The photos that packages carry, and our captions."""
    spec = importlib.util.spec_from_file_location("gather", ROOT / "data" / "gather.py")
    assert spec is not None
    assert spec.loader is not None
    gather = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gather)
    listed = json.loads((ROOT / "data" / "demo.json").read_text())
    photos = [Image.open(gather.folder_of(one["package"]) / one["file"]).convert("RGB") for one in listed]
    return photos, [one["caption"] for one in listed]


def flickr(where: Path, n: int = 150) -> tuple[list[Image.Image], list[str]]:
    """Photos and first captions of a zip, drawn at random."""
    with zipfile.ZipFile(where) as archive:
        name = next(one for one in archive.namelist() if one.endswith("captions.jsonl"))
        lines = [json.loads(line) for line in archive.read(name).decode().splitlines()]
        lines = [lines[at] for at in np.random.default_rng(0).permutation(len(lines))[:n]]
        below = {one.rsplit("/", 1)[-1]: one for one in archive.namelist()}
        photos = [Image.open(io.BytesIO(archive.read(below[line["image"].rsplit("/", 1)[-1]]))).convert("RGB") for line in lines]
    return photos, [line["captions"][0] for line in lines]


def compose(photos: list[Image.Image], backdrop: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, list[Box]]:
    """The photos beside each other at random places on the backdrop, and their boxes (left, top, width, height)."""
    while True:
        canvas = backdrop.resize(CANVAS).filter(ImageFilter.GaussianBlur(24))
        boxes: list[Box] = []
        for photo in photos:
            scale = float(rng.uniform(0.3, 0.5)) * CANVAS[1] / max(photo.size)
            width, height = (max(8, round(side * scale)) for side in photo.size)
            for _ in range(100):
                x, y = int(rng.integers(0, CANVAS[0] - width)), int(rng.integers(0, CANVAS[1] - height))
                if all(x + width <= a or a + c <= x or y + height <= b or b + d <= y for a, b, c, d in boxes):
                    canvas.paste(photo.resize((width, height), Image.Resampling.BICUBIC), (x, y))
                    boxes.append((x, y, width, height))
                    break
        if len(boxes) == len(photos):
            return canvas, boxes


def questions(encoder: Encoder, photos: list[Image.Image], captions: list[str], n: int, seed: int) -> Iterator[Question]:
    """Every photo of ``n`` composed pictures is asked for once."""
    rng = np.random.default_rng(seed)
    images = np.concatenate([encoder.encode_images([encoder.preparer(photo)]) for photo in photos])
    texts = encoder.encode_texts(captions)
    for _ in range(n):
        *three, back = rng.choice(len(photos), 4, replace=False).tolist()
        picture, boxes = compose([photos[at] for at in three], photos[back], rng)
        apart = texts[three] @ images[three].T
        for place, (at, box) in enumerate(zip(three, boxes, strict=True)):
            yield Question(picture, texts[at], box, bool(apart[place].argmax() == place))


def occlusion(encoder: Encoder, picture: Image.Image, vector: NDArray[np.float32]) -> tuple[float, float]:
    """The hottest point by grey squares laid over the picture, as (x, y) parts of its sides."""
    parts, prepared = windows(*picture.size), []
    for window in parts:
        covered = picture.copy()
        covered.paste((128, 128, 128), (window.left, window.top, window.left + window.side, window.top + window.side))
        prepared.append(encoder.preparer(covered))
    rows = np.concatenate([encoder.encode_images(prepared[at : at + 32]) for at in range(0, len(prepared), 32)])
    grid = spread(parts, -(rows @ vector).astype(np.float64), *picture.size)
    down, across = np.unravel_index(int(grid.argmax()), grid.shape)
    return (across + 0.5) / grid.shape[1], (down + 0.5) / grid.shape[0]


def measure(find: Callable[[Question], tuple[float, float]], asked: list[Question]) -> dict[str, Any]:
    """How often the point that ``find`` gives, as parts of the sides, lies in the right box."""
    hits, began = [], time.perf_counter()
    for one in asked:
        x, y = find(one)
        left, top, width, height = one.box
        hits.append(left <= x * CANVAS[0] < left + width and top <= y * CANVAS[1] < top + height)
    ms = 1000 * (time.perf_counter() - began) / len(asked)
    found, known = np.array(hits), np.array([one.known for one in asked])
    rng = np.random.default_rng(0)
    draws = [found[rng.integers(0, len(found), len(found))].mean() for _ in range(1000)]
    return {
        "questions": len(asked),
        "hit": float(found.mean()),
        "hit_interval": [round(float(end), 3) for end in np.percentile(draws, [2.5, 97.5])],
        "known": float(known.mean()),
        "known_hit": float(found[known].mean()),
        "chance": float(np.mean([one.box[2] * one.box[3] / (CANVAS[0] * CANVAS[1]) for one in asked])),
        "ms": round(ms, 1),
    }


def by_method(encoder: Encoder, method: str) -> Callable[[Question], tuple[float, float]]:
    def find(one: Question) -> tuple[float, float]:
        if method == "occlusion":
            return occlusion(encoder, one.picture, one.vector)
        x, y = heatmap(encoder, one.picture, one.vector, method=method).hottest
        return x / CANVAS[0], y / CANVAS[1]

    return find


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="folder with flickr8k-dev.zip")
    options.add_argument("--model", default="mini")
    options.add_argument("--pictures", type=int, default=60)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--methods", nargs="*", default=["windows", "occlusion", "gradients", "patches"])
    args = options.parse_args()
    sets = {"demo": demo()}
    if args.data is not None and (args.data / "flickr8k-dev.zip").exists():
        sets["flickr8k-dev"] = flickr(args.data / "flickr8k-dev.zip")
    encoder = models.resolve(args.model)
    for name, (photos, captions) in sets.items():
        asked = list(questions(encoder, photos, captions, args.pictures, args.seed))
        for method in args.methods:
            running = encoder
            if method in ("gradients", "patches") and args.model == "mini":
                from mmsearch.encoders.mini import FOLDER

                running = models.resolve(f"local-dir:{FOLDER}", device="cpu")
            try:
                figures = measure(by_method(running, method), asked)
                row("heatmap", seed=args.seed, set=name, model=args.model, method=method, **figures)
            except UsageError as error:
                print(json.dumps({"skipped": method, "why": str(error)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
