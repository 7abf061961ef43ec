"""Zips of photos with captions, decoded once into arrays of one square size.

Decoding costs more than a small network's forward pass, so every picture is decoded once, squashed to `SIDE` x `SIDE`
(the whole picture is kept; `mini` squashes at inference too) and memory-mapped from then on.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 144
"""Pixels per side of the cached pictures: a little above what the towers see, so that crops are not blown up."""

HELD_OUT = 1000
"""Rows of `myntra-15k` kept for testing, chosen by `held_out_rows`: always the same ones, the seed is fixed."""

Pixels = npt.NDArray[np.uint8]
Meta = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Pictures with what was said about them.

    `images` is (n, SIDE, SIDE, 3) uint8, RGB, memory-mapped; `captions[i]` may be empty; `meta[i]` is the whole line of
    `captions.jsonl`.
    """

    name: str
    images: Pixels
    captions: list[list[str]]
    meta: list[Meta]

    def __len__(self) -> int:
        return len(self.captions)


def load_corpus(data_dir: Path, cache_dir: Path, name: str) -> Corpus:
    """Return the corpus `name` of `data_dir/NAME.zip`, decoding it into `cache_dir` on first use.

    Raises FileNotFoundError when the zip is absent. Cost: about 1 ms per picture the first time, nothing later.
    """
    archive = data_dir / f"{name}.zip"
    if not archive.is_file():
        raise FileNotFoundError(f"no {archive.name} in {data_dir}: give --data the folder that holds it")
    with zipfile.ZipFile(archive) as zf:
        meta = [json.loads(line) for line in zf.read("captions.jsonl").decode("utf-8").splitlines() if line]
        cached = cache_dir / f"{name}.{SIDE}.npy"
        if not cached.is_file():
            _decode(zf, [row["image"] for row in meta], cached)
    images: Pixels = np.load(cached, mmap_mode="r")
    return Corpus(name=name, images=images, captions=[list(row["captions"]) for row in meta], meta=meta)


def _decode(zf: zipfile.ZipFile, members: list[str], target: Path) -> None:
    """Decode `members` into one array and move it to `target` only when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.empty((len(members), SIDE, SIDE, 3), np.uint8)
    for row, member in enumerate(members):
        with Image.open(io.BytesIO(zf.read(member))) as picture:
            pixels[row] = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    partial = target.with_suffix(".partial.npy")
    np.save(partial, pixels)
    os.replace(partial, target)


def held_out_rows(n: int, count: int = HELD_OUT, seed: int = 20240607) -> npt.NDArray[np.int64]:
    """Sorted rows of an `n`-row corpus that training must never see; a pure function of its arguments."""
    rows = np.random.Generator(np.random.PCG64(seed)).choice(n, size=min(count, n), replace=False)
    return np.sort(rows).astype(np.int64)


def training_rows(corpus: Corpus) -> npt.NDArray[np.int64]:
    """Rows that may be trained on: all of them, except the held-out part of `myntra-15k`."""
    rows = np.arange(len(corpus), dtype=np.int64)
    if corpus.name.startswith("myntra"):
        rows = np.setdiff1d(rows, held_out_rows(len(corpus)))
    return rows
