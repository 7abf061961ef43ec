"""Bad bytes without end: every target of ``tests/fuzz`` over many seeds, in processes that may die of it.

    python benchmarks/faults/fuzz.py [--only pictures,filters] [--seeds 20000] [--first 0] [--seconds 600]

Each target takes the seeds from ``--first`` on until it has had ``--seeds`` of them or its share of ``--seconds`` is over; the
JSON line says where to go on (``next``). A seed that breaks a promise, ends the process or takes more than a minute is named:

    python benchmarks/faults/fuzz.py --only pictures --first 4711 --seeds 1        # that one again

The exit status is 1 if there was one. ``make fuzz`` runs this, then ``pool.py``.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _report import row  # noqa: E402

from tests.fuzz.targets import TARGETS  # noqa: E402

MEMORY = 6 << 30
PATIENCE = 60
"""Seconds that one seed may take."""
START = 240
"""Seconds more for the first in a process: torch is imported, models are made and exported."""
COSTLY = {"models": 60, "collections": 20, "index-searches": 20, "filter-answers": 60}
"""How much dearer a seed of these is: they get that much fewer."""


@dataclass
class Tally:
    """What came of the seeds of one target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    tried: int = 0
    slowest: float = 0.0
    next: int = 0


def serve(name: str, first: int, last: int) -> None:
    """In a process of its own: one JSON line before and one after each seed."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print must not end up between the lines
    for seed in range(first, last):
        print(json.dumps({"begins": seed}), file=out, flush=True)
        signal.alarm(PATIENCE if seed > first else START + PATIENCE)
        began = time.perf_counter()
        try:
            said, broken = TARGETS[name](seed), None
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            said, broken = "broken", f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
        signal.alarm(0)
        line = {"seed": seed, "said": said, "broken": broken, "seconds": time.perf_counter() - began}
        print(json.dumps(line), file=out, flush=True)


def run(name: str, first: int, count: int, seconds: float) -> Tally:
    """One target, its process started again behind each seed that ends it."""
    tally, until = Tally(next=first), time.monotonic() + seconds
    while tally.next < first + count and time.monotonic() < until:
        left = str(first + count - tally.next)
        command = [sys.executable, __file__, "--serve", name, "--first", str(tally.next), "--seeds", left]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            for line in process.stdout:
                _note(tally, json.loads(line))
                if time.monotonic() > until:
                    process.kill()
                    break
            else:
                process.wait()
                if process.returncode != 0:
                    tally.broken.append(f"seed {tally.next}: {_death(process.returncode)}")
                    tally.next += 1
    return tally


def _note(tally: Tally, line: dict[str, Any]) -> None:
    if "begins" in line:
        tally.next = line["begins"]
        return
    tally.tried += 1
    tally.next = line["seed"] + 1
    tally.outcomes[line["said"]] += 1
    tally.slowest = max(tally.slowest, line["seconds"])
    if line["broken"]:
        tally.broken.append(f"seed {line['seed']}: {line['broken']}")


def _death(status: int) -> str:
    if status == -signal.SIGALRM:
        return f"took more than {PATIENCE} s"
    return f"ended the process ({signal.Signals(-status).name})" if status < 0 else f"ended the process (status {status})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TARGETS), help="targets, with commas between")
    parser.add_argument("--seeds", type=int, default=20_000, help="of each target (fewer of those that are slow)")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, default=1800.0, help="for all together")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.first, options.first + options.seeds)
        return
    names, sound = options.only.split(","), True
    for name in names:
        count = max(1, options.seeds // COSTLY.get(name, 1))
        tally = run(name, options.first, count, options.seconds / len(names))
        row(f"fuzz: {name}", seed=options.first, tried=tally.tried, broken=len(tally.broken), what=tally.broken[:10],
            outcomes=dict(tally.outcomes.most_common()), slowest_s=tally.slowest, next=tally.next)  # fmt: skip
        sound &= not tally.broken
    sys.exit(not sound)


if __name__ == "__main__":
    main()
