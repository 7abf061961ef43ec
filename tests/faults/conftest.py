"""The folder that the tests of faults work in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.model import MEMORY


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where the system has such: what is measured here is order, not the speed of a disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-") as folder:
        yield Path(folder)
