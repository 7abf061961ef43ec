"""Ten thousand damaged pictures through the decode workers, by ``mmsearch index`` itself: does the run end, is each failure named?

    python benchmarks/faults/pool.py [--count 10000] [--seed 1] [--workers 2]

Makes a folder (one file in ten is a good picture, the rest are mutants of all formats, bombs, a FIFO, links in circles), indexes
it with the toy encoder, and compares what the program says with what lies there. One JSON line; the exit status is 1 if the run
failed, a file is neither indexed nor named, or a good picture is missing. Needs psutil for the memory.
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
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _report import row  # noqa: E402

from mmsearch.collection import Collection  # noqa: E402
from tests.fuzz import pictures  # noqa: E402


class Peak(threading.Thread):
    """The most memory that a process and its workers held, in MiB, looked at every 50 ms."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process, self._over = psutil.Process(pid), threading.Event()
        self.parent = self.worker = 0.0
        self.workers: set[int] = set()

    def run(self) -> None:
        while not self._over.wait(0.05):
            try:
                self.parent = max(self.parent, self._process.memory_info().rss / 2**20)
                for child in self._process.children():
                    if "mmsearch.decoding.worker" not in child.cmdline():
                        continue
                    self.worker = max(self.worker, child.memory_info().rss / 2**20)
                    self.workers.add(child.pid)
            except psutil.Error:
                continue

    def stop(self) -> None:
        self._over.set()
        self.join()


def index(folder: Path, collection: Path, workers: int) -> tuple[int, dict[str, Any], str, float, Peak]:
    """Exit status, report, stderr, seconds and memory of one ``mmsearch index``."""
    command = [sys.executable, "-m", "mmsearch", "-c", str(collection), "index", str(folder), "--model", "toy", "--json"]
    command += ["--workers", str(workers)]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        peak = Peak(process.pid)
        peak.start()
        out, err = process.communicate()
        peak.stop()
    return process.returncode, json.loads(out) if out.strip() else {}, err, time.monotonic() - began, peak


class Seen(NamedTuple):
    """What was indexed by kind of file, what was not by reason, which files ended a worker, and what is wrong with that."""

    indexed: Counter[str]
    skipped: Counter[str]
    ended_workers: dict[str, str]
    wrong: list[str]


def examine(folder: Path, collection: Path) -> Seen:
    """Compares the files with the collection."""
    files = {entry.name for entry in os.scandir(folder) if not entry.is_dir(follow_symlinks=False)}
    with Collection.open(collection) as opened:
        failures = {one.path: one for one in opened.failures()}
        with opened._store.snapshot() as snapshot:
            items = {one.path or "" for one in snapshot.records(snapshot.live().vids)}
        findings = [one.detail for one in opened.verify() if one.level != "ok"]
    linked = {name for name in files if (folder / name).is_symlink()}
    lost = sorted(files - items - set(failures) - linked)
    wrong = [f"neither indexed nor named: {name}" for name in lost]
    wrong += [f"both indexed and named: {name}" for name in sorted(items & set(failures))]
    wrong += [f"a good picture is missing: {name}" for name in sorted(files - items) if name.startswith("good-")]
    wrong += [f"without a reason: {path}" for path, one in failures.items() if not one.reason or not one.detail]
    ended = {path: one.detail for path, one in failures.items() if one.reason in ("crashed", "timeout")}
    indexed = Counter(name.split("-")[0] for name in items)
    return Seen(indexed, Counter(one.reason for one in failures.values()), ended, wrong + findings)


def _numbers(report: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in report.items() if isinstance(value, int | float)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmsearch-pool-") as name:
        folder, collection = Path(name) / "pictures", Path(name) / "collection"
        folder.mkdir()
        made = pictures.fill(folder, options.count, options.seed)
        status, report, err, seconds, peak = index(folder, collection, options.workers)
        seen = examine(folder, collection) if status == 0 else Seen(Counter(), Counter(), {}, [err[-800:]])
        again, second, *_ = index(folder, collection, options.workers)
    wrong = seen.wrong
    source = (second.get("sources") or [{}])[0]
    if (again, source.get("added"), source.get("updated")) != (0, 0, 0):
        wrong.append(f"a second run: {again} {source}"[:300])
    row("fuzz: decode workers", seed=options.seed, files=options.count, made=made, exit=status, indexed=dict(seen.indexed),
        skipped=dict(seen.skipped.most_common()), ended_workers=seen.ended_workers, wrong=len(wrong), what=wrong[:5],
        seconds=seconds, workers_started=len(peak.workers), workers_died=max(0, len(peak.workers) - options.workers),
        peak_mb={"program": round(peak.parent), "worker": round(peak.worker)},
        report=_numbers((report.get("sources") or [{}])[0]))  # fmt: skip
    sys.exit(bool(wrong) or status != 0)


if __name__ == "__main__":
    main()
