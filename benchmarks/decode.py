"""How fast photos become the model's input: open_clip's transform, ours, with drafts, and through the loader's workers.

    python benchmarks/decode.py [--rounds 3] [--photos DIRECTORY_OR_ZIP]

One JSON line per kind of photo and way. ``images_per_s`` is of the best round, as the machine's other work only ever adds time;
``cpu_ms`` is the processor time of one picture, over all processes; ``ratio`` compares with ``open_clip`` in the same run.
The ways run in turn within each round. Photos are generated (soft shapes, edges, sensor noise) unless some are given.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from _report import row
from PIL import Image

from mmsearch.decoding.loader import Job, Loader
from mmsearch.images import open_image
from mmsearch.preprocess import Preprocess, normalize

SEED = 5
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
KINDS = {"0.2 Mpx": ((540, 380), 8, 160), "12 Mpx": ((4000, 3000), 2, 10)}  # size, different ones, pictures a round


def photo(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    """A JPEG that costs about what a photo of this size does."""
    width, height = size
    coarse = rng.integers(0, 256, (height // 90 + 2, width // 90 + 2, 3), dtype=np.uint8)
    base = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    base += (25 * np.sign(np.sin(x / 31) * np.cos(y / 43)))[..., None]
    base += rng.normal(0, 4, (height, width, 1)).astype(np.float32)
    out = io.BytesIO()
    Image.fromarray(base.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()


def given(source: Path) -> list[bytes]:
    if source.is_dir():
        return [path.read_bytes() for path in sorted(source.rglob("*.jp*g"))]
    with zipfile.ZipFile(source) as archive:
        return [archive.read(name) for name in sorted(archive.namelist()) if name.lower().endswith((".jpg", ".jpeg"))]


def ways(stack: ExitStack, paths: list[Path]) -> Iterator[tuple[str, Callable[[int], float]]]:
    """Name and a function that brings ``n`` pictures to floats and returns the processor seconds of other processes."""
    preprocess = Preprocess(224, 224)

    def open_clips() -> Callable[[int], float]:
        import torch
        from open_clip.transform import PreprocessCfg, image_transform_v2

        torch.set_num_threads(1)
        transform = image_transform_v2(PreprocessCfg(size=224), is_train=False)

        def run(n: int) -> float:
            for i in range(n):
                with Image.open(paths[i % len(paths)]) as image:
                    transform(image)
            return 0.0

        return run

    def ours(draft: bool) -> Callable[[int], float]:
        def run(n: int) -> float:
            for i in range(n):
                data = paths[i % len(paths)].read_bytes()
                image, _ = open_image(data, at_least=preprocess.size if draft else None)
                normalize([preprocess(image)], MEAN, STD)
            return 0.0

        return run

    def loader(workers: int) -> Callable[[int], float]:
        pool = stack.enter_context(Loader(preprocess, workers=workers))

        def run(n: int) -> float:
            before = spent(pool.pids)
            for loaded in pool.load(Job(i, str(paths[i % len(paths)])) for i in range(n)):
                assert loaded.pixels is not None, loaded.error
                normalize([loaded.pixels], MEAN, STD)
            return spent(pool.pids) - before

        return run

    yield "open_clip", open_clips()
    yield "ours, in full", ours(draft=False)
    yield "ours, draft", ours(draft=True)
    for workers in (0, 1, 2):
        yield f"loader, {workers} workers", loader(workers)


def spent(pids: list[int]) -> float:
    """Processor seconds of other processes so far."""
    import psutil

    return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids))


def start_up(rounds: int) -> None:
    """Seconds from nothing until two workers have each answered once."""
    tiny = io.BytesIO()
    Image.new("RGB", (8, 8)).save(tiny, "PNG")
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        with Loader(Preprocess(224, 224), workers=2) as loader:
            list(loader.load(Job(i, data=tiny.getvalue()) for i in range(2)))
            best = min(best, time.perf_counter() - began)
    row("decode", way="start of 2 workers", seconds=best, seed=SEED)


def measure(kind: str, photos: list[bytes], n: int, rounds: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths = [folder / f"{i}.jpg" for i in range(len(photos))]
        for path, data in zip(paths, photos, strict=True):
            path.write_bytes(data)
        runs = dict(ways(stack, paths))
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        cpu: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            run(2)  # imports, starts
        for _ in range(rounds):
            for name, run in runs.items():
                wall, processor = time.perf_counter(), time.process_time()
                others = run(n)
                seconds[name].append((time.perf_counter() - wall) / n)
                cpu[name].append((time.process_time() - processor + others) / n)
        theirs = min(seconds["open_clip"])
        for name in runs:
            figures: dict[str, Any] = {
                "images_per_s": 1 / min(seconds[name]),
                "cpu_ms": 1000 * min(cpu[name]),
                "ratio": theirs / min(seconds[name]),
            }
            row("decode", photos=kind, kilobytes=len(photos[0]) >> 10, way=name, **figures, seed=SEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=Path, help="real JPEGs instead of generated ones")
    options = parser.parse_args()
    start_up(options.rounds)
    if options.photos:
        photos = given(options.photos)
        measure(options.photos.stem, photos, 2 * len(photos), options.rounds)
        return
    rng = np.random.default_rng(SEED)
    for kind, (size, different, n) in KINDS.items():
        measure(kind, [photo(rng, size) for _ in range(different)], n, options.rounds)


if __name__ == "__main__":
    main()
