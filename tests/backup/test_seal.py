"""A sealed collection: one catalogue file, readable where nobody can write, closed to writers until that is undone."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.collection import Collection
from mmsearch.errors import CollectionNotFound, StorageError
from mmsearch.store import Change, Store, catalog
from mmsearch.store.sealing import unseal
from tests.store.model import DIM, SmallStore, caption, clean, vectors


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    with SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f") as store:
        with store.writer() as writer:
            writer.commit(Change([caption(f"t{n}", f"word {n}") for n in range(20)], vectors(list(range(20)))))
        with store.snapshot() as snapshot:
            assert snapshot.count() == 20
        store.seal()
    return tmp_path / "c"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_file_and_no_log(sealed: Path) -> None:
    assert names(sealed) == {"LOCK", "SEALED", "catalog.db", "vectors"}
    with Store.open(sealed) as store:
        with store.snapshot() as snapshot:
            assert snapshot.count() == 20
            assert len(snapshot.search_text("word", 99)) == 20
        clean(store)
    assert names(sealed) == {"LOCK", "SEALED", "catalog.db", "vectors"}  # reading it makes no files


def test_writers_are_refused_until_it_is_undone(sealed: Path) -> None:
    with Store.open(sealed) as store:
        with pytest.raises(StorageError, match="is sealed") as caught, store.writer():
            pass
        assert caught.value.hint == f"to write to it again: mmsearch -c {sealed} seal --undo"
        with pytest.raises(StorageError, match="is sealed"):
            store.repair()
    assert unseal(sealed) is True
    assert unseal(sealed) is False
    with Store.open(sealed) as store:
        with store.writer() as writer:
            writer.commit(Change([caption("new", "word")], vectors([7])))
        with store.snapshot() as snapshot:
            assert snapshot.count() == 21
        clean(store)
    connection = sqlite3.connect(sealed / "catalog.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    with pytest.raises(CollectionNotFound):
        unseal(sealed / "none")


def test_not_while_another_has_it_open(sealed: Path) -> None:
    unseal(sealed)
    with Store.open(sealed) as store, Store.open(sealed) as other:
        with other.snapshot() as snapshot:
            with pytest.raises(StorageError, match="busy"):
                store.seal()
            assert snapshot.count() == 20
        assert "SEALED" not in names(sealed)
        with store.writer() as writer:
            writer.commit(Change([caption("new", "word")], vectors([7])))
    with Store.open(sealed) as store:
        store.seal()
    assert "SEALED" in names(sealed)


def test_half_sealed_is_closed_and_can_be_undone(sealed: Path) -> None:
    """A power cut right after the marker: the catalogue has its log still."""
    unseal(sealed)
    (sealed / "SEALED").write_text("sealed")
    with Store.open(sealed) as store:
        with pytest.raises(StorageError, match="is sealed"), store.writer():
            pass
        with store.snapshot() as snapshot:
            assert snapshot.count() == 20
    assert unseal(sealed)
    with Store.open(sealed) as store, store.writer() as writer:
        writer.commit(Change([caption("new", "word")], vectors([7])))


def test_a_snapshot_of_it_can_be_written(sealed: Path, tmp_path: Path) -> None:
    with Store.open(sealed) as store, store.snapshot() as snapshot:
        snapshot.copy_to(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy:
        with copy.writer() as writer:
            writer.commit(Change([caption("new", "word")], vectors([7])))
        clean(copy)
        with copy.snapshot() as snapshot:
            assert snapshot.count() == 21


def test_the_verb_compacts(shop: Collection) -> None:
    from mmsearch.types import Item

    shop.add([Item(id=f"i{n}", text=f"word {n}", vector=vectors([n], 32)[0]) for n in range(9)])
    shop.delete(["i0", "i1"])
    assert shop.seal().rows_dropped == 2
    with pytest.raises(StorageError, match="is sealed"):
        shop.delete(["i2"])
    assert len(shop) == 7
    assert Collection.unseal(shop.path)
    assert shop.delete(["i2"]) == 1


READ = """
import sys
from pathlib import Path
from mmsearch.errors import StorageError
from mmsearch.store import Store
with Store.open(Path(sys.argv[1])) as store:
    with store.snapshot() as snapshot:
        print(store._catalog.reader_mode(), snapshot.count(), len(snapshot.search_text("word", 99)))
    print([one.what for one in store.verify() if one.level != "ok"])
    try:
        with store.writer():
            print("wrote")
    except StorageError as error:
        print("refused", "sealed" in str(error))
"""


def test_on_a_mount_that_is_read_only(sealed: Path) -> None:
    mount = f'mount --bind "{sealed}" "{sealed}" && mount -o remount,bind,ro "{sealed}"'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("needs the right to mount in a namespace of its own (unshare -m)")
    command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$0" -c "$1" "{sealed}"', sys.executable, READ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["immutable 20 20", "[]", "refused True"]


def test_in_a_folder_without_the_right_to_write(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "writable", lambda folder: False)  # chmod does not stop root
    before = {path: path.stat().st_mtime_ns for path in sealed.rglob("*")}
    for path in (sealed, sealed / "vectors"):
        path.chmod(0o555)
    with Store.open(sealed) as store, store.snapshot() as snapshot:
        assert store._catalog.reader_mode() == "immutable"
        assert snapshot.count() == 20
    for path in (sealed, sealed / "vectors"):
        path.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in sealed.rglob("*")} == before
