"""A heatmap to look at: the picture in grey, the heat in colours above it, a ring where it is hottest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["overlay"]

_COLOURS = np.array([[30, 20, 90], [110, 30, 130], [200, 55, 85], [250, 130, 40], [255, 235, 130]], dtype=np.float64)
"""From cold to hot: even steps of lightness, so that they are told apart in grey and by the colour-blind."""
_OPAQUE = 0.75


def overlay(picture: Image.Image, grid: NDArray[np.float32], size: int) -> Image.Image:
    """An RGB picture whose longer side is at most ``size`` pixels."""
    shown = picture.convert("RGB")
    shown.thumbnail((size, size))
    heat = np.asarray(Image.fromarray(grid).resize(shown.size, Image.Resampling.BICUBIC), dtype=np.float64).clip(0, 1)
    grey = np.repeat(np.asarray(shown.convert("L"), dtype=np.float64)[..., None], 3, axis=2)
    places = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(heat, places, _COLOURS[:, channel]) for channel in range(3)], axis=2)
    # cold places stay as they are in the photo, half grey; the hotter, the more colour covers them
    share = (_OPAQUE * heat)[..., None]
    base = 0.5 * grey + 0.5 * np.asarray(shown, dtype=np.float64)
    made = Image.fromarray(((1 - share) * base + share * colours).round().astype(np.uint8))
    if grid.any():
        _ring(made, grid)
    return made


def _ring(picture: Image.Image, grid: NDArray[np.float32]) -> None:
    row, column = np.unravel_index(int(grid.argmax()), grid.shape)
    x, y = (column + 0.5) * picture.width / grid.shape[1], (row + 0.5) * picture.height / grid.shape[0]
    radius = max(6.0, max(picture.size) / 45)
    draw = ImageDraw.Draw(picture)
    for extra, colour, width in ((1.5, "black", 5), (0.0, "white", 2)):
        r = radius + extra
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=width)
