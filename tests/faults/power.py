"""Cuts the power of a recorded life again and again, and checks what is left each time."""

from __future__ import annotations

import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import life as lives
from tests.faults.life import KillStore, Life, check, find_state
from tests.faults.mutants import broken
from tests.faults.replay import after_power_cut, build
from tests.faults.trace import Event, record
from tests.store.fork_server import step
from tests.store.model import MEMORY, clean


@dataclass(slots=True)
class Recorded:
    """A life that has been lived and may now be cut anywhere."""

    seed: int
    mutant: str
    events: list[Event]
    life: Life
    final: dict[str, bytes | None]
    """What was in the folder at its end."""


@dataclass(slots=True)
class Report:
    """How many states were checked, what was wrong with which, and what the events were."""

    states: int = 0
    bad: list[str] = field(default_factory=list)
    in_flight: int = 0
    events: Counter[str] = field(default_factory=Counter)


def run_life(seed: int, steps: int = 30, mutant: str = "") -> Recorded:
    """Lives in a process of its own, under strace."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-life-") as scratch:
        folder = Path(scratch) / "home"
        folder.mkdir()
        command = [sys.executable, lives.__file__, str(folder), str(seed), str(steps), mutant]
        events = record(command, folder, Path(scratch) / "trace")
        final = {
            path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in sorted(folder.rglob("*"))
        }
        return Recorded(seed, mutant, events, Life(seed), final)


def cuts(recorded: Recorded, states: int, seed: int) -> Iterator[str | None]:
    """Checks that many states and yields for each what was wrong, or ``None``. Everything follows from the seeds."""
    random_ = random.Random(seed)
    # Most events are SQLite's; every second cut comes after one of ours.
    ours = [at for at, event in enumerate(recorded.events, start=1) if "catalog.db" not in event.path]
    with broken(recorded.mutant):
        for number in range(states):
            at = random_.choice(ours) if number % 2 else random_.randint(0, len(recorded.events))
            before = recorded.events[:at]
            state = after_power_cut(before, random.Random(f"{seed} {number}"))
            said = [event.data.decode() for event in before if event.what == "said"]
            acknowledged = int(said[-1].removeprefix("ack ")) if said else -1
            with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-cut-") as scratch:
                build(state, Path(scratch))
                try:
                    _survives(Path(scratch) / lives.PLACE, recorded.life, acknowledged, number)
                except Exception as error:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    what = f"{type(error).__name__}: {str(error) or where.line}"
                    yield f"life {recorded.seed}, cut {seed}/{number} after event {at}: {what}"[:600]
                else:
                    yield None


def _survives(path: Path, life: Life, acknowledged: int, number: int) -> None:
    if acknowledged < 0:
        lives.create(path)  # nobody was told that there is one; now there must be
    with KillStore.open(path) as store:
        at = find_state(store, life, max(acknowledged, 0))
        with store.writer() as writer:  # write again, and check again: that is what finds a wrong offset
            for _ in range(3):
                step(writer, life.step(at))
                at += 1
        check(store, life.state(at))
        if number % 4 == 0:
            with store.writer() as writer:
                writer.compact()
            store.repair()  # unlinks what was left over
            clean(store)
    with KillStore.open(path) as store:
        check(store, life.state(at))


def campaign(seed: int, states: int, steps: int = 30) -> Report:
    """One life, and that many power cuts."""
    recorded = run_life(seed, steps)
    report = Report(events=Counter(event.what for event in recorded.events))
    for wrong in cuts(recorded, states, seed):
        report.states += 1
        if wrong is not None:
            report.bad.append(wrong)
    return report


def caught_after(mutant: str, limit: int, seed: int = 1, steps: int = 20) -> tuple[int, str] | None:
    """How many power cuts it took to notice a mutant, and what was noticed; ``None`` if it was not."""
    for number, wrong in enumerate(cuts(run_life(seed, steps, mutant), limit, seed), start=1):
        if wrong is not None:
            return number, wrong
    return None
