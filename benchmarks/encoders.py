"""Our encoders against the loop that everybody writes around open_clip, in the same run, as ratios.

    python benchmarks/encoders.py [--quick] [--arch ViT-B-32] [--threads N] [--mini FOLDER] [--onnx]

``image``  images/s, decoding excluded: ours at each precision over open_clip's ``encode_image`` (fp32, batch 32, padded).
``text``   captions/s from strings: ours cut to their real length, ours padded, and open_clip's tokenizer with ``encode_text``.
``query``  one text, warm, one at a time.
``mini``   the same for the built-in model (or a folder of its format), through onnxruntime and through torch.
``onnx``   the same for an exported twin of ``--arch`` (an export takes a minute), with a cold start of its text tower.

Both sides take turns, so that other work on the machine falls on both; ``ratio`` is the median over the rounds (``cpu_ratio``
by processor time, which others disturb less), ``cosine`` the smallest between our rows and open_clip's in fp32. The weights of
``--arch`` are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from _report import row
from safetensors.torch import save_file

from mmsearch.encoders._towers import build
from mmsearch.encoders.export import export_onnx
from mmsearch.encoders.onnx import MINI, OnnxEncoder
from mmsearch.encoders.openclip import OpenClipEncoder
from mmsearch.types import Vectors

SEED = 11
WORDS = ["a", "the", "two", "dog", "cat", "child", "woman", "red", "old", "runs", "sits", "on", "under", "rain", "street", "sky"]


def captions(n: int) -> list[str]:
    """Between 5 and 20 words, about as long as Flickr's."""
    made = random.Random(SEED)
    return [" ".join(made.choices(WORDS, k=made.randint(5, 20))) for _ in range(n)]


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds."""
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def compare(name: str, n: int, rounds: int, sides: tuple[Callable[[], Vectors], Callable[[], Vectors]], **more: Any) -> None:
    """One row: both sides (the peer first) in turns after a warm-up, whose rows are compared."""
    peer, ours = sides
    cosine = float((peer() * ours()).sum(axis=1).min())
    taken = [(seconds(peer), seconds(ours)) for _ in range(rounds)]
    row(
        name,
        seed=SEED,
        ratio=statistics.median(theirs[0] / mine[0] for theirs, mine in taken),
        cpu_ratio=statistics.median(theirs[1] / mine[1] for theirs, mine in taken),
        per_second=n / statistics.median(mine[0] for _, mine in taken),
        peer_per_second=n / statistics.median(theirs[0] for theirs, _ in taken),
        cosine=cosine,
        **more,
    )


class Loop:
    """What people write: fp32, batches of 32, everything padded."""

    def __init__(self, encoder: OpenClipEncoder) -> None:
        self.model = build(encoder.checkpoint).to(memory_format=torch.contiguous_format)
        self.size, self.length = encoder.spec.image_size[::-1], encoder.spec.context_length
        pre = encoder.checkpoint.preprocessing
        self.mean = torch.tensor(pre.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(pre.std).view(1, 3, 1, 1)

    def floats(self, pixels: Sequence[np.ndarray]) -> torch.Tensor:
        return (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous().float() / 255 - self.mean) / self.std

    def images(self, prepared: torch.Tensor) -> Vectors:
        with torch.inference_mode():
            parts = [self.model.encode_image(part, normalize=True) for part in prepared.split(32)]
        return torch.cat(parts).numpy()

    def texts(self, texts: list[str]) -> Vectors:
        with torch.inference_mode():
            tokens = open_clip.tokenize(texts, context_length=self.length)
            parts = [self.model.encode_text(part, normalize=True) for part in tokens.split(32)]
        return torch.cat(parts).numpy()


def pictures(size: tuple[int, int], n: int) -> list[np.ndarray]:
    """Smooth random pictures: noise alone is no picture, and hides what rounding does."""
    rng = np.random.default_rng(SEED)
    cells = rng.integers(0, 256, (n, 8, 8, 3)).repeat(-(-size[1] // 8), axis=1).repeat(-(-size[0] // 8), axis=2)
    return list(cells[:, : size[1], : size[0]].astype(np.uint8))


def padded(encoder: OpenClipEncoder) -> Callable[[list[str]], Vectors]:
    """Our own way without the cut, to see what the cut is worth."""
    towers = dataclasses.replace(encoder.towers, cut=None)
    return lambda texts: np.concatenate(
        [towers.texts(towers.tokenizer.rows(texts[at : at + 32])) for at in range(0, len(texts), 32)]
    )


def torch_rows(name: str, source: str, n: int, rounds: int, *, texts: list[str], **more: Any) -> None:
    """Images, texts and one query of a model in torch, at each precision."""
    exact = OpenClipEncoder(source, precision="fp32", device="cpu")
    loop, pixels = Loop(exact), pictures(exact.spec.image_size, n)
    prepared = loop.floats(pixels)
    for precision in ("fp32", "bf16"):
        ours = OpenClipEncoder(source, precision=precision, device="cpu")
        shown = {"model": name, "backend": "torch", "precision": precision, **more}
        compare("image", n, rounds, (partial(loop.images, prepared), partial(ours.encode_images, pixels)), **shown)
        if texts:
            peer = partial(loop.texts, texts)
            compare("text", len(texts), rounds, (peer, partial(ours.encode_texts, texts)), cut=True, **shown)
            compare("text", len(texts), rounds, (peer, partial(padded(ours), texts)), cut=False, **shown)
            one = partial(loop.texts, texts[:1]), partial(ours.encode_texts, texts[:1])
            compare("query", 1, 5 * rounds, one, **shown)


def onnx_rows(name: str, folder: Path, source: str, n: int, rounds: int, **more: Any) -> None:
    """The same through onnxruntime, against our own torch in fp32."""
    exact, light = OpenClipEncoder(source, precision="fp32", device="cpu"), OnnxEncoder(folder, threads=more["threads"])
    pixels, texts = pictures(exact.spec.image_size, n), captions(2 * n)
    shown = {"model": name, "backend": "onnxruntime", "precision": "fp32", "against": "ours in torch, fp32", **more}
    started = seconds(lambda: OnnxEncoder(folder).encode_texts(["a dog"]))
    row("start", seed=SEED, milliseconds=1e3 * started[0], cpu_milliseconds=1e3 * started[1], **shown)
    compare("image", n, rounds, (partial(exact.encode_images, pixels), partial(light.encode_images, pixels)), **shown)
    compare("text", len(texts), rounds, (partial(exact.encode_texts, texts), partial(light.encode_texts, texts)), cut=True, **shown)
    one = partial(exact.encode_texts, texts[:1]), partial(light.encode_texts, texts[:1])
    compare("query", 1, 5 * rounds, one, **shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer items and rounds: under two minutes")
    parser.add_argument("--arch", default="ViT-B-32")
    parser.add_argument("--threads", type=int, default=1, help="for torch; the default, 1, is the fairest on a busy machine")
    parser.add_argument("--mini", type=Path, default=MINI, help="a folder of mini's format")
    parser.add_argument("--onnx", action="store_true", help="export --arch and measure that too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n, rounds = (16, 2) if options.quick else (128, 7)
    more = {"threads": options.threads, "batch": 32}
    if (options.mini / "mini.json").is_file():
        source = f"local-dir:{options.mini}"
        torch_rows("mini", source, 4 * n, rounds, texts=[], **more)  # open_clip cannot express mini's tokenizer
        onnx_rows("mini", options.mini, source, 4 * n, rounds, **more)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        torch.manual_seed(SEED)
        model = open_clip.create_model(options.arch)
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
        del model
        source = f"{options.arch}:{weights}"
        torch_rows(options.arch, source, n, rounds, texts=captions(2 * n), **more)
        if options.onnx:
            twin = export_onnx(OpenClipEncoder(source, precision="fp32", device="cpu"), Path(folder) / "twin")
            onnx_rows(options.arch, twin, source, n, rounds, **more)


if __name__ == "__main__":
    main()
