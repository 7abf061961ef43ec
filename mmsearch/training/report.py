"""What a written folder of `mini` is worth: recalls with intervals, zero-shot accuracy, speed. Runs on the ONNX towers.

Everything is measured on the files that ship and on the pictures as they are decoded there, not on training's arrays.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsearch.encoders.tokenizer import clip_tokenizer
from mmsearch.training import evaluate
from mmsearch.training.captions import plain
from mmsearch.training.data import held_out_rows
from mmsearch.training.evaluate import Interval, Matrix

Meta = dict[str, Any]

FLIPKART = {
    "Baby Care": ["baby clothes", "a baby dress", "a toddler's outfit", "a diaper bag", "kids bedding", "a toy"],
    "Beauty and Personal Care": ["perfume bottle", "makeup", "a lipstick", "cream", "soap", "shampoo bottle"],
    "Computers": ["a laptop", "a keyboard", "a laptop skin", "a usb cable", "a network router", "a laptop battery"],
    "Home Decor & Festive Needs": ["a wall sticker", "a painting", "a showpiece", "a statue", "a figurine", "a vase"],
    "Home Furnishing": ["a bedsheet", "a curtain", "a cushion cover", "a blanket", "a towel", "a pillow"],
    "Kitchen & Dining": ["a coffee mug", "a frying pan", "a plate", "a bottle", "a kitchen knife", "a lunch box"],
    "Watches": ["a watch", "a wrist watch", "an analog watch", "watches"],
}
"""What stands for each category: things one would find in it, written by us without looking at the pictures."""

TEMPLATES = ("{}", "a photo of {}")


class Towers:
    """Both graphs of a folder in onnxruntime, with the preprocessing that belongs to them."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        import onnxruntime

        card = json.loads((folder / "mini.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["preprocess_cfg"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.size: int = card["image_size"]
        self.mean, self.std = np.float32(config["mean"]), np.float32(config["std"])
        self.resample = Image.Resampling[str(config["interpolation"]).upper()]
        self.tokenize = clip_tokenizer(context_length=card["context_length"], merges=card["bpe_merges"])
        self._image, self._text = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("image.onnx", "text.onnx")
        )

    def prepare(self, picture: Image.Image) -> Matrix:
        """(3, S, S) float32 of a picture, squashed."""
        small = picture.convert("RGB").resize((self.size, self.size), self.resample)
        pixels = (np.asarray(small, np.float32) / 255 - self.mean) / self.std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def pixels(self, batch: Matrix) -> Matrix:
        """Unit rows of prepared pictures (n, 3, S, S)."""
        rows: Matrix = self._image.run(None, {"pixels": batch})[0]
        return rows

    def images(self, pictures: Sequence[Image.Image], batch: int = 32) -> Matrix:
        """Unit rows of pictures."""
        starts = range(0, len(pictures), batch)
        return np.concatenate([self.pixels(np.stack([self.prepare(p) for p in pictures[s : s + batch]])) for s in starts])

    def texts(self, texts: Sequence[str], batch: int = 64) -> Matrix:
        """Unit rows of texts."""
        rows = self.tokenize(texts)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out: Matrix | None = None
        for start in range(0, len(order), batch):
            group = order[start : start + batch]
            tokens = np.zeros((len(group), max(len(rows[i]) for i in group)), np.int64)
            for line, i in zip(tokens, group, strict=True):
                line[: len(rows[i])] = rows[i]
            found = self._text.run(None, {"tokens": tokens})[0]
            out = np.empty((len(rows), found.shape[1]), np.float32) if out is None else out
            out[group] = found
        if out is None:
            raise ValueError("no texts to encode")
        return out


def read_zip(archive: Path, rows: Sequence[int] | None = None) -> tuple[list[Image.Image], list[Meta]]:
    """Decoded pictures and captions.jsonl's lines of an archive, or of some of its rows."""
    with zipfile.ZipFile(archive) as zf:
        meta = [json.loads(line) for line in zf.read("captions.jsonl").decode("utf-8").splitlines() if line]
        meta = meta if rows is None else [meta[i] for i in rows]
        return [Image.open(io.BytesIO(zf.read(row["image"]))).convert("RGB") for row in meta], meta


def flickr(towers: Towers, data: Path) -> dict[str, Interval]:
    """Recalls on flickr8k-dev: 5,000 captions x 1,000 photos, captions as they stand but for the final " ."."""
    pictures, meta = read_zip(data / "flickr8k-dev.zip")
    captions = [[plain(caption) for caption in row["captions"]] for row in meta]
    owner = np.repeat(np.arange(len(meta)), [len(c) for c in captions])
    rows = towers.texts([caption for group in captions for caption in group])
    return evaluate.intervals(evaluate.ranks(towers.images(pictures), rows, owner))


def myntra(towers: Towers, data: Path) -> dict[str, Interval]:
    """Recalls between titles and photos of the 1,000 held-out products. Two products may share a title."""
    with zipfile.ZipFile(data / "myntra-15k.zip") as zf:
        n = len([line for line in zf.read("captions.jsonl").splitlines() if line])
    pictures, meta = read_zip(data / "myntra-15k.zip", held_out_rows(n).tolist())
    rows = towers.texts([row["captions"][0] for row in meta])
    return evaluate.intervals(evaluate.ranks(towers.images(pictures), rows, np.arange(len(meta))))


def flipkart(towers: Towers, data: Path) -> Interval:
    """Accuracy of naming the category (7) of a product photo from prompts alone; no picture of the set was trained on."""
    pictures, meta = read_zip(data / "flipkart-1k.zip")
    prompts = {
        name: towers.texts([template.format(thing) for thing in things for template in TEMPLATES])
        for name, things in FLIPKART.items()
    }
    truth = [" ".join(row["category"].split()) for row in meta]
    return evaluate.share(evaluate.zero_shot(towers.images(pictures), prompts, truth))


def speed(towers: Towers, seconds: float = 2.0) -> dict[str, float]:
    """Pictures per second in batches of 32 without decoding, and the median milliseconds of one query's text, warm."""
    batch = np.random.default_rng(0).uniform(-1, 1, (32, 3, towers.size, towers.size)).astype(np.float32)
    towers.pixels(batch)
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        towers.pixels(batch)
        done += len(batch)
    rate = done / (time.perf_counter() - begun)
    towers.texts(["a cup of coffee"])
    times = []
    for _ in range(50):
        begun = time.perf_counter()
        towers.texts(["two dogs are running on the beach"])
        times.append(time.perf_counter() - begun)
    return {"images_per_second": rate, "query_ms": 1000 * float(np.median(times))}


def measure(folder: Path, data: Path) -> dict[str, Any]:
    """Everything above, as it goes into `mini.json`: intervals are [value, low, high]."""
    towers = Towers(folder)
    return {
        "flickr8k-dev": {key: _round(value) for key, value in flickr(towers, data).items()},
        "myntra-held-out-1000": {key: _round(value) for key, value in myntra(towers, data).items()},
        "flipkart-1k-category-zero-shot": _round(flipkart(towers, data)),
        "speed": {key: round(value, 2) for key, value in speed(towers).items()},
    }


def _round(interval: Interval) -> list[float]:
    return [round(float(value), 4) for value in interval]
