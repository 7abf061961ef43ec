"""Searching, against other libraries: recall and queries per CPU second, with and without filters, on made and real vectors.

    python benchmarks/search.py run [--rows 100000] [--dim 512] [--vectors IMAGES.npy TEXTS.npy] [--peers ENV/bin/python]
    python benchmarks/search.py again --seed 1 [--peers ENV/bin/python]
    python benchmarks/search.py table RESULTS.jsonl

``again`` makes other vectors and queries and searches them with the settings that were chosen on the first seed, and with
what the planner chooses anew; rounds of all contenders take turns.

Every contender answers the same queries: pictures that are not stored, and texts, which lie outside the pictures'
distribution. ``bytes`` is what an index takes for a row; ours re-scores from the collection's own float16 rows, whose
bytes stand in ``with_rows``. Times are CPU seconds of the process, so that a shared machine does not decide. Peers live in an
environment of their own: ``pip install faiss-cpu scann usearch hnswlib lancedb chromadb``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _peers import BATCH, K, measure, rate
from _report import row
from _vectors import make

from mmsearch.indexes import planner, saved
from mmsearch.indexes.exact import ArrayRows, ExactIndex
from mmsearch.indexes.faiss import FaissIndex
from mmsearch.indexes.recipes import RECIPES
from mmsearch.indexes.saved import Ann, Plan
from mmsearch.protocols import VectorIndex
from mmsearch.types import VidSet

SEED = 0
ALWAYS = ("mmsearch planned",)  # chosen before these queries were known: shown as it came out
FIXED = {
    "mmsearch ivf-pq2": ("ivf-pq2", 15, 120),
    "mmsearch ivf-pca-pq2": ("ivf-pca-pq2", 26, 120),
    "mmsearch planned on seed 0": ("ivf-pq2", 15, 80),
}
"""What was the fastest on seed 0 (100,000 × 512), as (recipe, lists, candidates); never turned after another seed was seen."""
ROUNDS = 5
_SCANN = """
import json, sys
import numpy as np
from _peers import measure, rate, scann_
data = dict(np.load(sys.argv[1]))
data["rows"] = data["rows"].astype(np.float32)
setting, search, facts = next(one for one in scann_(data) if one[0].startswith("505 leaves, 15"))
print(json.dumps({"setting": setting, **facts, **measure(search, data)}), flush=True)
for line in sys.stdin:
    print(rate(search, data["texts"], int(line)), flush=True)
"""
PEERS = ("ScaNN", "hnswlib", "usearch", "FAISS", "LanceDB", "Chroma", "numpy")


def vectors(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Rows and queries, with the true neighbours. Of real sets every tenth picture is asked and not stored."""
    if args.vectors:
        images, texts = (np.load(path).astype(np.float32) for path in args.vectors)
        asked = np.arange(len(images)) % 10 == 0
        chosen = np.random.default_rng(SEED).permutation(len(texts))
        half = len(texts) // 2
        data = {"rows": images[~asked], "images": images[asked][:1000], "texts": texts[chosen[:half]][:1000],
                "learn": texts[chosen[half:]]}  # fmt: skip
    else:
        made = make(args.rows, dim=args.dim, queries=args.queries, seed=args.seed)
        data = {"rows": made.rows, "images": made.images, "texts": made.texts, "learn": made.learn[:500]}
    data["rows"] = data["rows"].astype(np.float16)
    exact = ExactIndex(ArrayRows(np.arange(len(data["rows"])), data["rows"]))
    for kind in ("image", "text"):
        data[f"truth_{kind}"] = np.concatenate(
            [exact.search(part, K).vids for part in np.array_split(data[kind + "s"], -(-len(data[kind + "s"]) // BATCH))]
        )
    return data


def run(args: argparse.Namespace) -> None:
    data = vectors(args)
    facts = {"rows": len(data["rows"]), "dim": data["rows"].shape[1], "set": args.set}
    if "ours" in args.only:
        ours(data, facts, args.recipes)
    names = [name for name in args.only if name in PEERS]
    if args.peers and names:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npz"
            np.savez(path, **data)
            peers(args.peers, path, names, facts)


def ours(data: dict[str, np.ndarray], facts: dict, recipes: Sequence[str]) -> None:
    rows = ArrayRows(np.arange(len(data["rows"]), dtype=np.int64), data["rows"])
    everything = VidSet(np.arange(len(data["rows"]), dtype=np.int64), is_sorted=True)
    stored = data["rows"].shape[1] * 2

    def tell(name: str, setting: str, index: VectorIndex, size: float, build: float) -> None:
        def search(queries: np.ndarray) -> np.ndarray:
            return index.search(queries, K, within=everything).vids

        figures = measure(search, data)
        row("search", seed=SEED, **facts, name=name, setting=setting, **figures, bytes=size, with_rows=size + stored, build=build)

    tell("mmsearch exact", "every row", ExactIndex(rows), 0.0, 0.0)
    began = time.process_time()
    some = everything.vids[:: max(len(everything) // 500, 1)][:500]
    queries = {"image": (rows.gather(some).astype(np.float32), some), "text": (data["learn"], None)}
    aim = planner.Aim(recipes=tuple(recipes))
    choice = planner.choose(rows, everything.vids, queries, aim, lambda what, share: None)
    took = time.process_time() - began
    row("search.plan", seed=SEED, **facts, reason=choice.reason, cpu_seconds=took)
    anns = {one.ann.plan.recipe: one for one in choice.tried if len(one.ann.vids) == len(rows.gather(everything.vids))}
    if choice.best is not None:
        anns[choice.best.ann.plan.recipe] = choice.best
    for name, tuned in anns.items():
        size = RECIPES[name].bytes(data["rows"].shape[1]) + 8
        if choice.best is not None and tuned is choice.best:
            tell("mmsearch planned", _words(tuned.ann), FaissIndex(rows, tuned.ann), size, tuned.seconds)
            filtered(data, facts, rows, tuned.ann)
            opening(tuned.ann, facts)
        for probe in planner._probes(tuned.ann, K):
            if not 0.015 <= probe / tuned.ann.widest <= 0.13:
                continue
            for factor in (5, 8, 12):
                setting = saved.Setting(K, probe, factor * K)
                ann = Ann(tuned.ann.index, tuned.ann.vids, tuned.ann.upto, Plan(name, (setting,), 0))
                tell(f"mmsearch {name}", _words(ann), FaissIndex(rows, ann), size, tuned.seconds)


def again(args: argparse.Namespace) -> None:
    """The settings of the first seed, and the planner, on vectors and queries that neither has seen."""
    data = vectors(args)
    n, dim = data["rows"].shape
    facts = {"rows": n, "dim": dim, "set": args.set}
    rows, vids = ArrayRows(np.arange(n, dtype=np.int64), data["rows"]), np.arange(n, dtype=np.int64)
    everything = VidSet(vids, is_sorted=True)
    some = vids[:: n // 500][:500]
    queries = {"image": (data["rows"][some].astype(np.float32), some), "text": (data["learn"], None)}
    choice = planner.choose(rows, vids, queries, planner.Aim(), lambda what, share: None)
    row("search.plan", seed=args.seed, **facts, reason=choice.reason)
    built = {recipe: FaissIndex.build(rows, vids, dim, recipe=recipe) for recipe in ("ivf-pq2", "ivf-pca-pq2")}
    anns = {
        name: Ann(built[recipe].index, vids, n, Plan(recipe, (saved.Setting(K, probe, count),), 0))
        for name, (recipe, probe, count) in FIXED.items()
    }
    if choice.best is not None:
        anns["mmsearch planned anew"] = choice.best.ann
    with tempfile.TemporaryDirectory() as folder:
        contenders: dict[str, Callable[[int], float]] = {}
        told = {}
        for name, ann in anns.items():
            search = _searching(FaissIndex(rows, ann), everything)
            told[name] = {"setting": _words(ann), **measure(search, data)}
            contenders[name] = partial(rate, search, data["texts"])
        if args.peers:
            np.savez(Path(folder) / "vectors.npz", **data)
            contenders["ScaNN"], told["ScaNN"] = _scann(args.peers, Path(folder) / "vectors.npz")
        rates = {(name, size): [] for name in contenders for size in (1, BATCH)}
        for _ in range(ROUNDS):
            for (name, size), found in rates.items():
                found.append(contenders[name](size))
    for name, one in told.items():
        one |= {"single": float(np.median(rates[name, 1])), "batched": float(np.median(rates[name, BATCH]))}
        one |= {"single_rounds": [round(rate) for rate in rates[name, 1]]}
        row("search.again", seed=args.seed, **facts, name=name, **one)
    if choice.best is not None:  # the fixed ones have no settings for filters, and would compare every row
        filtered(data, facts, rows, choice.best.ann, args.seed)


def _searching(index: FaissIndex, within: VidSet) -> Callable[[np.ndarray], np.ndarray]:
    return lambda queries: index.search(queries, K, within=within).vids


def _scann(python: str, path: Path) -> tuple[Callable[[int], float], dict]:
    """ScaNN in a process that stays: asked for a round, it answers with queries per CPU second."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [python, "-c", _SCANN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked, answers = process.stdin, process.stdout
    first = next(line for line in answers if line.startswith("{"))

    def round_(size: int) -> float:
        asked.write(f"{size}\n")
        asked.flush()
        return float(answers.readline())

    return round_, json.loads(first)


def _words(ann: Ann) -> str:
    setting = ann.plan.settings[0]
    return f"{ann.plan.recipe}, {setting.probe} {ann.recipe.knob}, {setting.candidates} candidates"


def filtered(data: dict[str, np.ndarray], facts: dict, rows: ArrayRows, ann: Ann, seed: int = SEED) -> None:
    """Filters at random, and such as follow the vectors (half of them far from the query): recall, and how many come back."""
    n = len(data["rows"])
    rng = np.random.default_rng(seed + 1)
    direction = data["rows"].astype(np.float32) @ rng.standard_normal(data["rows"].shape[1]).astype(np.float32)
    exact, index = ExactIndex(rows), FaissIndex(rows, ann)
    for share in (0.5, 0.1, 0.01, 0.001):
        ways = {"random": rng.permutation(n), "along the vectors": np.argsort(direction)}
        for how, order in ways.items():
            within = VidSet(np.sort(order[: int(share * n)]))
            for kind in ("image", "text"):
                queries = data[kind + "s"][:200]
                truth = exact.search(queries, K, within=within)
                found = [index.search(queries[at : at + 1], K, within=within) for at in range(len(queries))]
                recall = np.mean([np.isin(truth.row(at)[1], one.row(0)[1]).mean() for at, one in enumerate(found)])
                least = min(int(one.counts[0]) for one in found)
                speed = rate(lambda part, within=within: index.search(part, K, within=within).vids, queries, 1)
                row("search.filtered", seed=seed, **facts, selected=share, how=how, kind=kind, recall=float(recall),
                    fewest=least, due=min(K, len(within)), single=speed, exact=all(one.exact for one in found))  # fmt: skip


def opening(ann: Ann, facts: dict) -> None:
    """Writing the index to a file, checking and opening it."""
    from mmsearch.store.indexfiles import checksum

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        saved.write(ann, path)
        began = time.perf_counter()
        checksum(path)
        checked = time.perf_counter()
        saved.read(path)
        row("search.open", **facts, bytes=path.stat().st_size, check_ms=(checked - began) * 1000,
            open_ms=(time.perf_counter() - checked) * 1000)  # fmt: skip


def peers(python: str, path: Path, names: Sequence[str], facts: dict) -> None:
    """Each in a process of its own, so that none disturbs another's memory or threads."""
    for name in names:
        command = [python, str(Path(__file__).parent / "_peers.py"), str(path), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                row("search", seed=SEED, **facts, **json.loads(line))
        if done.returncode:
            row("search", **facts, name=name, failed=done.stderr[-300:])


def table(path: Path) -> None:
    """Per contender the fastest setting with a text recall of 0.95 at least."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [one for one in lines if one["benchmark"] == "search" and "failed" not in one]
    for facts in sorted({(one["set"], one["rows"]) for one in lines}):
        mine = [one for one in lines if (one["set"], one["rows"]) == facts]
        print(f"\n{facts[0]}, {facts[1]:,} rows: queries per CPU second at text recall@10 ≥ 0.95\n")
        print("| contender | setting | recall image / text | one by one | batches of 64 | bytes | with rows | build, CPU s |")
        print("|---|---|---|---|---|---|---|---|")
        best = {}
        for one in mine:
            enough = one["recall_text"] >= 0.95 or one["name"] in ALWAYS
            if enough and one["single"] > best.get(one["name"], {"single": 0})["single"]:
                best[one["name"]] = one
        for one in sorted(best.values(), key=lambda each: -each["single"]):
            figures = [one["single"], one["batched"], one["bytes"], one.get("with_rows", one["bytes"]), one["build"]]
            recall = f"{one['recall_image']:.3f} / {one['recall_text']:.3f}"
            print(f"| {one['name']} | {one['setting']} | {recall} | " + " | ".join(f"{value:,.0f}" for value in figures) + " |")
        for name in sorted({one["name"] for one in mine} - best.keys()):
            top = max((one for one in mine if one["name"] == name), key=lambda each: each["recall_text"])
            print(f"| {name} | {top['setting']} | {top['recall_image']:.3f} / {top['recall_text']:.3f}: below 0.95 | | | | | |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run")
    one.add_argument("--rows", type=int, default=100_000)
    one.add_argument("--dim", type=int, default=512)
    one.add_argument("--queries", type=int, default=1000)
    one.add_argument("--vectors", type=Path, nargs=2, metavar="NPY", help="real ones: pictures and texts")
    one.add_argument("--set", default="made", help="the set's name in the results")
    one.add_argument("--peers", metavar="PYTHON", help="of an environment that has them")
    one.add_argument("--only", nargs="*", default=["ours", *PEERS])
    one.add_argument("--recipes", nargs="*", default=[])
    one.set_defaults(seed=SEED)
    three = commands.add_parser("again")
    three.add_argument("--seed", type=int, default=1)
    three.add_argument("--peers", metavar="PYTHON", help="of an environment that has ScaNN")
    three.set_defaults(rows=100_000, dim=512, queries=1000, vectors=None, set="made")
    two = commands.add_parser("table")
    two.add_argument("results", type=Path)
    args = parser.parse_args()
    sys.exit({"run": run, "again": again, "table": lambda args: table(args.results)}[args.command](args))
