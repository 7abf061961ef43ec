"""A disk that really fills up: a small file system in memory, of which ever less is free.

Run as a script inside a mount namespace of its own (``unshare``), so that nothing outside sees the mount and no privilege
is needed where the system lets users have namespaces.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from mmsearch.errors import StorageError
from tests.faults.life import Expected, Life, check, create
from tests.store.fork_server import KillStore, step

SIZE = 8 << 20
_MOUNT = 'mount -t tmpfs -o size="$1" mmsearch "$2" && shift 2 && exec "$@"'
_IN_NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh"]


def available(folder: Path) -> bool:
    """Whether a small file system may be mounted here."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*_IN_NAMESPACE, "1m", str(folder), "true"], capture_output=True).returncode == 0


def run(folder: Path, first: int, last: int, by: int) -> list[str]:
    """Fills the disk down to each of these many free KiB; one line for each."""
    command = [sys.executable, __file__, str(folder), str(first), str(last), str(by)]
    done = subprocess.run([*_IN_NAMESPACE, str(SIZE), str(folder), *command], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout.splitlines()


def _fill(path: Path, free: int) -> None:
    """Takes all space but ``free`` bytes."""
    with path.open("wb") as file:
        usage = shutil.disk_usage(path.parent)
        file.write(bytes(max(usage.free - free, 0)))


def _one(folder: Path, free: int, seed: int) -> str:
    """Writes until there is no space, looks at what is there, makes room, and goes on with the same store."""
    path, filler = folder / "c", folder / "filler"
    create(path)
    life, done, failed = Life(seed), 0, ""
    with KillStore.open(path) as store:
        with store.writer() as writer:
            for _ in range(4):
                step(writer, life.step(done))
                done += 1
        _fill(filler, free)
        try:
            with store.writer() as writer:
                while done < 60:
                    step(writer, life.step(done))
                    done += 1
        except StorageError as error:
            failed = str(error)
            assert "No space left" in failed or "no space left" in failed, failed
        _shows(store, life.state(done))
        store.close()
        _fill(folder / "last", 0)
        with KillStore.open(path) as again:  # somebody opens it while nothing at all is free
            _shows(again, life.state(done))
        filler.unlink()
        (folder / "last").unlink()
        for _ in range(2):
            with store.writer() as writer:
                step(writer, life.step(done))
            done += 1
        check(store, life.state(done))
        with store.writer() as writer:
            writer.compact()
        check(store, life.state(done))
    shutil.rmtree(path)
    return f"{free // 1024} KiB free: {failed or 'it was enough'}"


def _shows(store: KillStore, expected: Expected) -> None:
    with store.snapshot() as snapshot:
        expected.model.compare(snapshot)


if __name__ == "__main__":
    for at, kib in enumerate(range(*map(int, sys.argv[2:5]))):
        sys.stdout.write(_one(Path(sys.argv[1]), kib * 1024, at % 7) + "\n")
        sys.stdout.flush()
