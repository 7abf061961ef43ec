"""The formats that need an extra: HEIC (``mmsearch[heic]``) and cameras' RAW files (``mmsearch[raw]``).

Imported by :func:`mmsearch.images.open_image` only when such a file comes.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.exif import read_exif
from mmsearch.formats import Format
from mmsearch.images import Reason, check_size, open_image, to_rgb, upright
from mmsearch.types import ImageInfo

_FLIPS = {5: 8, 6: 6}
"""LibRaw's ``flip`` → EXIF's orientation."""


def open_extra(
    kind: Format, data: bytes, *, max_megapixels: float, at_least: tuple[int, int] | None, gps: bool
) -> tuple[Image.Image, ImageInfo]:
    """As :func:`mmsearch.images.open_image`, which calls this; ``unsupported`` names the extra when it is missing."""
    if kind is Format.HEIC:
        try:
            import pillow_heif
        except ImportError as error:
            raise _missing("HEIC pictures need", "heic") from error
        return _open_heic(pillow_heif, data, max_megapixels, gps)
    try:
        import rawpy
    except ImportError as error:
        raise _missing("RAW pictures need", "raw") from error
    return _open_raw(rawpy, data, max_megapixels, at_least, gps)


def _missing(what: str, extra: str) -> ImageError:
    install = f"pip install 'mmsearch[{extra}]'"
    return ImageError(Reason.UNSUPPORTED, f"{what} the extra: {install}", hint=install)


def _open_heic(pillow_heif: Any, data: bytes, max_megapixels: float, gps: bool) -> tuple[Image.Image, ImageInfo]:
    heif = pillow_heif.open_heif(io.BytesIO(data))
    check_size(heif.size, max_megapixels)
    exif = read_exif(heif.info.get("exif") or b"", gps=gps)  # its orientation is informative: the container has turned it
    picture = to_rgb(heif.to_pillow())
    picture.info = {}
    return picture, ImageInfo(*picture.size, exif.taken, exif.fields)


def _open_raw(
    rawpy: Any, data: bytes, max_megapixels: float, at_least: tuple[int, int] | None, gps: bool
) -> tuple[Image.Image, ImageInfo]:
    exif = read_exif(data, gps=gps)
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            sizes = raw.sizes
            size = (sizes.height, sizes.width) if sizes.flip in (5, 6) else (sizes.width, sizes.height)
            check_size(size, max_megapixels)
            picture = _preview(rawpy, raw, size, max_megapixels, at_least)
            if picture is None:
                half = at_least is not None and min(size[0] // at_least[0], size[1] // at_least[1]) >= 2
                picture = Image.fromarray(raw.postprocess(use_camera_wb=True, half_size=half))
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawOutOfOrderCallError) as error:
        raise ImageError(Reason.UNSUPPORTED, f"a RAW variant that cannot be read ({error})") from error
    except rawpy.LibRawIOError as error:
        raise ImageError(Reason.TRUNCATED, f"the end of the file is missing ({error})") from error
    return picture, ImageInfo(*size, exif.taken, exif.fields)


def _preview(
    rawpy: Any, raw: Any, size: tuple[int, int], max_megapixels: float, at_least: tuple[int, int] | None
) -> Image.Image | None:
    # the camera's own rendering: what its owner saw, and some 50 times cheaper than developing
    with suppress(rawpy.LibRawError, ImageError):
        thumb = raw.extract_thumb()
        if thumb.format is rawpy.ThumbFormat.JPEG:
            picture, _ = open_image(thumb.data, max_megapixels=max_megapixels, at_least=at_least)
            # LibRaw writes the orientation into a preview without EXIF; one with its own may lack it
            if (picture.width > picture.height) != (size[0] > size[1]):
                picture = upright(picture, _FLIPS.get(raw.sizes.flip, 1))
            needed = at_least or (size[0] // 2, size[1] // 2)
            if picture.width >= min(needed[0], size[0]) and picture.height >= min(needed[1], size[1]):
                return picture
    return None
