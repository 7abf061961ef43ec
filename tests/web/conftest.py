"""A service over painted pictures, and Chromium. Without Chromium or Playwright the tests say so and are skipped."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.encoders.toy import COLOURS

from .web_help import settle

TOKEN = "a-token-for-the-web-tests"
NAMES = ("red", "blue", "green", "yellow")


def paint(path: Path, colour: str, size: tuple[int, int] = (160, 120), shade: int = 0) -> Path:
    red, green, blue = COLOURS[colour]
    Image.new("RGB", size, (red, green, max(0, blue - shade))).save(path)
    return path


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 pictures in four colours, with a title, a brand and a price, and four texts."""
    folder = tmp_path_factory.mktemp("web")
    with mm.Collection.open(folder / "shop", create=True, model="toy") as shop:
        items = []
        for n in range(80):
            colour = NAMES[n % 4]
            path = paint(folder / f"{colour}-{n}.png", colour, shade=n // 8)
            meta = {"title": f"{colour} thing {n}", "colour": colour, "brand": "AB"[n // 40], "price": n, "in_stock": n % 8 < 4}
            items.append(mm.Item(f"{colour}-{n}", image=path, meta=meta))
        shop.add(items)
        shop.add([mm.Item(f"text-{name}", text=f"{name} words", meta={"brand": "A"}) for name in NAMES])
    return folder / "shop"


@pytest.fixture(scope="session")
def address(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service of its own process, as people run it; the address logs in."""
    pytest.importorskip("fastapi", reason="the web page needs mmsearch[serve]")
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"write {TOKEN}\n")
    tokens.chmod(0o600)
    command = [sys.executable, "-m", "mmsearch", "-c", str(shop), "serve", "--port", "0", "--token-file", str(tokens), "-q"]
    server = subprocess.Popen([*command, "--files-under", str(shop.parent)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = next((match for line in server.stdout if (match := re.search(r"http://\S+?:\d+/", line))), None)
        assert found, "the service did not start"
        yield f"{found[0]}?token={TOKEN}"
    finally:
        server.terminate()
        server.communicate(timeout=20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("the browser tests need chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """``visit(**context options)`` → the page, logged in and settled. No message of error may stand on the console at the end."""
    contexts, wrong = [], []

    def note(message: Any) -> None:
        if message.type in ("error", "warning"):
            wrong.append(f"{message.type}: {message.text}")

    def open_page(hash: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.add_init_script(
            "window.shift = 0; window.shifted = []; new PerformanceObserver((list) => { for (const one of list.getEntries()) "
            "if (!one.hadRecentInput) { window.shift += one.value; window.shifted.push(one.value.toFixed(3) + ': ' + "
            "one.sources.map((from) => from.node?.className || from.node?.id || from.node?.nodeName).join(' ')); } })"
            ".observe({type: 'layout-shift', buffered: true})"
        )
        page.goto(address)
        if hash:
            page.goto(address.partition("?")[0] + hash)
            page.reload()
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
