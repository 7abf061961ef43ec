"""What a matcher has made of pictures, kept: in memory by item, and between runs in a folder by the pictures' digests."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells"]

Row = NDArray[np.float16]
KEPT = 5_000
"""Files in the folder before the older half is removed: some 65 MB for mini's head."""
_HEAD = np.dtype("<u4")


class Cells:
    """Rows are found by an item's vid in memory, and by the digest of its content in ``folder``, if there is one.

    ``folder`` belongs to one matcher and one user. A file is a checksum, the row's shape, the row as little-endian float16;
    a damaged one is never read, and losing all of them costs time only. Nothing is raised where the disk does not allow it.
    """

    def __init__(self, folder: Path | None = None, *, most: int = 4096) -> None:
        self._folder, self._most = folder, most
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._lock = threading.Lock()

    def near(self, vid: int) -> Row | None:
        """What memory has of an item, 1 µs."""
        with self._lock:
            if vid in self._rows:
                self._rows.move_to_end(vid)
            return self._rows.get(vid)

    def far(self, vid: int, digest: bytes | None) -> Row | None:
        """What the folder has of a content, 50 µs."""
        row = None if digest is None or self._folder is None else _read(self._folder / digest.hex()[:32])
        if row is not None:
            self._remember(vid, row)
        return row

    def put(self, vid: int, digest: bytes | None, row: Row) -> None:
        """Keep a row ``(cells, dim)``, in memory alone where the digest is not known."""
        self._remember(vid, row)
        if digest is None or self._folder is None:
            return
        path = self._folder / digest.hex()[:32]
        body = np.array(row.shape, dtype=_HEAD).tobytes() + np.ascontiguousarray(row, dtype="<f2").tobytes()
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd, name = tempfile.mkstemp(dir=path.parent)
            try:
                with open(fd, "wb") as file:
                    file.write(zlib.crc32(body).to_bytes(4, "little") + body)
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
            self._tidy(path.parent)

    def _remember(self, vid: int, row: Row) -> None:
        with self._lock:
            self._rows[vid] = row
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)

    def _tidy(self, folder: Path) -> None:
        if int.from_bytes(os.urandom(1)) >= 4:  # counting 5,000 files each time would cost more than it saves
            return
        files = [(file.stat().st_mtime_ns, file.path) for file in os.scandir(folder)]
        for _, path in sorted(files)[: len(files) - KEPT // 2 if len(files) > KEPT else 0]:
            os.unlink(path)


def _read(path: Path) -> Row | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body = data[4:]
    if len(body) < 8 or zlib.crc32(body).to_bytes(4, "little") != data[:4]:
        return None
    cells, dim = (int(n) for n in np.frombuffer(body[:8], dtype=_HEAD))
    return np.frombuffer(body[8:], dtype="<f2").reshape(cells, dim) if len(body) == 8 + 2 * cells * dim else None
