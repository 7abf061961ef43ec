"""A second reading of a picture: from the tower's last feature map to what is said of pictures, past the tower's own last layer.

The last layer was trained together with the rest and errs with it on new pictures. A regression on the feature map errs
elsewhere, so both together are nearer than either. The map is pooled whole and in four overlapping windows; then

    r = unit( max(0, U (p - m) / s) W + c )

where U is a fixed matrix of random signs and W was solved for at once, by least squares against the mean row of each training
picture's captions: ridge regression on random features (Rahimi and Recht, NIPS 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Vectors

__all__ = ["Reading", "hidden"]

_SEED = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """``mean`` and ``spread`` (pooled,) float32 bring pooled maps to one scale, ``weights`` are (width, dim), ``offset`` (dim,)."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    weights: Vectors
    offset: NDArray[np.float32]

    def rows(self, pooled: Vectors) -> Vectors:
        """Unit rows (n, dim) of pooled feature maps (n, pooled). O(n · pooled · width): 0.3 ms a picture."""
        read = hidden(pooled, self.mean, self.spread, len(self.weights)) @ self.weights + self.offset
        return np.asarray(read / np.linalg.norm(read, axis=1, keepdims=True), dtype=np.float32)

    def save(self, path: Path) -> None:
        """Writes one safetensors file, the weights as float16."""
        from safetensors.numpy import save_file

        rest = {"mean": self.mean, "spread": self.spread, "offset": self.offset}
        save_file({"weights": self.weights.astype(np.float16), **rest}, str(path))

    @classmethod
    def load(cls, path: Path) -> Reading:
        """Reads what :meth:`save` wrote. Raises ``OSError``, and ``ValueError`` for what is no such file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            found = load(path.read_bytes())
            return cls(*(np.asarray(found[name], dtype=np.float32) for name in ("mean", "spread", "weights", "offset")))
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path} holds no reading: {error}") from error


def hidden(pooled: Vectors, mean: NDArray[np.float32], spread: NDArray[np.float32], width: int) -> Vectors:
    """The random features (n, width) of pooled maps (n, pooled)."""
    signs = _signs(pooled.shape[1], width)
    return np.asarray(np.maximum(((pooled - mean) / spread) @ signs, 0) / np.sqrt(pooled.shape[1]), dtype=np.float32)


@lru_cache(maxsize=1)
def _signs(rows: int, columns: int) -> NDArray[np.float32]:
    """(rows, columns) of -1 and 1, from raw bits: numpy promises that these never change, and does not of its distributions."""
    raw = np.random.PCG64(_SEED).random_raw(-(-rows * columns // 64))
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8), bitorder="little")[: rows * columns]
    return bits.reshape(rows, columns).astype(np.float32) * 2 - 1
