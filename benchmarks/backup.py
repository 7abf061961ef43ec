"""What copies cost: export, import, snapshot and seal of a collection of made rows, each in a process of its own.

    python benchmarks/backup.py [--rows 1000000] [--dim 256] [--folder /somewhere/with/room]

Memory is the growth of the process's highest resident size over what it has after opening (VmHWM, set back before): file pages
that are mapped count in it while they stay in memory, so ``anonymous_mib``, sampled each 20 ms, tells what was really held.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from _report import row

import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.store import Change, Store
from mmsearch.types import Draft, Kind

SEED = 4
BLOCK = 8192


def make(folder: Path, rows: int, dim: int) -> None:
    """Rows on the sphere, items with a path, a digest and three fields of meta."""
    rng = np.random.default_rng(SEED)
    spec = ToyEncoder(dim=dim).spec
    with Store.create(folder, dim=dim, model=spec.name, fingerprint=spec.fingerprint) as store, store.writer() as writer:
        writer.add_root("photos", "/photos")
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            vectors = rng.standard_normal((n, dim), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            digests = rng.bytes(32 * n)
            drafts = [_draft(start + at, digests[32 * at : 32 * at + 32]) for at in range(n)]
            writer.commit(Change(drafts, vectors))


def _draft(number: int, digest: bytes) -> Draft:
    path = f"{number // 1000:04d}/IMG_{number:07d}.jpg"
    meta = {"price": number % 997, "brand": f"brand {number % 89}", "new": number % 3 == 0}
    return Draft(id=path, kind=Kind.IMAGE, root="photos", path=path, size=100_000 + number, mtime_ns=10**18 + number,
                 digest=digest, width=640, height=480, meta=meta)  # fmt: skip


def status(name: str) -> float:
    """A figure of /proc/self/status in MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


class Anonymous(threading.Thread):
    """The most memory of its own that the process had."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self._ended = 0.0, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, status("RssAnon"))

    def end(self) -> float:
        self._ended.set()
        self.join()
        return self.most


def do(verb: str, collection: Path, target: Path) -> dict[str, float]:
    """One verb, timed and weighed, in this process."""
    from mmsearch.backup import tables

    tables.pyarrow()
    before = status("RssAnon")
    if verb == "import":
        run = lambda: mm.Collection.import_archive(collection, target)  # noqa: E731
    else:
        opened = mm.Collection.open(collection)
        run = {"export": lambda: opened.export(target), "snapshot": lambda: opened.copy_to(target),
               "snapshot --link": lambda: opened.copy_to(target, link=True), "seal": opened.seal}[verb]  # fmt: skip
    watch = Anonymous()
    watch.start()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu,
            "anonymous_mib": watch.end() - before, "resident_mib": status("VmHWM")}  # fmt: skip


def size(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def main(rows: int, dim: int, folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as tmp:
        here = Path(tmp)
        make(here / "c", rows, dim)
        steps = [("export", "c", "a.mmsearch"), ("import", "a.mmsearch", "back"), ("snapshot", "c", "copy"),
                 ("snapshot --link", "c", "linked"), ("seal", "back", "back")]  # fmt: skip
        for verb, source, target in steps:
            os.sync()
            command = [sys.executable, __file__, "--do", verb, str(here / source), str(here / target)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            taken = size(here / target)
            row(f"backup.{verb}", seed=SEED, rows=rows, dim=dim, rows_per_s=rows / found["seconds"], **found,
                bytes_per_item=taken / rows, of_the_collection=taken / size(here / "c"))  # fmt: skip
        with mm.Collection.open(here / "c") as one, mm.Collection.open(here / "back") as two:
            query = mm.vector(np.random.default_rng(1).standard_normal(dim))
            assert one.search(query, k=100).ids == two.search(query, k=100).ids


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--folder")
    parser.add_argument("--do", nargs=3)
    given = parser.parse_args()
    if given.do:
        print(json.dumps(do(given.do[0], Path(given.do[1]), Path(given.do[2]))))
    else:
        main(given.rows, given.dim, given.folder)
