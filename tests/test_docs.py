"""The README tells the truth: each of its blocks runs, every command stands in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
CONSOLE = {"make demo", "make test", "git clone <this repository> mmsearch && cd mmsearch"}
"""Lines that cannot run inside the tests that they start."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, module_env: dict[str, str]) -> Path:
    """A new user's folder: some photos, a caption, a manifest."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("home")
    (folder / "photos").mkdir()
    for name, colour in (("cat", "orange"), ("dog", "brown"), ("sea", "blue"), ("bag", "red")):
        Image.new("RGB", (160, 120), colour).save(folder / "photos" / f"{name}.jpg")
    (folder / "photos" / "cat.txt").write_text("a cat on a chair")
    (folder / "products.csv").write_text(
        "sku,image,title,brand,price\n1,photos/bag.jpg,a red bag,Acme,30\n2,photos/sea.jpg,a blue towel,Other,20\n"
    )
    module_env["HOME"] = str(folder)
    return folder


@pytest.fixture(scope="module")
def module_env() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MMSEARCH_", "XDG_"))}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["MMSEARCH_OFFLINE"] = "1"
    return env


def test_the_blocks_are_of_known_kinds():
    assert {kind for kind, _ in BLOCKS} == {"sh", "console", "python"}


def test_console_blocks_hold_only_what_cannot_run_here():
    lines = {line.removeprefix("$ ") for kind, text in BLOCKS if kind == "console" for line in text.splitlines()}
    assert lines == CONSOLE


def test_every_shell_and_python_block_runs(home, module_env):
    shutil.which("mmsearch", path=module_env["PATH"]) or pytest.fail("the program is not installed: pip install -e .")
    for kind, text in BLOCKS:
        if kind == "sh":
            command = ["bash", "-euo", "pipefail", "-c", text]
        elif kind == "python":
            command = [sys.executable, "-W", "error", "-c", text]
        else:
            continue
        done = subprocess.run(command, cwd=home, env=module_env, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    page = (home / "results.html").read_text()
    assert "cat.jpg" in page


def test_every_command_stands_in_the_readme():
    from mmsearch import cli

    commands = {path.stem for path in Path(cli.__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    documented = set(re.findall(r"`(\w+)`", README.split("| command | what it does |")[1].split("\n\n")[0]))
    assert commands <= documented


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_changelog_has_the_version():
    import mmsearch

    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text or f"## [{mmsearch.__version__}]" in text


def test_the_demo_names_every_photo_with_its_licence():
    photos = json.loads((ROOT / "data" / "demo.json").read_text())
    assert len(photos) >= 20
    assert all(photo["licence"] and photo["caption"] for photo in photos)
    assert len({Path(photo["file"]).stem for photo in photos}) == len(photos)
