"""What tests of all rooms share: pictures with known colours, and a collection to put them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.collection import Collection
from mmsearch.encoders.toy import COLOURS, ToyEncoder


@pytest.fixture
def paint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture of one named colour; ``paint("photos/a.png", "red")`` → its path."""

    def write(name: str, colour: str, *, size: tuple[int, int] = (40, 30), shade: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        red, green, blue = COLOURS[colour]
        Image.new("RGB", size, (red, green, max(0, blue - shade))).save(path)
        return path

    return write


@pytest.fixture
def toy() -> ToyEncoder:
    return ToyEncoder(dim=32)


@pytest.fixture
def shop(tmp_path: Path, toy: ToyEncoder) -> Iterator[Collection]:
    """A new, empty collection with the toy encoder."""
    with Collection.open(tmp_path / "shop", create=True, model=toy) as collection:
        yield collection
