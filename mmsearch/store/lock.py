"""One writer at a time: a flock on ``LOCK``, which also says who holds it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path
from weakref import WeakSet

from mmsearch.errors import LockedError
from mmsearch.store.layout import Disk

_POLL = 0.02  # seconds; flock has no waiting with a time limit
_GRACE = 0.1  # seconds that every acquire waits: is_busy() of another process holds the lock for a moment
_held: WeakSet[WriterLock] = WeakSet()


class WriterLock:
    """Held from :meth:`acquire` to :meth:`release`; the kernel releases it when the process dies, however it dies."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._fd: int | None = None

    def acquire(self, wait: float = 0.0) -> None:
        """Takes the lock, waiting up to ``wait`` seconds.

        Raises :class:`LockedError` with the holder's pid, or :class:`StorageError` where the folder cannot be written.
        """
        fd = self._disk.open(self._path, or_create=True)
        deadline = time.monotonic() + max(wait, _GRACE)
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(fd, 512, 0)
                    os.close(fd)
                    raise _locked(self._path.parent, holder) from None
                time.sleep(_POLL)
        self._fd = fd
        _held.add(self)
        try:
            note = f"{os.getpid()} {socket.gethostname()}\n".encode()
            self._disk.truncate(fd, 0, self._path)
            self._disk.write(fd, memoryview(note), 0, self._path)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Gives the lock back. The file stays: removing it would let two writers lock two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            _held.discard(self)


def is_busy(path: Path) -> bool:
    """Whether a writer holds this lock now. Works on read-only media."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _locked(folder: Path, holder: bytes) -> LockedError:
    number, _, host = holder.decode("utf-8", "replace").strip().partition(" ")
    pid = int(number) if number.isdigit() else None
    who = "another process" if pid is None else f"process {pid}"
    where = f" on {host}" if host and host != socket.gethostname() else ""
    return LockedError(
        f"{folder} is being written by {who}{where}",
        pid=pid,
        hint="wait until it has finished, or stop it; searching works meanwhile",
    )


def _close_in_child() -> None:
    # A forked child shares the open file and so the lock: it would stay locked for as long as any child lives.
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_close_in_child)
