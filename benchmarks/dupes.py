"""Near-duplicates: edits of real photos must be found, other photos of the same kind must not.

    python benchmarks/dupes.py --data FOLDER [--model mini]

Photos: ``unsplash-60``, 240 of ``flickr8k-dev``, 240 of ``flipkart-1k`` (shop photos, many of one kind). Each photo is edited;
a pair of photo and edit should be joined. Wrong pairs: each photo with its five nearest others by cosine, the hardest there are
(in the shop's photos several of these are one product or one photo; they are counted as wrong all the same). The numbers of
``mmsearch.duplicates.rule`` were chosen with the first half of the photos in mind (``split: tune``); the other half is
reported. ``cosine`` and ``hash`` rows are what one of the two alone does at a fixed cut.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from _pairs import parser
from _report import row
from PIL import Image, ImageEnhance

from mmsearch import models
from mmsearch.duplicates import Look, distance, is_near, look

SETS = {"unsplash-60": 60, "flickr8k-dev": 240, "flipkart-1k": 240}


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def inner(picture: Image.Image, share: float, across: float = 0.5, down: float = 0.5) -> Image.Image:
    """A part of the sides; where it lies goes by ``across`` and ``down`` from 0 to 1."""
    width, height = round(picture.width * share), round(picture.height * share)
    left, top = round((picture.width - width) * across), round((picture.height - height) * down)
    return picture.crop((left, top, left + width, top + height))


EDITS = {
    "half size": lambda p: p.resize((max(1, p.width // 2), max(1, p.height // 2)), Image.Resampling.BICUBIC),
    "jpeg 30": lambda p: jpeg(p, 30),
    "crop 95%": lambda p: inner(p, 0.95),
    "crop 85%": lambda p: inner(p, 0.85, 0.3, 0.7),
    "turned 2°": lambda p: inner(p.rotate(2, Image.Resampling.BICUBIC), 0.94),
    "turned 90°": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.25),
    "pale": lambda p: ImageEnhance.Color(p).enhance(0.4),
    "grey": lambda p: p.convert("L").convert("RGB"),
}


def photos(where: Path, most: int) -> list[Image.Image]:
    with zipfile.ZipFile(where) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
        chosen = [names[at] for at in np.random.default_rng(0).permutation(len(names))[:most]]
        return [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen]


def encoded(encoder, pictures: list[Image.Image]) -> np.ndarray:
    return np.concatenate([encoder.encode_images([encoder.preparer(p) for p in pictures[at : at + 32]])
                           for at in range(0, len(pictures), 32)])


def main() -> None:
    args = parser(__doc__).parse_args()
    encoder = models.resolve(args.model)
    for name, most in SETS.items():
        if args.only not in ("", name) or not (args.data / f"{name}.zip").exists():
            continue
        originals = photos(args.data / f"{name}.zip", most)
        vectors, looks = encoded(encoder, originals), [look(p) for p in originals]
        right: dict[str, list[tuple[float, int, int]]] = {}
        for edit, change in EDITS.items():
            edited = [change(p) for p in originals]
            cosines = (encoded(encoder, edited) * vectors).sum(axis=1)
            right[edit] = [(float(c), *both(a, look(p))) for c, a, p in zip(cosines, looks, edited, strict=True)]
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -1)
        near = np.argsort(-cosines, axis=1)[:, :5]
        wrong = [[(float(cosines[n, m]), *both(looks[n], looks[m])) for m in five] for n, five in enumerate(near)]
        for split, start in (("tune", 0), ("report", 1)):
            good = {edit: pairs[start::2] for edit, pairs in right.items()}
            bad = [pair for five in wrong[start::2] for pair in five]
            told(name, split, "both (kept)", good, bad, is_near)
            told(name, split, "cosine 0.97", good, bad, lambda c, b, u: c >= 0.97)
            told(name, split, "hash 10 bits", good, bad, lambda c, b, u: b <= 10)


def both(one: Look, other: Look) -> tuple[int, int]:
    """The bits that differ for the best way to turn and mirror, and without."""
    return distance(one, other), distance(one, other, turned=False)


def told(name: str, split: str, rule: str, good, bad, near) -> None:
    found = {edit: sum(near(*pair) for pair in pairs) / len(pairs) for edit, pairs in good.items()}
    hits = sum(near(*pair) for pairs in good.values() for pair in pairs)
    alarms = sum(near(*pair) for pair in bad)
    row("dupes", seed=0, set=name, split=split, rule=rule, recall=hits / sum(map(len, good.values())),
        precision=hits / max(hits + alarms, 1), wrong=alarms, wrong_of=len(bad), by_edit={k: round(v, 3) for k, v in found.items()})


if __name__ == "__main__":
    main()
