"""What was said of pictures like this one: a picture's row is moved towards it, and pictures that fit anything step back.

A small tower places a picture it has never seen a little beside its meaning. A memory of training's pictures, as a few hundred
pairs of a place k_p and of the mean row v_p of what was said there, corrects that. With n_p the share of pictures behind a pair,

    x' = unit( x + λ unit( Σ_p a_p v_p ) ),   a = softmax_p( β <x, k_p> + ln n_p )

is a step towards the mean of what one should expect after noise of variance 1/β on a picture's place (Nadaraya and Watson 1964;
the same sum is a modern Hopfield network's update: Ramsauer et al. 2021). The values also serve as questions that could be asked
of anything: what a picture answers to all of them, ln Σ_p n_p e^{b <v_p, x'>} / b, is taken off κ times (inverted softmax: Smith
et al. 2017; QB-Norm: Bogolin et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Vectors

__all__ = ["HUB", "Recall"]

HUB = 10.0
"""b of the formula above."""


@dataclass(frozen=True, slots=True)
class Recall:
    """``keys`` and ``values`` are (p, dim) float32, ``share`` (p,) sums to 1; ``sharpness`` is β, ``strength`` λ, ``hub`` κ.

    ``second`` is what a second reading of a picture (:mod:`.reading`) weighs beside its moved row.
    """

    keys: Vectors
    values: Vectors
    share: NDArray[np.float32]
    sharpness: float
    strength: float
    hub: float
    second: float

    def rows(self, pictures: Vectors, read: Vectors) -> Vectors:
        """Unit rows (n, dim) of pictures, moved, and mixed with their second reading; O(n · p · dim), 20 µs a picture.

        >>> two = np.eye(2, dtype=np.float32)
        >>> memory = Recall(two, two[::-1], np.float32([0.5, 0.5]), 100.0, 1.0, 0.0, 0.0)
        >>> memory.rows(two[:1], two[:1]).round(2).tolist()
        [[0.71, 0.71]]
        """
        logits = self.sharpness * (pictures @ self.keys.T) + np.log(self.share)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        moved = _unit(pictures + self.strength * _unit(weights @ self.values))
        return _unit(moved + self.second * read)

    def scores(self, texts: Vectors, moved: Vectors) -> Vectors:
        """Cosines (m, n) of texts (m, dim) with rows that :meth:`rows` gave, less what the pictures answer to anything."""
        said = np.log(self.share @ np.exp(HUB * (self.values @ moved.T))) / HUB
        return np.asarray(texts @ moved.T - self.hub * said, dtype=np.float32)

    def save(self, path: Path) -> None:
        """Writes keys and values as float16 and the rest beside them, in one safetensors file."""
        from safetensors.numpy import save_file

        settings = np.array([self.sharpness, self.strength, self.hub, self.second], dtype=np.float32)
        halves = {"keys": self.keys.astype(np.float16), "values": self.values.astype(np.float16)}
        save_file({**halves, "share": self.share.astype(np.float32), "settings": settings}, str(path))

    @classmethod
    def load(cls, path: Path) -> Recall:
        """Reads what :meth:`save` wrote. Raises ``OSError``, and ``ValueError`` for what is no such file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            found = load(path.read_bytes())
            settings = [float(one) for one in found["settings"]]
            keys, values = (np.asarray(found[name], dtype=np.float32) for name in ("keys", "values"))
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path} holds no memory: {error}") from error
        return cls(keys, values, np.asarray(found["share"], dtype=np.float32), *settings)


def _unit(rows: Vectors) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
