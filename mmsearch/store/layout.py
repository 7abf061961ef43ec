"""Where things lie in a collection's folder, and the one place from which the store changes files.

::

    LOCK                    flock; one writer
    catalog.db              SQLite, the truth
    vectors/00000001.f16    rows only: little-endian float16, stride 2 * dim, no header
    vectors/00000001.ids    little-endian int64 vids, compacted segments only
    indexes/                derived, disposable
    thumbnails/             derived, disposable
    SEALED                  while nobody may write, see sealing.py
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import StorageError

ROW_DTYPE = "<f2"
IDS_DTYPE = "<i8"
_ALONE = os.O_CLOEXEC | os.O_NOFOLLOW
"""A link in place of a file, in a collection from somebody else, would have us write over what it leads to."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Every name in the folder, each written down once."""

    folder: Path

    @property
    def lock(self) -> Path:
        return self.folder / "LOCK"

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog.db"

    @property
    def new_catalog(self) -> Path:
        """A catalogue that is still being made; it becomes ``catalog`` by a rename."""
        return self.folder / "catalog.db.new"

    @property
    def wal(self) -> Path:
        return self.folder / "catalog.db-wal"

    @property
    def seal(self) -> Path:
        """There while nobody may write."""
        return self.folder / "SEALED"

    @property
    def vectors(self) -> Path:
        return self.folder / "vectors"

    @property
    def indexes(self) -> Path:
        return self.folder / "indexes"

    def rows(self, segment: int) -> Path:
        return self.vectors / f"{segment:08d}.f16"

    def ids(self, segment: int) -> Path:
        return self.vectors / f"{segment:08d}.ids"

    def files(self) -> Iterator[os.DirEntry[str]]:
        """Every plain file of the collection, in no order. Costs one directory walk."""
        pending = [str(self.folder)]
        while pending:
            try:
                entries = list(os.scandir(pending.pop()))
            except FileNotFoundError:
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry


class Calls:
    """The raw system calls that change files. Tests put their own in, to record them or to let the Nth one fail."""

    def create(self, path: Path) -> int:
        """A new empty file, open for reading and writing; what had the name before loses its content."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | _ALONE, 0o666)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync there does not reach the platter
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def sync_folder(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_folder(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)


class Disk:
    """All changes to files, with what a failure means.

    A failed write leaves the catalogue as it was: :class:`StorageError`, and the next attempt starts anew. A failed
    fsync is another matter: the kernel may have dropped the data and would report success the next time. So it is
    never retried: the disk object is *broken* from then on, and with it the :class:`Store` that owns it: every later
    change raises :class:`StorageError`, while readers go on. Only opening the collection again, which starts from
    what really is on disk, gives a store that writes.
    """

    def __init__(self, calls: Calls | None = None) -> None:
        self.calls = calls or Calls()
        self.broken: str | None = None

    def check(self) -> None:
        """Raises when nothing may be written any more."""
        if self.broken:
            raise StorageError(
                f"this store stopped writing after a failure: {self.broken}",
                hint="check the disk, then open the collection again; all acknowledged items are still there",
            )

    def break_down(self, reason: str) -> None:
        """No change goes through this object from now on."""
        self.broken = self.broken or reason

    def create(self, path: Path) -> int:
        self.check()
        try:
            return self.calls.create(path)
        except OSError as error:
            raise _storage_error("create", path, error) from error

    def open(self, path: Path, *, or_create: bool = False) -> int:
        """A file for reading and writing, its content left as it is."""
        self.check()
        try:
            return os.open(path, os.O_RDWR | (os.O_CREAT if or_create else 0) | _ALONE, 0o666)
        except OSError as error:
            raise _storage_error("open", path, error) from error

    def build(self, path: Path, build: Callable[[Path], None]) -> None:
        """Lets a library fill a file by its path. Where that fails nothing of it stays: it may be what filled the disk."""
        self.check()
        try:
            build(path)
        except BaseException as error:
            with suppress(OSError):
                self.calls.unlink(path)
            if isinstance(error, OSError):
                raise _storage_error("write", path, error) from error
            raise

    def write(self, fd: int, data: memoryview, offset: int, path: Path) -> None:
        """Puts all of ``data`` (bytes, contiguous) at ``offset``."""
        self.check()
        rest = data.cast("B")
        try:
            while rest:
                done = self.calls.pwrite(fd, rest, offset)
                rest, offset = rest[done:], offset + done
        except OSError as error:
            raise _storage_error("write", path, error) from error

    def sync(self, fd: int, path: Path) -> None:
        """Returns when the file's content is on the medium."""
        self.check()
        try:
            self.calls.sync(fd)
        except OSError as error:
            self.break_down(f"fsync of {path} failed: {error.strerror}")
            raise _storage_error("fsync", path, error) from error

    def sync_folder(self, path: Path) -> None:
        """Returns when the folder's names are on the medium."""
        self.check()
        try:
            self.calls.sync_folder(path)
        except OSError as error:
            self.break_down(f"fsync of {path} failed: {error.strerror}")
            raise _storage_error("fsync", path, error) from error

    def make_folder(self, path: Path) -> None:
        self.check()
        try:
            self.calls.make_folder(path)
        except OSError as error:
            raise _storage_error("make", path, error) from error

    def rename(self, source: Path, target: Path) -> None:
        self.check()
        try:
            self.calls.rename(source, target)
        except OSError as error:
            raise _storage_error("rename", source, error) from error

    def unlink(self, path: Path) -> None:
        """Removes a file; one that is gone already is no error."""
        self.check()
        try:
            self.calls.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _storage_error("remove", path, error) from error

    def truncate(self, fd: int, size: int, path: Path) -> None:
        self.check()
        try:
            self.calls.truncate(fd, size)
        except OSError as error:
            raise _storage_error("resize", path, error) from error


def _storage_error(verb: str, path: Path, error: OSError) -> StorageError:
    hint = {
        errno.ENOSPC: "the disk is full: free some space and run again; what was indexed before is intact",
        errno.EDQUOT: "your quota is used up: free some space and run again; what was indexed before is intact",
        errno.EROFS: "the file system is read-only: searching works, indexing needs a writable place",
        errno.EACCES: "no permission: searching works, indexing needs a folder that you may write",
        errno.ELOOP: "it is a link where a file must be: mmsearch writes to no file outside the collection",
        errno.EPERM: "no permission: searching works, indexing needs a folder that you may write",
    }.get(error.errno or 0)
    raised = StorageError(f"cannot {verb} {path}: {error.strerror or error}", hint=hint)
    raised.errno = error.errno
    return raised
