"""Running a model over any number of rows in batches that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from mmsearch.errors import MMSearchError, ModelError
from mmsearch.types import Vectors

__all__ = ["Batches"]

Row = TypeVar("Row")
_ADVICE = "fetch, export or install the model again"


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
        """``(len(rows), dim)``: ``encode`` of all rows in order.

        Raises :class:`ModelError` if one row does not fit, if ``encode`` fails (a damaged model raises whatever its runtime
        likes), and for rows that are not unit vectors: one that is NaN would be stored, and found by nothing.
        """
        out = np.empty((len(rows), dim), dtype=np.float32)
        start = 0
        while start < len(rows):
            size = min(self.size, len(rows) - start)
            try:
                out[start : start + size] = _checked(encode(rows[start : start + size]), (size, dim))
            except MMSearchError:
                raise
            except Exception as error:
                if not self._is_full(error):
                    why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                    raise ModelError(f"the model cannot encode this: {why}", hint=_ADVICE) from error
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


def _checked(found: Vectors, shape: tuple[int, int]) -> Vectors:
    if found.shape != shape:
        raise ModelError(f"the model returned {found.shape} numbers and not {shape}", hint=_ADVICE)
    norms = np.einsum("ij,ij->i", found, found)
    if not (np.abs(norms - 1) < 0.02).all():  # also false for NaN
        what = "unit vectors" if np.isfinite(norms).all() else "finite numbers; use precision='fp32'"
        raise ModelError(f"the rows that the model returned are not {what}", hint=_ADVICE)
    return found
