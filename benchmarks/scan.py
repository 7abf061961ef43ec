"""What a scan costs: folders against a bare ``os.scandir`` walk with ``stat``, and the rows of a manifest.

    python benchmarks/scan.py [--files 100000] [--rounds 5] [--keep FOLDER]

Walks and scans take turns in one process, over a tree of empty files that is warm in the page cache; ``ratio`` is the median
of scan ÷ walk over the rounds, by wall time and by processor time (which other work on the machine disturbs less).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _report import row

from mmsearch.protocols import Source
from mmsearch.sources import Folder, Manifest

PER_FOLDER = 500


def make_tree(root: Path, files: int) -> None:
    """``files`` empty images, 500 in each folder, ten folders in each of those above."""
    for start in range(0, files, PER_FOLDER):
        folder = root / f"{start // PER_FOLDER // 10:03d}" / f"{start // PER_FOLDER:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        for n in range(start, min(files, start + PER_FOLDER)):
            (folder / f"IMG_{n:07d}.jpg").touch()


def bare_walk(root: str) -> int:
    """What any incremental indexer must do at least: list every folder and stat every file."""
    count, stack = 0, [root]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


def timed(action: Callable[[], int]) -> tuple[float, float, int]:
    wall, cpu = time.perf_counter(), time.process_time()
    count = action()
    return time.perf_counter() - wall, time.process_time() - cpu, count


def scan(source: Source) -> int:
    return sum(1 for _ in source.scan())


def folders(root: str, rounds: int) -> None:
    sources = {
        "folder": Folder(root),
        "folder, one exclude pattern": Folder(root, exclude=["*.tmp"]),
        "folder, captions": Folder(root, captions="sidecar"),
    }
    for name, source in sources.items():
        walks, scans, counts = [], [], set()
        for _ in range(rounds):
            walk, one = timed(lambda: bare_walk(root)), timed(lambda source=source: scan(source))  # type: ignore[misc]
            walks.append(walk[:2])
            scans.append(one[:2])
            counts |= {walk[2], one[2]}
        assert len(counts) == 1, f"the walk and the scan differ: {counts}"
        ratios = [statistics.median(s[i] / w[i] for s, w in zip(scans, walks, strict=True)) for i in (0, 1)]
        row(
            "scan",
            what=name,
            files=counts.pop(),
            walk_s=min(w[0] for w in walks),
            scan_s=min(s[0] for s in scans),
            ratio=ratios[0],
            ratio_cpu=ratios[1],
            rounds=rounds,
        )


def manifest(folder: Path, lines: int) -> None:
    path = folder / "manifest.csv"
    with open(path, "w") as stream:
        stream.write("id,text,price,in stock\n")
        stream.writelines(f'sku-{n},"a red dress, number {n}",{n % 100}.5,true\n' for n in range(lines))
    wall, cpu, count = timed(lambda: scan(Manifest(path)))
    assert count == lines
    row("scan", what="manifest, CSV", files=count, scan_s=wall, rows_per_s=count / wall, rows_per_cpu_s=count / cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder for the tree, used again the next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.keep or Path(temporary)) / f"tree-{options.files}"
        if not root.exists():
            make_tree(root, options.files)
        folders(str(root), options.rounds)
        manifest(Path(temporary), options.files)


if __name__ == "__main__":
    main()
