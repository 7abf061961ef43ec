"""Reading one file of the user's, which may be anything: a pipe, a device, gone, unreadable, on a failing network mount."""

from __future__ import annotations

import errno
import os
import stat
import time
from enum import StrEnum
from typing import Final, NamedTuple

from mmsearch.errors import InputError

__all__ = ["MAX_FILE_BYTES", "FileBytes", "Reason", "read_file", "read_with_stat"]


class Reason(StrEnum):
    """Why a file was skipped: the ``reason`` of the errors of this module, of ``images`` and of ``loading``."""

    NOT_IMAGE = "not_image"  # empty, or none of the formats of formats.Format
    TRUNCATED = "truncated"  # the end is missing
    CORRUPT = "corrupt"  # all there, but not decodable
    TOO_LARGE = "too_large"  # more pixels (or bytes) than the limit
    UNSUPPORTED = "unsupported"  # a variant that needs an extra, or that nothing reads
    VANISHED = "vanished"  # gone between the scan and the reading
    PERMISSION = "permission"
    NOT_REGULAR = "not_regular"  # a FIFO, a device, a folder
    IO_ERROR = "io_error"  # EIO or ESTALE three times, or another error of the disk
    CRASHED = "crashed"  # the worker died twice over it, or ran out of memory
    TIMEOUT = "timeout"  # took longer than the limit, twice


MAX_FILE_BYTES: Final = 1 << 30
"""Larger files are refused as ``too_large``: no photo within the megapixel limit needs more."""

_TRIES: Final = 3
_PAUSES: Final = (0.05, 0.25)
_PASSING: Final = frozenset({errno.EIO, errno.ESTALE})
_VANISHED: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})
_NOT_A_FILE: Final = frozenset({errno.ENXIO, errno.ENODEV, errno.EISDIR})


class FileBytes(NamedTuple):
    """The bytes of a file, with size and modification time (nanoseconds) of the very file that was opened."""

    data: bytes
    size: int
    mtime_ns: int


def read_file(path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file. Never blocks on a FIFO or a device. Raises as :func:`read_with_stat`."""
    return read_with_stat(path, max_bytes=max_bytes).data


def read_with_stat(path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> FileBytes:
    """The bytes of a regular file and its stat, read through one descriptor, so that they belong together.

    Raises :class:`InputError` with the reason ``vanished``, ``permission``, ``not_regular``, ``too_large`` or
    ``io_error``; EIO and ESTALE are tried three times within 0.3 s first.
    """
    for attempt in range(_TRIES):
        try:
            return _read(path, max_bytes)
        except OSError as error:
            if error.errno in _PASSING and attempt < _TRIES - 1:
                time.sleep(_PAUSES[attempt])
                continue
            raise InputError(_reason(error), f"cannot be read: {error.strerror or error}") from error
        except ValueError as error:  # a NUL in the name
            raise InputError(Reason.VANISHED, f"cannot be read: {error}") from error
    raise AssertionError("the last attempt returns or raises")


def _read(path: str | os.PathLike[str], max_bytes: int) -> FileBytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(Reason.NOT_REGULAR, f"is {_what(status.st_mode)}, not a regular file")
        if status.st_size > max_bytes:
            raise InputError(Reason.TOO_LARGE, f"has {status.st_size} bytes, more than the limit of {max_bytes}")
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as stream:
            # one byte more than the limit shows a file that grows while it is read
            data = stream.read() if status.st_size else stream.read(max_bytes + 1)
        if data is None or len(data) > max_bytes:
            raise InputError(Reason.TOO_LARGE, f"has more bytes than the limit of {max_bytes}")
        return FileBytes(data, status.st_size, status.st_mtime_ns)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> Reason:
    if error.errno in _VANISHED:
        return Reason.VANISHED
    if error.errno in _DENIED:
        return Reason.PERMISSION
    return Reason.NOT_REGULAR if error.errno in _NOT_A_FILE else Reason.IO_ERROR


def _what(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe (FIFO)"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")
