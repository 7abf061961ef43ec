"""The life of a store whose power is cut: what is done, and what must be there afterwards.

Run as a script it lives in a folder, under ``strace``: a new store, then some steps of a history in several sessions.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from mmsearch.store import Change, Snapshot, Store
from tests.faults.mutants import broken
from tests.store.fork_server import DIM, KillStore, history, say, step
from tests.store.model import Model

PLACE = "new/c"
"""Where the collection lies: in a folder that is not there either, when it is made."""


def create(path: Path) -> None:
    """The first step of every life; may be done again after an interruption."""
    if not KillStore.exists(path):
        KillStore.create(path, dim=DIM, model="toy", fingerprint="f").close()
    with KillStore.open(path) as store, store.writer() as writer:
        writer.add_root("photos", "/pictures")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a store holds after some steps."""

    model: Model
    note: str | None = None
    index: int | None = None

    def after(self, what: Change | str) -> Expected:
        """The state one step later."""
        if isinstance(what, Change):
            model = self.model.copy()
            model.apply(what)
            return Expected(model, self.note, self.index)
        if what.startswith("note"):
            return Expected(self.model, what, self.index)
        if what.startswith("index"):
            return Expected(self.model, self.note, int(what.split()[1]))
        return self

    def looks_like(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot may be this state, by a quick look."""
        index = [one.upto_vid for one in snapshot.indexes()]
        return (
            snapshot.live().vids.tolist() == sorted(self.model.items)
            and snapshot.meta("note") == self.note
            and index == ([] if self.index is None else [self.index])
            and len(list(snapshot.failures())) == len(self.model.failures)
        )


class Life:
    """The steps of a history and the states between them. State ``n`` is that after ``n`` steps; made as far as asked for."""

    def __init__(self, seed: int) -> None:
        self._history = history(seed)
        self.steps: list[Change | str] = []
        self._states = [Expected(Model())]
        self._states[0].model.roots["photos"] = "/pictures"

    def state(self, number: int) -> Expected:
        """What the store holds after that many steps."""
        while len(self._states) <= number:
            self.steps.append(next(self._history))
            self._states.append(self._states[-1].after(self.steps[-1]))
        return self._states[number]

    def step(self, number: int) -> Change | str:
        """The step that leads from state ``number`` to the next."""
        self.state(number + 1)
        return self.steps[number]


def check(store: Store, expected: Expected) -> None:
    """Asserts that the store holds just this, in every way of asking, and that nothing is wrong with its files."""
    with store.snapshot() as snapshot:
        expected.model.compare(snapshot)
        assert snapshot.meta("note") == expected.note
        assert [one.upto_vid for one in snapshot.indexes()] == ([] if expected.index is None else [expected.index])
    bad = [one for one in store.verify() if one.level != "ok" and one.what != "orphan"]
    assert bad == [], bad


def find_state(store: Store, life: Life, acknowledged: int) -> int:
    """The number of the state that the store is in: all that was acknowledged, and at most the step in flight."""
    with store.snapshot() as snapshot:
        for number in (acknowledged + 1, acknowledged):
            if life.state(number).looks_like(snapshot):
                break
        else:
            raise AssertionError(f"not the state after {acknowledged} or {acknowledged + 1} steps: {snapshot.count()} items")
    try:
        check(store, life.state(number))
    except AssertionError:
        # a compaction changes nothing that is asked for here, and a step may leave all as it was
        with suppress(AssertionError):
            check(store, life.state(acknowledged))
            return acknowledged
        raise
    return number


def live(folder: str, seed: int, steps: int, mutant: str) -> None:
    """Says ``ack 0`` when the store is made, ``ack n`` after each step."""
    sessions = random.Random(seed)
    life = Life(seed)
    with broken(mutant):
        path = Path(folder) / PLACE
        create(path)
        say("ack 0")
        done = 0
        while done < steps:
            with KillStore.open(path) as store, store.writer() as writer:
                for _ in range(sessions.randint(1, 8)):
                    step(writer, life.step(done))
                    done += 1
                    say(f"ack {done}")


if __name__ == "__main__":
    live(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
