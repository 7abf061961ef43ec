"""The warm worker's side: it runs commands for others, one at a time, with models loaded; see ``_warm.py``."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mmsearch.cli._warm import COMMANDS, STARTED, socket_path
from mmsearch.errors import LockedError, StorageError

_MOST = 4 << 20
"""Bytes of a request; an environment and a command line are some kilobytes."""
_SLOW = 5.0
"""Seconds in which a request has to be there whole."""


def serve(idle: float) -> None:
    """Answer until nobody has asked for ``idle`` seconds. Raises :class:`LockedError` when another worker is there."""
    from mmsearch import models

    models.keep_loaded()
    path = socket_path()
    with _alone(path), socket.socket(socket.AF_UNIX) as listening:
        try:
            listening.bind(path)
        except OSError as error:
            raise StorageError(f"cannot listen at {path}: {error}", hint="set XDG_RUNTIME_DIR to a short path") from error
        os.chmod(path, 0o600)
        listening.listen(16)
        listening.settimeout(idle)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            while True:
                try:
                    line, _ = listening.accept()
                except TimeoutError:
                    return
                with line:
                    _answer(line)
        finally:
            os.unlink(path)


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """The right to be the worker; a socket that a dead one has left is removed."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError("a warm worker is running already", hint="stop it: mmsearch worker --stop") from None
        if os.path.exists(path):
            os.unlink(path)
        yield


def _answer(line: socket.socket) -> None:
    """One request, from a process of the same user. Whatever is wrong with it, the worker goes on."""
    fds: list[int] = []
    try:
        line.settimeout(_SLOW)
        if _peer(line) != os.getuid():
            return
        head, fds, _, _ = socket.recv_fds(line, 4, 3)
        request = json.loads(_read(line, int.from_bytes(head, "little")))
        if len(fds) != 3:
            return
        line.sendall(STARTED)
        line.sendall(bytes([_run(request, fds) & 0xFF]))
    except (OSError, ValueError, KeyError, TypeError):
        return  # the one who asked sees that the line is closed
    finally:
        for fd in fds:
            os.close(fd)


def _peer(line: socket.socket) -> int:
    """The user id at the other end."""
    if not hasattr(socket, "SO_PEERCRED"):  # not Linux: the folder's permissions alone protect the socket
        return os.getuid()
    credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _read(line: socket.socket, size: int) -> bytes:
    if size > _MOST:
        raise ValueError(f"a request of {size} bytes")
    parts = []
    while size and (part := line.recv(min(size, 1 << 16))):
        parts.append(part)
        size -= len(part)
    if size:
        raise ValueError("half a request")
    return b"".join(parts)


def _run(request: dict[str, Any], fds: list[int]) -> int:
    """The exit code of a command, run with the asker's streams, folder and environment."""
    from mmsearch.cli._app import main

    argv, cwd, env = request["argv"], request["cwd"], request["env"]
    if not set(argv) & set(COMMANDS):
        raise ValueError("a command that is not for a worker")
    with _as_if_there(fds, cwd, env):
        return main(argv)


@contextmanager
def _as_if_there(fds: list[int], cwd: str, env: dict[str, str]) -> Iterator[None]:
    """The asker's descriptors 0, 1 and 2, working folder and environment, for as long as this lasts."""
    assert threading.current_thread() is threading.main_thread()
    kept, streams = [os.dup(number) for number in range(3)], (sys.stdin, sys.stdout, sys.stderr)
    folder, environment = os.getcwd(), dict(os.environ)
    try:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        os.chdir(cwd)
        _set_environment(env)
        sys.stdin = os.fdopen(0, "r", closefd=False, errors="surrogateescape")
        sys.stdout = os.fdopen(1, "w", closefd=False, errors="backslashreplace")
        sys.stderr = os.fdopen(2, "w", closefd=False, errors="backslashreplace")
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, fd in enumerate(kept):
            os.dup2(fd, number)
            os.close(fd)
        os.chdir(folder)
        _set_environment(environment)


def _set_environment(values: dict[str, str]) -> None:
    for name in set(os.environ) - set(values):
        del os.environ[name]
    os.environ.update(values)
