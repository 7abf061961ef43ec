"""What the tests of the loader share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .image_samples import encode, photo

MOODY = '''
"""A preparer which does to its process what the picture's first pixel says."""
import ctypes, os, sys, time
import numpy as np

class Moody:
    size = (8, 8)

    def __call__(self, image):
        red, green, blue = image.getpixel((0, 0))
        if (red, green, blue) == (255, 0, 0):
            time.sleep(60)
        if (red, green, blue) == (0, 255, 0):
            ctypes.string_at(0)  # a null pointer, as broken decoders follow it
        if (red, green, blue) == (0, 0, 255):
            raise RuntimeError("not this one")
        if (red, green, blue) == (255, 255, 0):
            os._exit(3)
        if (red, green, blue) == (0, 255, 255):
            names = [name for name in sys.modules if "." not in name]
            inherited = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                         if os.path.exists(f"/proc/self/fd/{fd}")]
            raise RuntimeError(" ".join(names + inherited))
        return np.asarray(image.resize((8, 8)))
'''


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A preparer of somebody else's, from a module that only the caller's import path knows."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "moody_preparer.py").write_text(MOODY)
    monkeypatch.syspath_prepend(folder)
    import moody_preparer  # type: ignore[import-not-found]

    yield moody_preparer.Moody()
    del sys.modules["moody_preparer"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """200 small photos."""
    root = tmp_path_factory.mktemp("photos")
    paths = []
    for seed in range(20):
        data = encode(photo(120, 90, seed), "JPEG")
        for copy in range(10):
            path = root / f"{seed}-{copy}.jpg"
            path.write_bytes(data)
            paths.append(str(path))
    return paths
