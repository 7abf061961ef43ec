"""What all sources need of the file system: suffixes, listing, reading, and words for what went wrong."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar
from zlib import crc32

from mmsearch.files import read_file
from mmsearch.types import Asset, Failure, Kind

_READABLE = ".jpg .jpeg .jpe .jfif .png .apng .gif .webp .bmp .dib .tif .tiff .avif .jp2 .j2k .jpx .ppm .pgm .pbm .pnm"
_WITH_AN_EXTRA = ".heic .heif .hif .arw .cr2 .cr3 .crw .dng .mrw .nef .nrw .orf .pef .raf .rw2 .srw .x3f"
# Pictures to a person, not to the decoders: listed so that the report names them and does not pass over them.
_NEVER = ".svg .eps .fits .jxl .psd"

KINDS: dict[str, Kind] = {
    **dict.fromkeys(f"{_READABLE} {_WITH_AN_EXTRA} {_NEVER}".split(), Kind.IMAGE),
    ".txt": Kind.TEXT,
    ".md": Kind.TEXT,
}
"""Lower-case suffix → what such a file is taken for. Content decides later: a PNG named ``.jpg`` is fine."""

MAX_TEXT_BYTES = 16 << 20
"""A text file, a sidecar or an ignore file above this size is not read: it is no caption, whatever its name says."""

by_name = attrgetter("name")
_TRIES = 3
_WORTH_ANOTHER_TRY = {errno.EIO, errno.ESTALE}
T = TypeVar("T")


def suffix(name: str) -> str:
    """The lower-case suffix with its dot, as in :data:`KINDS`; ``""`` where there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def item_id(path: str) -> str:
    """The id of the item at ``path``: the path itself.

    A name that is not UTF-8 cannot be stored as text; its bad bytes are escaped, and a checksum of all its bytes keeps
    two such names apart.

    >>> item_id("a/cat.jpg"), item_id("caf\\udce9.jpg")
    ('a/cat.jpg', 'caf\\\\xe9.jpg#9c93ef63')
    """
    if path.isascii():
        return path
    try:
        path.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(path)
        return f"{raw.decode('utf-8', 'backslashreplace')}#{crc32(raw):08x}"
    return path


def patiently(action: Callable[[], T]) -> T:
    """``action()``, tried again twice where the medium or the network file system hiccups (EIO, ESTALE)."""
    for attempt in range(_TRIES - 1):
        try:
            return action()
        except OSError as error:
            if error.errno not in _WORTH_ANOTHER_TRY:
                raise
            time.sleep(0.05 * 4**attempt)
    return action()


def list_folder(path: str) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name. Raises :class:`OSError`. One ``scandir``, no ``stat``."""

    def once() -> list[os.DirEntry[str]]:
        with os.scandir(path) as entries:
            return sorted(entries, key=by_name)

    return patiently(once)


def reason_of(error: OSError) -> str:
    """One stable word for an error of the operating system, as :func:`mmsearch.files.read_file` uses them."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "vanished"
    if isinstance(error, PermissionError):
        return "permission"
    return "io_error"


def problem(path: str, reason: str, detail: str, *, size: int = -1, mtime_ns: int = -1) -> Failure:
    """A :class:`Failure` as sources report it: a source does not know its root's name, so ``root`` is empty."""
    return Failure("", path, reason, detail, size, mtime_ns)


def os_problem(path: str, error: OSError) -> Failure:
    """The :class:`Failure` for an error of the operating system on ``path``."""
    return problem(path, reason_of(error), error.strerror or str(error))


class FilesBelow:
    """The part of a source that is the same for all: its assets' bytes are in files below ``root``, or known already."""

    root: str

    def read(self, asset: Asset) -> bytes:
        """The bytes of the asset's file, or of its text where the source holds that. Raises :class:`InputError`."""
        if asset.text is not None:
            return asset.text.encode()
        path = self._absolute(asset.path)
        return read_file(path, max_bytes=MAX_TEXT_BYTES) if asset.kind is Kind.TEXT else read_file(path)

    def locate(self, asset: Asset) -> str | None:
        """The absolute path of the asset's file; ``None`` for a text that the source holds."""
        return self._absolute(asset.path) if asset.text is None else None

    def _absolute(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"
