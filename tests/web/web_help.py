"""What the browser tests do again and again."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest


def settle(page: Any) -> None:
    """Until an answer is shown, whole."""
    page.wait_for_selector("#grid:not([aria-busy]) .card:not(.ghost), .nothing")


def ask(page: Any, words: str) -> None:
    """Type and press Enter; returns when the answer is there."""
    page.fill("#words", words)
    with page.expect_response(lambda response: response.url.endswith("/v1/search")):
        page.press("#words", "Enter")
    settle(page)


def until(page: Any, condition: str, seconds: float = 20) -> None:
    """Wait for a condition in JavaScript. Playwright's own waiting evaluates text inside the page, which its policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never: {condition}"
        page.wait_for_timeout(50)


def names(page: Any, count: int = 8) -> list[str]:
    return page.locator(".card .name").all_text_contents()[:count]


def axe_source() -> str:
    """axe-core's script, or a skip that says how to get it."""
    path = os.environ.get("MMSEARCH_AXE", "build/axe.min.js")
    if not Path(path).is_file():
        pytest.skip("axe-core is not here: make web-test fetches it")
    return Path(path).read_text()
