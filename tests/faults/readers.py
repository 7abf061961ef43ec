"""Readers beside a writer that know nothing of its history, and yet can tell a state from a mixture of two.

Every state of :func:`tests.store.fork_server.history` holds the checksum of its own items, and each row belongs to the
digest of its item.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import traceback
from collections import deque
from pathlib import Path

import numpy as np

from mmsearch.store import Snapshot, Store
from tests.store.fork_server import DIM, MARKER, KillStore, state_crc
from tests.store.model import stored, vector

SAMPLE = 20
_KEEP = 50_000  # rows remembered by a reader


class Reader:
    """One reader's findings. ``latencies`` are the seconds of each read: a snapshot opened, 20 items and their rows."""

    def __init__(self, path: Path) -> None:
        self.latencies: list[float] = []
        self.states: set[int] = set()
        self._path = path
        self._rows: dict[bytes | None, np.ndarray] = {}

    def read_until(self, stop: Path) -> None:
        """Reads and checks until the file ``stop`` appears."""
        with KillStore.open(self._path) as store:
            while not stop.exists():
                self._read(store)

    def _read(self, store: Store) -> None:
        started = time.perf_counter()
        with store.snapshot() as snapshot:
            vids = snapshot.live().vids
            some = vids[:: max(1, len(vids) // SAMPLE)]
            records, rows = snapshot.records(some), snapshot.fetch(some)
            self.latencies.append(time.perf_counter() - started)
            assert len(records) == len(rows) == len(some)
            self._check(snapshot)

    def _check(self, snapshot: Snapshot) -> None:
        vids = snapshot.live().vids
        if not len(vids):
            return
        records = snapshot.records(vids)
        assert [one.vid for one in records] == vids.tolist()
        (marker,) = (one for one in records if one.id == MARKER)
        assert marker.meta["crc"] == state_crc(records), "a torn state: items of two commits"
        wanted = np.stack([self._row(one.digest) for one in records])
        assert np.array_equal(snapshot.fetch(vids), wanted), "a torn state: a row of another item"
        self.states.add(snapshot.generation)

    def _row(self, digest: bytes | None) -> np.ndarray:
        if digest not in self._rows:
            if len(self._rows) > _KEEP:
                self._rows.clear()
            self._rows[digest] = stored(vector(digest, DIM))
        return self._rows[digest]


def watch(folder: str, processes: int, threads: int, stop: str, out: str) -> None:
    """Runs that many reading processes, and threads of one more, until ``stop`` appears.

    Each leaves its latencies in ``out``, or the traceback of what it met.
    """
    children = []
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            _one(Path(folder), Path(stop), Path(out) / f"process-{number}")
            os._exit(0)
        children.append(pid)
    running = [
        threading.Thread(target=_one, args=(Path(folder), Path(stop), Path(out) / f"thread-{number}")) for number in range(threads)
    ]
    deque(map(threading.Thread.start, running), maxlen=0)
    deque(map(threading.Thread.join, running), maxlen=0)
    deque(map(os.waitpid, children, itertools.repeat(0)), maxlen=0)


def _one(folder: Path, stop: Path, out: Path) -> None:
    reader = Reader(folder)
    try:
        reader.read_until(stop)
    except BaseException:
        out.with_suffix(".error").write_text(traceback.format_exc())
        return
    np.save(out.with_suffix(".npy"), np.array([len(reader.states), *reader.latencies]))


def findings(out: Path, readers: int) -> tuple[np.ndarray, list[int], list[str]]:
    """All latencies, how many states each reader saw, and the errors of those that met one or never reported."""
    errors = [path.read_text() for path in sorted(out.glob("*.error"))]
    arrays = [np.load(path) for path in sorted(out.glob("*.npy"))]
    missing = readers - len(errors) - len(arrays)
    errors += ["a reader died without a word"] * missing
    latencies = np.concatenate([one[1:] for one in arrays]) if arrays else np.empty(0)
    return latencies, [int(one[0]) for one in arrays], errors
