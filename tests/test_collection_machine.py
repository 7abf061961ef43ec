"""The whole collection against a plain dict: any sequence of adds, updates, deletes, compactions and restarts."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder

IDS = st.sampled_from([f"item-{n}" for n in range(12)])
SEEDS = st.integers(0, 50)
DIM = 16


def row_of(seed: int) -> np.ndarray:
    row = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return row / np.linalg.norm(row)


class CollectionMachine(RuleBasedStateMachine):
    """``model`` maps each id to (kind, seed of its vector, price)."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mmsearch-machine-"))
        self.model: dict[str, tuple[str, int, int]] = {}
        self.collection = mm.Collection.open(self.folder / "c", create=True, model=ToyEncoder(dim=DIM))

    def teardown(self) -> None:
        self.collection.close()
        shutil.rmtree(self.folder)

    @rule(ids=st.lists(IDS, min_size=1, max_size=5), seed=SEEDS, text=st.booleans(), price=st.integers(0, 9))
    def add(self, ids: list[str], seed: int, text: bool, price: int) -> None:
        items = []
        for n, id in enumerate(ids):
            content = {"text": f"text {id}"} if text else {"image": b"-"}
            items.append(mm.Item(id=id, meta={"price": price}, vector=row_of(seed + n), **content))
            self.model[id] = ("text" if text else "image", seed + n, price)
        self.collection.add(items)

    @rule(ids=st.lists(IDS, max_size=4, unique=True))
    def delete(self, ids: list[str]) -> None:
        assert self.collection.delete(ids) == sum(self.model.pop(id, None) is not None for id in ids)

    @rule()
    def compact(self) -> None:
        self.collection.compact()

    @rule()
    def restart(self) -> None:
        self.collection.close()
        self.collection = mm.Collection.open(self.folder / "c", model=ToyEncoder(dim=DIM))

    @rule()
    def repair(self) -> None:
        assert all(finding.level != "error" for finding in self.collection.repair())

    @rule(seed=SEEDS, k=st.integers(1, 14), kind=st.sampled_from(["image", "text"]), limit=st.none() | st.integers(0, 9))
    def search(self, seed: int, k: int, kind: str, limit: int | None) -> None:
        query = row_of(seed)
        where = None if limit is None else f"price < {limit}"
        hits = self.collection.search(mm.vector(query), k=k, kind=kind, where=where)
        fits = {
            id: min(1.0, float(row_of(row).astype(np.float16).astype(np.float32) @ query))
            for id, (its_kind, row, price) in self.model.items()
            if its_kind == kind and (limit is None or price < limit)
        }
        assert len(hits) == min(k, len(fits))
        best = sorted(fits.values(), reverse=True)[:k]
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
        for hit in hits:
            assert abs(fits[hit.id] - hit.score) < 1e-5

    @invariant()
    def holds_just_these(self) -> None:
        if hasattr(self, "collection"):
            assert len(self.collection) == len(self.model)
            for id, (kind, _, price) in self.model.items():
                record = self.collection.get(id)
                assert (record.kind, record.meta["price"]) == (kind, price)


CollectionMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestCollection = CollectionMachine.TestCase
