"""A small store for each test, and a pair of store and oracle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mmsearch.store import Change, Store
from mmsearch.types import Draft
from tests.store.model import DIM, MEMORY, Model, SmallStore, vectors


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where the system has such: an fsync is free there, and these tests call it thousands of times."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-") as folder:
        yield Path(folder)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store with segments of 16 rows and the root ``photos``."""
    with SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f1") as made:
        with made.writer() as writer:
            writer.add_root("photos", "/pictures")
        yield made


@pytest.fixture
def model() -> Model:
    """The oracle of ``store``."""
    fresh = Model()
    fresh.roots["photos"] = "/pictures"
    return fresh


@pytest.fixture
def put(store: Store, model: Model) -> Callable[[Sequence[Draft]], list[int]]:
    """Commits drafts, with the vector that belongs to each id, to ``store`` and ``model``."""

    def commit(drafts: Sequence[Draft]) -> list[int]:
        change = Change(upserts=drafts, vectors=vectors([draft.id for draft in drafts]))
        with store.writer() as writer:
            vids = writer.commit(change)
        assert model.apply(change) == vids
        return vids

    return commit
