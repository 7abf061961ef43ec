"""A heatmap: where in a picture a query is met.

Three ways, each in a file of its own; ``docs/relevance.md`` has what they measure.

=============  ===================================================================  =====================
``windows``    square parts of the picture are encoded and compared with the query  any encoder, no torch
``patches``    a ViT's own patch tokens are compared with the query                 open_clip ViTs in torch
``gradients``  what moves the score, by one backward pass                           any tower in torch
=============  ===================================================================  =====================
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.explain.windows import window_grid
from mmsearch.protocols import Encoder

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["METHODS", "Heatmap", "heatmap"]

METHODS = ("auto", "windows", "patches", "gradients")
_SHOWN = 1024  # pixels of the longer side of the picture that is kept for the overlay


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """Where a picture answers a query. ``grid`` ``(h, w)`` float32 from 0 to 1, row 0 on top, covers the whole picture; it is all
    zero where no place answers more than another.

    ``width`` and ``height`` are pixels of the upright picture, ``score`` the cosine of the whole picture with the query,
    ``method`` how the grid was made, ``picture`` the upright picture, not larger than 1,024 pixels.
    """

    grid: NDArray[np.float32]
    width: int
    height: int
    score: float
    method: str
    picture: Image

    @property
    def hottest(self) -> tuple[int, int]:
        """``(x, y)`` of the hottest place in pixels of the upright picture; the middle where none is hotter."""
        if not self.grid.any():
            return self.width // 2, self.height // 2
        row, column = np.unravel_index(int(self.grid.argmax()), self.grid.shape)
        rows, columns = self.grid.shape
        return int((column + 0.5) * self.width / columns), int((row + 0.5) * self.height / rows)

    def box(self, share: float = 0.5) -> tuple[int, int, int, int]:
        """``(x, y, w, h)`` in pixels around the cells that touch the hottest one and have at least ``share`` of its heat."""
        hot = self.grid >= share * max(float(self.grid.max()), 1e-9)
        if not hot.any():
            return 0, 0, self.width, self.height
        found = np.zeros_like(hot)
        found[np.unravel_index(int(self.grid.argmax()), hot.shape)] = True
        while True:  # grows by one cell in all four directions until nothing is added
            wide = found.copy()
            wide[1:] |= found[:-1]
            wide[:-1] |= found[1:]
            wide[:, 1:] |= found[:, :-1]
            wide[:, :-1] |= found[:, 1:]
            wide &= hot
            if (wide == found).all():
                break
            found = wide
        rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
        x, y = self.width / hot.shape[1], self.height / hot.shape[0]
        left, top = round(columns[0] * x), round(rows[0] * y)
        return left, top, round((columns[-1] + 1) * x) - left, round((rows[-1] + 1) * y) - top

    def overlay(self, size: int = 640) -> Image:
        """The picture, its longer side at most ``size`` pixels, greyed, with the heat in colours and a ring at the hottest
        place."""
        from mmsearch.explain.overlay import overlay

        return overlay(self.picture, self.grid, size)

    def png(self, size: int = 640) -> bytes:
        """:meth:`overlay` as a PNG file."""
        out = io.BytesIO()
        self.overlay(size).save(out, "PNG")
        return out.getvalue()


def heatmap(
    encoder: Encoder,
    picture: Image,
    vector: NDArray[np.float32],
    *,
    method: str = "auto",
    size: tuple[int, int] | None = None,
) -> Heatmap:
    """Where ``picture`` (upright, any mode) answers a query with the unit vector ``vector`` ``(dim,)`` of the same encoder.

    ``size`` is (width, height) of the whole picture where ``picture`` was decoded smaller. ``auto`` is ``patches`` for an
    open_clip ViT that runs in torch, else ``windows``. ``windows`` costs some 170 encodings (0.2 s with ``mini``), the others
    one pass. Raises :class:`UsageError` for a method that does not exist or does not suit the encoder.

    >>> heatmap(encoder, picture, encoder.encode_texts(["a dog"])[0]).hottest          # doctest: +SKIP
    (212, 140)
    """
    if method not in METHODS:
        raise UsageError(f"method is {method!r}, and must be one of: {', '.join(METHODS)}")
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    (whole,) = encoder.encode_images([encoder.preparer(picture)])
    chosen, grid = _grid(encoder, picture, vector, method)
    width, height = size or picture.size
    shown = picture.copy()
    shown.thumbnail((_SHOWN, _SHOWN))
    return Heatmap(_scaled(grid), width, height, float(whole @ vector), chosen, shown)


def _grid(encoder: Encoder, picture: Image, vector: NDArray[np.float32], method: str) -> tuple[str, NDArray[np.float64]]:
    towers: Any = None
    if method != "windows" and hasattr(encoder, "towers"):
        from mmsearch.explain import tokens

        towers = encoder.towers
        if method in ("auto", "patches") and tokens.is_vit(towers):
            return "patches", tokens.patch_grid(towers, picture, vector)
        if method == "gradients":
            return "gradients", tokens.gradient_grid(towers, picture, vector)
    if method in ("auto", "windows"):
        return "windows", window_grid(encoder, picture, vector)
    need = "an open_clip ViT" if method == "patches" else "a model"
    raise UsageError(
        f"the heatmap method {method!r} needs {need} that runs in torch, and {encoder.spec.name} is none",
        hint="use method='windows', which suits every encoder",
    )


def _scaled(grid: NDArray[np.float64]) -> NDArray[np.float32]:
    low, high = float(grid.min()), float(grid.max())
    if high - low < 1e-9:
        return np.zeros(grid.shape, dtype=np.float32)
    return ((grid - low) / (high - low)).astype(np.float32)
