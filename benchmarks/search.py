"""Searching, against other libraries: recall and queries per CPU second, with and without filters, on made and real vectors.

    python benchmarks/search.py run [--seed 0] [--rows 100000] [--vectors IMAGES.npy TEXTS.npy] [--peers ENV/bin/python]
    python benchmarks/search.py table RESULTS.jsonl

Every contender answers the same queries: pictures that are not stored, and texts, which lie outside the pictures' distribution.
Lines ``search`` have every setting of every contender; then each peer takes turns, with the fastest of its settings that reaches
a text recall of 0.95, with what the planner chose before it knew the queries and with the best of all our settings on them: lines
``search.turns`` have the ratios, round by round. ``bytes`` is what an index takes for a row; ours re-scores from the collection's
own float16 rows, whose bytes stand in ``with_rows``. Times are CPU seconds of the process, so that a shared machine does
not decide. Peers live in an environment of their own: ``pip install faiss-cpu scann usearch hnswlib lancedb chromadb``.
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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _peers import BATCH, K, Search, measure, rate
from _report import row
from _vectors import make

from mmsearch.indexes import planner, saved
from mmsearch.indexes.exact import ArrayRows, ExactIndex
from mmsearch.indexes.faiss import FaissIndex
from mmsearch.indexes.recipes import RECIPES
from mmsearch.indexes.saved import Ann, Plan
from mmsearch.protocols import VectorIndex
from mmsearch.types import VidSet

TARGET = 0.95
ALWAYS = ("mmsearch planned",)  # chosen before these queries were known: shown as it came out
ROUNDS = 5
ONE_THREAD = ("OMP_NUM_THREADS", "LANCE_CPU_THREADS", "LANCE_IO_THREADS", "TOKIO_WORKER_THREADS", "RAYON_NUM_THREADS")
PEERS = ("ScaNN", "hnswlib", "usearch", "FAISS", "LanceDB", "Chroma", "numpy")


def vectors(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Rows and queries, with the true neighbours. Of real sets every tenth picture is asked and not stored."""
    if args.vectors:
        images, texts = (np.load(path).astype(np.float32) for path in args.vectors)
        asked = np.arange(len(images)) % 10 == 0
        chosen = np.random.default_rng(args.seed).permutation(len(texts))
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
    facts = {"rows": len(data["rows"]), "dim": data["rows"].shape[1], "set": args.set, "seed": args.seed}
    mine = ours(data, facts, args)
    names = [name for name in args.only if name in PEERS]
    if args.peers and names:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors.npz"
            np.savez(path, **data)
            texts = data.pop("texts")
            data.clear()  # a million rows and an index of each contender would not fit
            for name in names:
                turns(args, path, name, facts, mine, texts)


def ours(data: dict[str, np.ndarray], facts: dict, args: argparse.Namespace) -> dict[str, Search]:
    """The planner's choice, with filters and its file, and all our settings. Returns the choice, and the best of the others."""
    n, dim = data["rows"].shape
    vids = np.arange(n, dtype=np.int64)
    rows, everything = ArrayRows(vids, data["rows"]), VidSet(vids, is_sorted=True)
    found: list[tuple[float, str, Search]] = []

    def tell(name: str, setting: str, index: VectorIndex, size: float, build: float) -> None:
        def search(queries: np.ndarray) -> np.ndarray:
            return index.search(queries, K, within=everything).vids

        figures = measure(search, data)
        row("search", **facts, name=name, setting=setting, **figures, bytes=size, with_rows=size + 2 * dim, build=build)
        if figures["recall_text"] >= TARGET or name in ALWAYS:
            found.append((figures["single"], name, search))

    if not args.quick:
        tell("mmsearch exact", "every row", ExactIndex(rows), 0.0, 0.0)
    began = time.process_time()
    some = vids[:: max(n // 500, 1)][:500]
    queries = {"image": (rows.gather(some).astype(np.float32), some), "text": (data["learn"], None)}
    aim = planner.Aim(recipes=tuple(args.recipes))
    choice = planner.choose(rows, vids, queries, aim, lambda what, share: None)
    row("search.plan", **facts, reason=choice.reason, cpu_seconds=time.process_time() - began)
    anns = {one.ann.plan.recipe: one for one in choice.tried if len(one.ann.vids) == n}
    if choice.best is not None:
        anns[choice.best.ann.plan.recipe] = choice.best
    for name, tuned in anns.items():
        size = RECIPES[name].bytes(dim) + 8
        if choice.best is not None and tuned is choice.best:
            tell("mmsearch planned", _words(tuned.ann), FaissIndex(rows, tuned.ann), size, tuned.seconds)
            if not args.quick:
                filtered(data, facts, rows, tuned.ann)
                opening(tuned.ann, facts)
        elif args.quick:
            continue
        chosen = choice.best is not None and tuned is choice.best
        for probe in planner._probes(tuned.ann, K)[:: 2 if chosen and not args.quick else 4]:
            if not 0.015 <= probe / tuned.ann.widest <= 0.12:
                continue
            for factor in (5,) if args.quick else (4, 5, 6, 8, 12) if chosen else (5, 8, 12):
                setting = saved.Setting(K, probe, factor * K)
                ann = Ann(tuned.ann.index, tuned.ann.vids, tuned.ann.upto, Plan(name, (setting,), 0))
                tell(f"mmsearch {name}", _words(ann), FaissIndex(rows, ann), size, tuned.seconds)
    mine = {name: search for _, name, search in found if name in ALWAYS}
    best = max((one for one in found if one[1].startswith("mmsearch ivf")), default=None, key=lambda one: one[0])
    if best is not None:
        mine["mmsearch best"] = best[2]
    return mine


class Peer:
    """A contender in a process of its own, which ends with the block."""

    def __init__(self, python: str, path: Path, name: str, limit: float) -> None:
        environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
        command = [python, str(Path(__file__).parent / "_peers.py"), str(path), name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        self._timer = threading.Timer(limit, self._process.kill)
        self._timer.start()

    def lines(self) -> Iterator[dict]:
        """Its settings, until it is ready for turns, or out of time."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"ready"'):
                self._timer.cancel()
                return
            if line.startswith("{"):
                yield json.loads(line)
        yield {"failed": f"it ended, or its time was up ({self._timer.interval:.0f} s)"}

    def rate(self, setting: int, size: int) -> float:
        """Queries per CPU second."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{setting} {size}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.wait()


def turns(args: argparse.Namespace, path: Path, name: str, facts: dict, mine: dict[str, Search], texts: np.ndarray) -> None:
    """All settings of a peer, and then rounds of the best of them and of ours."""
    with Peer(args.peers, path, name, args.limit) as peer:
        lines = []
        for line in peer.lines():
            row("search", **facts, **{"name": name} | line)
            lines.append(line)
        good = [at for at, line in enumerate(lines) if line.get("recall_text", 0.0) >= TARGET]
        if not good or "failed" in lines[-1]:
            return
        chosen = max(good, key=lambda at: lines[at]["single"])
        sizes = (1, BATCH)
        contenders: dict[str, Callable[[int], float]] = {name: partial(peer.rate, chosen)}
        contenders |= {one: partial(rate, search, texts) for one, search in mine.items()}
        rates: dict[str, list[list[float]]] = {one: [] for one in contenders}
        for _ in range(ROUNDS):
            for one, ask in contenders.items():
                rates[one].append([ask(size) for size in sizes])
        theirs = np.array(rates[name])
        for one in mine:
            own = np.array(rates[one])
            row("search.turns", **facts, name=one, peer=name, setting=lines[chosen]["setting"],
                recall_peer=lines[chosen]["recall_text"], ours=np.median(own, axis=0).tolist(),
                theirs=np.median(theirs, axis=0).tolist(), ratio_single=float(np.median(own[:, 0] / theirs[:, 0])),
                least_single=float((own[:, 0] / theirs[:, 0]).min()), most_single=float((own[:, 0] / theirs[:, 0]).max()),
                ratio_batched=float(np.median(own[:, 1] / theirs[:, 1])))  # fmt: skip


def _words(ann: Ann) -> str:
    setting = ann.plan.settings[0]
    return f"{ann.plan.recipe}, {setting.probe} {ann.recipe.knob}, {setting.candidates} candidates"


def filtered(data: dict[str, np.ndarray], facts: dict, rows: ArrayRows, ann: Ann) -> None:
    """Filters at random, and such as follow the vectors (half of them far from the query): recall, and how many come back."""
    n = len(data["rows"])
    rng = np.random.default_rng(facts["seed"] + 1)
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
                row("search.filtered", **facts, selected=share, how=how, kind=kind, recall=float(recall),
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


def table(path: Path) -> None:
    """Per contender the fastest setting with a text recall of 0.95 at least; and the rounds in which they took turns."""
    everything = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [one for one in everything if one["benchmark"] == "search" and "failed" not in one]
    for facts in sorted({(one["set"], one["rows"], one["seed"]) for one in lines}):
        mine = [one for one in lines if (one["set"], one["rows"], one["seed"]) == facts]
        print(f"\n{facts[0]}, {facts[1]:,} rows, seed {facts[2]}: queries per CPU second at text recall@10 ≥ 0.95\n")
        print("| contender | setting | recall image / text | one by one | batches of 64 | bytes | with rows | build, CPU s |")
        print("|---|---|---|---|---|---|---|---|")
        best = {}
        for one in mine:
            enough = one["recall_text"] >= TARGET or one["name"] in ALWAYS
            if enough and one["single"] > best.get(one["name"], {"single": 0})["single"]:
                best[one["name"]] = one
        for one in sorted(best.values(), key=lambda each: -each["single"]):
            figures = [one["single"], one["batched"], one["bytes"], one.get("with_rows", one["bytes"]), one["build"]]
            recall = f"{one['recall_image']:.3f} / {one['recall_text']:.3f}"
            print(f"| {one['name']} | {one['setting']} | {recall} | " + " | ".join(f"{value:,.0f}" for value in figures) + " |")
        for name in sorted({one["name"] for one in mine} - best.keys()):
            top = max((one for one in mine if one["name"] == name), key=lambda each: each["recall_text"])
            print(f"| {name} | {top['setting']} | {top['recall_image']:.3f} / {top['recall_text']:.3f}: below 0.95 | | | | | |")
        print("\n| ours | against | one by one, median of rounds (range) | batches of 64 | queries/s, ours and theirs |")
        print("|---|---|---|---|---|")
        for one in everything:
            if one["benchmark"] == "search.turns" and (one["set"], one["rows"], one["seed"]) == facts:
                told = f"{one['ratio_single']:.2f} ({one['least_single']:.2f} to {one['most_single']:.2f})"
                told += f" | {one['ratio_batched']:.2f}"
                rates = f"{one['ours'][0]:,.0f}, {one['theirs'][0]:,.0f}"
                print(f"| {one['name']} | {one['peer']}, {one['setting']}, {one['recall_peer']:.3f} | {told} | {rates} |")


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
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--limit", type=float, default=900.0, help="seconds that a peer may take to build and to answer")
    one.add_argument("--quick", action="store_true", help="of ours only the planner's recipe, few settings, no filters")
    two = commands.add_parser("table")
    two.add_argument("results", type=Path)
    args = parser.parse_args()
    sys.exit({"run": run, "table": lambda args: table(args.results)}[args.command](args))
