"""A folder of small checksummed files, named by hashes: what can be made again, kept between runs."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from pathlib import Path

_CRC_BYTES = 4


class SmallFiles:
    """Bytes by name below ``folder``, at most ``most`` files: of more, the older half goes.

    A file is the CRC-32 of its body, little-endian, and the body; a damaged one is never read. Losing all of them costs time
    only, and nothing is raised where the disk does not allow it. ``watch``, of 256, is how often a file that is put makes the
    folder be counted: each time, unless counting costs more than it saves.

    >>> SmallFiles(Path("/nowhere"), most=10).get("a") is None
    True
    """

    def __init__(self, folder: Path, *, most: int, watch: int = 256) -> None:
        self._folder, self._most, self._watch = folder, most, watch

    def get(self, name: str) -> bytes | None:
        """The body kept under a name, if it is there and whole. 30 µs."""
        try:
            data = (self._folder / name).read_bytes()
        except OSError:
            return None
        body = data[_CRC_BYTES:]
        return body if zlib.crc32(body).to_bytes(_CRC_BYTES, "little") == data[:_CRC_BYTES] else None

    def put(self, name: str, body: bytes) -> None:
        """Keep a body, in one step. 0.2 ms; no sync."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd, temporary = tempfile.mkstemp(dir=self._folder)
            try:
                with open(fd, "wb") as file:
                    file.write(zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body)
                os.replace(temporary, self._folder / name)
            except BaseException:
                os.unlink(temporary)
                raise
            if int.from_bytes(os.urandom(1)) < self._watch:
                self._tidy()

    def _tidy(self) -> None:
        files = [(file.stat().st_mtime_ns, file.path) for file in os.scandir(self._folder)]
        for _, path in sorted(files)[: len(files) - self._most // 2 if len(files) > self._most else 0]:
            os.unlink(path)
