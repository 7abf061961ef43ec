"""Names and texts from outside on their way to a terminal."""

from __future__ import annotations

import pytest

from mmsearch.cli import _text


@pytest.mark.parametrize(("raw", "safe"), [
    ("plain ü 日本 🐈", "plain ü 日本 🐈"),
    ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
    ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ("\x9b31m", "\\x9b31m"),
    ("gpj.\u202eexe", "gpj.\\u202eexe"),
    ("caf\udce9", "caf\\xe9"),
    ("\ud800", "\\ud800"),
    ("a\u2028b", "a\\u2028b"),
])
def test_what_acts_on_a_terminal_is_written_out(raw: str, safe: str) -> None:
    assert _text.printable(raw) == safe


@pytest.mark.parametrize(("path", "width", "cut"), [
    ("a/b.jpg", 7, "a/b.jpg"),
    ("photos/2023/summer/beach/cat.jpg", 20, "photos…beach/cat.jpg"),
    ("日本語の長い名前.jpg", 12, "日…名前.jpg"),
    ("abcdefgh", 3, "abc"),
    ("abcdefgh", 0, ""),
])
def test_a_path_is_cut_in_the_middle(path: str, width: int, cut: str) -> None:
    assert _text.shorten(path, width) == cut


def test_an_excerpt_is_one_safe_line() -> None:
    assert _text.excerpt("a  cat\n\x1b[2J sleeps", 0) == "a cat \\x1b[2J sleeps"
    assert _text.excerpt("日本語の説明文です", 9) == "日本語の…"


@pytest.mark.parametrize(("seconds", "words"), [
    (0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (605, "10 min"), (3600, "1 h 0 min"),
    (100_000, "27 h 46 min"), (200_000, "2 days"),
])
def test_durations(seconds: float, words: str) -> None:
    assert _text.duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(1, "1 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3.2e9, "3.2 GB"),
                                               (7e15, "7000.0 TB")])
def test_sizes(number: float, words: str) -> None:
    assert _text.size(number) == words


def test_counts() -> None:
    assert [_text.count(n, "image") for n in (0, 1, 1234)] == ["0 images", "1 image", "1,234 images"]
