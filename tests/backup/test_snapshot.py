"""A copy made beside a writer is one acknowledged state, whole or absent, and a collection of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.errors import CollectionError, CollectionExists, StorageError
from mmsearch.store import Calls, Change, Disk, IndexInfo, Store
from mmsearch.types import Draft, Kind
from tests.store.model import DIM, SmallStore, caption, clean, stored, vector, vectors

STEPS = 4000


def change(step: int, held: dict[str, int]) -> tuple[list[str], list[str]]:
    """What a step writes and deletes; ``held``, which ids have which version, is brought up to date."""
    written = [f"i{(step * 7 + n) % 90}" for n in range(9)] + ["step"]
    held.update(dict.fromkeys(written, step))
    deleted = [f"i{(step * 11) % 90}"] if step % 3 == 0 else []
    for one in deleted:
        held.pop(one, None)
    return written, deleted


def write_for_ever(folder: str) -> None:
    """The writer's process: says each step when it is acknowledged."""
    held: dict[str, int] = {}
    with SmallStore.open(Path(folder)) as store:
        for step in range(STEPS):
            written, deleted = change(step, held)
            with store.writer() as writer:
                drafts = [Draft(id, Kind.TEXT, text="word", meta={"step": step}) for id in written]
                writer.commit(Change(drafts, vectors([(id, step) for id in written])))
                with store.snapshot() as snapshot:
                    gone = [one.vid for one in snapshot.by_id(deleted).values()]
                writer.commit(Change(deletes=gone))
                if step % 6 == 5:
                    writer.compact()
                if step % 10 == 9:
                    info = IndexInfo("image", "", 0, 0, upto_vid=5, recipe="flat", faiss_version="1")
                    writer.put_index(info, lambda path: path.write_bytes(os.urandom(3000)) and None)
            print(step, flush=True)


def after(step: int) -> list[dict[str, int]]:
    """The states that a step's first and second commit leave."""
    held: dict[str, int] = {}
    for one in range(step + 1):
        written, deleted = change(one, held)
    return [held, held | {id: step for id in deleted if id in written} | _before(step, deleted, written)]


def _before(step: int, deleted: list[str], written: list[str]) -> dict[str, int]:
    held: dict[str, int] = {}
    for one in range(step):
        change(one, held)
    return {id: held[id] for id in deleted if id in held and id not in written}


def test_beside_a_writer_in_a_loop(tmp_path: Path) -> None:
    SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f").close()
    code = f"from tests.backup.test_snapshot import write_for_ever; write_for_ever({str(tmp_path / 'c')!r})"
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    assert process.stdout
    os.set_blocking(process.stdout.fileno(), False)
    heard, seen = b"", set()
    try:
        began = time.monotonic()
        while (len(seen) < 6 or time.monotonic() - began < 1.0) and time.monotonic() - began < 30:
            heard += process.stdout.read() or b""
            if not heard.count(b"\n"):
                time.sleep(0.05)
                continue
            least = heard.count(b"\n") - 1
            target = tmp_path / f"copy{len(seen)}-{time.monotonic_ns()}"
            with Store.open(tmp_path / "c") as store, store.snapshot() as snapshot:
                snapshot.copy_to(target, link=len(seen) % 2 == 1)
            heard += process.stdout.read() or b""
            seen.add(_check(target, least, heard.count(b"\n")))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert len(seen) >= 6
    assert {path.name[:4] for path in tmp_path.iterdir()} == {"c", "copy"}


def _check(target: Path, least: int, most: int) -> int:
    with SmallStore.open(target) as store:
        clean(store)
        with store.snapshot() as snapshot:
            records = snapshot.records(snapshot.live().vids)
            held = {one.id: one.meta["step"] for one in records}
            step = held["step"]
            assert least <= step <= most
            assert held in after(step)
            rows = snapshot.fetch([one.vid for one in records])
            assert np.array_equal(rows, stored(vectors([(one.id, one.meta["step"]) for one in records])))
        with store.writer() as writer:  # it is a collection of its own
            writer.commit(Change([caption("mine", "word")], vector(0)[None]))
            writer.compact()
        clean(store)
    return step


@pytest.fixture
def full(tmp_path: Path) -> Store:
    """Three segments, one of them compacted, and an index."""
    with SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f") as store:
        with store.writer() as writer:
            for start in (0, 16, 32):
                some = range(start, start + 16)
                vids = writer.commit(Change([caption(f"t{n}", f"word {n}") for n in some], vectors(list(some))))
            writer.commit(Change(deletes=vids[:3]))
            writer.compact()
            writer.commit(Change([caption("last", "word")], vectors([99])))
            info = IndexInfo("image", "", 0, 0, upto_vid=5, recipe="flat", faiss_version="1")
            writer.put_index(info, lambda path: path.write_bytes(b"an index") and None)
        yield store


class KilledAt(Calls):
    """Ends the process at the Nth call, as a power cut would: nothing is cleaned up."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _counted(name: str) -> Any:
    def call(self: KilledAt, *args: Any) -> Any:
        self._count()
        return getattr(Calls, name)(self, *args)

    return call


for _name in ("create", "pwrite", "sync", "sync_folder", "make_folder", "rename", "unlink", "truncate"):
    setattr(KilledAt, _name, _counted(_name))


def test_a_kill_leaves_nothing_that_opens(full: Store, tmp_path: Path) -> None:
    target, nth = tmp_path / "out" / "copy", 0
    while True:
        child = os.fork()
        if child == 0:
            try:
                with Store.open(full.path) as store, store.snapshot() as snapshot:
                    snapshot.copy_to(target, disk=Disk(KilledAt(nth)))
                os._exit(0)
            finally:
                os._exit(9)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            break
        assert status == -signal.SIGKILL
        found = [path for path in tmp_path.rglob("catalog.db") if path.parent != full.path]
        assert found in ([], [target / "catalog.db"])
        if found:  # killed after its name was given: it is whole
            _same(full, target)
            break
        nth += 1
    assert nth > 15
    with full.snapshot() as snapshot:  # what was left behind is no hindrance
        if not found:
            _same(full, target)
        assert snapshot.copy_to(tmp_path / "second").items == 46
    _same(full, tmp_path / "second")


def _same(full: Store, target: Path) -> None:
    with Store.open(target) as copy, copy.snapshot() as there, full.snapshot() as here:
        clean(copy)
        vids = here.live().vids
        assert np.array_equal(there.live().vids, vids)
        assert there.records(vids) == here.records(vids)
        assert np.array_equal(there.fetch(vids), here.fetch(vids))
        assert there.indexes() == here.indexes()


def test_links_share_what_never_changes(full: Store, tmp_path: Path) -> None:
    with full.snapshot() as snapshot:
        report = snapshot.copy_to(tmp_path / "linked", link=True)
        sealed = [one for one in snapshot.segments() if one.sealed]
    assert report.linked == len(sealed) == 3
    for one in sealed:
        name = f"vectors/{one.id:08d}.f16"
        assert (full.path / name).samefile(tmp_path / "linked" / name)
    with SmallStore.open(tmp_path / "linked") as copy:
        with copy.writer() as writer:
            writer.commit(Change([caption("new", "word")], vectors([5])))
            writer.commit(Change(deletes=[0, 1]))
            writer.compact()
        clean(copy)
    clean(full)
    with full.snapshot() as snapshot:
        assert snapshot.count() == 46


def test_an_index_that_is_bad_is_not_taken_along(full: Store, tmp_path: Path) -> None:
    next((full.path / "indexes").iterdir()).write_bytes(b"an indeX")
    with full.snapshot() as snapshot:
        snapshot.copy_to(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy, copy.snapshot() as there:
        assert there.indexes() == []
        clean(copy)


def test_where_a_copy_may_go(full: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "catalog.db.new").write_text("mine")
    with full.snapshot() as snapshot:
        with pytest.raises(CollectionExists):
            snapshot.copy_to(full.path)
        for name in ("file", "folder"):
            with pytest.raises(CollectionError, match="has files in it"):
                snapshot.copy_to(tmp_path / name)
        with pytest.raises((StorageError, CollectionError)):
            snapshot.copy_to(tmp_path / "file" / "below")
    assert (tmp_path / "folder" / "catalog.db.new").read_text() == "mine"
