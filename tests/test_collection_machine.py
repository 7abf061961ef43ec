"""The whole collection against a plain dict and brute force: any sequence of adds, updates, deletes, files that come, move and
go, compactions, indexes, restarts, and writes by another process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image

import mmsearch as mm
from mmsearch.encoders.toy import COLOURS, ToyEncoder
from mmsearch.indexes import recipes, saved
from mmsearch.ingest import IngestOptions
from mmsearch.sources import Folder
from mmsearch.store import IndexInfo
from mmsearch.types import Hits, Kind, Query, item
from tests.store.model import MEMORY

DIM = 16
FILLERS = 24
"""Items that nobody touches: an index wants some rows to be trained on."""
WIDE = 10**6
ITEMS = [f"item-{n}" for n in range(12)]
FILES = [f"{folder}photo-{n}.png" for folder in ("", "trip/") for n in range(3)]
IDS = st.sampled_from(ITEMS)
SEEDS = st.integers(0, 50)
GROUPS = st.sampled_from([None, "g1", "g2", "g3"])
PRICES = st.integers(0, 9)
KINDS = st.sampled_from(["image", "text"])


class Held(NamedTuple):
    """What the collection must hold under an id."""

    kind: str
    row: np.ndarray
    price: int | None
    group: str | None


def row_of(seed: int) -> np.ndarray:
    row = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return row / np.linalg.norm(row)


def stored(row: np.ndarray) -> np.ndarray:
    """What float16 keeps of it."""
    return row.astype(np.float16).astype(np.float32)


@cache
def picture_row(colour: str) -> np.ndarray:
    toy = ToyEncoder(dim=DIM)
    return toy.encode_images([toy.preparer(Image.new("RGB", (8, 8), COLOURS[colour]))])[0]


def items_of(ids: list[str], seed: int, text: bool, price: int, group: str | None) -> Iterator[tuple[mm.Item, Held]]:
    for n, id in enumerate(ids):
        row = row_of(seed + n)
        content: dict[str, Any] = {"text": f"text {id}"} if text else {"image": b"-"}
        yield (
            mm.Item(id=id, meta={"price": price}, group=group, vector=row, **content),
            Held("text" if text else "image", stored(row), price, group),
        )


class Other:
    """Another process that writes: one line of JSON for each command, one for each answer."""

    CODE = """
import json, sys
import numpy as np
import mmsearch as mm
from mmsearch.encoders.toy import ToyEncoder
for line in sys.stdin:
    path, verb, given = json.loads(line)
    with mm.Collection.open(path, model=ToyEncoder(dim=16)) as collection:
        if verb == "delete":
            said = collection.delete(given)
        else:
            given["vector"] = np.array(given["vector"], np.float32)
            said = collection.add([mm.Item(**given)]).added
    print(said, flush=True)
"""
    process: subprocess.Popen[str] | None = None

    def ask(self, path: Path, verb: str, given: object) -> int:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([str(path), verb, given]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        if self.process is not None:
            with self.process:
                assert self.process.stdin
                self.process.stdin.close()


OTHER = Other()


@pytest.fixture(autouse=True, scope="module")
def _other() -> Iterator[None]:
    yield
    OTHER.close()


class CollectionMachine(RuleBasedStateMachine):
    """``model`` maps each id to what it must hold; ``files`` each file below the root to its colour, ``seen`` at the last sync."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="mmsearch-machine-"))
        self.photos = self.folder / "photos"
        (self.photos / "trip").mkdir(parents=True)
        self.model: dict[str, Held] = {}
        self.files: dict[str, str] = {}
        self.indexed: set[str] = set()
        self.collection = mm.Collection.open(self.folder / "c", create=True, model=ToyEncoder(dim=DIM))
        self._put([f"filler-{n}" for n in range(FILLERS)], 1000, False, 5, None)

    def teardown(self) -> None:
        self.collection.close()
        shutil.rmtree(self.folder)

    # --- items ----------------------------------------------------------------------------------------------------

    @rule(ids=st.lists(IDS, min_size=1, max_size=5), seed=SEEDS, text=st.booleans(), price=PRICES, group=GROUPS)
    def add(self, ids: list[str], seed: int, text: bool, price: int, group: str | None) -> None:
        self._put(ids, seed, text, price, group)

    def _put(self, ids: list[str], seed: int, text: bool, price: int, group: str | None) -> None:
        pairs = list(items_of(ids, seed, text, price, group))
        self.collection.add([one for one, _ in pairs])
        self.model.update({one.id: held for one, held in pairs})

    @rule(ids=st.lists(IDS, max_size=4, unique=True))
    def delete(self, ids: list[str]) -> None:
        assert self.collection.delete(ids) == sum(self.model.pop(id, None) is not None for id in ids)

    @rule(id=IDS, seed=SEEDS, price=PRICES, group=GROUPS, gone=st.booleans())
    def another_process_writes(self, id: str, seed: int, price: int, group: str | None, gone: bool) -> None:
        if gone:
            assert OTHER.ask(self.folder / "c", "delete", [id]) == (self.model.pop(id, None) is not None)
            return
        given = {"id": id, "text": f"text {id}", "meta": {"price": price}, "group": group, "vector": row_of(seed).tolist()}
        assert OTHER.ask(self.folder / "c", "add", given) == (id not in self.model)
        self.model[id] = Held("text", stored(row_of(seed)), price, group)

    # --- files ----------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(FILES), colour=st.sampled_from(sorted(COLOURS)))
    def a_file_is_written(self, name: str, colour: str) -> None:
        if self.files.get(name) != colour:
            Image.new("RGB", (8, 8), COLOURS[colour]).save(self.photos / name)
            self.files[name] = colour

    @rule(name=st.sampled_from(FILES), to=st.sampled_from(FILES))
    def a_file_is_moved(self, name: str, to: str) -> None:
        if name in self.files and name != to:
            os.replace(self.photos / name, self.photos / to)
            self.files[to] = self.files.pop(name)

    @rule(name=st.sampled_from(FILES))
    def a_file_is_removed(self, name: str) -> None:
        if self.files.pop(name, None) is not None:
            (self.photos / name).unlink()

    @rule(prune=st.booleans())
    def sync(self, prune: bool) -> None:
        # checksum: a colour may be written over another within one tick of the clock, with a file of the same size
        self.collection.sync(Folder(self.photos), prune=prune, checksum=True, options=IngestOptions(workers=0))
        present = {name: Held("image", stored(picture_row(colour)), None, None) for name, colour in self.files.items()}
        gone = {id for id in self.model if id in FILES and id not in present}
        # a folder with nothing in it may be a disk that is not mounted: nothing is pruned then, and without `prune`. What has
        # moved is gone from its place all the same; any of equal copies may be the one that moved
        if not prune or not self.files:
            gone = {id for id in gone if id not in self.collection}
        for id in gone:
            del self.model[id]
        self.model.update(present)

    # --- upkeep ---------------------------------------------------------------------------------------------------

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

    @rule(recipe=st.sampled_from(["ivf-sq8", "ivf-pq2"]))
    def index(self, recipe: str) -> None:
        """An approximate index that visits every list and re-scores every candidate: it must find what brute force finds."""
        store = self.collection._store
        with store.snapshot() as snapshot:
            vids = snapshot.live(Kind.IMAGE).vids
            made = recipes.build(recipes.RECIPES[recipe], snapshot, vids, DIM)
        plan = saved.Plan(recipe, (saved.Setting(WIDE, 4096, WIDE),), exact_below=0)
        ann = saved.Ann(made, vids, int(vids[-1]) + 1, plan)
        with store.writer() as writer:
            about = json.dumps({"name": recipe, "recall": {}, "ms": 0.0, "exact_ms": 0.0, "rows": len(vids)})
            writer.put_index(IndexInfo("image", "", 0, 0, ann.upto, about, ""), lambda path: saved.write(ann, path))
        self.indexed = {"image"}

    @precondition(lambda self: self.indexed)
    @rule()
    def drop_index(self) -> None:
        self.collection.drop_index()
        self.indexed = set()

    # --- questions ------------------------------------------------------------------------------------------------

    @rule(
        seed=SEEDS, k=st.integers(1, 50), offset=st.integers(0, 5), kind=KINDS, limit=st.none() | PRICES,
        group_by=st.sampled_from([None, "group", "price"]), exact=st.sampled_from([None, True, False]),
    )  # fmt: skip
    def search(
        self, seed: int, k: int, offset: int, kind: str, limit: int | None, group_by: str | None, exact: bool | None
    ) -> None:
        where = None if limit is None else f"price < {limit} or price is null"
        hits = self.collection.search(
            mm.vector(row_of(seed)), k=k, offset=offset, kind=kind, where=where, group_by=group_by, exact=exact
        )
        fits = {id: held for id, held in self.model.items() if held.kind == kind and _is_below(held.price, limit)}
        self._compare(hits, row_of(seed), fits, offset, k, group_by)

    @rule(id=IDS | st.sampled_from(FILES), k=st.integers(1, 40), kind=st.none() | KINDS)
    def similar(self, id: str, k: int, kind: str | None) -> None:
        if id not in self.model:
            with pytest.raises(mm.ItemNotFound):
                self.collection.similar(id)
            return
        asked = self.model[id]
        fits = {other: held for other, held in self.model.items() if held.kind == (kind or asked.kind) and other != id}
        self._compare(self.collection.similar(id, k=k, kind=kind), asked.row / np.linalg.norm(asked.row), fits, 0, k, None)

    @rule(id=IDS, other=IDS, k=st.integers(1, 40))
    def search_by_two_items(self, id: str, other: str, k: int) -> None:
        if id == other or not {id, other} <= self.model.keys():
            return
        query = sum(self.model[one].row / np.linalg.norm(self.model[one].row) for one in (id, other))
        if np.linalg.norm(query) > 1e-3:
            both: Query = item(id) + item(other)
            fits = {one: held for one, held in self.model.items() if held.kind == "image"}
            self._compare(self.collection.search(both, k=k, kind="image"), query / np.linalg.norm(query), fits, 0, k, None)

    def _compare(
        self, hits: Hits, query: np.ndarray, fits: dict[str, Held], offset: int, k: int, group_by: str | None
    ) -> None:
        """Brute force: every fitting item's score, the best of each group, the page."""
        scores = {id: min(1.0, float(held.row @ query)) for id, held in fits.items()}
        best: dict[object, float] = {}
        for id, score in scores.items():
            value = {None: None, "group": fits[id].group, "price": fits[id].price}[group_by]
            key = (id,) if value is None else value
            best[key] = max(score, best.get(key, -2.0))
        page = sorted(best.values(), reverse=True)[offset : offset + k]
        np.testing.assert_allclose([hit.score for hit in hits], page, atol=2e-5)
        assert [hit.rank for hit in hits] == list(range(offset + 1, offset + 1 + len(page)))
        assert len({hit.id for hit in hits}) == len(hits)
        for hit in hits:
            assert abs(scores[hit.id] - hit.score) < 2e-5
            assert (hit.group, hit.meta.get("price")) == (fits[hit.id].group, fits[hit.id].price)

    @invariant()
    def holds_just_these(self) -> None:
        if hasattr(self, "collection"):
            assert len(self.collection) == len(self.model)
            for id, held in self.model.items():
                if not id.startswith("filler"):
                    record = self.collection.get(id)
                    assert (record.kind, record.meta.get("price"), record.group) == (held.kind, held.price, held.group)


def _is_below(price: int | None, limit: int | None) -> bool:
    return limit is None or price is None or price < limit


CollectionMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestCollection = CollectionMachine.TestCase
