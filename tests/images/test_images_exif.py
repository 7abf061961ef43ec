"""What a camera says of a photo, and that no bytes whatever break the reader."""

from __future__ import annotations

import calendar
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.images import open_image
from mmsearch.images.exif import Exif, Tiff, read_exif

from .image_samples import (
    ascii_entry,
    encode,
    long_entry,
    noise,
    rational_entry,
    short_entry,
    tiff_block,
)

CAMERA = [ascii_entry(0x10F, b"Canon\0junk"), ascii_entry(0x110, b" EOS\t5D\x01 "), short_entry(0x112, 6)]
SHOT = [
    ascii_entry(0x9003, b"2023:05:01 10:20:30"),
    ascii_entry(0x9291, b"125"),
    ascii_entry(0x9011, b"+02:00"),
    ascii_entry(0xA434, "Objektiv 50\u202fmm \u00e4".encode()),
]
PLACE = [
    ascii_entry(1, b"S"),
    rational_entry(2, (33, 1), (51, 1), (3540, 100)),
    ascii_entry(3, b"E"),
    rational_entry(4, (151, 1), (12, 1), (40, 1)),
    (5, 1, 1, b"\x01"),
    rational_entry(6, (255, 10)),
]
NOON = calendar.timegm((2023, 5, 1, 10, 20, 30))


@pytest.mark.parametrize("head", [b"", b"Exif\0\0"])
def test_camera_lens_and_date(head: bytes) -> None:
    exif = read_exif(head + tiff_block(CAMERA, subs=[(0x8769, SHOT)]))
    assert exif == Exif(
        6,
        NOON,
        {
            "make": "Canon",
            "model": "EOS 5D",
            "lens": "Objektiv 50 mm \u00e4",
            "date": "2023-05-01T10:20:30.125+02:00",
        },
    )
    json.dumps(exif.fields)


def test_the_place_only_when_asked_for() -> None:
    block = tiff_block([], subs=[(0x8825, PLACE)])
    assert "gps" not in read_exif(block).fields
    assert read_exif(block, gps=True).fields["gps"] == {"lat": -33.859833, "lon": 151.211111, "alt": -25.5}


@pytest.mark.parametrize(
    "entries",
    [
        PLACE[:2],
        [*PLACE[:3], rational_entry(4, (151, 0), (12, 1), (40, 1))],
        [ascii_entry(1, b"N"), rational_entry(2, (91, 1), (0, 1), (0, 1)), *PLACE[2:4]],
        [ascii_entry(1, b"N"), short_entry(2, 1, 2, 3), *PLACE[2:4]],
    ],
)
def test_a_place_that_is_none_is_left_out(entries: list[tuple[int, int, int, bytes]]) -> None:
    assert "gps" not in read_exif(tiff_block([], subs=[(0x8825, entries)]), gps=True).fields


def test_motorola_order() -> None:
    block = tiff_block(
        [ascii_entry(0x10F, b"Nikon"), short_entry(0x112, 8, order=">")],
        subs=[(0x8769, [ascii_entry(0x9003, b"2001:02:03 04:05:06")])],
        order=">",
    )
    assert read_exif(block) == Exif(8, calendar.timegm((2001, 2, 3, 4, 5, 6)), {"make": "Nikon", "date": "2001-02-03T04:05:06"})


@pytest.mark.parametrize(
    ("text", "date"),
    [
        (b"2023:05:01 10:20:30", "2023-05-01T10:20:30"),
        (b"2023-05-01T10:20:30", "2023-05-01T10:20:30"),
        (b"2023/05/01 10:20", "2023-05-01T10:20:00"),
        (b"1969:12:31 23:59:59", "1969-12-31T23:59:59"),
        (b"0000:00:00 00:00:00", None),
        (b"    :  :     :  :  ", None),
        (b"2023:02:31 10:00:00", None),
        (b"2023:05:01 25:00:00", None),
        (b"yesterday", None),
        (b"", None),
    ],
)
def test_dates_as_cameras_write_them(text: bytes, date: str | None) -> None:
    exif = read_exif(tiff_block([], subs=[(0x8769, [ascii_entry(0x9003, text)])]))
    assert exif.fields.get("date") == date
    assert (exif.taken is None) == (date is None)
    if text.startswith(b"1969"):
        assert exif.taken == -1


def test_the_moment_of_the_shot_goes_before_that_of_an_edit() -> None:
    edited, shot = ascii_entry(0x132, b"2024:01:01 00:00:00"), ascii_entry(0x9004, b"2020:01:01 00:00:00")
    assert read_exif(tiff_block([edited], subs=[(0x8769, [shot])])).fields["date"] == "2020-01-01T00:00:00"
    assert read_exif(tiff_block([edited])).fields["date"] == "2024-01-01T00:00:00"
    broken = ascii_entry(0x9003, b"0000:00:00 00:00:00")
    assert read_exif(tiff_block([edited], subs=[(0x8769, [broken])])).fields["date"] == "2024-01-01T00:00:00"


def test_texts_are_cleaned() -> None:
    def make(raw: bytes) -> object:
        return read_exif(tiff_block([ascii_entry(0x10F, raw)])).fields.get("make")

    assert make(b"caf\xc3\xa9") == "caf\u00e9"
    assert make(b"caf\xe9") == "caf\u00e9", "not UTF-8: taken as Latin-1"
    assert make(b"a\x1b[31mb\x7f\r\n") == "a [31mb"
    assert make(b"\xe2\x80\xaeevil") == "evil", "no writing backwards"
    assert make(b"x" * 5000) == "x" * 200
    assert make(b" \0rest") is None


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_upright(orientation: int) -> None:
    assert read_exif(tiff_block([short_entry(0x112, orientation)])).orientation == 1
    assert read_exif(tiff_block([ascii_entry(0x112, b"6")])).orientation == 1


def test_xmp_has_the_orientation_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    assert read_exif(b"", xmp=xmp).orientation == 8
    assert read_exif(tiff_block([short_entry(0x112, 3)]), xmp=xmp).orientation == 3


def test_directories_that_point_at_themselves_end() -> None:
    block = tiff_block([long_entry(0x8769, 8), long_entry(0x8825, 8), short_entry(0x112, 5)])
    assert read_exif(block, gps=True).orientation == 5


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for block in (data, b"II*\0\x08\0\0\0" + data, b"Exif\0\0MM\0*\0\0\0\x08" + data):
        exif = read_exif(block, xmp=data, gps=True)
        assert 1 <= exif.orientation <= 8
        json.dumps(exif.fields)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_breaks_the_reader(data: st.DataObject) -> None:
    block = bytearray(tiff_block(CAMERA, subs=[(0x8769, SHOT), (0x8825, PLACE)]))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(block) - 1), st.integers(0, 255)), max_size=8)):
        block[at] = value
    cut = data.draw(st.integers(0, len(block)))
    exif = read_exif(bytes(block[:cut]), gps=True)
    assert 1 <= exif.orientation <= 8
    json.dumps(exif.fields)


def test_pillow_writes_what_we_read() -> None:
    exif = Image.Exif()
    exif[0x10F], exif[0x110], exif[0x112] = "Fujifilm", "X100", 3
    exif.get_ifd(0x8769)[0x9003] = "2019:08:07 06:05:04"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0), 3: "W", 4: (2.0, 15.0, 36.0)})
    for format in ("JPEG", "PNG", "WEBP", "AVIF"):  # in TIFF it leaves out all but the camera
        _, info = open_image(encode(noise(), format, exif=exif), gps=True)
        assert info.taken == calendar.timegm((2019, 8, 7, 6, 5, 4)), format
        assert info.exif["model"] == "X100", format
        assert info.exif["gps"] == {"lat": 48.5, "lon": -2.26}, format


def test_a_reader_of_nothing_has_nothing() -> None:
    tiff = Tiff(b"")
    assert tiff.first() == 0
    assert tiff.directory(8, range(65536)) == {}
