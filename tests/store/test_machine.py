"""The store against a plain dict, through random histories: every read is compared after every step."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mmsearch.store import Change, Move, Store, Touch
from mmsearch.store.filters import filter_sql
from mmsearch.store.roster import vids_where
from mmsearch.types import Draft, Failure, Kind
from tests.store.model import DIM, MEMORY, Model, SmallStore, clean, photo, vectors

FRUIT = ["apple", "lemon", "melon", "mango", "grapefruit"]
PATHS = [f"{a}/{b}.jpg" for a in FRUIT[:2] for b in FRUIT] + ["caf\udce9.jpg", "line\nbreak.png", "-dash"]
paths = st.sampled_from(PATHS)
FILTERS = ["price < 50", "not (brand = 'melon' or ok = true)", "size > 5 and brand > 'b'", '"group" is not null', "price = size"]
metas = st.dictionaries(
    st.sampled_from(["brand", "price", "sizes", "ok"]),
    st.sampled_from(FRUIT) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none(),
    max_size=3,
)
texts = st.lists(st.sampled_from(FRUIT), max_size=4).map(" ".join) | st.text(alphabet=st.characters(codec=None))


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    if draw(st.booleans()):
        return photo(draw(paths), version=draw(st.integers(0, 3)), meta=draw(metas), group=draw(st.none() | paths))
    id = draw(st.sampled_from(FRUIT) | st.text(st.characters(codec=None), min_size=1))
    return Draft(id=id, kind=Kind.TEXT, text=draw(texts), meta=draw(metas), taken=draw(st.none() | st.integers(-(10**9), 10**9)))


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="mmsearch-"))
        self.model = Model()
        self.generation = -1
        self.store: Store = SmallStore.create(self.folder / "c", dim=DIM, model="toy", fingerprint="f1")

    @initialize()
    def name_root(self) -> None:
        with self.store.writer() as writer:
            writer.add_root("photos", "/pictures")
        self.model.roots["photos"] = "/pictures"

    def commit(self, change: Change) -> None:
        with self.store.writer() as writer:
            assert writer.commit(change) == self.model.apply(change)

    def some_vids(self, data: st.DataObject) -> list[int]:
        """Live vids, and one that never was."""
        return data.draw(st.lists(st.sampled_from([*self.model.items, 10**6]), max_size=5, unique=True), label="vids")

    @rule(items=st.lists(drafts(), max_size=12), data=st.data())
    def change(self, items: list[Draft], data: st.DataObject) -> None:
        rows = vectors([(one.id, self.model.next_vid + at) for at, one in enumerate(items)])
        self.commit(Change(upserts=items, vectors=rows, deletes=self.some_vids(data)))

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        vids = self.some_vids(data)
        targets = data.draw(st.lists(paths, min_size=len(vids), max_size=len(vids), unique=True), label="targets")
        moves = [Move(vid, path, "photos", path, 7, 8, None, {"brand": "melon"}) for vid, path in zip(vids, targets, strict=True)]
        self.commit(Change(moves=moves))

    @rule(data=st.data(), meta=st.none() | metas, group=st.none() | paths)
    def touch(self, data: st.DataObject, meta: dict[str, object] | None, group: str | None) -> None:
        self.commit(Change(touches=[Touch(vid, 5, 6, meta, group) for vid in self.some_vids(data)]))

    @rule(failed=st.lists(paths, unique=True, max_size=4), forgiven=st.lists(paths, max_size=4))
    def fail(self, failed: list[str], forgiven: list[str]) -> None:
        failures = [Failure("photos", path, "truncated", "no end", 10, 20, 1) for path in failed]
        self.commit(Change(failures=failures, forgiven=[("photos", path) for path in forgiven]))

    @rule()
    def compact(self) -> None:
        with self.store.writer() as writer:
            writer.compact()
        with self.store.snapshot() as snapshot:
            kept = [vid for vids, _ in snapshot.blocks() for vid in vids.tolist()]
            assert kept == sorted(self.model.items)

    @rule()
    def repair(self) -> None:
        assert [one for one in self.store.repair() if one.level != "ok"] == []

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = SmallStore.open(self.folder / "c")
        self.generation = -1

    @precondition(lambda self: "photos" in self.model.roots)
    @rule(path=st.sampled_from(["/a", "/b\udcff"]))
    def move_root(self, path: str) -> None:
        with self.store.writer() as writer:
            writer.move_root("photos", path)
        self.model.roots["photos"] = path

    @invariant()
    def agree(self) -> None:
        with self.store.snapshot() as snapshot:
            self.model.compare(snapshot)
            assert snapshot.generation >= self.generation
            self.generation = snapshot.generation
            for where in FILTERS:  # what is kept from commit to commit, against the rows as they are now
                expected = vids_where(snapshot._raw, *filter_sql(where)).tolist()
                assert snapshot.select(where).vids.tolist() == expected, where
        findings = [one for one in self.store.verify() if one.level != "ok"]
        assert [one for one in findings if one.what != "roots"] == []

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


StoreMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStore = StoreMachine.TestCase


def test_a_new_store_is_clean(tmp_path: Path) -> None:
    with SmallStore.create(tmp_path / "c", dim=DIM, model="toy", fingerprint="f1") as store:
        clean(store)
        with store.snapshot() as snapshot:
            Model().compare(snapshot)
