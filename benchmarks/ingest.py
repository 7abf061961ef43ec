"""Indexing from files to vectors, against the loops that peers run around open_clip, in the same run, on the CPU.

    python benchmarks/ingest.py [--arch ViT-B-32] [--images 192] [--rounds 3] [--size 500x400]

``loop``    what most programs do: Pillow, open_clip's transform, batches of 32, ``encode_image`` in fp32, one after the other.
``loader``  what clip-retrieval's ``inference`` does on a CPU: a torch ``DataLoader`` with two worker processes, batches of 256,
            fp32; written anew here from its description, since the program itself loads its weights from a hub.
``ours``    ``mmsearch index``: decode processes, bf16 where the processor has it, and every row committed to disk.

All use the same weights (random: speed does not depend on them) and every core. ``ratio`` is ours over the peer, the median
of rounds in which they take turns; ``cosine`` is the smallest between our stored rows and the loop's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from _report import row
from index import random_weights, write_photos
from PIL import Image

import mmsearch as mm
from mmsearch.models import resolve

SEED = 7
BATCH, LOADER_BATCH, LOADER_WORKERS = 32, 256, 2


class Files(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Paths → transformed pictures, for a DataLoader."""

    def __init__(self, paths: list[Path], transform: Callable[[Any], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[at]).convert("RGB"))


def plain_loop(model: Any, transform: Any, paths: list[Path]) -> torch.Tensor:
    out = []
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths[start : start + BATCH]])
            out.append(torch.nn.functional.normalize(model.encode_image(batch), dim=-1))
    return torch.cat(out)


def loader(model: Any, transform: Any, paths: list[Path]) -> torch.Tensor:
    batches = torch.utils.data.DataLoader(Files(paths, transform), batch_size=LOADER_BATCH, num_workers=LOADER_WORKERS)
    with torch.inference_mode():
        return torch.cat([torch.nn.functional.normalize(model.encode_image(batch), dim=-1) for batch in batches])


def ours(encoder: Any, photos: Path) -> dict[str, np.ndarray]:
    with (
        tempfile.TemporaryDirectory() as tmp,
        mm.Collection.open(Path(tmp) / "c", create=True, model=encoder) as collection,
    ):
        report = collection.sync(mm.Folder(photos))
        assert not report.skipped
        with collection._store.snapshot() as snapshot:
            records = snapshot.records(snapshot.live().vids)
            vectors = snapshot.fetch([one.vid for one in records])
            return {one.path or "": vector for one, vector in zip(records, vectors, strict=True)}


def main(arch: str, images: int, rounds: int, size: tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as tmp:
        name = random_weights(arch, tmp)
        photos = Path(tmp) / "photos"
        write_photos(photos, images, size)
        paths = sorted(photos.rglob("*.jpg"))
        model, _, transform = open_clip.create_model_and_transforms(arch, pretrained=name.partition(":")[2])
        model.eval()
        encoder = resolve(name)
        sides: dict[str, Callable[[], Any]] = {
            "loop": lambda: plain_loop(model, transform, paths),
            "loader": lambda: loader(model, transform, paths),
            "ours": lambda: ours(encoder, photos),
        }
        warm = {side: work() for side, work in sides.items()}
        stored = np.stack([warm["ours"][str(path.relative_to(photos))] for path in paths])
        cosine = float((stored * warm["loop"].numpy()).sum(axis=1).min())
        took: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, work in sides.items():
                began = time.perf_counter()
                work()
                took[side].append(time.perf_counter() - began)
        for peer in ("loop", "loader"):
            row(
                "ingest", seed=SEED, arch=arch, images=images, size=f"{size[0]}x{size[1]}", rounds=rounds, peer=peer,
                ours_per_s=images / statistics.median(took["ours"]), peer_per_s=images / statistics.median(took[peer]),
                ratio=statistics.median(b / a for a, b in zip(took["ours"], took[peer], strict=True)), cosine=cosine,
            )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="ViT-B-32")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="500x400")
    given = parser.parse_args()
    width, _, height = given.size.partition("x")
    main(given.arch, given.images, given.rounds, (int(width), int(height)))
