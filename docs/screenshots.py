"""Pictures of the web page, of a shop that we drew ourselves: ``docs/web-*.png``. Needs Chromium and ``mmsearch[serve,browser]``.

    python docs/screenshots.py [--chromium /usr/bin/chromium] [--only desktop]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
TOKEN = "a-token-for-the-screenshots"


@contextmanager
def served(shop: Path) -> Iterator[str]:
    """The address of a service over ``shop``, which logs in."""
    with tempfile.TemporaryDirectory() as name:
        tokens = Path(name) / "tokens"
        tokens.write_text(f"write {TOKEN}\n")
        tokens.chmod(0o600)
        command = [sys.executable, "-m", "mmsearch", "-c", str(shop), "serve", "--port", "0", "--token-file", str(tokens), "-q"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            found = next(filter(None, (re.search(r"http://\S+?:\d+/", line) for line in server.stdout)))
            yield f"{found[0]}?token={TOKEN}"
        finally:
            server.terminate()
            server.communicate(timeout=20)


def drawn(folder: Path) -> Path:
    """The drawn shop as a collection, made if it is not there."""
    shop = folder / "shop.mm"
    if not shop.exists():
        subprocess.run([sys.executable, ROOT / "data" / "draw_shop.py", folder], check=True)
        index = ["-m", "mmsearch", "-c", shop, "index", "--manifest", folder / "products.jsonl", "--model", "mini", "-q"]
        subprocess.run([sys.executable, *index], check=True)
    return shop


def ask(page: Page, words: str) -> None:
    page.fill("#words", words)
    page.press("#words", "Enter")
    settled(page)


def settled(page: Page) -> None:
    """Until the hits are there and their pictures are seen."""
    page.wait_for_selector(".card:not(.ghost) img.there")
    first = "[...document.querySelectorAll('.card img')].slice(0, 8)"
    while not page.evaluate(f"{first}.every((one) => one.classList.contains('there'))"):
        page.wait_for_timeout(50)
    page.wait_for_timeout(400)


def desktop(page: Page) -> None:
    ask(page, "red dress")


def filters(page: Page) -> None:
    ask(page, "something to wear -red")
    page.locator("[data-key='category/\"clothes\"']").check()
    settled(page)


def detail(page: Page) -> None:
    ask(page, "a yellow umbrella")
    page.locator(".card .open").first.click()
    page.wait_for_selector(".strip img")
    page.wait_for_timeout(500)


def around(page: Page) -> None:
    settled(page)


SHOTS: dict[str, tuple[Callable[[Page], None], dict[str, object]]] = {
    "desktop": (desktop, {"viewport": {"width": 1280, "height": 800}}),
    "dark": (filters, {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"}),
    "detail": (detail, {"viewport": {"width": 1280, "height": 800}}),
    "phone": (around, {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--shop", type=Path, default=ROOT / "build" / "shop")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--only", default=",".join(SHOTS))
    given = parser.parse_args()
    with served(drawn(given.shop)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        for name in given.only.split(","):
            show, options = SHOTS[name]
            context = browser.new_context(**options)  # type: ignore[arg-type]
            page = context.new_page()
            page.on("console", lambda message: print(message.type, message.text, file=sys.stderr))
            page.goto(address)
            settled(page)
            show(page)
            page.screenshot(path=given.out / f"web-{name}.png")
            print(given.out / f"web-{name}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
