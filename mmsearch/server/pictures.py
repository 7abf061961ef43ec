"""A query picture: bytes from a stranger → an upright picture, cropped if asked."""

from __future__ import annotations

from PIL.Image import Image

from mmsearch.errors import ImageError
from mmsearch.images import open_image
from mmsearch.server.errors import Problem
from mmsearch.server.live import Live
from mmsearch.server.options import Limits

Box = tuple[int, int, int, int]


class Pictures:
    """Decodes query pictures."""

    def __init__(self, live: Live, limits: Limits) -> None:
        self._live, self._limits = live, limits

    def open(self, data: bytes, crop: Box | None = None) -> Image:
        """The picture, or the part of it at ``crop`` (x, y, width, height in pixels of the upright picture).

        Raises :class:`Problem` 422.
        """
        if not data:
            raise Problem(422, "there is no picture in the request's body")
        try:
            picture, _ = open_image(data, max_megapixels=self._limits.megapixels)
        except ImageError as error:
            raise Problem(422, f"the picture cannot be read: {error.message}", reason=str(error.reason)) from None
        if crop is None:
            return picture
        x, y, width, height = crop
        if x >= picture.width or y >= picture.height:
            raise Problem(422, f"the crop lies outside the picture, which has {picture.width}x{picture.height} pixels")
        return picture.crop((x, y, min(x + width, picture.width), min(y + height, picture.height)))

    def close(self) -> None:
        """Nothing is held open."""
