"""The page of ``--html``: whole, safe, and in need of nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from mmsearch.cli import _html
from mmsearch.types import Hit, Hits, Kind, image, text

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks that every element is closed in order; keeps all elements and texts."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def evil(tmp_path: Path) -> str:
    name = "<script>alert(1)</script>\"onerror='x'&amp;.png"
    path = tmp_path / name.replace("/", "∕")
    Image.new("RGB", (1000, 500), (220, 20, 20)).save(path)
    return str(path)


def page(hits: list[Hit], query: Any) -> tuple[str, Page]:
    collection = SimpleNamespace(path=Path("/home/<me>"), info=SimpleNamespace(model="toy"))
    source = _html.page(collection, Hits(tuple(hits), candidates=1234), query)  # type: ignore[arg-type]
    return source, Page(source)


def test_hostile_names_and_texts_stay_text(evil: str) -> None:
    hits = [
        Hit(1, "a<b>", Kind.IMAGE, 0.31249, 1, path=evil, meta={"<b>": "<i>x</i>", "price": 40, "deep": {"a": 1}}),
        Hit(2, "caption<u>", Kind.TEXT, -0.5, 2, text="</p><script>alert(2)</script>\x1b[31m"),
        Hit(3, "gone", Kind.IMAGE, 0.1, 3, path="/nowhere/caf\udce9.jpg"),
        Hit(4, "no-file", Kind.IMAGE, 0.1, 4),
    ]
    source, parsed = page(hits, text("<script>cat") + 0.5 * image(evil) - text("dog & bone"))
    tags = {tag for tag, _ in parsed.elements}
    assert not tags & {"script", "i", "b", "u", "iframe", "object", "link"}
    assert not any(name.startswith("on") or name == "style" for _, attrs in parsed.elements for name in attrs)
    assert {"<script>cat", "dog & bone", "× 0.5", "0.312", "-0.500", "<b>: <i>x</i>", "price: 40"} <= set(parsed.texts)
    assert "</p><script>alert(2)</script>\\x1b[31m" in parsed.texts
    assert parsed.texts.count("the file is gone") == 2
    assert parsed.all("a")[1]["href"] == "file:///nowhere/caf%E9.jpg"
    assert "\x1b" not in source


def test_it_needs_nothing_else(evil: str) -> None:
    source, parsed = page([Hit(1, "a", Kind.IMAGE, 0.3, 1, path=evil)], image(evil))
    assert not re.search(r"https?:|//[a-z]|url\(|@import", source.replace("file://", ""))
    pictures = [str(attrs["src"]) for attrs in parsed.all("img")]
    assert len(pictures) == 2
    for picture, longest in zip(pictures, (240, 480), strict=True):
        head, _, data = picture.partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as small:
            assert small.size == (longest, longest // 2)
    style = re.search("<style>(.*)</style>", source, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(attrs["content"] for attrs in parsed.all("meta") if "http-equiv" in attrs)
    assert policy == (f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
                      "base-uri 'none'; form-action 'none'")


def test_no_results() -> None:
    _, parsed = page([], text("cat"))
    assert "Nothing was found." in parsed.texts


def test_through_the_command(ask: Any, tmp_path: Path) -> None:
    done = ask("query", "red", "--html", "page.html", "-k", "3")
    assert (done.code, done.out) == (0, b"")
    assert "3 hits on the page page.html" in done.err
    written = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(written.all("img")) == 3
    assert "red.png" in written.texts
    assert "3 results of 8 candidates, every one compared" in written.texts
    assert Page(ask("query", "red", "--html", "-", "-k", "3").out.decode()).texts == written.texts
