"""Vectors of texts that were searched for before, kept between runs: the same question again needs no model."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KEPT = 2_000
"""Files in the folder before the older half is removed: 2 MB at 256 dimensions."""
_CRC_BYTES = 4


class TextVectors:
    """One small file for each text, below ``folder``, which belongs to one model and one user.

    The names are hashes: the folder holds no words, though who has both can test whether a text was asked for. Losing a
    file, or all, costs time only; a damaged one is never read. Nothing is raised when the disk does not allow it.

    >>> remembered = TextVectors(Path("/tmp/vectors-of-mini"), dim=256)      # doctest: +SKIP
    >>> remembered.put("a cat", vector)                                      # doctest: +SKIP
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder, self._size = folder, dim * 4

    def get(self, text: str) -> NDArray[np.float32] | None:
        """The unit vector ``(dim,)`` float32 of a text, if it is known. 30 µs."""
        try:
            data = self._path(text).read_bytes()
        except OSError:
            return None
        body = data[_CRC_BYTES:]
        if len(body) != self._size or zlib.crc32(body).to_bytes(_CRC_BYTES, "little") != data[:_CRC_BYTES]:
            return None
        return np.frombuffer(body, dtype="<f4")

    def put(self, text: str, vector: NDArray[np.float32]) -> None:
        """Keep a text's vector. 0.2 ms; no sync, since it can be made again."""
        body = np.ascontiguousarray(vector, dtype="<f4").tobytes()
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd, name = tempfile.mkstemp(dir=self._folder)
            try:
                with open(fd, "wb") as file:
                    file.write(zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body)
                os.replace(name, self._path(text))
            except BaseException:
                os.unlink(name)
                raise
            self._tidy()

    def _path(self, text: str) -> Path:
        return self._folder / hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _tidy(self) -> None:
        files = list(os.scandir(self._folder))
        if len(files) > KEPT:
            files.sort(key=lambda file: file.stat().st_mtime_ns)
            for file in files[: len(files) - KEPT // 2]:
                os.unlink(file)
