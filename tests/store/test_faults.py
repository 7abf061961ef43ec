"""The disk refuses: every single call that changes a file fails once, in every way, and nothing that was promised is lost."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import CollectionCorrupt, LockedError, StorageError
from mmsearch.store import Calls, Change, Disk, IndexInfo, Store, Writer
from mmsearch.store.layout import Layout
from mmsearch.store.sqlite import raw, translated
from tests.store.model import DIM, Model, SmallStore, caption, clean, photo, vectors


class Faulty(Calls):
    """Journals every call, and lets the ``fail_at``-th one fail."""

    def __init__(self, fail_at: int | None = None, error: BaseException | None = None) -> None:
        self.journal: list[str] = []
        self.fail_at = fail_at
        self.error = error or OSError(errno.EIO, "Input/output error")

    def _count(self, what: str, path: object = "") -> None:
        self.journal.append(f"{what} {Path(str(path)).name}".strip())
        if len(self.journal) - 1 == self.fail_at:
            raise self.error

    def create(self, path: Path) -> int:
        self._count("create", path)
        return super().create(path)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        super().pwrite(fd, data[: len(data) // 2], offset)  # as a full disk does: a part has been written
        self._count("pwrite")
        return super().pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        self._count("sync")
        super().sync(fd)

    def sync_folder(self, path: Path) -> None:
        self._count("sync_folder", path)
        super().sync_folder(path)

    def make_folder(self, path: Path) -> None:
        self._count("make_folder", path)
        super().make_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self._count("rename", target)
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._count("unlink", path)
        super().unlink(path)

    def truncate(self, fd: int, size: int) -> None:
        self._count("truncate")
        super().truncate(fd, size)


def make(folder: Path) -> Store:
    store = SmallStore.create(folder, dim=DIM, model="toy", fingerprint="f")
    with store.writer() as writer:
        writer.add_root("photos", "/pictures")
    return store


def new_model() -> Model:
    model = Model()
    model.roots["photos"] = "/pictures"
    return model


def steps() -> Iterator[Change | Callable[[Writer], object]]:
    """A short life: two segments, deletes, a compaction, an index written twice."""
    for start in range(0, 24, 8):
        drafts = [photo(f"{n}.jpg") for n in range(start, start + 8)]
        yield Change(drafts, vectors([one.id for one in drafts]), deletes=[start - 1])
    yield Writer.compact
    info = IndexInfo("image", "", 0, 0, 8, "flat", "1")
    for content in (b"one", b"two"):
        yield lambda writer, content=content: writer.put_index(info, lambda path: path.write_bytes(content) and None)
    yield Change([caption("last", "word")], vectors([0]), deletes=[2, 4])
    yield Writer.compact


def live(store: Store, model: Model, todo: list[Change | Callable[[Writer], object]], *, go_on: bool = False) -> None:
    """Takes steps from the list until one raises, or all are done; ``model`` follows what was acknowledged.

    With ``go_on`` the same writer, if it may, does the rest of them before the error is raised.
    """
    with store.writer() as writer:
        try:
            take(writer, model, todo)
        except BaseException:
            if go_on and store._disk.broken is None:
                take(writer, model, todo)
            raise


def take(writer: Writer, model: Model, todo: list[Change | Callable[[Writer], object]]) -> None:
    while todo:
        one = todo[0]
        if isinstance(one, Change):
            writer.commit(one)
            model.apply(one)
        else:
            one(writer)
        del todo[0]


def calls_of_a_life(folder: Path) -> list[str]:
    calls = Faulty()
    with make(folder) as store:
        store._disk.calls = calls
        model = new_model()
        live(store, model, list(steps()))
        clean(store)
    return calls.journal


@pytest.fixture
def journal(tmp_path: Path) -> list[str]:
    return calls_of_a_life(tmp_path / "whole")


def test_the_order_of_calls_is_the_protocol(journal: list[str]) -> None:
    lock = ["truncate", "pwrite"]
    first = ["create 00000001.f16", "pwrite", "sync", "sync_folder vectors"]
    more = ["pwrite", "sync"]
    second = ["create 00000002.f16", "pwrite", "sync", "sync_folder vectors"]
    copy = [
        "create 00000003.f16", "pwrite", "sync", "sync_folder vectors", "create 00000003.ids", "pwrite", "sync",
        "sync_folder vectors", "unlink 00000001.f16", "sync_folder vectors",
    ]  # fmt: skip
    assert journal[: len(lock + first + more + second + copy)] == lock + first + more + second + copy
    index = ["make_folder indexes", "sync_folder whole", "create image.new", "sync", "rename image-6.faiss", "sync_folder indexes"]
    at = len(lock + first + more + second + copy)
    assert journal[at : at + len(index)] == index
    assert "unlink image-6.faiss" in journal[at:]


ERRORS = [OSError(errno.EIO, "Input/output error"), OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]


@pytest.mark.parametrize("shift", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_any_call_may_fail(tmp_path: Path, journal: list[str], shift: int) -> None:
    """Each call fails with one of the errors; the three shifts together are all pairs."""
    for fail_at, call in enumerate(journal):
        error = ERRORS[(fail_at + shift) % 3]
        folder = tmp_path / str(fail_at)
        model = new_model()
        todo = list(steps())
        with make(folder) as store:
            store._disk.calls = Faulty(fail_at, error)
            expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StorageError
            with pytest.raises(expected) as caught:
                live(store, model, todo, go_on=True)
            if isinstance(caught.value, StorageError):
                assert caught.value.errno == error.errno  # type: ignore[attr-defined]
            with store.snapshot() as snapshot:
                model.compare(snapshot)
            must_stop = call.startswith("sync") and isinstance(error, OSError)
            assert (store._disk.broken is not None) == must_stop
            if must_stop:
                with pytest.raises(StorageError, match="stopped writing after a failure: fsync of"), store.writer():
                    pass
                with store.snapshot() as snapshot:
                    model.compare(snapshot)
                with SmallStore.open(folder) as again:
                    goes_on(again, model, todo)
            else:
                store._disk.calls = Calls()
                goes_on(store, model, todo)


def goes_on(store: Store, model: Model, rest: list[Change | Callable[[Writer], object]]) -> None:
    assert [one for one in store.verify() if one.level == "error"] == []
    live(store, model, rest)
    with store.snapshot() as snapshot:
        model.compare(snapshot)
    assert [one for one in store.verify() if one.level != "ok" and one.what != "orphan"] == []
    store.repair()
    clean(store)


@pytest.mark.parametrize("fail_at", range(9))
def test_a_create_that_fails_can_be_made_again(tmp_path: Path, fail_at: int) -> None:
    calls = Faulty(fail_at)
    folder = tmp_path / "c"
    try:
        Store.create(folder, dim=DIM, model="toy", fingerprint="f", disk=Disk(calls)).close()
    except StorageError:
        assert len(calls.journal) == fail_at + 1
    if not Store.exists(folder):
        Store.create(folder, dim=DIM, model="toy", fingerprint="f").close()
    with Store.open(folder) as store:
        clean(store)


def test_the_create_test_reaches_every_call(tmp_path: Path) -> None:
    calls = Faulty()
    Store.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f", disk=Disk(calls)).close()
    assert len(calls.journal) == 9


def test_every_folder_that_a_create_makes_is_synced(tmp_path: Path) -> None:
    """Else the power takes the folder above, and all with it."""
    calls = Faulty()
    Store.create(tmp_path / "a" / "b" / "c", dim=DIM, model="toy", fingerprint="f", disk=Disk(calls)).close()
    synced = [call.split()[1] for call in calls.journal if call.startswith("sync_folder")]
    assert synced[0] == "c"
    assert sorted(synced[1:]) == sorted({"a", "b", tmp_path.name})


def test_an_index_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with make(tmp_path / "c") as store, store.writer() as writer:
        with pytest.raises(StorageError, match=r"cannot write .*image\.new: No space left"):
            writer.put_index(IndexInfo("image", "", 0, 0, 1, "flat", "1"), build)
        with pytest.raises(ZeroDivisionError):
            writer.put_index(IndexInfo("image", "", 0, 0, 1, "flat", "1"), lambda path: 1 // 0)  # type: ignore[arg-type, return-value]
        assert list((store.path / "indexes").iterdir()) == []
        writer.set_meta("goes", "on")
        clean(store)


class Watching(Calls):
    """Notes how many items a reader sees whenever something reaches the disk."""

    def __init__(self, folder: Path) -> None:
        self.reader = Store.open(folder)
        self.seen: list[tuple[str, int]] = []

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        self.note("pwrite")
        return super().pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self.note("sync")

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self.note("sync_folder")

    def note(self, what: str) -> None:
        with self.reader.snapshot() as snapshot:
            self.seen.append((what, snapshot.count()))


def test_rows_are_synced_before_items_are_seen(tmp_path: Path) -> None:
    with make(tmp_path / "c") as store, store.writer() as writer:
        watching = store._disk.calls = Watching(store.path)
        for n in range(2):
            writer.commit(Change([caption(str(n), "word")], vectors([n])))
            watching.note("committed")
        watching.reader.close()
    first = [("pwrite", 0), ("sync", 0), ("sync_folder", 0), ("committed", 1)]
    assert watching.seen == [*first, ("pwrite", 1), ("sync", 1), ("committed", 2)]


def test_sqlite_is_set_to_keep_what_it_acknowledges(tmp_path: Path) -> None:
    with make(tmp_path / "c") as store, store.writer():
        for transaction, settings in (
            (store._catalog.writing, {"synchronous": 2, "journal_mode": "wal", "trusted_schema": 0, "cache_size": -16000}),
            (store._catalog.reading, {"journal_mode": "wal", "trusted_schema": 0, "cell_size_check": 1, "cache_size": -2000}),
        ):
            with transaction() as connection:
                assert {key: raw(connection).execute(f"PRAGMA {key}").fetchone()[0] for key in settings} == settings
    with store._catalog.reading() as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        raw(connection).execute("DELETE FROM item")
    store.close()


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    with SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f") as store:
        store._disk.calls = Faulty(3, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(StorageError, match=r"cannot write .*00000001\.f16: No space left") as caught, store.writer() as writer:
            writer.commit(Change([caption("a", "b")], vectors([1])))
        assert caught.value.hint is not None
        assert "free some space" in caught.value.hint


def test_sqlite_that_is_full_changes_nothing(tmp_path: Path) -> None:
    """SQLite's own files fill the disk: here by a limit on the number of its pages."""
    model = Model()
    with SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f") as store:
        good = Change([caption("a", "apple")], vectors([1]))
        with store.writer() as writer:
            writer.commit(good)
            model.apply(good)
            with store._catalog.writing() as connection:
                pages = raw(connection).execute("PRAGMA page_count").fetchone()[0]
                raw(connection).execute(f"PRAGMA max_page_count = {pages}")
            with pytest.raises(StorageError, match="no space left on device"):
                writer.commit(Change([caption(f"b{n}", "x" * 500) for n in range(99)], vectors(list(range(99)))))
            with store.snapshot() as snapshot:
                model.compare(snapshot)
            with store._catalog.writing() as connection:
                raw(connection).execute("PRAGMA max_page_count = 1000000")
            more = Change([caption("c", "lemon")], vectors([2]))
            assert writer.commit(more) == model.apply(more) == [1]
        with store.snapshot() as snapshot:
            model.compare(snapshot)
        clean(store)


@pytest.mark.parametrize(
    ("name", "kind", "stops"),
    [
        ("SQLITE_IOERR_FSYNC", StorageError, True),
        ("SQLITE_IOERR_WRITE", StorageError, True),
        ("SQLITE_IOERR_SHMSIZE", StorageError, False),
        ("SQLITE_FULL", StorageError, False),
        ("SQLITE_READONLY_DBMOVED", StorageError, False),
        ("SQLITE_CANTOPEN", StorageError, False),
        ("SQLITE_BUSY", StorageError, False),
        ("SQLITE_CORRUPT_INDEX", CollectionCorrupt, False),
        ("SQLITE_NOTADB", CollectionCorrupt, False),
        ("SQLITE_CONSTRAINT_UNIQUE", sqlite3.OperationalError, False),
    ],
)
def test_errors_of_sqlite_in_our_words(tmp_path: Path, name: str, kind: type[Exception], stops: bool) -> None:
    """A failed input or output leaves unknown what reached the disk, as a failed fsync does."""
    disk = Disk()
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorname = name  # type: ignore[misc]
    with pytest.raises(kind, match="what SQLite says"), translated(Layout(tmp_path), disk):
        raise error
    assert (disk.broken is not None) == stops


def test_an_error_in_the_block_gives_the_lock_back(tmp_path: Path) -> None:
    with SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f") as store:
        with pytest.raises(ZeroDivisionError), store.writer():
            raise ZeroDivisionError
        with store.writer() as writer, Store.open(store.path) as other:
            with pytest.raises(LockedError), other.writer():
                pass
            writer.set_meta("a", "b")
        assert np.float16(1).itemsize == 2
        assert os.path.getsize(store.path / "LOCK") > 0
