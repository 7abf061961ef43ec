"""What a person waits for at the shell: whole processes of ``mmsearch query``, against what they cannot do without.

    python benchmarks/cold.py [--rounds 15] [--items 10000] [--vit]

``cold``    a query never asked before, with ``mini``, against ``python -c "import numpy, onnxruntime, sqlalchemy, click"``.
``again``   the same query for the second time: its vector is remembered, no model is loaded.
``warm``    a new query through ``mmsearch worker`` (the worker's own time is in the wall time, not in the CPU time).
``vit``     a new query with a text tower of ViT-B/32's size (random weights, exported to ONNX: a minute), against a bare
            onnxruntime script that loads the same file and answers once.

The sides take turns, so that other work on the machine falls on all. Ratios are medians over the rounds, by wall time and by
processor time of the process; the second is disturbed less.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _report import row
from index import random_weights

import mmsearch as mm
from mmsearch import models

SEED = 5
IMPORTS = "import numpy, onnxruntime, sqlalchemy, click"
BARE = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
tokens = numpy.zeros((1, int(sys.argv[2])), numpy.int64)
tokens[0, :4] = (49406, 320, 2368, 49407)
print(session.run(None, {"tokens": tokens})[0][0, :3])
"""


def main(rounds: int, items: int, vit: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cold") as tmp:
        folder = Path(tmp)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MMSEARCH_", "XDG_", "PYTHON"))}
        env |= {"HOME": tmp, "XDG_RUNTIME_DIR": tmp, "MMSEARCH_MODEL_DIR": f"{tmp}/models"}
        fill(folder / "mini", "mini", items)
        against_imports(folder / "mini", env, rounds, items)
        if vit:
            against_bare_onnxruntime(folder, env, rounds, items)


def fill(path: Path, model: str, items: int) -> None:
    """A collection of ``items`` pictures with random vectors."""
    rng = np.random.default_rng(SEED)
    with mm.Collection.open(path, create=True, model=model) as collection:
        rows = rng.standard_normal((items, collection.info.dim)).astype(np.float32)
        collection.add(mm.Item(id=f"photo-{n}.jpg", image=b"-", vector=rows[n]) for n in range(items))


def against_imports(path: Path, env: dict[str, str], rounds: int, items: int) -> None:
    """Three kinds of query in turns with the bare imports."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ("imports", "cold", "again", "warm")}
    for n in range(rounds + 1):  # the first round, which reads everything from the disk, is not counted
        took["imports"].append(timed([sys.executable, "-c", IMPORTS], env))
        took["cold"].append(timed(query(path, f"a dog number {n}"), env))
        took["again"].append(timed(query(path, f"a dog number {n}"), env))
    subprocess.run([sys.executable, "-m", "mmsearch", "-q", "worker"], env=env, check=True)
    try:
        bare = []
        for n in range(rounds + 1):
            bare.append(timed([sys.executable, "-c", IMPORTS], env))
            took["warm"].append(timed(query(path, f"a cat number {n}"), env))
    finally:
        subprocess.run([sys.executable, "-m", "mmsearch", "-q", "worker", "--stop"], env=env, check=True)
    for name, base in (("cold", took["imports"]), ("again", took["imports"]), ("warm", bare)):
        report(f"cold.{name}", took[name][1:], base[1:], items=items, model="mini", peer=IMPORTS)


def against_bare_onnxruntime(folder: Path, env: dict[str, str], rounds: int, items: int) -> None:
    name = random_weights("ViT-B-32", str(folder))
    twin = models.export(name, model_dir=env["MMSEARCH_MODEL_DIR"])
    fill(folder / "vit", name, items)
    ours, bare = [], []
    for n in range(rounds + 1):
        bare.append(timed([sys.executable, "-c", BARE, str(twin / "text.onnx"), "77"], env))
        ours.append(timed(query(folder / "vit", f"a dog number {n}"), env))
    report("cold.vit", ours[1:], bare[1:], items=items, model="ViT-B-32 (random)", peer="onnxruntime, one script")


def query(path: Path, words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("mmsearch")), "-q", "-c", str(path), "query", words, "--top", "5"]


def timed(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(name: str, ours: list[tuple[float, float]], base: list[tuple[float, float]], **more: object) -> None:
    figures = {}
    for at, kind in enumerate(("wall", "cpu")):
        a, b = [one[at] for one in ours], [one[at] for one in base]
        figures |= {f"{kind}_s": statistics.median(a), f"peer_{kind}_s": statistics.median(b)}
        figures |= {f"{kind}_ratio": statistics.median(x / y for x, y in zip(a, b, strict=True))}
    row(name, seed=SEED, rounds=len(ours), **figures, **more)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--vit", action="store_true")
    given = parser.parse_args()
    main(given.rounds, given.items, given.vit)
