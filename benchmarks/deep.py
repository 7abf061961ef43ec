"""What ``deep`` does to text → image on flickr8k-dev, by the files that ship, and what it costs.

    python benchmarks/deep.py --data FOLDER [--queries 5000]

Every caption is searched among the 1,000 photos by cosine, and its first 50 are judged again. ``views`` is the cosine with the
mean row of six views of a photo, ``deep`` has the head's logit beside it. Intervals redraw photos with their captions. A
photo's cells are made once; ``look_ms`` is their cost for one photo, ``ms`` what a query costs when they are kept.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
from _report import row
from PIL import Image

from mmsearch import models
from mmsearch.encoders.matching import OnnxMatcher
from mmsearch.training.captions import plain
from mmsearch.training.matching_report import TOP, Outcome, ranks


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--queries", type=int, default=5000, help="captions to ask by, of photos drawn at random")
    given = args.parse_args()
    encoder, matcher = models.resolve("mini"), OnnxMatcher()
    with zipfile.ZipFile(given.data / "flickr8k-dev.zip") as archive:
        lines = [json.loads(line) for line in archive.read("captions.jsonl").decode().splitlines() if line]
        photos = [Image.open(io.BytesIO(archive.read(line["image"]))).convert("RGB") for line in lines]
    rows = encoder.encode_images([encoder.preparer(photo) for photo in photos])
    began = time.perf_counter()
    cells = np.concatenate([matcher.look([matcher.prepare(p) for p in photos[at : at + 32]]) for at in range(0, len(photos), 32)])
    look_ms = (time.perf_counter() - began) * 1000 / len(photos)
    order = np.random.default_rng(0).permutation(len(photos))
    asked = [(int(n), plain(caption)) for n in order for caption in lines[n]["captions"]][: given.queries]
    owner = np.array([n for n, _ in asked])
    texts = np.concatenate([encoder.encode_texts([text for _, text in asked[at : at + 64]]) for at in range(0, len(asked), 64)])
    cosines = texts @ rows.T
    near = np.argsort(-cosines, axis=1, kind="stable")[:, :TOP]
    scores, times = np.empty(near.shape, np.float32), []
    for at, (_, text) in enumerate(asked):
        began = time.perf_counter()
        scores[at] = matcher.match(text, cells[near[at]])
        times.append((time.perf_counter() - began) * 1000)
    mean = np.take_along_axis(texts @ cells[:, 0].astype(np.float32).T, near, axis=1)
    outcome = Outcome(
        ranks(np.take_along_axis(cosines, near, axis=1), near, owner), ranks(mean, near, owner), ranks(scores, near, owner), owner
    )
    row("deep", seed=0, set="flickr8k-dev", model="mini", queries=len(asked), among=len(photos), top=TOP, look_ms=round(look_ms, 2),
        ms=round(float(np.median(times)), 2), **outcome.summary())


if __name__ == "__main__":
    main()
