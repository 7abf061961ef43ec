"""Places that are not an ordinary writable disk: read-only media, network file systems."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.errors import StorageError
from mmsearch.store import Change, Store, catalog, media
from tests.store.model import DIM, SmallStore, caption, vectors

MOUNTS = b"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /mnt/with\\040space rw - nfs4 server:/export rw
41 27 0:51 / /mnt/share rw - cifs //server/share rw
42 41 0:52 / /mnt/share/local rw - xfs /dev/vdb rw
43 27 0:53 / /home/me/remote rw shared:5 - fuse.sshfs host: rw
44 27 0:54 / /over rw - ext4 /dev/vdc rw
45 44 0:55 / /over rw - nfs server:/over rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/data/c", None),
        ("/mnt/with space/c", "nfs4"),
        ("/mnt/share", "cifs"),
        ("/mnt/share/photos", "cifs"),
        ("/mnt/shared", None),
        ("/mnt/share/local/c", None),
        ("/home/me/remote/c", "fuse.sshfs"),
        ("/over/c", "nfs"),
    ],
)
def test_network_file_systems_are_known(tmp_path: Path, folder: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(MOUNTS)
    assert media.network_type(Path(folder), mounts) == kind


def test_a_system_without_mountinfo_is_taken_for_local(tmp_path: Path) -> None:
    assert media.network_type(tmp_path, tmp_path / "none") is None


def test_writing_over_a_network_is_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.writer() as writer:
        writer.commit(Change([caption("a", "word")], vectors([0])))
    store.close()
    monkeypatch.setattr(catalog, "network_type", lambda folder: "nfs4")
    with pytest.raises(StorageError, match=r"network file system \(nfs4\): the catalogue's write-ahead log"):
        Store.create(tmp_path / "new", dim=DIM, model="toy", fingerprint="f")
    for left in ("catalog.db-wal", "catalog.db-shm"):
        (store.path / left).unlink(missing_ok=True)
    with Store.open(store.path) as opened:
        with opened.snapshot() as snapshot:  # without a log it can be searched
            assert snapshot.count() == 1
        with pytest.raises(StorageError, match="network file system"), opened.writer():
            pass
    (store.path / "catalog.db-wal").write_bytes(b"something not yet in the catalogue")
    with pytest.raises(StorageError, match="network file system"):
        Store.open(store.path)


READ = """
import sys
from pathlib import Path
from mmsearch.errors import StorageError
from mmsearch.store import Store
with Store.open(Path(sys.argv[1])) as store:
    with store.snapshot() as snapshot:
        print(store._catalog.reader_mode(), snapshot.count(), snapshot.fetch([0]).shape, len(snapshot.search_text("word", 9)))
    print([one.what for one in store.verify() if one.level != "ok"])
    try:
        with store.writer():
            print("wrote")
    except StorageError as error:
        print("refused", error.hint.split(":")[0])
"""


@pytest.fixture
def sealed(tmp_path: Path) -> dict[str, Path]:
    """A collection that was closed, and a copy of one whose writer was at work, so with a write-ahead log."""
    with SmallStore.create(tmp_path / "closed", dim=DIM, model="toy", fingerprint="f") as store:
        with store.writer() as writer:
            writer.commit(Change([caption("a", "word")], vectors([0])))
        with store.writer() as writer:
            writer.commit(Change([caption("b", "word")], vectors([1])))
            shutil.copytree(store.path, tmp_path / "logged")
    return {"closed": tmp_path / "closed", "logged": tmp_path / "logged"}


@pytest.mark.parametrize(("which", "mode"), [("closed", "immutable"), ("logged", "ro")])
def test_read_only_media(sealed: dict[str, Path], which: str, mode: str) -> None:
    """A folder mounted read-only, in a mount namespace of its own: that holds for root too."""
    folder = sealed[which]
    mount = f'mount --bind "{folder}" "{folder}" && mount -o remount,bind,ro "{folder}"'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("needs the right to mount in a namespace of its own (unshare -m)")
    command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$0" -c "$1" "{folder}"', sys.executable, READ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{mode} 2 (1, {DIM}) 2",
        "[]",
        "refused the file system is read-only",
    ]


def test_the_mode_follows_the_medium(sealed: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "writable", lambda folder: False)
    for name, mode in (("closed", "immutable"), ("logged", "ro")):
        with Store.open(sealed[name]) as store:
            assert store._catalog.reader_mode() == mode
            with store.snapshot() as snapshot:
                assert snapshot.count() == 2
