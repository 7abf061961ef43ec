"""What must be skipped, with which reason: rows of the table of bad inputs; and that damage raises nothing else."""

from __future__ import annotations

import struct
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmsearch.errors import ImageError
from mmsearch.images import MAX_MEGAPIXELS, Reason, open_image

from .image_samples import (
    encode,
    exif_block,
    furthest,
    noise,
    photo,
    png,
    png_chunk,
    reason,
    short_entry,
    smooth,
    tiff_block,
    turned,
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"<!DOCTYPE html><html><body>not found</body></html>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"SIMPLE  =                    T / FITS" + b" " * 3000,
        b"%PDF-1.7",
        b"BM is how this text begins, and it goes on",
        b"P5 is a nice printer",
        b"PK\x03\x04" + bytes(100),
        bytes(4096),
        np.random.default_rng(1).bytes(5000),
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    ],
    ids=["empty", "nul", "html", "svg", "eps", "fits", "pdf", "bm", "p5", "zip", "zeros", "noise", "mp4", "wav"],
)
def test_what_is_not_an_image_is_said_to_be_none(data: bytes) -> None:
    assert reason(data) == "not_image"


def test_the_content_decides_and_not_the_name() -> None:
    picture = noise()
    got, _ = open_image(encode(picture, "PNG"))  # a PNG whatever the file was called
    assert furthest(got, picture) == 0


FILES = {
    "jpeg": lambda im: encode(im, "JPEG"),
    "progressive": lambda im: encode(im, "JPEG", progressive=True),
    "restarts": lambda im: encode(im, "JPEG", restart_marker_blocks=4),
    "grey jpeg": lambda im: encode(im.convert("L"), "JPEG"),
    "jpeg with exif": lambda im: encode(im, "JPEG", exif=exif_block(6)),
    "png": lambda im: encode(im, "PNG"),
    "palette png": lambda im: encode(im.convert("P"), "PNG"),
    "webp": lambda im: encode(im, "WEBP"),
    "lossless webp": lambda im: encode(im, "WEBP", lossless=True),
    "bmp": lambda im: encode(im, "BMP"),
    "tiff": lambda im: encode(im, "TIFF"),
    "lzw tiff": lambda im: encode(im, "TIFF", compression="tiff_lzw"),
    "avif": lambda im: encode(im, "AVIF"),
    "jpeg2000": lambda im: encode(im, "JPEG2000"),
    "ppm": lambda im: encode(im, "PPM"),
    "gif": lambda im: encode(im.convert("P"), "GIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_without_its_end_is_truncated(name: str) -> None:
    data = FILES[name](smooth())
    for missing in (3, 4, 8, 12, 13, 19, 20, 21, 50, len(data) // 3, len(data) // 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of broken TIFF directories
            assert reason(data[:-missing]) == "truncated", missing


@pytest.mark.parametrize("name", [name for name in FILES if "jpeg" in name or "png" in name or name in ("progressive",)])
@pytest.mark.parametrize("at_least", [None, (20, 20)])
def test_a_single_missing_byte_is_noticed(name: str, at_least: tuple[int, int] | None) -> None:
    data = FILES[name](smooth())
    with pytest.raises(ImageError) as caught:
        open_image(data[:-1], at_least=at_least)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("name", FILES)
def test_bytes_behind_the_end_are_fine(name: str) -> None:
    data = FILES[name](smooth())
    whole, _ = open_image(data)
    longer, _ = open_image(data + b"\xff\xd8\xff a motion photo's film, or padding" + bytes(5000))
    assert furthest(whole, longer) == 0


def test_a_photo_of_several_pictures_is_its_first() -> None:
    first, second = smooth(seed=1), smooth(seed=2)
    data = encode(first, "MPO", save_all=True, append_images=[second])
    got, _ = open_image(data)
    assert furthest(got, first) < 30 < furthest(got, second)
    assert furthest(open_image(data[:-20])[0], got) == 0, "what is missing is of the second picture"


def test_a_zero_filled_tail_is_truncated() -> None:
    data = encode(smooth(), "JPEG")  # as broken downloads leave it
    assert reason(data[: len(data) // 2] + bytes(len(data) // 2)) == "truncated"


def test_a_variant_that_nothing_reads_is_unsupported() -> None:
    data = bytearray(encode(smooth(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12  # bits per sample
    assert reason(bytes(data)) == "unsupported"
    float16 = [(0x100, 4), (0x101, 4), (0x102, 16), (0x103, 1), (0x106, 1), (0x111, 8), (0x115, 1), (0x117, 8), (0x153, 3)]
    assert reason(tiff_block([short_entry(*field) for field in float16]) + bytes(100)) == "unsupported"


def test_a_damaged_block_beside_the_pixels_does_no_harm() -> None:
    picture = smooth()
    rows = encode(picture, "PNG")
    for chunk in (
        png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2 << 20))),  # beyond Pillow's limit for texts
        png_chunk(b"iCCP", b"name\0\x07not a method"),
        png_chunk(b"tEXt", b"k\0v")[:-4] + b"\0\0\0\0",  # a wrong checksum
    ):
        assert furthest(open_image(rows[:33] + chunk + rows[33:])[0], picture) == 0
    jpeg = encode(turned(picture, 6), "JPEG", exif=exif_block(6))
    expected = open_image(jpeg)[0]
    assert expected.size == picture.size
    for segment in (b"\xff\xe0\0\x07JFIF\0", b"\xff\xed\0\x14Photoshop 3.0\x008BIM"):
        assert furthest(open_image(jpeg[:2] + segment + jpeg[2:])[0], expected) == 0


def test_damage_is_not_called_truncation() -> None:
    data = bytearray(encode(smooth(), "PNG"))
    data[len(data) // 2 : len(data) // 2 + 20] = bytes(20)
    assert reason(bytes(data)) == "corrupt"


def empty_png(width: int, height: int) -> bytes:
    deflate = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    body = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_bombs_are_refused_by_their_header() -> None:
    bombs = [
        empty_png(50_000, 5_000),
        png(50_000, 50_000),
        b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
        b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(8),
        b"P6 60000 60000 255\n",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0),
        tiff_block(
            [short_entry(tag, value) for tag, value in
             ((0x100, 60000), (0x101, 60000), (0x102, 8), (0x103, 1), (0x106, 1), (0x111, 8), (0x115, 1), (0x117, 9))]
        ),
    ]  # fmt: skip
    tracemalloc.start()
    try:
        assert [reason(bomb) for bomb in bombs] == ["too_large"] * len(bombs)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20, "nothing was allocated for the pixels"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("megapixels", [90, 120, 179, 200])
def test_between_the_limit_and_twice_it(megapixels: int) -> None:
    assert reason(png(10_000, megapixels * 100)) == "too_large"


def test_the_limit_can_be_moved_both_ways() -> None:
    data = encode(noise(400, 300), "PNG")
    assert reason(data, max_megapixels=0.119) == "too_large"
    assert open_image(data, max_megapixels=0.12)[1].width == 400
    large, _ = open_image(empty_png(10_000, 9_500), max_megapixels=100)  # above Pillow's own limit, and no warning
    assert large.size == (10_000, 9_500)


def test_pillows_own_settings_stay_as_they_are() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters), dict(Image.OPEN))
    for data in (encode(noise(), "PNG"), png(50_000, 50_000), encode(noise(), "AVIF")):
        try:
            open_image(data)
        except ImageError:
            continue
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters), dict(Image.OPEN))
    assert before == after
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS >= MAX_MEGAPIXELS * 1e6


def test_threads_share_nothing() -> None:
    pictures = [photo(200, 150, seed) for seed in range(4)]
    data = [encode(p, f) for p, f in zip(pictures, ("PNG", "BMP", "TIFF", "PPM"), strict=True)]
    start = threading.Barrier(4)

    def work(which: int) -> int:
        start.wait()
        return max(furthest(open_image(data[which])[0], pictures[which]) for _ in range(10))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [0, 0, 0, 0]


@pytest.mark.parametrize("name", FILES)
def test_random_damage_never_raises_anything_else(name: str) -> None:
    rng = np.random.default_rng(sum(name.encode()))
    clean = FILES[name](smooth(48, 32))
    known = {str(r) for r in Reason}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(60):
            data = bytearray(clean)
            for at in rng.integers(0, len(data), rng.integers(1, 12)):
                data[at] = rng.integers(0, 256)
            try:
                picture, info = open_image(bytes(data), max_megapixels=4)
            except ImageError as error:
                said = error.reason
            else:
                said = "not_image" if info.width * info.height <= 4e6 and picture.mode == "RGB" else "wrong"
            assert said in known
