"""Heat by windows: square parts of the picture, at three sizes, each encoded and compared with the query.

Nothing is asked of the encoder but its vectors, so it serves models without gradients (ONNX) and without patches. Each window
gives its heat to the places near its middle::

    heat(p) = Σ_w exp(SHARPNESS · z_w) · exp(-|p - middle_w|² / (2 · (SPREAD · side_w)²))

``z_w``: how many deviations the window's cosine lies above the mean of all windows. A sum and not a mean: places that
several good windows agree on are the hottest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.protocols import Encoder

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Window", "window_grid", "windows"]

SIDES = (1 / 2, 0.35, 1 / 4)
"""Sides of the windows, as parts of the picture's shorter side."""
STEP = 0.4
"""From one window to the next, as a part of its side."""
SHARPNESS = 2.0
SPREAD = 0.4
CELLS = 32
"""Cells of the grid along the longer side."""
_MOST = 120  # windows of one size: a panorama has wider steps


class Window(NamedTuple):
    """A square part: left, top and side in pixels."""

    left: int
    top: int
    side: int


def windows(width: int, height: int) -> list[Window]:
    """The windows of a picture of this size: each size of window in even steps from edge to edge.

    >>> len(windows(640, 480)), windows(640, 480)[0]
    (171, Window(left=0, top=0, side=240))
    """
    found = []
    for share in SIDES:
        side = max(1, round(share * min(width, height)))
        step = STEP * side
        while (across := _steps(width - side, step)) * (down := _steps(height - side, step)) > _MOST:
            step *= 1.1
        lefts, tops = np.linspace(0, width - side, across), np.linspace(0, height - side, down)
        found += [Window(int(left), int(top), side) for top in tops for left in lefts]
    return found


def _steps(way: int, step: float) -> int:
    """How many windows go along a way, both ends counted."""
    return max(min(way, 1) + 1, round(way / step) + 1)


def window_grid(encoder: Encoder, picture: Image, vector: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(h, w)`` heat of the query ``vector`` over the whole picture; all zero where the windows' cosines do not differ."""
    picture = _reduced(picture, encoder)
    parts = windows(*picture.size)
    preparer = encoder.preparer
    prepared = [preparer(picture.crop((w.left, w.top, w.left + w.side, w.top + w.side))) for w in parts]
    rows = np.concatenate([encoder.encode_images(prepared[at : at + 32]) for at in range(0, len(prepared), 32)])
    return spread(parts, (rows @ vector).astype(np.float64), *picture.size)


def spread(parts: list[Window], cosines: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """The windows' cosines ``(n,)`` as heat over a picture of this size."""
    cell = max(width, height) / CELLS
    columns, rows = max(1, round(width / cell)), max(1, round(height / cell))
    deviation = float(cosines.std())
    if deviation < 1e-6:
        return np.zeros((rows, columns))
    weight = np.exp(SHARPNESS * (cosines - cosines.max()) / deviation)
    left, top, side = np.array(parts, dtype=np.float64).T
    x = (np.arange(columns) + 0.5) * width / columns
    y = (np.arange(rows) + 0.5) * height / rows
    across = np.exp(-(((x[None] - (left + side / 2)[:, None]) / (SPREAD * side)[:, None]) ** 2) / 2)
    down = np.exp(-(((y[None] - (top + side / 2)[:, None]) / (SPREAD * side)[:, None]) ** 2) / 2)
    return np.asarray((down * weight[:, None]).T @ across)


def _reduced(picture: Image, encoder: Encoder) -> Image:
    """The picture so small that the smallest windows have the encoder's input size: all are cheap to cut then."""
    wanted = max(encoder.spec.image_size) / min(SIDES)
    factor = wanted / min(picture.size)
    if factor >= 1:
        return picture
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), reducing_gap=2.0)
