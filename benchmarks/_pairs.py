"""Pictures and texts that belong together, as vectors: what relevance and rerankers are judged on.

``shopsphere``    1,126 products: vectors of a fashion CLIP (ViT-B/32), one description each. The encoder is not at hand, so
                  the bank is made of *other products' descriptions*, never of ones that are asked.
``flickr8k-dev``  1,000 photos with 5 captions each, encoded by ``mini`` (kept in a temporary file); the bank is ours.

Both lie in a folder named by ``--data``; what is missing is left out.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Vectors


@dataclass(frozen=True)
class Pairs:
    """``images`` ``(n, dim)``, ``texts`` ``(m, dim)``, ``owner[j]`` the picture of text j; ``bank`` where one is apart."""

    name: str
    model: str
    images: Vectors
    texts: Vectors
    owner: NDArray[np.int64]
    bank: Vectors | None
    fingerprint: str | None = None


def load(data: Path, model: str = "mini", only: str = "") -> list[Pairs]:
    """The sets that are there, or the one named."""
    found = []
    vectors = data / "clip-vectors"
    if only in ("", "shopsphere") and (vectors / "shopsphere_image.npy").exists():
        images, texts = (np.load(vectors / f"shopsphere_{kind}.npy") for kind in ("image", "text"))
        found.append(Pairs("shopsphere", "fashion ViT-B/32", images, texts, np.arange(len(images)), None))
    if only in ("", "flickr8k-dev") and (data / "flickr8k-dev.zip").exists():
        try:
            found.append(flickr(data / "flickr8k-dev.zip", model))
        except Exception as error:  # noqa: BLE001 - a model that is not on this machine
            print(json.dumps({"skipped": "flickr8k-dev", "why": str(error)}), flush=True)
    return found


def flickr(where: Path, model: str) -> Pairs:
    """Photos and captions of a zip, encoded; the vectors are kept beside the system's temporary files."""
    from mmsearch import models, relevance

    encoder = models.resolve(model)
    spec = encoder.spec
    kept = Path(tempfile.gettempdir()) / f"{where.stem}-{spec.fingerprint[:16]}.npz"
    if not kept.exists():
        images, texts, owner = _encode(where, encoder)
        np.savez(kept, images=images, texts=texts, owner=owner)
    rows = np.load(kept)
    bank = relevance.bank_vectors(encoder, kept.parent)
    return Pairs(where.stem, spec.name, rows["images"], rows["texts"], rows["owner"], bank, spec.fingerprint)


def _encode(where: Path, encoder) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    lines, images = _pictures(where, encoder, None)
    captions = [(n, caption) for n, line in enumerate(lines) for caption in line["captions"]]
    texts = [encoder.encode_texts([c for _, c in captions[at : at + 64]]) for at in range(0, len(captions), 64)]
    return images, np.concatenate(texts), np.array([n for n, _ in captions])


def labelled(where: Path, fields: tuple[str, ...], model: str, n: int = 1500) -> tuple[Vectors, list[str]]:
    """Some pictures of a zip, drawn at random, and what they are by these fields."""
    from mmsearch import models

    lines, images = _pictures(where, models.resolve(model), n)
    return images, ["|".join(str(line.get(field)) for field in fields) for line in lines]


def _pictures(where: Path, encoder, n: int | None) -> tuple[list[dict], Vectors]:
    """The lines of a zip's captions.jsonl (``n`` of them, drawn at random) and their pictures' rows."""
    from PIL import Image

    with zipfile.ZipFile(where) as archive:
        name = next(n for n in archive.namelist() if n.endswith("captions.jsonl"))
        lines = [json.loads(line) for line in archive.read(name).decode().splitlines()]
        if n is not None:
            lines = [lines[at] for at in np.random.default_rng(0).permutation(len(lines))[:n]]
        below = {n.rsplit("/", 1)[-1]: n for n in archive.namelist()}
        rows = []
        for at in range(0, len(lines), 32):
            names = [line["image"].rsplit("/", 1)[-1] for line in lines[at : at + 32]]
            pictures = [Image.open(io.BytesIO(archive.read(below[name]))) for name in names]
            rows.append(encoder.encode_images([encoder.preparer(picture.convert("RGB")) for picture in pictures]))
    return lines, np.concatenate(rows)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments that these benchmarks share."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True, help="folder with clip-vectors/ and flickr8k-dev.zip")
    made.add_argument("--model", default="mini")
    made.add_argument("--only", default="", metavar="SET", help="one set alone: shopsphere, flickr8k-dev, alike")
    made.add_argument("--seeds", type=int, default=5)
    return made
