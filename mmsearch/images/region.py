"""A part of a picture, given in pixels or in fractions of its sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.errors import QueryError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["cut"]


def cut(picture: Image, box: Sequence[float]) -> Image:
    """The part ``(x, y, width, height)`` of an upright picture: pixels or, where no number exceeds 1, fractions of the sides.

    What sticks out is left out. Raises :class:`QueryError` where nothing is left, or it is not four finite numbers.

    >>> cut(Image.new("RGB", (200, 100)), (0.5, 0, 0.5, 1)).size
    (100, 100)
    """
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise QueryError(f"a box is four numbers X,Y,W,H, not {','.join(map(str, box))}")
    left, top, width, height = box
    if max(box) <= 1:
        left, width = left * picture.width, width * picture.width
        top, height = top * picture.height, height * picture.height
    ends = (max(round(left), 0), max(round(top), 0),
            min(round(left + width), picture.width), min(round(top + height), picture.height))
    if ends[0] >= ends[2] or ends[1] >= ends[3]:
        shown = ",".join(f"{number:g}" for number in box)
        raise QueryError(f"the box {shown} leaves nothing of an image of {picture.width}×{picture.height} pixels")
    return picture.crop(ends)
