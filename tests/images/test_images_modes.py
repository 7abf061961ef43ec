"""Every mode and format of picture comes as the RGB pixels that it means."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmsearch.images import open_image

from .image_samples import (
    encode,
    furthest,
    noise,
    on_white,
    pixels,
    png,
    png_chunk,
    short_entry,
    smooth,
    tiff_block,
)


def test_16_bit_grey_is_divided_by_257() -> None:
    values = np.array([[0, 128, 129, 257, 32768, 40000, 65407, 65535]], dtype=np.uint16)
    expected = [round(int(v) / 257) for v in values[0]]
    for format in ("PNG", "TIFF"):
        got, _ = open_image(encode(Image.fromarray(values), format))
        assert pixels(got)[0, :, 0].tolist() == pixels(got)[0, :, 2].tolist() == expected, format


def test_a_16_bit_tiff_of_motorola_order() -> None:
    rows = np.array([[0, 256, 65535]], dtype=">u2").tobytes()
    fields = ((0x100, 3), (0x101, 1), (0x102, 16), (0x103, 1), (0x106, 1), (0x115, 1), (0x116, 1))
    where = [short_entry(0x111, 0, order=">"), short_entry(0x117, 6, order=">")]
    size = len(tiff_block([short_entry(*f, order=">") for f in fields] + where, order=">"))
    where[0] = short_entry(0x111, size, order=">")
    got, _ = open_image(tiff_block([short_entry(*f, order=">") for f in fields] + where, order=">") + rows)
    assert pixels(got)[0, :, 1].tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.4, 255.0], [0, 100, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([1e6, 2e6, 3e6], [0, 128, 255]),
        ([np.nan, 0.25, 1.0], [0, 64, 255]),
        ([-np.inf, 0.2, np.inf], [0, 51, 255]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_a_float_tiff_is_scaled_by_the_range_it_fits(values: list[float], expected: list[int]) -> None:
    data = encode(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    got, _ = open_image(data)
    assert np.abs(pixels(got)[0, :, 0] - expected).max() <= 1


def test_32_bit_integers() -> None:
    data = encode(Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.int32)), "TIFF")
    assert pixels(open_image(data)[0])[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_transparency_lies_on_white(format: str) -> None:
    rng = np.random.default_rng(3)
    rgba = rng.integers(0, 256, (9, 12, 4), dtype=np.uint8)
    rgba[0, :, 3], rgba[1, :, 3] = 0, 255
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    got, _ = open_image(encode(Image.fromarray(rgba), format, **options))
    assert np.abs(pixels(got) - on_white(rgba)).max() <= 1
    assert (pixels(got)[0] == 255).all(), "no hidden colours"


def test_grey_with_alpha_lies_on_white() -> None:
    la = np.array([[[0, 0], [0, 255], [100, 128]]], dtype=np.uint8)
    got, _ = open_image(encode(_la(la), "PNG"))
    assert pixels(got)[0, :, 0].tolist() == [255, 0, 177]


def _la(values: np.ndarray) -> Image.Image:
    return Image.merge("LA", [Image.fromarray(np.ascontiguousarray(values[..., i])) for i in (0, 1)])


def test_palette_transparency_by_table_by_index_and_in_gif() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    image.putdata([0, 1, 2])
    table = open_image(encode(image, "PNG", transparency=bytes([0, 128, 255])))[0]
    assert pixels(table)[0].tolist() == [[255, 255, 255], [132, 227, 132], [10, 10, 200]]
    for format in ("PNG", "GIF"):
        index = open_image(encode(image, format, transparency=1))[0]
        assert pixels(index)[0].tolist() == [[200, 10, 10], [255, 255, 255], [10, 10, 200]], format


def test_a_transparent_colour_of_rgb_and_of_grey() -> None:
    rgb = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], dtype=np.uint8))
    assert pixels(open_image(encode(rgb, "PNG", transparency=(1, 2, 3)))[0])[0].tolist() == [[255] * 3, [9] * 3]
    grey = Image.fromarray(np.array([[7, 9]], dtype=np.uint8))
    assert pixels(open_image(encode(grey, "PNG", transparency=7))[0])[0].tolist() == [[255] * 3, [9] * 3]


def test_one_bit_cmyk_and_grey() -> None:
    bits = Image.fromarray(np.array([[0, 255, 255, 0]], dtype=np.uint8)).convert("1")
    assert pixels(open_image(encode(bits, "PNG"))[0])[0, :, 0].tolist() == [0, 255, 255, 0]
    cmyk = Image.merge("CMYK", [Image.new("L", (16, 16), v) for v in (255, 0, 0, 0)])
    assert np.abs(pixels(open_image(encode(cmyk, "TIFF"))[0]) - [0, 255, 255]).max() == 0
    assert np.abs(pixels(open_image(encode(cmyk, "JPEG"))[0]) - [0, 255, 255]).max() <= 3
    grey = noise().convert("L")
    assert (pixels(open_image(encode(grey, "PNG"))[0])[..., 1] == np.asarray(grey)).all()


@pytest.mark.parametrize(("format", "allowed"), [("AVIF", 12), ("WEBP", 25), ("JPEG2000", 0), ("BMP", 0), ("PPM", 0)])
def test_the_other_formats(format: str, allowed: int) -> None:
    picture = smooth()
    got, info = open_image(encode(picture, format))
    assert furthest(got, picture) <= allowed
    assert (info.width, info.height) == picture.size


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1)])
def test_odd_shapes(size: tuple[int, int]) -> None:
    picture = noise(*size)
    got, info = open_image(encode(picture, "PNG"))
    assert furthest(got, picture) == 0
    assert (info.width, info.height) == size


def test_a_bad_colour_profile_is_ignored() -> None:
    picture = smooth()
    plain = open_image(encode(picture, "JPEG"))[0]
    for profile in (b"garbage", bytes(200), b"\xff" * 70_000):
        assert furthest(open_image(encode(picture, "JPEG", icc_profile=profile))[0], plain) == 0
    broken = png(1, 1, rows=b"\0\x05\x06\x07", extra=png_chunk(b"iCCP", b"name\0\0not zlib"))
    assert pixels(open_image(broken)[0]).tolist() == [[[5, 6, 7]]]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert pixels(open_image(data)[0])[5, 5].tolist() == [255, 0, 0]


def test_frames_are_never_counted() -> None:
    frames = [noise(8, 8, seed).convert("P") for seed in range(400)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    cut = data[: len(data) // 2]  # counting would meet the missing end
    assert open_image(cut)[1].width == 8
