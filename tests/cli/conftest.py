"""A small library of coloured pictures, indexed once, and two ways to call the program: inside this process and outside."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmsearch.cli import main

COLOURS = {"red": (220, 20, 20), "green": (20, 160, 20), "blue": (20, 40, 220), "yellow": (240, 230, 20)}
NO_SOCKETS = """
import socket
def _refuse(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        raise RuntimeError(f"the network was used: {address}")
    return _connect(self, address)
_connect = socket.socket.connect
socket.socket.connect = socket.socket.connect_ex = _refuse
def _no_names(*args, **kwargs):
    raise RuntimeError(f"a name was looked up: {args}")
socket.getaddrinfo = _no_names
"""


@dataclass(frozen=True)
class Result:
    """What a run of the program left behind."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Call = Callable[..., Result]


def paint(path: Path, *colours: str, size: int = 48) -> Path:
    """A picture of vertical stripes in these colours."""
    picture = Image.new("RGB", (size, size))
    width = size // len(colours)
    for at, colour in enumerate(colours):
        picture.paste(COLOURS[colour], (at * width, 0, size, size))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=95)
    return path


def make_photos(folder: Path) -> Path:
    """Seven good pictures (some with hard names), one text, three files that must be skipped."""
    for colour in COLOURS:
        paint(folder / f"{colour}.png", colour)
    paint(folder / "trip" / "red and blue.jpg", "red", "blue")
    paint(folder / "-dash.png", "green", "yellow")
    paint(folder / "new\nline.png", "yellow", "blue")
    (folder / "note.txt").write_text("a yellow submarine")
    paint(folder / "latin.png", "red", "green").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_text("<html>not a picture</html>")
    whole = paint(folder / "cut.png", "red", size=64).read_bytes()
    (folder / "cut.png").write_bytes(whole[:-30])
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder like the library's, to be changed."""
    return make_photos(tmp_path / "photos")


@pytest.fixture(scope="session")
def stripes() -> Callable[..., Path]:
    """``stripes(path, "red", "blue")`` paints a picture."""
    return paint


@pytest.fixture(scope="session")
def sealed_env(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment with a home of its own, no settings of ours, and no network."""
    folder = tmp_path_factory.mktemp("env")
    (folder / "sitecustomize.py").write_text(NO_SOCKETS)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MMSEARCH_", "XDG_", "COLUMNS"))}
    env |= {"HOME": str(folder), "PYTHONPATH": str(folder), "NO_COLOR": "1"}
    env.pop("FORCE_COLOR", None)
    return env


@pytest.fixture(scope="session")
def outside(sealed_env: Mapping[str, str]) -> Call:
    """``outside("query", "red", cwd=…, stdin=b"…", env={…})`` runs the program in a process of its own."""

    def call(*args: str | Path, cwd: Path | None = None, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
        done = subprocess.run([sys.executable, "-m", "mmsearch.cli", *map(os.fsencode, args)], input=stdin, cwd=cwd,
                              env={**sealed_env, **(env or {})}, capture_output=True, timeout=60, check=False)
        return Result(done.returncode, done.stdout, done.stderr.decode("utf-8", "backslashreplace"))

    return call


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """The same in this process, which is quicker: for what needs no process of its own."""
    for name in list(os.environ):
        if name.startswith(("MMSEARCH_", "XDG_", "COLUMNS", "FORCE_COLOR")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*args: str | Path, stdin: bytes = b"") -> Result:
        streams = [io.TextIOWrapper(io.BytesIO(data), encoding="utf-8") for data in (stdin, b"", b"")]
        with monkeypatch.context() as patch:
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            code = main([os.fspath(arg) for arg in args])
        written = []
        for stream in streams[1:]:
            stream.flush()
            written.append(stream.buffer.getvalue())  # type: ignore[attr-defined]
        return Result(code, written[0], written[1].decode("utf-8", "backslashreplace"))

    return call


@dataclass(frozen=True)
class Library:
    """An indexed collection that tests may read and must not change; ``report`` is what ``index --json`` said."""

    photos: Path
    collection: Path
    report: Any


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, outside: Call) -> Library:
    folder = tmp_path_factory.mktemp("library")
    photos = make_photos(folder / "photos")
    collection = folder / "collection"
    done = outside("index", photos, "-c", collection, "--model", "toy", "--workers", "1", "--json")
    assert done.code == 0, done.err
    return Library(photos, collection, done.json)


@pytest.fixture
def ask(inside: Call, library: Library) -> Call:
    """``ask("query", "red", "--jsonl")`` on the library."""
    return lambda *args, **kwargs: inside("-c", library.collection, *args, **kwargs)
