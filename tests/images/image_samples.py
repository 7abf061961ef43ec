"""Pictures with known pixels, and files made from them, for the tests of this folder. No fixture is a binary file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.images import open_image


def smooth(width: int = 160, height: int = 120, seed: int = 0) -> Image.Image:
    """A picture of soft coloured blobs: survives JPEG within a few levels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 40), max(2, width // 40), 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def noise(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """A picture in which every pixel matters."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def photo(width: int = 500, height: int = 400, seed: int = 0) -> Image.Image:
    """Blobs and edges under a little sensor noise: compresses and decodes at the price of a photo."""
    rng = np.random.default_rng(seed)
    base = np.asarray(smooth(width, height, seed)).astype(np.float32)
    y, x = np.mgrid[0:height, 0:width]
    base += 40 * np.sign(np.sin(x / 17 + seed) * np.cos(y / 23))[..., None]
    base += rng.normal(0, 6, (height, width, 1))
    return Image.fromarray(base.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of a file; ``options`` go to Pillow's ``save``."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def pixels(image: Image.Image) -> NDArray[np.int64]:
    """``(h, w, 3)`` as signed integers, so that differences are right."""
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int64)


def furthest(left: Image.Image, right: Image.Image) -> int:
    """The largest difference of any channel of any pixel."""
    assert left.size == right.size
    return int(np.abs(pixels(left) - pixels(right)).max())


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG written by hand: any header, whatever the pixels; ``extra`` goes before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixel_data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + pixel_data + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


Entry = tuple[int, int, int, bytes]  # tag, type, count, value as bytes


def tiff_block(main: Sequence[Entry], *, subs: Sequence[tuple[int, Sequence[Entry]]] = (), order: str = "<") -> bytes:
    """A TIFF structure (EXIF is one): directory ``main``, and directories that it points to by tag, in ``subs``."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    total = len(main) + len(subs)
    at = 8 + 2 + 12 * total + 4
    children = b""
    pointers: list[Entry] = []
    size_of_main = sum(len(value) for *_, value in main if len(value) > 4)
    child_at = at + size_of_main
    for tag, entries in subs:
        pointers.append((tag, 4, 1, struct.pack(order + "I", child_at)))
        child = _directory(entries, child_at, order)
        children += child
        child_at += len(child)
    return head + _directory([*main, *pointers], 8, order) + children


def _directory(entries: Sequence[Entry], at: int, order: str) -> bytes:
    values_at = at + 2 + 12 * len(entries) + 4
    table, values = struct.pack(order + "H", len(entries)), b""
    for tag, kind, count, value in sorted(entries):
        if len(value) <= 4:
            place = value.ljust(4, b"\0")
        else:
            place = struct.pack(order + "I", values_at + len(values))
            values += value
        table += struct.pack(order + "HHI", tag, kind, count) + place
    return table + struct.pack(order + "I", 0) + values


def ascii_entry(tag: int, text: bytes) -> Entry:
    return tag, 2, len(text) + 1, text + b"\0"


def short_entry(tag: int, *values: int, order: str = "<") -> Entry:
    return tag, 3, len(values), struct.pack(f"{order}{len(values)}H", *values)


def long_entry(tag: int, *values: int, order: str = "<") -> Entry:
    return tag, 4, len(values), struct.pack(f"{order}{len(values)}I", *values)


def rational_entry(tag: int, *values: tuple[int, int], order: str = "<", kind: int = 5) -> Entry:
    flat = [number for pair in values for number in pair]
    return tag, kind, len(values), struct.pack(f"{order}{len(flat)}{'I' if kind == 5 else 'i'}", *flat)


def exif_block(orientation: int) -> bytes:
    """An EXIF block with nothing but the orientation."""
    return b"Exif\0\0" + tiff_block([short_entry(0x112, orientation)])


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The stored picture which, shown by EXIF's ``orientation``, looks like ``image``. By numpy, not by Pillow."""
    a = np.asarray(image)
    stored = {
        1: a,
        2: a[:, ::-1],
        3: a[::-1, ::-1],
        4: a[::-1],
        5: a.transpose(1, 0, 2),
        6: a.transpose(1, 0, 2)[::-1],
        7: a[::-1, ::-1].transpose(1, 0, 2),
        8: a.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    return Image.fromarray(np.ascontiguousarray(stored))


MATRIX = [(1, 1), (0, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (0, 1), (1, 1)]
NEUTRAL = [
    ascii_entry(0x10F, b"Testcam"),
    ascii_entry(0x110, b"T1"),
    (0xC612, 1, 4, bytes([1, 4, 0, 0])),
    ascii_entry(0xC614, b"Testcam T1"),
    rational_entry(0xC621, *MATRIX, kind=10),
    rational_entry(0xC628, (1, 1), (1, 1), (1, 1)),
    short_entry(0xC65A, 21),
]


def dng(
    width: int = 128,
    height: int = 96,
    *,
    flip: int = 1,
    level: tuple[int, int, int] = (600, 300, 150),
    preview: Image.Image | None = None,
) -> bytes:
    """A minimal camera RAW: an uncompressed 16-bit Bayer mosaic (RGGB) of one colour as DNG 1.4.

    With ``preview`` that picture is the first directory, as JPEG, and the mosaic is below it: as cameras do.
    """
    mosaic = np.empty((height, width), dtype="<u2")
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = level[0], level[1], level[1], level[2]
    raw = mosaic.tobytes()
    first = [*NEUTRAL, short_entry(0x112, flip), ascii_entry(0x132, b"2021:03:04 05:06:07")]

    def mosaics(at: int) -> list[Entry]:
        sizes = [long_entry(0x100, width), long_entry(0x101, height), long_entry(0x116, height), long_entry(0x117, len(raw))]
        kind = [short_entry(tag, value) for tag, value in ((0x102, 16), (0x103, 1), (0x106, 32803), (0x115, 1), (0x11C, 1))]
        bayer = [short_entry(0x828D, 2, 2), (0x828E, 1, 4, bytes([0, 1, 1, 2])), long_entry(0xC61A, 0), long_entry(0xC61D, 1023)]
        return [long_entry(0xFE, 0), long_entry(0x111, at), *sizes, *kind, *bayer]

    if preview is None:
        return tiff_block([*first, *mosaics(len(tiff_block([*first, *mosaics(0)])))]) + raw
    jpeg = encode(preview, "JPEG", quality=95)

    def shown(at: int) -> list[Entry]:
        sizes = [(0x100, preview.width), (0x101, preview.height), (0x116, preview.height), (0x117, len(jpeg)), (0x111, at)]
        kind = [short_entry(tag, value) for tag, value in ((0x103, 7), (0x106, 6), (0x115, 3), (0x11C, 1))]
        return [long_entry(0xFE, 1), short_entry(0x102, 8, 8, 8), *kind, *(long_entry(*size) for size in sizes)]

    start = len(tiff_block([*first, *shown(0)], subs=[(0x14A, mosaics(0))]))
    return tiff_block([*first, *shown(start)], subs=[(0x14A, mosaics(start + len(jpeg)))]) + jpeg + raw


def reason(data: bytes, **options: float) -> str:
    """The reason for which ``open_image`` refuses."""
    with pytest.raises(ImageError) as caught:
        open_image(data, **options)  # type: ignore[arg-type]
    assert str(caught.value), "an error explains itself"
    return caught.value.reason


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.float64]:
    """``(h, w, 4)`` composited on white, by arithmetic."""
    alpha = rgba[..., 3:].astype(np.float64) / 255
    return np.asarray(np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)))
