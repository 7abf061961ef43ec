"""The benchmark of scans runs, and measures what it says it measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scan.py"


def test_benchmark_of_scans_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--files", "1200", "--rounds", "1", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["what"] for row in rows] == ["folder", "folder, one exclude pattern", "folder, captions", "manifest, CSV"]
    assert {row["files"] for row in rows} == {1200}
    assert all(row["ratio"] > 0 and row["ratio_cpu"] > 0 for row in rows[:3])
    assert sum(1 for _ in tmp_path.rglob("*.jpg")) == 1200
