"""Whether an adapter learned from half of the pairs helps the other half: shopsphere's vectors, mini on catalogues' titles.

    python benchmarks/adapter.py --data FOLDER

Products are parted at random into halves. The first half's (description, photo) pairs are the clicks, of which the learner
keeps a fifth to stop by; the second half's texts are asked among all photos before and after. ``offered`` is what the
learner itself would say, judged on a held-out fifth of the first half alone. Of myntra 1,500 products are drawn at
random; mini was trained on most of them, and on none of flipkart. Recall@1 and @10 with McNemar's p.
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
from mmsearch.training.adapter import judge, learn
from mmsearch.training.adapter_pairs import Pair


def products(archive_file: Path, model: str, count: int = 1500):
    """Unit rows of photos and of titles."""
    encoder = models.resolve(model)
    with zipfile.ZipFile(archive_file) as archive:
        lines = [json.loads(line) for line in archive.read("captions.jsonl").decode().splitlines() if line]
        lines = [lines[at] for at in np.random.default_rng(3).permutation(len(lines))[:count]]
        photos = [Image.open(io.BytesIO(archive.read(line["image"]))).convert("RGB") for line in lines]
    images = encoder.encode_images([encoder.preparer(photo) for photo in photos])
    return images, encoder.encode_texts([str(line["captions"][0]) for line in lines])


def tried(name: str, model: str, images, texts, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(images))
    learning, asking = order[: len(order) // 2], order[len(order) // 2 :]

    def pairs(rows):
        return [Pair("text", f"q{n}", (f"i{n}",)) for n in rows]

    def find(vectors):
        return [[f"i{n}" for n in np.argsort(-scores, kind="stable")[:10]] for scores in vectors @ images.T]

    began = time.perf_counter()
    found = learn("text", pairs(learning), texts[learning], {f"i{n}": images[n] for n in learning}, images[asking], find, seed=seed)
    seconds = time.perf_counter() - began
    told = judge(pairs(asking), texts[asking], found.fit.map, find)
    row("adapter", seed=seed, set=name, model=model, learned_from=len(learning), asked=told.queries, steps=found.fit.steps,
        seconds=round(seconds, 1), offered=found.verdict.better,
        r1=[round(told.before_r1, 4), round(told.after_r1, 4)], r10=[round(told.before_r10, 4), round(told.after_r10, 4)],
        p1=round(told.p1, 4), p10=round(told.p10, 4))


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--model", default="mini")
    made.add_argument("--seeds", type=int, default=2)
    args = made.parse_args()
    vectors = args.data / "clip-vectors"
    shop = [np.load(vectors / f"shopsphere_{kind}.npy").astype(np.float32) for kind in ("image", "text")]
    for seed in range(args.seeds):
        tried("shopsphere", "fashion ViT-B/32", *shop, seed)
    for name in ("myntra-15k", "flipkart-1k"):
        rows = products(args.data / f"{name}.zip", args.model)
        for seed in range(args.seeds):
            tried(name, args.model, *rows, seed)


if __name__ == "__main__":
    main()
