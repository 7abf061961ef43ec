"""Bytes → an upright RGB picture and what is known of it, safely; thumbnails.

Every input that is not a picture, or not a safe one, ends in an :class:`~mmsearch.errors.ImageError` whose ``reason`` is one of
:class:`Reason`. Nothing here has state: Pillow's own limits, warnings and format registry are neither read nor changed, so
any number of threads may call.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from mmsearch.errors import ImageError
from mmsearch.files import Reason, read_file
from mmsearch.images.exif import Exif, read_exif
from mmsearch.images.formats import Format, is_cut_short, sniff, webp_size, without_extras
from mmsearch.types import ImageInfo

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

__all__ = ["MAX_MEGAPIXELS", "Reason", "open_image", "read_file", "thumbnail"]

MAX_MEGAPIXELS: Final = 89.0
"""The default limit, just below Pillow's own: 89 million pixels are 356 MB once decoded."""


class _Jpeg(JpegImageFile):
    """Pillow's reader without its look into EXIF for the dots per inch, which warns on garbage and is of no use here."""

    def _read_dpi_from_exif(self) -> None:
        pass


_READERS: Final[dict[Format, type[ImageFile]]] = {
    Format.AVIF: AvifImageFile,
    Format.BMP: BmpImageFile,
    Format.GIF: GifImageFile,
    Format.JPEG: _Jpeg,
    Format.JPEG2000: Jpeg2KImageFile,
    Format.PNG: PngImageFile,
    Format.PPM: PpmImageFile,
    Format.TIFF: TiffImageFile,
    Format.WEBP: WebPImageFile,
}

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NOT_OURS: Final = ("supported", "cannot handle", "unknown data organization", "unknown pixel mode", "unable to determine")
_TO_8_BITS: Final = ((np.arange(65536) + 128) // 257).astype(np.uint8)


def open_image(
    data: bytes,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    at_least: tuple[int, int] | None = None,
    gps: bool = False,
) -> tuple[Image.Image, ImageInfo]:
    """Decode one picture: mode RGB, turned as EXIF says, transparency on white, the first frame of an animation.

    ``at_least`` (width, height) lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size while both sides stay at least that long
    (12 megapixels: 27 ms instead of 110); the info has the full size all the same. 16-bit grey is divided by 257; floats
    are taken as 0-1, 0-255 or 0-65535, whichever range they fit, else stretched. Colour profiles are ignored, as all
    encoders were trained so. ``gps`` adds the place to ``info.exif``.

    Raises :class:`ImageError` with a :class:`Reason`. The limit of ``max_megapixels`` is judged by the header, before
    pixels are allocated. ``MemoryError`` passes through.
    """
    if not data:
        raise ImageError(Reason.NOT_IMAGE, "the file is empty")
    kind = sniff(data)
    if kind is None:
        raise ImageError(Reason.NOT_IMAGE, f"the content is not an image that can be read (it starts {bytes(data[:12])!r})")
    try:
        if kind in (Format.HEIC, Format.RAW):
            return _open_extra(kind, data, max_megapixels, at_least, gps)
        return _open(kind, data, max_megapixels, at_least, gps)
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(Reason.TOO_LARGE, str(error)) from error
    except Exception as error:  # decoders raise whatever they like: SyntaxError, struct.error, OSError, ValueError, KeyError…
        explained = _explain(kind, data, error)
        if len(bare := without_extras(kind, data)) < len(data) and explained.reason != Reason.TRUNCATED:
            with suppress(Exception):
                return _open(kind, bare, max_megapixels, at_least, gps)
        raise explained from error


def _open(
    kind: Format, data: bytes, max_megapixels: float, at_least: tuple[int, int] | None, gps: bool
) -> tuple[Image.Image, ImageInfo]:
    if kind is Format.PNG and is_cut_short(kind, data):
        raise ImageError(Reason.TRUNCATED, "the end of the file is missing")
    if kind is Format.WEBP and (size := webp_size(data)):
        _check_size(size, max_megapixels)
    with _READERS[kind](io.BytesIO(data)) as image:
        size = image.size
        _check_size(size, max_megapixels)
        exif = Exif()
        if kind is Format.JPEG:
            exif = _exif_of(image, gps)
            if at_least:
                image.draft(None, at_least[::-1] if exif.orientation > 4 else at_least)
        image.load()
        if kind is Format.TIFF:  # Pillow turns these itself
            exif, size = read_exif(data, gps=gps)._replace(orientation=1), image.size
        elif kind is not Format.JPEG:  # a PNG may have it behind the pixels
            exif = _exif_of(image, gps)
        picture = _upright(_to_rgb(image), exif.orientation)
        picture.info = {}  # comments and colour profiles would be written into whatever is saved from it
    width, height = size[::-1] if exif.orientation > 4 else size
    return picture, ImageInfo(width, height, exif.taken, exif.fields)


def _open_extra(
    kind: Format, data: bytes, max_megapixels: float, at_least: tuple[int, int] | None, gps: bool
) -> tuple[Image.Image, ImageInfo]:
    from mmsearch.images import extras

    def check(size: tuple[int, int]) -> None:
        _check_size(size, max_megapixels)

    def decode(preview: bytes) -> Image.Image:
        return open_image(preview, max_megapixels=max_megapixels, at_least=at_least)[0]

    if kind is Format.HEIC:
        image, block = extras.read_heic(data, check)
        size, exif = image.size, read_exif(block, gps=gps)
    else:
        image, size = extras.read_raw(data, check, decode, at_least)
        exif = read_exif(data, gps=gps)
    picture = _to_rgb(image)
    picture.info = {}
    return picture, ImageInfo(*size, exif.taken, exif.fields)


def _check_size(size: tuple[int, int], max_megapixels: float) -> None:
    """Raises :class:`ImageError` ``too_large`` when (width, height) has more than ``max_megapixels`` million pixels."""
    megapixels = size[0] * size[1] / 1e6
    if megapixels > max_megapixels:
        message = f"{size[0]}x{size[1]} pixels are {megapixels:.1f} megapixels, more than the limit of {max_megapixels:g}"
        raise ImageError(Reason.TOO_LARGE, message, hint="raise the limit with --max-megapixels")


def _exif_of(image: Image.Image, gps: bool) -> Exif:
    block, xmp = image.info.get("exif", b""), image.info.get("xmp", b"")
    xmp = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp
    return read_exif(block, xmp=xmp, gps=gps) if isinstance(block, bytes) and isinstance(xmp, bytes) else Exif()


def _explain(kind: Format, data: bytes, error: Exception) -> ImageError:
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith("image file is truncated") or is_cut_short(kind, data):
        return ImageError(Reason.TRUNCATED, f"the end of the file is missing ({text})")
    if "out of memory" in text.lower():
        raise MemoryError(text)
    if any(phrase in text.lower() for phrase in _NOT_OURS):
        return ImageError(Reason.UNSUPPORTED, f"a variant of {kind} that cannot be read ({text})")
    return ImageError(Reason.CORRUPT, f"a damaged {kind} ({text})")


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """The picture turned and mirrored as EXIF's orientation 1-8 says; the same object for 1."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow → RGB, in 8 bits, transparency composited on white."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image if mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    alpha = image.getchannel("A")
    colours = image.convert("RGB")
    if alpha.getextrema() == (255, 255):
        return colours
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(colours, mask=alpha)
    return white


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return np.asarray(_TO_8_BITS[values])
    numbers = values.astype(np.float32)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    whole = values.dtype.kind in "iu"
    if low >= 0 and high <= 65535:
        numbers *= 1 / 257 if whole or high > 255 else 255 if high <= 1 else 1
    else:
        numbers = (numbers - low) * (255 / max(high - low, 1e-30))
    return np.asarray(np.nan_to_num(numbers, nan=0.0, posinf=255, neginf=0).clip(0, 255).round().astype(np.uint8))


def thumbnail(image: Image.Image | bytes, size: int = 256, *, format: str = "JPEG", quality: int = 80) -> bytes:
    """A small copy as ``JPEG`` or ``WEBP`` bytes, its longer side at most ``size`` pixels; never enlarged, no metadata.

    From bytes, a JPEG is decoded at reduced size first (5 ms for 12 megapixels less the entropy decoding). Raises as
    :func:`open_image`.
    """
    if isinstance(image, bytes):
        image, _ = open_image(image, at_least=(2 * size, 2 * size))
    else:
        image = _to_rgb(image)
    scale = size / max(image.size)
    if scale < 1:
        small = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(small, Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    image.save(out, format.upper(), quality=quality)
    return out.getvalue()
