"""The formats that need an extra: HEIC (``mmsearch[heic]``) and cameras' RAW files (``mmsearch[raw]``).

Imported by :func:`mmsearch.images.open_image` only when such a file comes; it hands in what it does with every format:
``check`` raises ``too_large`` for a (width, height), ``decode`` opens a JPEG.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.files import Reason

Check: TypeAlias = Callable[[tuple[int, int]], None]
Decode: TypeAlias = Callable[[bytes], Image.Image]

_TURNS = {5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}
"""LibRaw's ``flip``, for pictures that lie on a side."""


def read_heic(data: bytes, check: Check) -> tuple[Image.Image, bytes]:
    """The picture, upright (its container says how), in any mode; and its EXIF block, whose orientation is past."""
    try:
        import pillow_heif
    except ImportError as error:
        raise _missing("HEIC pictures need", "heic") from error
    heif = pillow_heif.open_heif(io.BytesIO(data))
    check(heif.size)
    return heif.to_pillow(), heif.info.get("exif") or b""


def read_raw(data: bytes, check: Check, decode: Decode, at_least: tuple[int, int] | None) -> tuple[Image.Image, tuple[int, int]]:
    """The picture, upright, and its full upright size; the camera's own rendering where the file has a large enough one."""
    try:
        import rawpy
    except ImportError as error:
        raise _missing("RAW pictures need", "raw") from error
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            size = (raw.sizes.width, raw.sizes.height)
            size = size[::-1] if raw.sizes.flip in _TURNS else size
            check(size)
            picture = _preview(rawpy, raw, size, decode, at_least)
            if picture is None:
                half = at_least is not None and min(size[0] // at_least[0], size[1] // at_least[1]) >= 2
                picture = Image.fromarray(raw.postprocess(use_camera_wb=True, half_size=half))
            return picture, size
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawOutOfOrderCallError) as error:
        raise ImageError(Reason.UNSUPPORTED, f"a RAW variant that cannot be read ({error})") from error
    except rawpy.LibRawIOError as error:
        raise ImageError(Reason.TRUNCATED, f"the end of the file is missing ({error})") from error


def _preview(rawpy: Any, raw: Any, size: tuple[int, int], decode: Decode, at_least: tuple[int, int] | None) -> Image.Image | None:
    # what the photographer saw, and some 50 times cheaper than developing
    with suppress(rawpy.LibRawError, ImageError):
        thumb = raw.extract_thumb()
        if thumb.format is rawpy.ThumbFormat.JPEG:
            picture = decode(thumb.data)
            # LibRaw writes the orientation into a preview without EXIF; one with its own may lack it
            if (picture.width > picture.height) != (size[0] > size[1]) and raw.sizes.flip in _TURNS:
                picture = picture.transpose(_TURNS[raw.sizes.flip])
            needed = at_least or (size[0] // 2, size[1] // 2)
            if picture.width >= min(needed[0], size[0]) and picture.height >= min(needed[1], size[1]):
                return picture
    return None


def _missing(what: str, extra: str) -> ImageError:
    install = f"pip install 'mmsearch[{extra}]'"
    return ImageError(Reason.UNSUPPORTED, f"{what} the extra: {install}", hint=install)
