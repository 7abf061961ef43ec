"""Captions beside images, and what the bytes of a text mean."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import mmsearch.sources.files as files
from mmsearch.errors import InputError
from mmsearch.sources import Folder, decode_text
from mmsearch.sources.values import plain
from mmsearch.testing.sources import SourceConformance
from mmsearch.types import Asset, Kind


def fill(root: Path, **contents: Any) -> None:
    for name, content in contents.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def brief(source: Folder) -> list[tuple[Any, ...]]:
    return [(a.id, a.path, a.group, a.text, a.meta) for a in source.scan()]


class TestConformance(SourceConformance):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Folder:
        fill(tmp_path, cat_jpg=b"cat", cat_txt=b"a cat\na pet\n", dog_jpg=b"dog", dog_json={"caption": "a dog", "age": 3})
        fill(tmp_path, sub__a_png=b"a", notes_txt=b"notes", other_json={"caption": "of nothing"})
        return Folder(tmp_path, captions="sidecar")

    @pytest.fixture
    def expected(self) -> dict[str, tuple[Kind, bytes]]:
        return {
            "cat.jpg": (Kind.IMAGE, b"cat"),
            "cat.jpg#caption-0": (Kind.TEXT, b"a cat"),
            "cat.jpg#caption-1": (Kind.TEXT, b"a pet"),
            "dog.jpg": (Kind.IMAGE, b"dog"),
            "dog.jpg#caption-0": (Kind.TEXT, b"a dog"),
            "notes.txt": (Kind.TEXT, b"notes"),
            "sub/a.png": (Kind.IMAGE, b"a"),
        }


def test_off_by_default(tmp_path: Path) -> None:
    fill(tmp_path, cat_jpg=b"cat", cat_txt=b"a cat")
    assert [asset.id for asset in Folder(tmp_path).scan()] == ["cat.jpg", "cat.txt"]


def test_groups_meta_and_the_stat_of_the_sidecar(tmp_path: Path) -> None:
    fill(tmp_path, dog_jpg=b"dog", dog_json={"captions": ["a dog", "a dog", " pet "], "age": 3, "owner": {"name": "x"}}, z_jpg=b"z")
    os.utime(tmp_path / "dog.json", ns=(7, 7))
    image, first, second, other = Folder(tmp_path, captions=True).scan()
    size = (tmp_path / "dog.json").stat().st_size
    assert image.group == "dog.jpg"
    assert image.meta == {"age": 3, "owner": {"name": "x"}}
    assert first == Asset("dog.jpg#caption-0", Kind.TEXT, "dog.json", size, 7, "dog.jpg", "a dog", None)
    assert second == Asset("dog.jpg#caption-1", Kind.TEXT, "dog.json", size, 7, "dog.jpg", "pet", None)
    assert (other.id, other.group, other.meta) == ("z.jpg", "z.jpg", None)


def test_all_four_names_and_shared_sidecars(tmp_path: Path) -> None:
    fill(tmp_path, a_jpg=b"1", a_png=b"2", a_TXT=b"one", a_json="two", a_jpg_txt=b"three\none", a_png_json=["four"])
    assert [(id, path, text) for id, path, _, text, _ in brief(Folder(tmp_path, captions="sidecar"))] == [
        ("a.jpg", "a.jpg", None),
        ("a.jpg#caption-0", "a.TXT", "one"),
        ("a.jpg#caption-1", "a.json", "two"),
        ("a.jpg#caption-2", "a.jpg.txt", "three"),
        ("a.png", "a.png", None),
        ("a.png#caption-0", "a.TXT", "one"),
        ("a.png#caption-1", "a.json", "two"),
        ("a.png#caption-2", "a.png.json", "four"),
    ]


def test_sidecars_count_without_texts_and_with_includes(tmp_path: Path) -> None:
    fill(tmp_path, a_jpg=b"1", a_txt=b"one", b_txt=b"two", sub__c_jpg=b"3", sub__c_txt=b"three")
    expected = ["a.jpg", "a.jpg#caption-0", "sub/c.jpg", "sub/c.jpg#caption-0"]
    assert [asset.id for asset in Folder(tmp_path, texts=False, captions=True).scan()] == expected
    assert [asset.id for asset in Folder(tmp_path, include=["*.jpg"], captions=True).scan()] == expected
    without = Folder(tmp_path, exclude=["*.txt"], captions=True)
    assert [asset.id for asset in without.scan()] == ["a.jpg", "sub/c.jpg"]


def test_links_and_hidden_files_are_no_sidecars_unless_wanted(tmp_path: Path) -> None:
    fill(tmp_path, a_jpg=b"1", real__x_txt=b"linked")
    (tmp_path / "a.txt").symlink_to("real/x.txt")
    assert [a.text for a in Folder(tmp_path, captions=True, texts=False).scan()] == [None]
    followed = Folder(tmp_path, captions=True, texts=False, follow_symlinks=True)
    assert [a.text for a in followed.scan()] == [None, "linked"]


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b'{"caption": 3}', b"[" * 100_000, b'{"caption": {"a": 1}}', b"\x00"])
def test_broken_json_is_reported_and_the_image_stays(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path, a_jpg=b"1", a_json=content)
    source = Folder(tmp_path, captions="sidecar")
    assert brief(source) == [("a.jpg", "a.jpg", "a.jpg", None, None)]
    assert [(p.path, p.reason) for p in source.problems] == [("a.json", "bad_captions")]
    assert source.complete


def test_sidecars_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, a_jpg=b"1", b_jpg=b"2", b_txt=b"much too long")
    os.mkfifo(tmp_path / "a.txt")
    monkeypatch.setattr("mmsearch.sources.captions.MAX_TEXT_BYTES", 5)
    source = Folder(tmp_path, captions="sidecar")
    assert [asset.id for asset in source.scan()] == ["a.jpg", "b.jpg"]
    assert [(p.path, p.reason) for p in source.problems] == [("a.txt", "not_regular"), ("b.txt", "too_large")]


def test_blank_sidecars_hold_no_caption(tmp_path: Path) -> None:
    fill(tmp_path, a_jpg=b"1", a_txt=b"\n \n", b_jpg=b"2", b_json={"price": 3})
    metas = [(id, meta) for id, _, _, _, meta in brief(Folder(tmp_path, captions=True))]
    assert metas == [("a.jpg", None), ("b.jpg", {"price": 3})]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"  a cat \n", "a cat"),
        ("é 😺".encode(), "é 😺"),
        (b"\xef\xbb\xbfa", "a"),
        ("é".encode("utf-16"), "é"),
        ("é".encode("utf-16-be").join([b"\xfe\xff", b""]), "é"),
        ("é".encode("utf-32"), "é"),
        (b"caf\xe9 \x93x\x94", "café \u201cx\u201d"),
        (b"\x81\xff", "\ufffdÿ"),
    ],
)
def test_texts_of_any_encoding(data: bytes, text: str) -> None:
    assert decode_text(data) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b" \n\t", "empty"), (b"\xef\xbb\xbf", "empty"), (b"PK\x03\x04\x00\x00", "not_text")],
)
def test_what_is_no_text(data: bytes, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_text(data)
    assert caught.value.reason == reason


def test_plain_is_strict_json() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    value = {1: float("inf"), "a": (1, {2}), "deep": deep, "\ud800": "\udfff", "big": 10**30, "o": object}
    cleaned = plain(value)
    json.dumps(cleaned, allow_nan=False).encode()
    assert cleaned["1"] is None
    assert cleaned["a"] == [1, [2]]
    assert cleaned["?"] == "?"
    assert cleaned["big"] == 10**30


def test_suffix() -> None:
    assert [files.suffix(name) for name in ("a.JPG", ".jpg", "a", "a.", "a.b.Txt")] == [".jpg", "", "", ".", ".txt"]
