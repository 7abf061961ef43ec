"""Whatever happens to the processes that decode, every job comes back exactly once."""

from __future__ import annotations

import hashlib
import os
import signal
import struct
import sys
import time
import zlib
from pathlib import Path

import pytest

from mmsearch.decoding.loader import Job, Loaded, Loader
from mmsearch.errors import MMSearchError

from .image_samples import encode, noise, png_chunk
from .loading_help import PREPARE, by_token, plain, wait_until


def test_killed_workers_lose_nothing(folder: list[str]) -> None:
    expected = {path: hashlib.sha256(Path(path).read_bytes()).digest() for path in folder}
    found: dict[object, Loaded] = {}
    killed: list[int] = []
    with Loader(PREPARE, workers=2, window=40) as loader:
        for loaded in loader.load(Job(path, path) for path in folder):
            assert loaded.token not in found
            found[loaded.token] = loaded
            if len(found) in (10, 50, 90, 130, 170):
                killed.append(next(pid for pid in loader.pids if pid not in killed))
                os.kill(killed[-1], signal.SIGKILL)
                assert wait_until(lambda: loader.stats().restarts == len(killed))
        stats = loader.stats()
    assert {token: loaded.digest for token, loaded in found.items()} == expected
    assert [loaded.error for loaded in found.values()] == [None] * 200
    assert (stats.loaded, stats.restarts) == (200, 5)


def test_a_picture_that_kills_is_given_up_after_two_and_the_rest_goes_on(moody: object) -> None:
    colours = ["white", "lime", "black", "yellow", "gray", "blue"] + ["purple"] * 20
    with Loader(moody, workers=2) as loader:  # type: ignore[arg-type]
        found = by_token(loader.load(Job(i, data=plain(c)) for i, c in enumerate(colours)))
        restarts = loader.stats().restarts
    errors = {colours[i]: loaded.error for i, loaded in found.items() if loaded.error}  # type: ignore[index]
    assert {colour: error.reason for colour, error in errors.items()} == {
        "lime": "crashed",
        "yellow": "crashed",
        "blue": "corrupt",
    }
    assert "SIGSEGV" in str(errors["lime"])
    assert "status 3" in str(errors["yellow"])
    assert "not this one" in str(errors["blue"])
    assert restarts == 4, "two tries for each of the two"
    assert len(found) == len(colours)


def test_a_picture_that_takes_too_long_is_given_up_after_two(moody: object) -> None:
    colours = ["white", "red"] + ["purple"] * 8
    began = time.monotonic()
    with Loader(moody, workers=1, timeout=0.8) as loader:  # type: ignore[arg-type]
        found = by_token(loader.load(Job(i, data=plain(c)) for i, c in enumerate(colours)))
    assert time.monotonic() - began < 20
    assert found[1].error is not None
    assert found[1].error.reason == "timeout"
    assert "0.8 s" in str(found[1].error)
    assert [found[i].error for i in range(10) if i != 1] == [None] * 9


def memory_bomb(width: int, height: int) -> bytes:
    """A small PNG that becomes 4 bytes a pixel: within the limit of pixels, beyond that of memory."""
    deflate = zlib.compressobj(1)
    body = b"".join(deflate.compress(bytes((1 + width) * 100)) for _ in range(height // 100)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is on Linux's private memory")
def test_a_memory_bomb_is_given_up_after_two() -> None:
    bomb, good = memory_bomb(8000, 8000), encode(noise(), "PNG")
    with Loader(PREPARE, workers=1, memory_mb=48) as loader:
        found = by_token(loader.load([Job(0, data=good), Job(1, data=bomb), Job(2, data=good)]))
        assert loader.stats().restarts == 2
    assert found[0].error is found[2].error is None
    assert found[1].error is not None
    assert found[1].error.reason == "crashed"
    assert "48 MB" in str(found[1].error)
    with Loader(PREPARE, workers=1, memory_mb=400) as loader:
        (loaded,) = loader.load([Job(1, data=bomb)])
    assert loaded.error is None, "the limit does not count what the worker itself needs"


def test_a_stopped_worker_is_replaced(folder: list[str]) -> None:
    seen = 0
    with Loader(PREPARE, workers=1, timeout=1.0, window=8) as loader:
        for loaded in loader.load(Job(path, path) for path in folder[:40]):
            assert loaded.error is None
            seen += 1
            if seen == 10:
                os.kill(loader.pids[0], signal.SIGSTOP)
    assert seen == 40


@pytest.mark.parametrize("frame", [b"\xff" * 64, struct.pack("<QQ", 2, 0) + b"{}", struct.pack("<QQ", 4, 0) + b"nope"])
def test_a_worker_that_talks_nonsense_is_ended(frame: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!{sys.executable}\nimport os, time\nos.write(1, {frame!r})\ntime.sleep(60)\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with Loader(PREPARE, workers=1) as loader, pytest.raises(MMSearchError, match="cannot start"):
        list(loader.load([Job(0, data=b"")]))
