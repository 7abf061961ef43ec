"""The long proof that nothing is ever lost: power cuts, kills, failing calls, full disks, crowds of readers.

    python benchmarks/faults/run.py [--states 5000] [--kills 500] [--seconds 60] [--seed 1] [--only power,mutants,...]

``make faults`` runs it all (15 to 30 minutes on two cores) and writes a row for each part; ``docs/reliability.md`` says
what each means. The exit status is 1 if anything was lost, torn or not noticed. The tests hold a small share of the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _report import row  # noqa: E402

from tests.faults import crowd, full_disk, inject, power, trace  # noqa: E402
from tests.faults.mutants import MUTANTS  # noqa: E402
from tests.store import test_faults  # noqa: E402
from tests.store.model import MEMORY  # noqa: E402
from tests.store.server import Server  # noqa: E402

STATES_OF_A_LIFE = 100
KILLS_OF_A_LIFE = 25
STEPS = 12
SQLITE_POINTS = 80


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn"))


def power_cuts(options: argparse.Namespace) -> bool:
    """(b) Of many lives, each with its own seed, 100 states that a power cut may leave."""
    if not trace.available():
        return skipped("power cuts", "strace is missing, or may not trace here")
    lives = range(options.seed, options.seed + max(1, options.states // STATES_OF_A_LIFE))
    states, bad, events = 0, list[str](), Counter[str]()
    with _pool() as pool:
        for report in pool.map(power.campaign, lives, [min(options.states, STATES_OF_A_LIFE)] * len(lives)):
            states, bad, events = states + report.states, bad + report.bad, events + report.events
    row("faults: power cuts", seed=options.seed, lives=len(lives), states=states, bad=len(bad), what=bad[:5], events=dict(events))
    return not bad


def mutants(options: argparse.Namespace) -> bool:
    """(e) After how many power cuts each broken store is noticed."""
    if not trace.available():
        return skipped("mutants", "strace is missing, or may not trace here")
    missed = False
    with _pool() as pool:
        seeds = range(options.seed, options.seed + 5)
        for name in MUTANTS:
            found = list(pool.map(power.caught_after, [name] * 5, [300] * 5, seeds))
            cuts = [one[0] for one in found if one]
            missed |= not cuts
            first = next((one[1] for one in found if one), None)
            row("faults: mutant", seed=options.seed, mutant=name, lives=5, noticed_in=len(cuts), after_cuts=cuts, by=first)
    return not missed


def kills(options: argparse.Namespace) -> bool:
    """(a) Kills, each followed by a full check, while two processes read."""
    total, reads, worst = crowd.Kills(), 0, 0.0
    server = Server()
    try:
        for number in range(0, options.kills, KILLS_OF_A_LIFE):
            with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-kills-") as folder:
                count = min(KILLS_OF_A_LIFE, options.kills - number)
                done = crowd.kill_loop(Path(folder) / "c", server, count, options.seed + number)
            total.kills += done.kills
            total.steps += done.steps
            total.unheard += done.unheard
            reads, worst = reads + done.crowd.reads, max(worst, done.crowd.p99)
    except AssertionError as error:
        row("faults: kills", seed=options.seed + number, kills=total.kills, lost=1, what=str(error)[:600])
        return False
    finally:
        server.close()
    row("faults: kills", seed=options.seed, kills=total.kills, steps=total.steps, committed_unheard=total.unheard, lost=0,
        reads=reads, torn=0, worst_p99_ms=worst)  # fmt: skip
    return True


def failures(options: argparse.Namespace) -> bool:
    """(c) Each call that changes files fails once with each error."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-calls-") as folder:
        journal = test_faults.calls_of_a_life(Path(folder) / "whole")
        for shift in range(len(test_faults.ERRORS)):
            place = Path(folder) / str(shift)
            place.mkdir()
            test_faults.test_any_call_may_fail(place, journal, shift)
        for fail_at in range(9):
            place = Path(folder) / f"create-{fail_at}"
            place.mkdir()
            test_faults.test_a_create_that_fails_can_be_made_again(place, fail_at)
    names = Counter(call.split()[0] for call in journal)
    row("faults: failing calls", points=len(journal), errors=3, injected=3 * len(journal) + 9, lost=0, calls=dict(names))
    return True


def sqlite(options: argparse.Namespace) -> bool:
    """(c) The same for SQLite's own calls, a sample of them."""
    if not trace.available():
        return skipped("failing calls of SQLite", "strace is missing, or may not trace here")
    chosen = inject.points(power.run_life(options.seed, STEPS).events, SQLITE_POINTS, options.seed)
    with _pool() as pool:
        number = len(chosen)
        ended = Counter(pool.map(inject.survives, [options.seed] * number, [STEPS] * number, chosen))
    calls = Counter(f"{call} {error}" for call, _, error in chosen)
    row("faults: failing calls of SQLite", seed=options.seed, injected=number, lost=0, ended=dict(ended), calls=dict(calls))
    return True


def full(options: argparse.Namespace) -> bool:
    """(d) A real file system of 8 MiB with ever more of it free."""
    with tempfile.TemporaryDirectory() as folder:
        if not full_disk.available(Path(folder)):
            return skipped("full disk", "no small file system may be mounted here")
        lines = full_disk.run(Path(folder), 0, 1200, 8)
    where = Counter(
        "it was enough" if "enough" in line else "rows or index" if ".db" not in line else "catalogue" for line in lines
    )
    row("faults: full disk", disks=len(lines), lost=0, failed_at=dict(where))
    return True


def readers(options: argparse.Namespace) -> bool:
    """One writer, 8 reading processes and 8 reading threads, as fast as they can; two more would write."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-crowd-") as folder:
        steps, seen, refused = crowd.crowded(Path(folder) / "c", options.seconds, options.seed)
    row("faults: crowd", seed=options.seed, seconds=options.seconds, commits=steps, processes=8, threads=8, reads=seen.reads,
        torn=len(seen.errors), what=seen.errors[:2], p50_ms=seen.p50, p99_ms=seen.p99, worst_ms=seen.worst,
        second_writers=refused)  # fmt: skip
    return not seen.errors and refused == ["locked by the writer"] * 2


def skipped(name: str, reason: str) -> bool:
    row(f"faults: {name}", skipped=reason)
    return True


PARTS: dict[str, Callable[[argparse.Namespace], bool]] = {
    "mutants": mutants,
    "failures": failures,
    "sqlite": sqlite,
    "full": full,
    "crowd": readers,
    "kills": kills,
    "power": power_cuts,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=5000, help="power cuts")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the crowd reads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    options = parser.parse_args()
    sound = True
    for name in options.only.split(","):
        started = time.monotonic()
        good = PARTS[name](options)
        print(f"{name}: {'sound' if good else 'NOT SOUND'}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        sound &= good
    sys.exit(not sound)


if __name__ == "__main__":
    main()
