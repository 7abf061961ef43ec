"""An encoder without weights, for tests and examples: colours seen in a picture meet colour words in a text.

The first dimensions are shares of twelve named colours. A picture fills them by its pixels, a text by its words; what
else a text says, and how a picture is laid out, falls into the remaining dimensions by hashing. So ``"red"`` is close
to red pictures, ``"blue green"`` to pictures that are half blue and half green, and nothing is random.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.protocols import EncoderSpec
from mmsearch.types import Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["COLOURS", "ToyEncoder", "ToyPreparer"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 20, 20),
    "orange": (255, 140, 0),
    "yellow": (240, 230, 20),
    "green": (20, 160, 20),
    "cyan": (0, 210, 210),
    "blue": (20, 40, 220),
    "purple": (130, 20, 150),
    "pink": (255, 150, 190),
    "brown": (120, 70, 20),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "white": (255, 255, 255),
}
"""The colours that it knows, with their RGB values; one dimension each, in this order."""

_SIDE = 32
_ALIASES = {"grey": "gray", "violet": "purple", "turquoise": "cyan"}
_LAYOUT_WEIGHT = 0.3  # small: the layout tells two red pictures apart, and never outweighs their colour
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class ToyPreparer:
    """Squashes a picture to ``(32, 32, 3)`` uint8. Pure and picklable."""

    @property
    def size(self) -> tuple[int, int]:
        """The smallest (width, height) that a picture may be decoded at."""
        return _SIDE, _SIDE

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        from PIL.Image import Resampling

        small = image.convert("RGB").resize((_SIDE, _SIDE), Resampling.BOX)
        return np.asarray(small, dtype=np.uint8)


class ToyEncoder:
    """Satisfies :class:`mmsearch.protocols.Encoder` with numpy alone; loads in no time, encodes ~10k rows/s.

    ``dim`` is at least 16. ``delay`` sleeps that many seconds for each row, to stand for a slow model. Another ``seed``
    gives another space with another fingerprint (colour words still work). ``images_encoded`` and ``texts_encoded``
    count rows, for tests which prove that nothing is encoded twice.

    >>> toy = ToyEncoder()
    >>> red, blue = toy.encode_texts(["red", "blue"])
    >>> float(red @ blue)
    0.0
    """

    def __init__(self, dim: int = 64, *, delay: float = 0.0, seed: int = 0) -> None:
        if dim < len(COLOURS) + 4:
            raise UsageError(f"the toy encoder needs at least {len(COLOURS) + 4} dimensions, and {dim} were asked for")
        self._delay = delay
        self._salt = f"mmsearch toy 1 dim={dim} seed={seed}".encode()
        self._spec = EncoderSpec(
            name="toy" if (dim, seed) == (64, 0) else f"toy:{dim}",
            dim=dim,
            fingerprint=hashlib.sha256(self._salt).hexdigest(),
            licence="Apache-2.0",
            image_size=(_SIDE, _SIDE),
            context_length=1_000_000,
        )
        self._palette = np.array(list(COLOURS.values()), dtype=np.int32)
        self._projection = self._signs((dim - len(COLOURS), 8 * 8 * 3))
        self._lock = threading.Lock()
        self.images_encoded = 0
        self.texts_encoded = 0

    @property
    def spec(self) -> EncoderSpec:
        """Name ``toy`` (``toy:32`` with 32 dimensions), its dimension and fingerprint."""
        return self._spec

    @property
    def preparer(self) -> ToyPreparer:
        """Squashes pictures to 32 × 32."""
        return ToyPreparer()

    def encode_images(self, batch: Sequence[NDArray[np.uint8]]) -> Vectors:
        """``(n, dim)`` unit rows of ``n`` arrays ``(32, 32, 3)`` that the preparer made."""
        out = np.stack([self._image(pixels) for pixels in batch]) if len(batch) else self._nothing()
        with self._lock:
            self.images_encoded += len(batch)
        return self._finish(out)

    def encode_texts(self, batch: Sequence[str]) -> Vectors:
        """``(n, dim)`` unit rows of ``n`` texts."""
        out = np.stack([self._text(text) for text in batch]) if len(batch) else self._nothing()
        with self._lock:
            self.texts_encoded += len(batch)
        return self._finish(out)

    def _nothing(self) -> NDArray[np.float64]:
        return np.zeros((0, self._spec.dim))

    def _finish(self, rows: NDArray[np.float64]) -> Vectors:
        if self._delay and len(rows):
            time.sleep(self._delay * len(rows))
        unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit.astype(np.float32)

    def _image(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        if pixels.shape != (_SIDE, _SIDE, 3):
            raise UsageError(f"the toy encoder takes arrays (32, 32, 3), and got {pixels.shape}")
        distance = ((pixels.reshape(-1, 1, 3).astype(np.int32) - self._palette) ** 2).sum(axis=2)
        shares = np.bincount(distance.argmin(axis=1), minlength=len(COLOURS)) / (_SIDE * _SIDE)
        cells = pixels.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3)).ravel() / 255 - 0.5
        layout = self._projection @ cells / len(cells)
        return np.concatenate([shares, _LAYOUT_WEIGHT * layout])

    def _text(self, text: str) -> NDArray[np.float64]:
        row = np.zeros(self._spec.dim)
        names = list(COLOURS)
        for word in _WORD.findall(text.lower()) or [""]:
            word = _ALIASES.get(word, word)
            if word in COLOURS:
                row[names.index(word)] += 1
                continue
            bits = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), key=self._key()).digest()[:8])
            row[len(names) + bits % (len(row) - len(names))] += 1 if bits >> 63 else -1
        if not row.any():  # two words that cancelled each other
            row[-1] = 1
        return row

    def _key(self) -> bytes:
        return hashlib.sha256(self._salt).digest()

    def _signs(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        count = shape[0] * shape[1]
        stream = hashlib.shake_256(self._salt).digest((count + 7) // 8)
        bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8), count=count)
        return bits.reshape(shape).astype(np.float64) * 2 - 1
