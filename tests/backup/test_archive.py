"""A collection goes into a file and comes out of it as it was; the file is what docs/archive.md says."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import safetensors.numpy

from mmsearch.backup import export, restore
from mmsearch.backup.manifest import PART_ROWS
from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.errors import CollectionCorrupt, CollectionExists, ModelMismatch, StorageError, UsageError
from mmsearch.store import Change, Store
from mmsearch.types import Draft, Item, Kind
from tests.backup.conftest import members
from tests.store.model import clean, vector


def content(store: Store) -> list[object]:
    """All that must come back, vids aside."""
    with store.snapshot() as snapshot:
        vids = snapshot.live().vids
        records = [dataclasses.replace(one, vid=-1) for one in snapshot.records(vids)]
        rows = snapshot.fetch_stored(vids).tobytes()
        about = [store.info.model, store.info.fingerprint, snapshot.roots(), snapshot.kept()]
        return [records, rows, list(snapshot.failures()), *about]


def test_all_comes_back_and_again(golden: Store, archive: Path, tmp_path: Path) -> None:
    report = restore(archive, tmp_path / "back")
    assert (report.items, report.failures, report.roots) == (52, 1, {"photos": "/home/ada/caf\udce9"})
    with Store.open(tmp_path / "back") as back:
        assert content(back) == content(golden)
        clean(back)
        with back.snapshot() as snapshot:
            assert snapshot.live().vids.tolist() == list(range(52))
            ids = {snapshot.records([vid])[0].id for vid, _ in snapshot.search_text("zurich", 9)}
            assert ids == {"note-1"}
            export(snapshot, back.info, tmp_path / "again.mmsearch")
        with back.writer() as writer:
            writer.commit(Change([Draft("new", Kind.TEXT, text="more")], vector("x", 16)[None]))
    assert (tmp_path / "again.mmsearch").read_bytes() == archive.read_bytes()  # equal content, equal bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mmsearch", "again.mmsearch", "back", "golden"]


def test_a_stranger_can_read_it(golden: Store, archive: Path) -> None:
    """With tarfile, pyarrow and safetensors, as the document says."""
    found = members(archive)
    about = found.pop("manifest.json")
    assert found.pop("manifest.sha256") == hashlib.sha256(about).hexdigest().encode() + b"  manifest.json\n"
    manifest = json.loads(about)
    assert (manifest["format"], manifest["version"], manifest["dim"], manifest["items"]) == ("mmsearch-archive", 1, 16, 52)
    assert manifest["members"].keys() == found.keys()
    for name, one in manifest["members"].items():
        assert (one["sha256"], one["bytes"]) == (hashlib.sha256(found[name]).hexdigest(), len(found[name]))
    rows = safetensors.numpy.load(found["vectors/00000.safetensors"])["vectors"]
    table = pyarrow.parquet.read_table(io.BytesIO(found["items/00000.parquet"]))
    with golden.snapshot() as snapshot:
        records = snapshot.records(snapshot.live().vids)
        assert rows.dtype == np.float16
        assert np.array_equal(rows, snapshot.fetch_stored(snapshot.live().vids))
    ids = [value.decode("utf-8", "surrogatepass") for value in table["id"].to_pylist()]  # one is not UTF-8, so all are bytes
    assert ids == [one.id for one in records]
    assert [json.loads(value) for value in table["meta"].to_pylist()] == [one.meta for one in records]
    assert table["kind"].to_pylist() == [one.kind.value for one in records]


def test_parts_hold_memory_down(golden: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.backup.exporting.PART_ROWS", 20)
    told: list[tuple[int, int]] = []
    with golden.snapshot() as snapshot:
        export(snapshot, golden.info, tmp_path / "p", told=lambda *at: told.append(at))
    assert told == [(20, 52), (40, 52), (52, 52)]
    assert [name for name in members(tmp_path / "p") if name.startswith("items")] == [f"items/0000{n}.parquet" for n in range(3)]
    restore(tmp_path / "p", tmp_path / "back")
    with Store.open(tmp_path / "back") as back:
        assert content(back) == content(golden)
    assert PART_ROWS == 32_768


def test_an_empty_collection(tmp_path: Path) -> None:
    with Store.create(tmp_path / "e", dim=4, model="toy:4", fingerprint="f") as store, store.snapshot() as snapshot:
        assert export(snapshot, store.info, tmp_path / "e.mm").items == 0
    assert restore(tmp_path / "e.mm", tmp_path / "b").items == 0
    with Store.open(tmp_path / "b") as back:
        assert (back.info.dim, back.info.model) == (4, "toy:4")


def test_where_an_archive_may_go(archive: Path, golden: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    restore(archive, tmp_path / "empty")
    with pytest.raises(CollectionExists, match="has 52 items"):
        restore(archive, tmp_path / "empty")
    Store.create(tmp_path / "made", dim=16, model="toy", fingerprint="golden").close()
    restore(archive, tmp_path / "made")
    with Store.open(tmp_path / "made") as made:
        assert content(made) == content(golden)
        clean(made)
    Store.create(tmp_path / "other", dim=16, model="toy", fingerprint="another").close()
    with pytest.raises(ModelMismatch, match="for another model"):
        restore(archive, tmp_path / "other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(Exception, match="has files in it"):
        restore(archive, tmp_path / "full")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_export_refuses_to_lie(golden: Store, archive: Path, tmp_path: Path) -> None:
    with golden.snapshot() as snapshot:
        with pytest.raises(UsageError, match="is there already"):
            export(snapshot, golden.info, archive)
        with pytest.raises(StorageError, match="cannot write"):
            export(snapshot, golden.info, tmp_path / "no" / "folder")
    rows = golden.path / "vectors" / "00000004.f16"
    rows = rows if rows.exists() else next((golden.path / "vectors").glob("*.f16"))
    data = bytearray(rows.read_bytes())
    data[3] ^= 64
    rows.write_bytes(data)
    with Store.open(golden.path) as store, store.snapshot() as snapshot:
        with pytest.raises(CollectionCorrupt, match="are damaged, and are not exported"):
            export(snapshot, store.info, tmp_path / "bad.mm")
        with pytest.raises(CollectionCorrupt, match="is damaged, and is not copied"):
            snapshot.copy_to(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mmsearch", "golden"]


def test_by_the_facade(shop: Collection, tmp_path: Path) -> None:
    shop.add([Item(id=f"i{n}", text=f"word {n}", group=f"g{n % 2}", meta={"n": n}, vector=vector(n, 32)) for n in range(5)])
    shop.export(tmp_path / "x")
    wrong = ToyEncoder(dim=16)
    with pytest.raises(ModelMismatch, match="made with toy:32") as caught:
        Collection.import_archive(tmp_path / "x", tmp_path / "y", model=wrong)
    assert "of another model cannot be searched" in str(caught.value.hint)
    assert not (tmp_path / "y").exists()
    Collection.import_archive(tmp_path / "x", tmp_path / "y", model="toy:32")
    with Collection.open(tmp_path / "y", model="toy:32") as back:
        assert back.search("word 3", kind="text", k=5).ids == shop.search("word 3", kind="text", k=5).ids
        assert back.get("i3").group == "g1"
