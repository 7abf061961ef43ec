"""Writers that compete, readers beside a writer: each in processes of their own. Those that are killed: tests/faults."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import LockedError
from mmsearch.store import Change, Snapshot, Store
from mmsearch.types import Kind
from tests.store.fork_server import DIM, KillStore
from tests.store.model import clean, photo, stored, vector, vectors
from tests.store.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with KillStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f") as made:
        with made.writer() as writer:
            writer.add_root("photos", "/pictures")
        yield made


def test_two_writers(store: Store, server: Server) -> None:
    pid = server.start("hold", store.path)
    server.line("held")
    with pytest.raises(LockedError, match=f"being written by process {pid}$") as caught, store.writer():
        pass
    assert caught.value.pid == pid
    started = time.monotonic()
    with pytest.raises(LockedError), store.writer(wait=0.4):
        pass
    assert 0.4 <= time.monotonic() - started < 3
    with store.snapshot() as snapshot:  # readers do not mind
        assert snapshot.count() == 0
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    with store.writer(wait=20) as writer:  # a killed writer's lock is free at once
        writer.set_meta("mine", "now")
    server.until_end()
    with store.writer():
        server.start("try_lock", store.path, 0)
        assert server.until_end() == [f"locked by {os.getpid()}"]
    server.start("try_lock", store.path, 0)
    assert server.until_end() == ["had it"]


def test_two_stores_in_one_process(store: Store) -> None:
    with store.writer(), Store.open(store.path) as other, pytest.raises(LockedError) as caught, other.writer():
        pass
    assert caught.value.pid == os.getpid()


def test_a_forked_child_does_not_keep_the_lock(store: Store) -> None:
    read, write = os.pipe()
    with store.writer():
        pid = os.fork()
        if pid == 0:
            os.read(read, 1)  # lives until the parent has looked
            os._exit(0)
    try:
        with Store.open(store.path) as other, other.writer() as writer:
            writer.set_meta("free", "yes")
    finally:
        os.write(write, b"x")
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def test_readers_beside_a_writer_see_whole_commits(store: Store, server: Server) -> None:
    with store.writer() as writer:
        first = [photo(f"{n}.jpg") for n in range(8)]
        writer.commit(Change(first, vectors([(one.id, one.size) for one in first], DIM)))
    pid = server.start("churn", store.path, 2.5)
    versions: set[int] = set()
    errors: list[BaseException] = []
    running = threading.Event()
    running.set()

    def read() -> None:
        try:
            with KillStore.open(store.path) as reader:
                while running.is_set():
                    with reader.snapshot() as snapshot:
                        versions.add(_whole(snapshot))
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    (said,) = server.until_end()
    running.clear()
    for thread in readers:
        thread.join()
    assert errors == []
    assert pid
    assert len(versions) >= 3, said
    clean(store)


def _whole(snapshot: Snapshot) -> int:
    """Asserts that what the snapshot shows is one commit's work; returns the version."""
    found = snapshot.by_id([f"{n}.jpg" for n in range(8)])
    (version,) = {record.meta["version"] for record in found.values()}
    assert len(found) == 8
    vids = snapshot.live(Kind.IMAGE).vids.tolist()
    assert len(vids) in (8, 38)
    records = snapshot.records(vids)
    assert [record.vid for record in records] == vids
    rows = snapshot.fetch(vids)
    wanted = stored(np.stack([vector((one.id, one.size), DIM) for one in records]))
    assert np.array_equal(rows, wanted)
    assert isinstance(version, int)
    return version
