"""How well indexing keeps the encoder busy, what a second run costs, and how much memory a large tree takes.

    python benchmarks/index.py pipeline [--images 1500] [--model mini|random:ViT-B-32] [--threads 1]
    python benchmarks/index.py rescan   [--files 100000]
    python benchmarks/index.py memory   [--files 10000,100000] [--model toy:32]

``pipeline``  images/s of a whole ``sync`` against the encoder alone in a loop on the same prepared batches: their ratio is
              how busy the encoder is kept. With ``--threads 1`` the encoder has one core and the decoders have the other.
``rescan``    a second ``sync`` of an unchanged tree against a bare ``os.scandir`` walk with ``stat``, in the same process.
``memory``    the peak of one process that indexes trees of several sizes; the decoders' processes are not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _report import row
from PIL import Image

import mmsearch as mm
from mmsearch.images import open_image
from mmsearch.models import resolve
from mmsearch.protocols import Encoder

SEED = 7


def photo(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A picture with structure at all scales, so that it compresses about as a photograph does."""
    total = np.zeros((*size[::-1], 3), dtype=np.float32)
    for cells in (3, 9, 27, 81):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(noise.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / cells**0.7
    total -= total.min()
    return Image.fromarray((total * (255 / total.max())).astype(np.uint8))


def write_photos(to: Path, n: int, size: tuple[int, int] = (500, 400)) -> None:
    rng = np.random.default_rng(SEED)
    base = [photo(rng, size) for _ in range(24)]
    for i in range(n):
        folder = to / f"{i // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        shifted = Image.fromarray(np.roll(np.asarray(base[i % 24]), 7 * i, axis=1))
        shifted.save(folder / f"{i:06}.jpg", quality=88)


def write_tiny(to: Path, n: int) -> None:
    """``n`` distinct pictures of 8 × 8 pixels, a thousand to a folder."""
    for i in range(n):
        folder = to / f"{i // 1000:04}"
        if i % 1000 == 0:
            folder.mkdir(parents=True)
        colour = (i & 255, (i >> 8) & 255, (i >> 16) & 255)
        Image.new("RGB", (8, 8), colour).save(folder / f"{i:07}.png", compress_level=0)


def random_weights(architecture: str, folder: str) -> str:
    """A checkpoint of an open_clip architecture that knows nothing: for speed it is as good as any."""
    import open_clip
    from safetensors.torch import save_file

    path = f"{folder}/{architecture}.safetensors"
    save_file(open_clip.create_model(architecture).state_dict(), path)
    return f"{architecture}:{path}"


def pipeline(images: int, model: str, threads: int) -> None:
    """``model`` may be ``random:ARCHITECTURE``; ``threads`` (for torch models) are those of the encoder."""
    with tempfile.TemporaryDirectory() as weights:
        name = random_weights(model.removeprefix("random:"), weights) if model.startswith("random:") else model
        encoder = resolve(name)
        encoder.encode_texts(["load"])
        if threads:
            import torch

            torch.set_num_threads(threads)
        measure(images, model, encoder, threads)


def measure(images: int, model: str, encoder: Encoder, threads: int) -> None:
    batch_size = int(getattr(encoder, "batch_size", 32))
    with tempfile.TemporaryDirectory() as tmp:
        photos = Path(tmp) / "photos"
        write_photos(photos, images)
        some = sorted(photos.rglob("*.jpg"))[:batch_size]
        batch = [encoder.preparer(open_image(p.read_bytes(), at_least=encoder.preparer.size)[0]) for p in some]
        encoder.encode_images(batch)
        raw, full, decode = [], [], []
        for n in range(3):
            began = time.perf_counter()
            for _ in range(max(1, images // batch_size // 3)):
                encoder.encode_images(batch)
            raw.append(batch_size * max(1, images // batch_size // 3) / (time.perf_counter() - began))
            with mm.Collection.open(Path(tmp) / f"c{n}", create=True, model=encoder) as collection:
                options = mm.IngestOptions(batch_size=batch_size, workers=1 if threads else None)
                report = collection.sync(mm.Folder(photos), options=options)
            assert report.added == images
            full.append(images / report.seconds)
            decode.append(images / report.stages["decode"])
        ratios = [a / b for a, b in zip(full, raw, strict=True)]
        row(
            "index.pipeline", seed=SEED, model=model, images=images, batch=batch_size, encoder_threads=threads,
            encoder_alone_per_s=statistics.median(raw), sync_per_s=statistics.median(full),
            decode_per_worker_s=statistics.median(decode), ratio=statistics.median(ratios), bottleneck=report.bottleneck,
        )  # fmt: skip


def walk(path: str) -> int:
    """What nobody can beat: list every folder and stat every file."""
    count = 0
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                count += walk(entry.path)
            else:
                entry.stat(follow_symlinks=False)
                count += 1
    return count


def rescan(files: int) -> None:
    from mmsearch.encoders.toy import ToyEncoder

    with tempfile.TemporaryDirectory() as tmp:
        photos = Path(tmp) / "photos"
        write_tiny(photos, files)
        with mm.Collection.open(Path(tmp) / "c", create=True, model=ToyEncoder(dim=32)) as collection:
            first = collection.sync(mm.Folder(photos), options=mm.IngestOptions(batch_size=512))
            walks, syncs = [], []
            for _ in range(7):
                began = time.perf_counter()
                assert walk(str(photos)) == files
                walks.append(time.perf_counter() - began)
                began = time.perf_counter()
                report = collection.sync(mm.Folder(photos))
                syncs.append(time.perf_counter() - began)
                assert report.unchanged == files
        ratio = statistics.median(b / a for a, b in zip(walks, syncs, strict=True))
        row(
            "index.rescan", seed=SEED, files=files, walk_s=statistics.median(walks), sync_s=statistics.median(syncs),
            ratio=ratio, first_sync_files_per_s=files / first.seconds,
        )  # fmt: skip


MEMORY = """
import sys, json
import mmsearch as mm
with mm.Collection.open(sys.argv[2], create=True, model=sys.argv[3]) as c:
    r = c.sync(mm.Folder(sys.argv[1]), options=mm.IngestOptions(batch_size=256))
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1]
print(json.dumps({"peak_mib": int(peak) / 1024, "added": r.added}))
"""


def memory(sizes: list[int], model: str) -> None:
    peaks: dict[int, float] = {}
    for files in sizes:
        with tempfile.TemporaryDirectory() as tmp:
            write_tiny(Path(tmp) / "photos", files)
            out = subprocess.run(
                [sys.executable, "-c", MEMORY, f"{tmp}/photos", f"{tmp}/c", model], capture_output=True, text=True, check=True
            ).stdout
        peaks[files] = json.loads(out)["peak_mib"]
        row("index.memory", seed=SEED, model=model, files=files, peak_mib=peaks[files], ratio=peaks[files] / peaks[sizes[0]])


def arguments() -> Iterator[argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pipeline", "rescan", "memory"), nargs="+")
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--threads", type=int, default=0, help="torch threads of the encoder (0: all)")
    parser.add_argument("--files", default="")
    yield parser.parse_args()


if __name__ == "__main__":
    for args in arguments():
        if "pipeline" in args.what:
            pipeline(args.images, args.model, args.threads)
        if "rescan" in args.what:
            rescan(int(args.files or 100_000))
        if "memory" in args.what:
            memory([int(n) for n in (args.files or "10000,100000").split(",")], args.model)
