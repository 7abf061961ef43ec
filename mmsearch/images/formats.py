"""What a file's bytes say without decoding: its format, its size where decoders allocate too early, a missing end.

All by content, never by name; nothing here decodes, and every read stays in bounds.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from mmsearch.images.exif import Tiff

__all__ = ["Format", "is_cut_short", "sniff", "webp_size", "without_extras"]


class Format(StrEnum):
    """The formats that are read. The list is closed: what is not here is ``not_image``, whatever Pillow could do with it."""

    AVIF = "AVIF"
    BMP = "BMP"
    GIF = "GIF"
    HEIC = "HEIC"
    JPEG = "JPEG"
    JPEG2000 = "JPEG2000"
    PNG = "PNG"
    PPM = "PPM"
    RAW = "RAW"
    TIFF = "TIFF"
    WEBP = "WEBP"


_MAGIC: Final = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", Format.JPEG2000),
    (b"\xff\x4f\xff\x51", Format.JPEG2000),
    (b"FUJIFILMCCD-RAW", Format.RAW),
    (b"IIRO", Format.RAW),  # Olympus
    (b"IIRS", Format.RAW),
    (b"MMOR", Format.RAW),
    (b"IIU\x00", Format.RAW),  # Panasonic
    (b"FOVb", Format.RAW),  # Sigma
    (b"\x00MRM", Format.RAW),  # Minolta
    (b"II\x1a\x00\x00\x00HEAPCCDR", Format.RAW),  # Canon CRW
)
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_HEIC_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_PNM: Final = re.compile(rb"P[1-6]\s*(?:#[^\n]*\n\s*)*\d+\s")
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

_NEW_SUBFILE, _WIDTH, _COMPRESSION, _SUB_IFDS, _DNG_VERSION = 0xFE, 0x100, 0x103, 0x14A, 0xC612
_STRIPS: Final = ((0x111, 0x117), (0x144, 0x145))  # offsets and byte counts of strips, of tiles
_RAW_COMPRESSIONS: Final = frozenset({32767, 32769, 32770, 34713, 65000, 65535})


def sniff(data: bytes) -> Format | None:
    """The format that the content claims to be, or ``None`` when it is none of ours."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if data[4:8] == b"ftyp":
        return _brand(data)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return Format.RAW if _is_raw(data) else Format.TIFF
    if data[:2] == b"BM" and len(data) > 18 and struct.unpack_from("<I", data, 14)[0] in _BMP_HEADERS:
        return Format.BMP
    return Format.PPM if _PNM.match(data[:512]) else None


def _brand(data: bytes) -> Format | None:
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[at : at + 4] for at in (8, *range(16, size, 4))}
    if b"crx " in brands:  # Canon CR3
        return Format.RAW
    if brands & _AVIF_BRANDS:
        return Format.AVIF
    return Format.HEIC if brands & _HEIC_BRANDS else None


def _is_raw(data: bytes) -> bool:
    # Pillow opens these as TIFF and shows a thumbnail of 160 pixels, or noise
    if data[8:10] == b"CR":
        return True
    tiff = Tiff(data)
    tags = tiff.directory(tiff.first(), (_DNG_VERSION, _SUB_IFDS, _NEW_SUBFILE, _COMPRESSION))
    subfile = tags.get(_NEW_SUBFILE, (0,))[0]
    return (
        _DNG_VERSION in tags
        or bool(_SUB_IFDS in tags and isinstance(subfile, int) and subfile & 1)
        or tags.get(_COMPRESSION, (0,))[0] in _RAW_COMPRESSIONS
    )


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a WebP's canvas: its decoder allocates the canvas on opening, so the limit must come before."""
    chunk = data[12:16]
    if len(data) < 30:
        return None
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    bits = int.from_bytes(data[21:25], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def is_cut_short(kind: Format, data: bytes) -> bool:
    """Whether the file ends before its own structure does. Bytes behind the end are fine (motion photos, padding).

    Asked of every PNG before decoding, since Pillow takes one whose last 20 bytes are gone; of other formats only when
    their decoder has failed, to tell ``truncated`` from ``corrupt``. Costs microseconds: it walks headers, not pixels.
    """
    if kind is Format.PNG:
        return not any(name == b"IEND" for name, _ in _png_chunks(data))
    if kind is Format.JPEG:
        return _jpeg_is_cut(data)
    if kind is Format.GIF:
        return _gif_is_cut(data)
    if kind is Format.WEBP:
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if kind in (Format.AVIF, Format.HEIC):
        return _boxes_are_cut(data)
    if kind is Format.TIFF:
        return _tiff_is_cut(data)
    return kind is Format.JPEG2000 and b"\xff\xd9" not in data[-4096:]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    at = 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            return
        yield data[at + 4 : at + 8], size
        at += 12 + size


def without_extras(kind: Format, data: bytes) -> bytes:
    """A PNG or JPEG without the blocks that pixels and orientation do not need; other formats as they are.

    For a second try: Pillow refuses a picture over a damaged colour profile, comment or Photoshop block.
    """
    if kind is Format.PNG:
        kept, at = [data[:8]], 8
        for name, size in _png_chunks(data):
            if name[:1].isupper() or name in (b"tRNS", b"eXIf"):
                kept.append(data[at : at + 12 + size])
            at += 12 + size
        return b"".join(kept)
    if kind is not Format.JPEG:
        return data
    kept, at = [data[:2]], 2
    for marker, start, end in _jpeg_segments(data):
        extra = 0xE0 <= marker <= 0xEF and marker != 0xEE or marker == 0xFE
        if not extra or data[start + 4 : start + 10] == b"Exif\0\0":
            kept.append(data[start:end])
        at = end
    return b"".join([*kept, data[at:]])


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments up to the pixels; stops where one is not whole."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        bare = marker == 0x01 or 0xD0 <= marker <= 0xD8
        end = at + 2 + (0 if bare else int.from_bytes(data[at + 2 : at + 4], "big"))
        if marker == 0xDA or end > len(data):
            return
        yield marker, at, end
        at = end


def _jpeg_is_cut(data: bytes) -> bool:
    at = max((end for _, _, end in _jpeg_segments(data)), default=2)
    pixels = data[at : at + 2] == b"\xff\xda"
    damaged = at + 4 <= len(data) and data[at] != 0xFF
    return b"\xff\xd9" not in data[at:] if pixels else not damaged


def _gif_is_cut(data: bytes) -> bool:
    if len(data) < 13:
        return True
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while at < len(data):
        is_image = data[at] == 0x2C
        if not is_image and data[at] != 0x21:
            return False
        if is_image:
            if at + 11 > len(data):
                return True
            flags = data[at + 9]
            at += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
        else:
            at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        if is_image:
            return at >= len(data)
        at += 1
    return True


def _boxes_are_cut(data: bytes) -> bool:
    at, seen = 0, set()
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        elif size == 0:
            size = len(data) - at
        if size < 8 or not name.isascii():
            break  # not a box: bytes behind the end
        if at + size > len(data):
            return True
        seen.add(name)
        at += size
    return b"meta" not in seen and b"moov" not in seen


def _tiff_is_cut(data: bytes) -> bool:
    tiff = Tiff(data)
    tags = tiff.directory(tiff.first(), {_WIDTH, *(tag for pair in _STRIPS for tag in pair)})
    if not tags or tiff.beyond:
        return True
    for offsets, sizes in _STRIPS:
        pairs = zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)
        if any(isinstance(at, int) and isinstance(n, int) and at + n > len(data) for at, n in pairs):
            return True
    return False
