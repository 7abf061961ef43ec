"""Running a model over any number of rows in batches that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from mmsearch.errors import ModelError
from mmsearch.types import Vectors

__all__ = ["Batches"]

Row = TypeVar("Row")


class Batches:
    """Cuts work into batches of at most ``size`` rows, and halves ``size`` for good when memory runs out.

    ``is_full`` tells an error of exhausted memory from others; ``free`` is called before the next try. Thread-safe: two
    threads that meet the limit together only halve it twice.
    """

    def __init__(
        self, size: int, *, is_full: Callable[[BaseException], bool], free: Callable[[], None] = lambda: None
    ) -> None:
        self.size = size
        self._is_full, self._free = is_full, free

    def run(self, rows: Sequence[Row], dim: int, encode: Callable[[Sequence[Row]], Vectors]) -> Vectors:
        """``(len(rows), dim)``: ``encode`` of all rows in order. Raises :class:`ModelError` if one row does not fit."""
        out = np.empty((len(rows), dim), dtype=np.float32)
        start = 0
        while start < len(rows):
            size = min(self.size, len(rows) - start)
            try:
                out[start : start + size] = encode(rows[start : start + size])
            except Exception as error:
                if not self._is_full(error):
                    raise
                if size == 1:
                    raise ModelError(
                        "there is not enough memory to encode a single item with this model",
                        hint="close other programs, choose a smaller model, or use device='cpu'",
                    ) from error
                self.size = max(1, size // 2)
                self._free()
                continue
            start += size
        return out
