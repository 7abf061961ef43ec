"""SQLite's own calls fail: the kernel's answer to the Nth call on the catalogue's files is replaced by an error.

Our own calls fail through :class:`mmsearch.store.Calls` (``tests/store/test_faults.py``); SQLite's are reached by
``strace``'s injection.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.faults import life as lives
from tests.faults.life import KillStore, Life, check, create, find_state
from tests.faults.trace import Event
from tests.store.fork_server import step
from tests.store.model import MEMORY

_CALLS = {"write": "pwrite64", "sync": "fdatasync", "truncate": "ftruncate", "unlink": "unlink"}
ERRORS = ("EIO", "ENOSPC")

Point = tuple[str, int, str]
"""A system call, which one of them, and the error."""


def points(events: Sequence[Event], number: int, seed: int) -> list[Point]:
    """Calls on the catalogue's files, as many of each kind as there are to be had of that number."""
    there = Counter(_CALLS[event.what] for event in events if event.what in _CALLS and "catalog.db" in event.path)
    random_ = random.Random(seed)
    return [
        (call, at, random_.choice(ERRORS))
        for call, total in sorted(there.items())
        for at in sorted(random_.sample(range(1, total + 1), min(total, number // len(there))))
    ]


def survives(seed: int, steps: int, point: Point) -> str:
    """Lives, with the failure, and checks what is there; returns how the life ended. Raises ``AssertionError``."""
    call, at, error = point
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-inject-") as home:
        path = Path(home) / lives.PLACE
        files = [f"{path}/catalog.db{end}" for end in ("", "-wal", "-journal", ".new", ".new-wal", ".new-journal")]
        only = [part for file in files for part in ("-P", file)]
        command = [
            "strace",
            "-f",
            "-qq",
            "-o",
            os.devnull,
            *only,
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:error={error}:when={at}",
        ]
        life = [sys.executable, lives.__file__, home, str(seed), str(steps), ""]
        done = subprocess.run([*command, *life], capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
        said = [int(line.removeprefix("ack ")) for line in done.stdout.splitlines()]
        ended = done.stderr.strip().splitlines()[-1] if done.returncode else "went on"
        assert ended == "went on" or ended.startswith("mmsearch.errors.StorageError"), f"{point}: {done.stderr[-1500:]}"
        if not said:
            create(path)
        with KillStore.open(path) as store:
            number = find_state(store, Life(seed), max([0, *said]))
            again = Life(seed)
            with store.writer() as writer:
                for _ in range(3):
                    step(writer, again.step(number))
                    number += 1
            check(store, again.state(number))
    return ended.split(":")[0].rpartition(".")[2]
