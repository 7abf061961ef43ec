"""Writers that are killed at any moment, and a crowd of readers that must not notice."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.faults.life import Life, check, create, find_state
from tests.faults.readers import findings
from tests.store.fork_server import KillStore, step
from tests.store.model import MEMORY, clean
from tests.store.server import Server


@dataclass(slots=True)
class Crowd:
    """What a crowd of readers saw. ``p50`` and ``p99`` are ms of a read."""

    reads: int = 0
    states: int = 0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Kills:
    """What a loop of kills did. ``unheard`` steps had reached their commit point and were not yet acknowledged."""

    kills: int = 0
    steps: int = 0
    unheard: int = 0
    crowd: Crowd = field(default_factory=Crowd)


@contextmanager
def watched(path: Path, processes: int, threads: int) -> Iterator[Crowd]:
    """Readers run while the block does; what they saw is in the crowd afterwards."""
    crowd = Crowd()
    server = Server()
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-crowd-") as out:
        stop = Path(out) / "stop"
        server.start("watch", path, processes, threads, str(stop), out)
        try:
            yield crowd
        finally:
            stop.touch()
            said = server.until_end()
            server.close()
        latencies, states, errors = findings(Path(out), processes + threads)
    crowd.errors = [*said, *errors]
    crowd.reads = len(latencies)
    crowd.states = max(states, default=0)
    if len(latencies):
        crowd.p50, crowd.p99, crowd.worst = (1000 * np.quantile(latencies, [0.5, 0.99, 1.0])).tolist()


def kill_loop(path: Path, server: Server, kills: int, seed: int, *, readers: int = 2) -> Kills:
    """After each kill the store is what some prefix of the history gives, and no acknowledged step is missing.

    Raises ``AssertionError`` at the first store that is not.
    """
    random_ = random.Random(seed)
    create(path)
    life, done, report = Life(seed), 0, Kills()
    with watched(path, readers, 0) as report.crowd, KillStore.open(path) as store:
        for _ in range(kills):
            pid = server.start("write", path, seed, done)
            lines = [server.line("ack")] if random_.random() < 0.8 else []  # else it is killed as it opens
            time.sleep(random_.expovariate(1 / 0.03))
            os.kill(pid, signal.SIGKILL)
            acknowledged = max([done, *(int(line.removeprefix("ack")) for line in lines + server.until_end())])
            done = find_state(store, life, acknowledged)
            report.kills += 1
            report.unheard += done - acknowledged
            with store.writer() as writer:  # write again, and check again: that is what finds a wrong offset
                step(writer, life.step(done))
            done += 1
            check(store, life.state(done))
        report.steps = done
        with store.writer() as writer:
            writer.compact()
        store.repair()  # removes what kills have left in indexes/
        clean(store)
    assert report.crowd.errors == []
    return report


def crowded(path: Path, seconds: float, seed: int, *, processes: int = 8, threads: int = 8) -> tuple[int, Crowd, list[str]]:
    """One writer and many readers for some seconds, and two more that would write; returns the writer's steps too."""
    create(path)
    server, other = Server(), Server()
    steps, refused = 0, []
    try:
        with watched(path, processes, threads) as crowd:
            pid = server.start("write", path, seed, 0)
            stop = time.monotonic() + seconds
            while time.monotonic() < stop:
                steps = int(server.line("ack"))
                if len(refused) < 2:
                    other.start("try_lock", path, 0.2 * len(refused))
                    refused += [line.replace(str(pid), "the writer") for line in other.until_end()]
            os.kill(pid, signal.SIGTERM)
            steps = max([steps, *(int(line.removeprefix("ack")) for line in server.until_end())])
        with KillStore.open(path) as store:
            find_state(store, Life(seed), steps)
    finally:
        server.close()
        other.close()
    return steps, crowd, refused
