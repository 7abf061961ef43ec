"""Records what a command does to one folder: every write, sync, truncation and change of a name, in the order the kernel saw.

The record is made by ``strace``, not by a wrapper in Python: so it holds SQLite's own input and output too, and what is
really called rather than what we believe to call. It needs no privilege. What it cannot see is memory mapped for writing;
of our files only SQLite's ``-shm`` is, which means nothing after a power cut. :func:`test_the_record_is_complete` compares.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "openat,close,lseek,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,"
    "open,creat,writev,pwritev,pwritev2,truncate,fallocate,sendfile,copy_file_range,link,linkat,symlink,rmdir,dup,dup2,dup3,"
    "sync_file_range,msync,io_submit"
)
_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)")
_FD = re.compile(r"(-?\w+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Event:
    """``what``: create, write, truncate, sync, sync_folder, unlink, rename, mkdir, or said (a line on stdout).

    ``file`` numbers the files in order of creation; ``path`` is relative to the folder.
    """

    what: str
    path: str = ""
    file: int = -1
    offset: int = 0
    data: bytes = b""
    target: str = ""


def available() -> bool:
    """Whether commands can be traced here."""
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


def record(command: Sequence[str], folder: Path, log: Path) -> list[Event]:
    """Runs a command and returns what it did below ``folder``. Raises ``CalledProcessError`` when it fails."""
    traced = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(log), *command]
    subprocess.run(traced, check=True, stdout=subprocess.PIPE, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    with log.open() as lines:
        return list(_Reader(os.fsencode(folder.resolve())).events(lines))


def _bytes(hexed: str) -> bytes:
    return bytes.fromhex(hexed.replace("\\x", ""))


class _Reader:
    """Follows names, descriptors and positions as the kernel does."""

    def __init__(self, folder: bytes) -> None:
        self._folder = folder
        self._names: dict[str, int] = {}
        self._sizes: list[int] = []
        self._open: dict[int, tuple[int, int, bool]] = {}  # descriptor: file, position, whether it appends

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                ours = self._folder.hex() in line.replace("\\x", "")
                assert not (ours and "unfinished" in line), f"two threads change files: {line[:200]}"
                continue
            name, arguments, result = found.groups()
            if int(result) >= 0:
                yield from self._call(name, arguments, int(result))

    def _call(self, name: str, arguments: str, result: int) -> Iterator[Event]:
        if name == "close":
            self._open.pop(int(arguments.split("<")[0]), None)
        elif name in ("openat", "open", "creat"):
            yield from self._opened(arguments, result)
        elif name.startswith(("rename", "unlink", "mkdir", "link", "symlink", "rmdir", "truncate")):
            yield from self._named(name, arguments)
        elif (fd := _FD.match(arguments)) is not None:
            yield from self._described(name, int(fd[1]), self._below(_bytes(fd[2])), arguments, result)

    def _below(self, path: bytes) -> str | None:
        if path == self._folder:
            return ""
        inside = path.startswith(self._folder + b"/")
        return os.fsdecode(path[len(self._folder) + 1 :]) if inside else None

    def _opened(self, arguments: str, result: int) -> Iterator[Event]:
        found = _STRING.search(arguments)
        assert found
        path = self._below(_bytes(found[1]))
        if path is None or "O_DIRECTORY" in arguments:
            return
        if path not in self._names:
            if "O_CREAT" not in arguments:
                return  # a folder, opened without saying so
            self._names[path] = len(self._sizes)
            self._sizes.append(0)
            yield Event("create", path, self._names[path])
        file = self._names[path]
        if "O_TRUNC" in arguments and self._sizes[file]:
            self._sizes[file] = 0
            yield Event("truncate", path, file, 0)
        self._open[result] = file, 0, "O_APPEND" in arguments

    def _named(self, name: str, arguments: str) -> Iterator[Event]:
        paths = [self._below(_bytes(one)) for one in _STRING.findall(arguments)]
        if all(path is None for path in paths):
            return
        first = paths[0]
        assert first is not None
        if name.startswith("unlink"):
            yield Event("unlink", first, self._names.pop(first))
        elif name.startswith("mkdir"):
            yield Event("mkdir", first)
        else:
            assert name.startswith("rename"), f"a call that replay knows nothing of: {name}"
            second = paths[1]
            assert second is not None
            self._names[second] = self._names.pop(first)
            yield Event("rename", first, self._names[second], target=second)

    def _described(self, name: str, fd: int, path: str | None, arguments: str, result: int) -> Iterator[Event]:
        if name == "write" and fd == 1:
            found = _STRING.search(arguments)
            assert found
            yield from (Event("said", data=line) for line in _bytes(found[1]).splitlines())
        if path is None:
            return
        if name in ("fsync", "fdatasync") and fd not in self._open:  # SQLite syncs folders with either
            yield Event("sync_folder", path)
            return
        assert fd in self._open, f"a descriptor from nowhere: {name} {path}"
        file, position, appends = self._open[fd]
        if name in ("fsync", "fdatasync"):
            yield Event("sync", path, file)
        elif name == "lseek":
            self._open[fd] = file, result, appends
        elif name == "ftruncate":
            self._sizes[file] = int(arguments.rsplit(",", 1)[1])
            yield Event("truncate", path, file, self._sizes[file])
        else:
            assert name in ("write", "pwrite64"), f"a call that replay knows nothing of: {name}"
            found = _STRING.search(arguments)
            assert found
            data = _bytes(found[1])[:result]
            if name == "pwrite64":
                position = int(arguments.rsplit(",", 1)[1])
            if appends:  # Linux: also pwrite, whatever its offset
                position = self._sizes[file]
            if name == "write":
                self._open[fd] = file, position + result, appends
            self._sizes[file] = max(self._sizes[file], position + result)
            yield Event("write", path, file, position, data)
