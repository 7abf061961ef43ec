"""HEIC and RAW: read with the extra, named without it."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.images import open_image

from .image_samples import (
    ascii_entry,
    dng,
    pixels,
    reason,
    short_entry,
    smooth,
    tiff_block,
    turned,
)


def heic(picture: Image.Image, **options: object) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(picture).save(out, quality=90, **options)
    return out.getvalue()


def test_heic_is_read_upright() -> None:
    picture = smooth(160, 96)
    got, info = open_image(heic(picture))
    assert np.abs(pixels(got) - pixels(picture)).mean() < 4
    assert (info.width, info.height) == picture.size
    block = b"Exif\0\0" + tiff_block([short_entry(0x112, 6), ascii_entry(0x10F, b"Phone")])
    got, info = open_image(heic(turned(picture, 6), exif=block))
    assert got.size == picture.size
    assert np.abs(pixels(got) - pixels(picture)).mean() < 4
    assert info.exif == {"make": "Phone"}
    assert reason(heic(picture)[:-20]) == "truncated"
    assert reason(heic(picture), max_megapixels=0.01) == "too_large"


def test_raw_is_developed_upright() -> None:
    pytest.importorskip("rawpy")
    got, info = open_image(dng(128, 96))
    red, green, blue = pixels(got)[48, 64]
    assert red > blue > green, "the colour of the mosaic"
    assert (info.width, info.height) == (128, 96) == got.size
    assert info.exif["model"] == "T1"
    got, info = open_image(dng(128, 96, flip=6))
    assert got.size == (96, 128) == (info.width, info.height)
    assert open_image(dng(128, 96), at_least=(30, 30))[0].size == (64, 48)
    assert reason(dng()[:-20]) == "truncated"
    assert reason(dng(), max_megapixels=0.01) == "too_large"


@pytest.mark.parametrize(("flip", "orientation"), [(1, 1), (3, 3), (6, 6), (8, 8)])
def test_the_cameras_own_rendering_of_a_raw_is_taken(flip: int, orientation: int) -> None:
    pytest.importorskip("rawpy")
    scene = smooth(128, 96) if flip in (1, 3) else smooth(96, 128)
    got, info = open_image(dng(128, 96, flip=flip, preview=turned(scene, orientation)))
    assert got.size == scene.size == (info.width, info.height)
    assert np.abs(pixels(got) - pixels(scene)).mean() < 3


def test_a_rendering_that_is_too_small_is_not_taken() -> None:
    pytest.importorskip("rawpy")
    data = dng(128, 96, preview=smooth(40, 30))
    red, green, blue = pixels(open_image(data)[0])[48, 64]
    assert red > blue > green, "developed from the mosaic"
    small, info = open_image(data, at_least=(40, 30))
    assert small.size == (40, 30)
    assert (info.width, info.height) == (128, 96)


@pytest.mark.parametrize(("module", "extra"), [("pillow_heif", "heic"), ("rawpy", "raw")])
def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    data = heic(smooth()) if extra == "heic" else dng()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=rf"mmsearch\[{extra}\]") as caught:
        open_image(data)
    assert caught.value.reason == "unsupported"
    assert caught.value.hint is not None
    assert f"mmsearch[{extra}]" in caught.value.hint


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"crx "])
def test_a_broken_file_of_an_extra_is_an_image_error(brand: bytes) -> None:
    data = struct.pack(">I4s4sI4s", 20, b"ftyp", brand, 0, brand) + bytes(200)
    assert reason(data) in ("truncated", "corrupt", "unsupported")
