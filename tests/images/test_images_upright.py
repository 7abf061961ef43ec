"""Orientation, drafts of JPEGs, thumbnails."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.images import Reason, open_image, thumbnail

from .image_samples import (
    encode,
    exif_block,
    furthest,
    noise,
    pixels,
    smooth,
    turned,
)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_all_eight_orientations_come_upright(format: str, orientation: int) -> None:
    picture = smooth(96, 64)
    options = {"quality": 95} if format in ("JPEG", "WEBP", "AVIF") else {}
    stored = turned(picture, orientation)
    if format == "TIFF":
        exif = Image.Exif()
        exif[0x112] = orientation
        data = encode(stored, format, exif=exif)
    else:
        data = encode(stored, format, exif=exif_block(orientation), **options)
    got, info = open_image(data)
    assert got.size == (96, 64) == (info.width, info.height)
    assert np.abs(pixels(got) - pixels(picture)).mean() < 3


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_draft_of_a_turned_photo_is_wide_enough_when_upright(orientation: int) -> None:
    picture = smooth(1600, 800)
    data = encode(turned(picture, orientation), "JPEG", exif=exif_block(orientation), quality=95)
    got, info = open_image(data, at_least=(800, 150))
    assert (info.width, info.height) == (1600, 800), "the info has the full size"
    assert got.size == (800, 400)
    assert np.abs(pixels(got) - pixels(picture.resize((800, 400), Image.Resampling.BOX))).mean() < 2


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0garbage" * 99, b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_garbage_exif_is_tolerated(block: bytes) -> None:
    picture = smooth()
    plain = open_image(encode(picture, "JPEG"))[0]
    for format in ("JPEG", "PNG", "WEBP"):
        got, info = open_image(encode(picture, format, exif=block, **({"lossless": True} if format == "WEBP" else {})))
        assert furthest(got, plain if format == "JPEG" else picture) == 0
        assert info.taken is None
        assert not info.exif


@pytest.mark.parametrize(
    ("size", "at_least", "expected"),
    [
        ((4000, 3000), (448, 448), (667, 500)),
        ((3999, 3001), (448, 448), (667, 501)),
        ((1000, 800), (448, 448), (1000, 800)),
        ((1000, 896), (448, 448), (500, 448)),
        ((1000, 895), (448, 448), (1000, 895)),
        ((800, 100), (200, 100), (800, 100)),
        ((100, 100), (448, 448), (100, 100)),
        ((160, 160), (1, 1), (20, 20)),
    ],
)
def test_a_draft_is_never_smaller_than_asked(size: tuple[int, int], at_least: tuple[int, int], expected: tuple[int, int]) -> None:
    if size[0] > 3000:
        expected = (size[0] + 3) // 4, (size[1] + 3) // 4
        if min(expected[0] / at_least[0], expected[1] / at_least[1]) >= 2:
            expected = (size[0] + 7) // 8, (size[1] + 7) // 8
    got, info = open_image(encode(Image.new("RGB", size, "teal"), "JPEG"), at_least=at_least)
    assert got.size == expected
    assert (info.width, info.height) == size


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_thumbnails_are_small_alike_and_clean(format: str) -> None:
    picture = smooth(800, 600)
    data = encode(turned(picture, 6), "JPEG", exif=exif_block(6), comment=b"private", quality=95)
    small = thumbnail(data, 200, format=format)
    with Image.open(io.BytesIO(small)) as shown:
        assert shown.format == format
        assert shown.size == (200, 150)
        assert "exif" not in shown.info
        assert b"private" not in small
        expected = picture.resize((200, 150), Image.Resampling.LANCZOS)
        assert np.abs(pixels(shown.convert("RGB")) - pixels(expected)).mean() < 4
    assert thumbnail(picture, 200, format=format)[:4] == small[:4]


def test_a_thumbnail_never_enlarges_and_takes_any_mode() -> None:
    for picture in (noise(30, 20), noise(30, 20).convert("P"), noise(30, 20).convert("LA"), Image.new("RGBA", (30, 20))):
        with Image.open(io.BytesIO(thumbnail(picture, 256))) as shown:
            assert shown.size == (30, 20)
    with Image.open(io.BytesIO(thumbnail(noise(1, 9000), 100))) as shown:
        assert shown.size == (1, 100)


def test_a_thumbnail_of_what_is_no_image_says_so() -> None:
    with pytest.raises(ImageError) as caught:
        thumbnail(b"nothing")
    assert caught.value.reason is Reason.NOT_IMAGE
