"""A damaged index file under a whole collection: every search still finds what brute force finds, and ``verify`` names the file."""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np

import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.indexes import recipes, saved
from mmsearch.store import IndexInfo
from mmsearch.types import Kind, Vectors
from tests.fuzz.mutate import blind
from tests.store.model import MEMORY, stored, vector

DIM, ROWS, WIDE = 16, 60, 10**6


def _row(number: int) -> Vectors:
    return vector(number, DIM)


@cache
def good() -> dict[str, bytes]:
    """The files of a collection of images with an approximate index that visits every list."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name) / "c"
        with mm.Collection.open(folder, create=True, model=ToyEncoder(dim=DIM)) as collection:
            collection.add([mm.Item(id=str(n), image=b"-", vector=_row(n)) for n in range(ROWS)])
            store = collection._store
            with store.snapshot() as snapshot:
                vids = snapshot.live(Kind.IMAGE).vids
                made = recipes.build(recipes.RECIPES["ivf-sq8"], snapshot, vids, DIM)
            plan = saved.Plan("ivf-sq8", (saved.Setting(WIDE, 4096, WIDE),), exact_below=0)
            ann = saved.Ann(made, vids, int(vids[-1]) + 1, plan)
            about = json.dumps({"name": "ivf-sq8", "recall": {}, "ms": 0.0, "exact_ms": 0.0, "rows": ROWS})
            with store.writer() as writer:
                writer.put_index(IndexInfo("image", "", 0, 0, ann.upto, about, ""), lambda path: saved.write(ann, path))
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def searches(seed: int) -> str:
    """One index file, damaged; three searches by it, and the word of ``verify``."""
    rng = random.Random(seed)
    files = good()
    target = next(name for name in files if name.startswith("indexes"))
    damaged = blind(files[target], rng) if rng.random() < 0.7 else files[target]
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-index-") as name:
        folder = Path(name) / "c"
        for one, data in (files | {target: damaged}).items():
            (folder / one).parent.mkdir(parents=True, exist_ok=True)
            (folder / one).write_bytes(data)
        with mm.Collection.open(folder, model=ToyEncoder(dim=DIM)) as collection, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in rng.sample(range(1000), 3):
                query = _row(number)
                hits = collection.search(mm.vector(query), k=10, kind="image", exact=False)
                scores = {str(n): min(1.0, float(stored(_row(n)) @ query)) for n in range(ROWS)}
                best = sorted(scores.values(), reverse=True)[:10]
                np.testing.assert_allclose([hit.score for hit in hits], best, atol=2e-5)
                assert all(abs(scores[hit.id] - hit.score) < 2e-5 for hit in hits)
            named = any((one.level, one.what) == ("warning", "index") for one in collection.verify())
            assert named == (damaged != files[target])
            due = collection.index_due()
            assert bool(due) or not named, "nobody says that it must be built anew"
    return "named" if named else "whole"
