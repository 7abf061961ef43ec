"""The recipe pages work: their blocks become the files that they name, and the last one is run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import mmsearch as mm

PAGES = Path(__file__).parents[2] / "docs" / "recipes"
NEEDS = {"django": ("django",), "fastapi": ("fastapi", "httpx"), "celery": ("celery",)}
BLOCK = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three products' pictures and a collection of them."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "pictures").mkdir()
    rows = []
    for name, colour, price in (("dress-red", "red", 40), ("dress-blue", "blue", 45), ("bag", "brown", 80)):
        Image.new("RGB", (80, 60), colour).save(folder / "pictures" / f"{name}.png")
        rows.append(f'{{"sku": "{name}", "image": "pictures/{name}.png", "title": "{name}", "price": {price}}}\n')
    (folder / "products.jsonl").write_text("".join(rows))
    with mm.Collection.open(folder / "shop.mm", create=True, model="mini") as collection:
        collection.sync(mm.Manifest(folder / "products.jsonl"))
    return folder


def test_every_page_is_tested():
    assert {path.stem for path in PAGES.glob("*.md")} == set(NEEDS)


@pytest.mark.parametrize("page", sorted(NEEDS))
def test_the_page_runs(page, shop):
    for package in NEEDS[page]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the recipe for {page} needs {package}")
    text = (PAGES / f"{page}.md").read_text()
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```python"), "each block names its file"
    for name, code in blocks:
        (shop / name).write_text(code)
    env = {**os.environ, "MMSEARCH_OFFLINE": "1", "HOME": str(shop)}
    done = subprocess.run([sys.executable, "check.py"], cwd=shop, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
