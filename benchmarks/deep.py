"""What ``deep`` does to text → image on flickr8k-dev, by the files that ship, and what it costs.

    python benchmarks/deep.py --data FOLDER [--queries 5000]

Every caption is searched among the 1,000 photos by cosine, and its first 50 are judged again. ``views`` is the cosine with the
mean row of six views of a photo, ``reread`` has memory and second reading in it, ``deep`` the head's logit beside that.
Intervals redraw photos with their captions. A
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
    prepared = [matcher.prepare(photo) for photo in photos]
    mean_rows = np.stack([encoder.encode_images(list(views)).sum(axis=0) for views in prepared])
    mean_rows /= np.linalg.norm(mean_rows, axis=1, keepdims=True)
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
    again = matcher.memory.scores(texts, cells[:, 0].astype(np.float32))
    first = [np.take_along_axis(table, near, axis=1) for table in (cosines, texts @ mean_rows.T, again)]
    outcome = Outcome(*(ranks(table, near, owner) for table in (*first, scores)), owner)
    row("deep", seed=0, set="flickr8k-dev", model="mini", queries=len(asked), among=len(photos), top=TOP, look_ms=round(look_ms, 2),
        ms=round(float(np.median(times)), 2), **outcome.summary())


if __name__ == "__main__":
    main()
