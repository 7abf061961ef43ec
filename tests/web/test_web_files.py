"""The page's files by themselves: nothing inline, nothing from elsewhere, each one there and small."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mmsearch

WEB = Path(mmsearch.__file__).parent / "server" / "web"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def tags():
    reader = Tags()
    reader.feed((WEB / "index.html").read_text())
    return reader.found


def test_nothing_is_inline(tags):
    """The Content-Security-Policy allows neither: a page that had some would be broken in silence."""
    for tag, attributes in tags:
        assert tag != "style"
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        if tag == "script":
            assert attributes["src"]
    code = "".join(path.read_text() for path in WEB.glob("*.js"))
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|setAttribute\(.style", code)


def test_everything_it_names_is_there_and_ours(tags):
    for _, attributes in tags:
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert "://" not in value
            if value.startswith("/web/"):
                assert (WEB / value.removeprefix("/web/")).is_file()
    for path in WEB.glob("*.js"):
        for module in re.findall(r'from "(\./[^"]+)"', path.read_text()):
            assert (WEB / module).is_file()
    assert not re.search(r"url\(|@import", (WEB / "style.css").read_text())


def test_every_control_has_a_name_and_every_id_one_owner(tags):
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes.get("for") for tag, attributes in tags if tag == "label"}
    for tag, attributes in tags:
        if tag == "input" and attributes.get("type") != "radio":
            assert attributes.get("aria-label") or attributes.get("id") in labelled
    code = "".join(path.read_text() for path in WEB.glob("*.js"))
    for name in re.findall(r'(?:querySelector|\$)\("#([\w-]+)"\)', code):
        assert name in ids


def test_files_stay_small_enough_to_read():
    for path in WEB.iterdir():
        assert len(path.read_text().splitlines()) <= 400
