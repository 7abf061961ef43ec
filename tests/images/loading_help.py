"""Helpers for the tests of the loader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from PIL import Image

from mmsearch.decoding.loader import Loaded
from mmsearch.preprocess import Preprocess

from .image_samples import encode

PREPARE = Preprocess(32, 32)


def plain(colour: str) -> bytes:
    return encode(Image.new("RGB", (16, 16), colour), "PNG")


def by_token(results: Iterator[Loaded]) -> dict[object, Loaded]:
    found: dict[object, Loaded] = {}
    for loaded in results:
        assert loaded.token not in found, "delivered twice"
        found[loaded.token] = loaded
    return found


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
