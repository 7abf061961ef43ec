"""What a matcher has made of pictures, kept: in memory by item, and between runs in a folder by the pictures' digests."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.smallfiles import SmallFiles

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
        # counting 5,000 files each time would cost more than it saves
        self._files = None if folder is None else SmallFiles(folder, most=KEPT, watch=4)
        self._most = most
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
        body = None if digest is None or self._files is None else self._files.get(digest.hex()[:32])
        row = None if body is None else _row(body)
        if row is not None:
            self._remember(vid, row)
        return row

    def put(self, vid: int, digest: bytes | None, row: Row) -> None:
        """Keep a row ``(cells, dim)``, in memory alone where the digest is not known."""
        self._remember(vid, row)
        if digest is not None and self._files is not None:
            body = np.array(row.shape, dtype=_HEAD).tobytes() + np.ascontiguousarray(row, dtype="<f2").tobytes()
            self._files.put(digest.hex()[:32], body)

    def _remember(self, vid: int, row: Row) -> None:
        with self._lock:
            self._rows[vid] = row
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)


def _row(body: bytes) -> Row | None:
    if len(body) < 8:
        return None
    cells, dim = (int(n) for n in np.frombuffer(body[:8], dtype=_HEAD))
    return np.frombuffer(body[8:], dtype="<f2").reshape(cells, dim) if len(body) == 8 + 2 * cells * dim else None
