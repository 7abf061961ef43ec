"""Small good pictures of every format that is read, and files made by hand to do harm."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz.containers import damaged
from tests.images.image_samples import (
    ascii_entry,
    dng,
    long_entry,
    png,
    png_chunk,
    rational_entry,
    short_entry,
    smooth,
    tiff_block,
)

EXIF = tiff_block(
    [ascii_entry(0x10F, b"Testcam"), short_entry(0x112, 6), ascii_entry(0x132, b"2021:03:04 05:06:07")],
    subs=[
        (0x8769, [ascii_entry(0x9003, b"2020:01:02 03:04:05"), ascii_entry(0xA434, b"50mm")]),
        (0x8825, [ascii_entry(1, b"N"), rational_entry(2, (47, 1), (30, 1)), ascii_entry(3, b"E"), rational_entry(4, (8, 1))]),
    ],
)


def _save(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@cache
def samples() -> dict[str, list[bytes]]:
    """Ending → files. Every one opens."""
    picture = smooth(48, 32)
    small, alpha = smooth(9, 7, 3), picture.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(picture.size))
    frames = [smooth(20, 16, seed).convert("P") for seed in range(3)]
    grey16 = Image.fromarray((np.arange(48 * 32, dtype=np.uint16) * 40).reshape(32, 48))
    found = {
        "jpg": [
            _save(picture, "JPEG", exif=b"Exif\0\0" + EXIF),
            _save(picture, "JPEG", progressive=True, quality=60),
            _save(picture.convert("L"), "JPEG", restart_marker_blocks=2),
            _save(picture.convert("CMYK"), "JPEG"),
            _save(small, "MPO", save_all=True, append_images=[small]),
        ],
        "png": [
            _save(picture, "PNG", exif=EXIF),
            _save(picture.convert("P"), "PNG", transparency=3),
            _save(alpha, "PNG"),
            _save(grey16, "PNG"),
            _save(small, "PNG", save_all=True, append_images=[smooth(9, 7, 4)]),
        ],
        "gif": [_save(frames[0], "GIF"), _save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20)],
        "webp": [
            _save(picture, "WEBP", exif=EXIF),
            _save(alpha, "WEBP", lossless=True),
            _save(small, "WEBP", save_all=True, append_images=[smooth(9, 7, 5)]),
        ],
        "bmp": [_save(picture, "BMP"), _save(picture.convert("P"), "BMP"), _save(picture.convert("1"), "BMP")],
        "tif": [
            _save(picture, "TIFF"),
            _save(picture, "TIFF", compression="tiff_lzw"),
            _save(picture, "TIFF", compression="tiff_deflate"),
            _save(picture, "TIFF", compression="jpeg"),
            _save(grey16, "TIFF"),
            _save(picture.convert("1"), "TIFF", compression="group4"),
        ],
        "avif": [_save(picture, "AVIF"), _save(alpha, "AVIF", quality=30)],
        "jp2": [_save(picture, "JPEG2000"), _save(picture, "JPEG2000", no_jp2=True)],
        "ppm": [_save(picture, "PPM"), _save(picture.convert("L"), "PPM"), b"P3 2 2 255 " + b"1 2 3 " * 4],
        "dng": [dng(64, 48), dng(64, 48, preview=small)],
    }
    heic = _heic(picture)
    return found | ({"heic": [heic]} if heic else {})


def _heic(picture: Image.Image) -> bytes | None:
    try:
        import pillow_heif
    except ImportError:
        return None
    out = io.BytesIO()
    pillow_heif.from_pillow(picture).save(out, quality=50)
    return out.getvalue()


def mutant(seed: int) -> tuple[str, bytes]:
    """The damaged file of a seed, and the ending that it would have."""
    rng = random.Random(seed)
    ending = rng.choice(sorted(samples()))
    return ending, damaged(ending, rng.choice(samples()[ending]), rng)


# --- made to do harm --------------------------------------------------------------------------------------------------


def exif_bomb(entries: int = 60_000, values: int = 100_000) -> bytes:
    """An EXIF block in which each of many entries claims the same many numbers: gigabytes, once they are all read."""
    table = b"".join(struct.pack("<HHII", 0x9000 + at % 20_000, 3, values, 0) for at in range(entries))
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", entries)
    block = head + table
    return block + bytes(max(0, 2 * values - len(block)))


def gif_frames(count: int) -> bytes:
    """An animation of very many frames of one pixel."""
    frame = b"\x21\xf9\x04\x00\x01\x00\x00\x00" + b",\0\0\0\0\1\0\1\0\0\x02\x02D\x01\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * count + b";"


def apng_frames(declared: int) -> bytes:
    """A PNG whose animation claims very many frames and has none of them."""
    extra = png_chunk(b"acTL", struct.pack(">II", declared & 0xFFFFFFFF, 0))
    return png(4, 4, rows=bytes(4 * 13), extra=extra)


def png_bomb(width: int, height: int) -> bytes:
    """A true picture of very many equal pixels: a thousandth of its size as a file."""
    row = bytes(1 + 3 * width)
    deflate = zlib.compressobj(9)
    body = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def text_bomb(megabytes: int) -> bytes:
    """A PNG with compressed text that swells."""
    return png(4, 4, rows=bytes(4 * 13), extra=png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(megabytes << 20), 9)))


def tiff_circle() -> bytes:
    """A directory that follows itself, with a strip of four gigabytes."""
    fields = [(0x100, 60_000), (0x101, 1), (0x103, 1), (0x106, 1), (0x111, 8), (0x117, 0xFFFFFFFF), (0x116, 1)]
    block = tiff_block([long_entry(*field) for field in fields])
    return block[:-4] + struct.pack("<I", 8)


@cache
def harmful() -> dict[str, bytes]:
    """Name → content; each is refused, or gives a picture, within the limits of a worker."""
    picture = smooth(48, 32)
    block = exif_bomb()
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part
        for part in (block[at : at + 65_000] for at in range(0, len(block), 65_000))
    )
    jpeg = _save(picture, "JPEG")
    wide = struct.pack(">HH", 65_500, 65_500)
    header = jpeg.index(b"\xff\xc0")
    return {
        "empty.jpg": b"",
        "exif-100k-entries.jpg": jpeg[:2] + segments + jpeg[2:],
        "exif-100k-entries.png": png(4, 4, rows=bytes(4 * 13), extra=png_chunk(b"eXIf", block)),
        "exif-100k-entries.tif": exif_bomb(65_000),
        "huge.jpg": jpeg[: header + 5] + wide + jpeg[header + 9 :],
        "huge.png": png(2**31 - 1, 2**31 - 1),
        "huge.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
        "huge.gif": b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
        "huge.webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(8),
        "huge.ppm": b"P6 99999999 99999999 255\n",
        "huge.ppm-maxval.ppm": b"P5 4 4 " + b"9" * 5000 + b"\n" + bytes(16),
        "bomb-9000x9000.png": png_bomb(9000, 9000),
        "bomb-text.png": text_bomb(200),
        "frames-100k.gif": gif_frames(100_000),
        "frames-million-declared.png": apng_frames(1_000_000),
        "frames-4-billion-declared.png": apng_frames(0xFFFFFFFF),
        "circle.tif": tiff_circle(),
        "thin-1x60000.png": png_bomb(1, 60_000),
        "thin-60000x1.png": png_bomb(60_000, 1),
    }


def fill(folder: Path, count: int, seed: int) -> dict[str, int]:
    """Write ``count`` files: one in ten as it should be, the harmful ones, a FIFO, a folder with a picture's name, mutants.

    Returns how many of each. Names tell what a file is: ``good-17.png``, ``mutant-18.gif``.
    """
    rng = random.Random(seed)
    made = {"good": 0, "mutant": 0, "harmful": 0, "strange": 0}
    for name, data in harmful().items():
        (folder / f"harmful-{name}").write_bytes(data)
        made["harmful"] += 1
    os.mkfifo(folder / "strange-fifo.jpg")
    (folder / "strange-folder.png").mkdir()
    os.symlink("strange-loop.jpg", folder / "strange-loop.jpg")
    os.symlink("/dev/zero", folder / "strange-device.jpg")
    made["strange"] = 4
    endings = sorted(samples())
    for number in range(count - sum(made.values())):
        if number % 10 == 0:
            ending = rng.choice(endings)
            data = rng.choice(samples()[ending])
            (folder / f"good-{number}.{ending}").write_bytes(data)
            made["good"] += 1
        else:
            ending, data = mutant(seed * 1_000_003 + number)
            (folder / f"mutant-{number}.{ending}").write_bytes(data)
            made["mutant"] += 1
    return made
