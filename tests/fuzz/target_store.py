"""Damaged collections: what is opened is right, or a typed error is raised, and no wrong vector is unknown to ``verify``."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import CollectionError, ItemNotFound, MMSearchError, StorageError
from mmsearch.indexes.exact import ExactIndex
from mmsearch.store import Change, IndexInfo, Snapshot, Store
from mmsearch.types import Kind, Record
from tests.fuzz.mutate import append, blind, cut, flip, overwrite
from tests.store.model import DIM, MEMORY, Model, SmallStore, caption, photo, vector, vectors

TYPED = (CollectionError, StorageError, ItemNotFound)


@cache
def good() -> tuple[dict[str, bytes], Model]:
    """A collection as its files, and what it holds: a compacted segment, others, words, failures, roots, an index file."""
    model = Model()
    model.roots["photos"] = "/pictures"
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name) / "c"
        created = SmallStore.create(folder, dim=DIM, model="toy:8", fingerprint="f1")
        with created as store, store.writer() as writer:
            writer.add_root("photos", "/pictures")
            for change in (*map(_batch, range(0, 60, 20)), Change(deletes=[3, 4, 5, 17, 18])):
                writer.commit(change)
                model.apply(change)
            writer.compact()
            writer.put_index(IndexInfo("image", "", 0, 0, 60, "Flat", "1"), _noise)
            writer.set_meta("updated", "1.5")
        files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return files, model


def _batch(first: int) -> Change:
    drafts = [photo(f"trip/{n}.jpg", group=f"g{n // 4}", taken=1_600_000_000 + n) for n in range(first, first + 18)]
    drafts += [caption(f"note {n}", "a lemon", meta={"brand": "Acme", "price": n}) for n in (first, first + 1)]
    return Change(drafts, vectors([draft.id for draft in drafts]))


def _noise(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(3000))


def files(seed: int) -> str:
    """One file of a collection is damaged; it is opened, verified, read in every way, and mended."""
    rng = random.Random(seed)
    intact, model = good()
    weights = {"catalog.db": 6}
    names = sorted(intact)
    target = rng.choices(names, [weights.get(name, 1) for name in names])[0]
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="mmsearch-fuzz-") as name:
        folder = Path(name) / "c"
        for one, data in intact.items():
            (folder / one).parent.mkdir(parents=True, exist_ok=True)
            (folder / one).write_bytes(_harmed(one, data, rng) if one == target else data)
        if rng.random() < 0.03:
            (folder / target).unlink()
        return f"{_kind(target)}: {_examined(folder, model)}"


def _harmed(name: str, data: bytes, rng: random.Random) -> bytes:
    if name == "catalog.db" and rng.random() < 0.7:  # mostly where something is: a page of it, not the file's length
        return rng.choice((flip, flip, overwrite))(data, rng)
    return rng.choice((flip, cut, append, overwrite, blind))(data, rng)


def _kind(name: str) -> str:
    return "index" if name.startswith("indexes") else name.rpartition(".")[2]


def _examined(folder: Path, model: Model) -> str:
    try:
        store = SmallStore.open(folder)
    except MMSearchError as error:
        _readable(error)
        return "not opened"
    with store:
        try:
            named = [one for one in store.verify() if one.level != "ok"]
        except TYPED as error:
            _readable(error)
            return "not verified"
        wrong = list(_differences(store, model))
        vectors_wrong = [one for one in wrong if one.startswith("vector")]
        assert named or not vectors_wrong, f"verify found nothing, yet: {vectors_wrong[:3]}"
        after = _mended(store, model)
    if named:
        return f"named, {after}"
    return "other words, unnoticed" if wrong else "whole"


def _readable(error: MMSearchError) -> None:
    assert isinstance(error, TYPED), repr(error)
    text = f"{error.message}\n{error.hint or ''}"
    assert error.message
    assert len(text.splitlines()) <= 3, text


def _asked(ask: Callable[[], Any]) -> Any:
    """The answer, or the typed error; anything else that is raised breaks the promise."""
    try:
        return ask()
    except MMSearchError as error:
        _readable(error)
        return error


def _differences(store: Store, model: Model) -> Iterator[str]:
    """Everything that can be asked, compared with what was put in; a typed error is no difference."""

    def ways(snapshot: Snapshot) -> dict[str, Callable[[], Any]]:
        return {
            "records": lambda: {one.vid: one for one in snapshot.records(snapshot.live().vids)},
            "by id": lambda: snapshot.by_id([one.id for one in model.items.values()]),
            "by path": lambda: snapshot.by_path("photos", [f"trip/{n}.jpg" for n in range(9)]),
            "by digest": lambda: snapshot.by_digest([one.digest for one in model.items.values() if one.digest]),
            "stats": lambda: sorted(snapshot.stats("photos")),
            "images": lambda: snapshot.live(Kind.IMAGE).vids.tolist(),
            "filter": lambda: snapshot.select("price < 30 and brand = 'Acme' or taken > '2020'").vids.tolist(),
            "words": lambda: {vid for vid, _ in snapshot.search_text("lemon", 100)},
            "fields": snapshot.fields,
            "failures": lambda: list(snapshot.failures()),
            "roots": snapshot.roots,
            "meta": lambda: snapshot.meta("updated"),
            "indexes": snapshot.indexes,
            "size": snapshot.size_on_disk,
        }

    def answers() -> Iterator[str]:
        with store.snapshot() as snapshot:
            found = {name: _asked(ask) for name, ask in ways(snapshot).items()}
            records = found["records"]
            if isinstance(records, dict) and records != model.items:
                yield "records"
            wanted = {"roots": model.roots, "meta": "1.5", "words": {v for v, one in model.items.items() if one.text}}
            answered = {name: found[name] for name in wanted if not isinstance(found[name], MMSearchError)}
            yield from (name for name, value in answered.items() if value != wanted[name])
            yield from _vectors(snapshot, model, records if isinstance(records, dict) else model.items)

    try:
        yield from answers()
    except MMSearchError as error:
        _readable(error)


def _vectors(snapshot: Snapshot, model: Model, records: dict[int, Record]) -> Iterator[str]:
    """Every live item's vector, one by one, and through a search."""
    for vid, record in records.items():
        found = _asked(lambda vid=vid: snapshot.fetch([vid]))  # type: ignore[misc]
        original = next((one for one in model.items.values() if one.id == record.id), None)
        if not isinstance(found, MMSearchError) and original and not np.array_equal(found[0], model.rows[original.vid]):
            yield f"vector of {record.id}"
    query = vector("trip/7.jpg")[None]
    hits = _asked(lambda: ExactIndex(snapshot).search(query, 5, within=snapshot.live()).row(0))
    if not isinstance(hits, MMSearchError) and records == model.items:
        best = sorted((-float(model.rows[vid] @ query[0]), vid) for vid in model.items)[:5]
        if [int(vid) for vid in hits[1]] != [vid for _, vid in best]:
            yield "vector search"


def _mended(store: Store, model: Model) -> str:
    """After a repair no vector is wrong, whatever was lost; or it says that it cannot."""
    try:
        left = [one for one in store.repair() if one.level == "error"]
    except MMSearchError as error:
        _readable(error)
        return "beyond repair"
    wrong = [one for one in _differences(store, model) if one.startswith("vector")]
    assert left or not wrong, f"repaired, yet: {wrong[:3]}"
    return "errors left" if left else "mended"


def crc(seed: int) -> str:
    """A damaged index file, whatever is in it: ``verify`` names it, and the check before reading one does."""
    from mmsearch.store import indexfiles
    from mmsearch.store.layout import Layout

    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        layout = Layout(Path(name))
        layout.indexes.mkdir()
        path = layout.indexes / "image-1.faiss"
        _noise(path)
        data = path.read_bytes()
        info = IndexInfo("image", path.name, len(data), indexfiles.checksum(path), 60, "Flat", "1")
        assert indexfiles.problem(layout, info) is None
        damaged = blind(data, rng)
        path.write_bytes(damaged)
        if rng.random() < 0.1:
            with suppress(OSError):
                os.unlink(path)
            assert "missing" in str(indexfiles.problem(layout, info))
            return "missing"
        assert (indexfiles.problem(layout, info) is None) == (damaged == data)
        return "same" if damaged == data else "named"
