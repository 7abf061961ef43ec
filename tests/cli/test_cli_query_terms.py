"""What people type, as terms of a query."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from mmsearch.cli import _query


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "swimming pool.jpg", "2:odd.png"):
        Image.new("RGB", (40, 20), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    return tmp_path


def terms(*words: str, **options: Any) -> list[tuple[str, Any, float]]:
    return [(term.what, term.value, term.weight) for term in _query.build(words, **options).terms]


@pytest.mark.parametrize(("words", "expected"), [
    (["a cat"], [("text", "a cat", 1)]),
    (["a", "cat", "asleep"], [("text", "a cat asleep", 1)]),
    (["2:cat"], [("text", "cat", 2)]),
    (["2:golden", "retriever"], [("text", "golden retriever", 2)]),
    (["-.5:cat"], [("text", "cat", -0.5)]),
    (["2:cat", "0.5:dog"], [("text", "cat", 2), ("text", "dog", 0.5)]),
    (["horse", "+", "stripes", "-", "green", "grass"], [("text", "horse", 1), ("text", "stripes", 1), ("text", "green grass", -1)]),
    (["apple", "-", "2:fruit"], [("text", "apple", 1), ("text", "fruit", -2)]),
    (["cat.jpg"], [("image", "cat.jpg", 1)]),
    (["./cat.jpg", "asleep"], [("image", "./cat.jpg", 1), ("text", "asleep", 1)]),
    (["2:golden retriever", "+", "./swimming pool.jpg"], [("text", "golden retriever", 2), ("image", "./swimming pool.jpg", 1)]),
    (["0.5:./cat.jpg"], [("image", "./cat.jpg", 0.5)]),
    (["2:odd.png"], [("image", "2:odd.png", 1)]),
    (["dog.jpg"], [("text", "dog.jpg", 1)]),
    (["notes.txt"], [("text", "notes.txt", 1)]),
    (["a", "2:1", "screen"], [("text", "a", 1), ("text", "1 screen", 2)]),
    (["ratio 2:1"], [("text", "ratio 2:1", 1)]),
])
def test_words(words: list[str], expected: list[tuple[str, Any, float]]) -> None:
    assert terms(*words) == expected


def test_options_add_terms() -> None:
    assert terms("a cat", images=["cat.jpg", "3:cat.jpg"], texts=["2:./cat.jpg"], nots=["dog", "0.4:red", "./cat.jpg"],
                 like=["1:a"], unlike=["b"]) == [
        ("text", "a cat", 1), ("image", "cat.jpg", 1), ("image", "cat.jpg", 3), ("text", "./cat.jpg", 2),
        ("text", "dog", -1), ("text", "red", -0.4), ("image", "./cat.jpg", -1), ("item", "1:a", 1), ("item", "b", -1),
    ]


def test_an_image_on_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"bytes")))
    assert terms(images=["-"]) == [("image", b"bytes", 1)]


@pytest.mark.parametrize(("words", "options", "says"), [
    ([], {}, "say what to look for"),
    ([" "], {}, "empty"),
    (["./dog.jpg"], {}, "no image './dog.jpg'"),
    ([], {"images": ["dog.jpg"]}, "no image 'dog.jpg'"),
    ([], {"images": ["."]}, "is a folder"),
    ([], {"images": ["https://example.org/a.jpg"]}, "nothing is fetched"),
    (["http://example.org/a.jpg"], {}, "nothing is fetched"),
    ([], {"nots": ["2:https://example.org/a.jpg"]}, "nothing is fetched"),
    (["a cat"], {"crop": "0,0,1,1"}, "exactly one query image"),
    (["cat.jpg"], {"crop": "0,0,1"}, "four numbers"),
    (["cat.jpg"], {"crop": "0,0,nan,1"}, "four numbers"),
    (["cat.jpg"], {"crop": "50,0,10,10"}, "leaves nothing of an image of 40×20"),
])
def test_what_makes_no_sense_is_refused(words: list[str], options: dict[str, Any], says: str) -> None:
    with pytest.raises(click.UsageError, match=says):
        _query.build(words, **options)


@pytest.mark.parametrize(("crop", "size", "corner"), [
    ("10,5,20,10", (20, 10), (10, 5)), ("0.5,0.5,0.5,0.5", (20, 10), (20, 10)), ("30,10,100,100", (10, 10), (30, 10)),
])
def test_crop_takes_pixels_or_fractions(tmp_path: Path, crop: str, size: tuple[int, int], corner: tuple[int, int]) -> None:
    gradient = Image.new("RGB", (40, 20))
    gradient.putdata([(x, y, 0) for y in range(20) for x in range(40)])
    gradient.save(tmp_path / "g.png")
    [(what, picture, weight)] = terms("3:g.png", crop=crop)
    assert (what, weight, picture.size) == ("image", 3, size)
    assert picture.getpixel((0, 0)) == (*corner, 0)


def test_crop_is_of_the_upright_image(tmp_path: Path) -> None:
    tall = Image.new("RGB", (10, 30), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6
    tall.save(tmp_path / "turned.jpg", exif=exif)
    [(_, picture, _)] = terms("turned.jpg", crop="0,0,1,0.5")
    assert picture.size == (30, 5)


def test_parameters_have_types() -> None:
    given = ["a=50", "b=0.5", "c=true", "d=null", "e=red", 'f="50"', "g=a=b", "h=", "i=[1]"]
    assert _query.parameters(given) == {
        "a": 50, "b": 0.5, "c": True, "d": None, "e": "red", "f": "50", "g": "a=b", "h": "", "i": "[1]",
    }
    for bad in ("price", "1a=3", "=3"):
        with pytest.raises(click.UsageError, match="NAME=VALUE"):
            _query.parameters([bad])
