"""The commands: export, import, snapshot, seal, and what doctor says of hubs, indexes and copies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmsearch.cli import main
from mmsearch.cli._health import Note
from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.hubs import TIMES
from mmsearch.store import IndexInfo
from mmsearch.types import Item
from tests.store.model import vectors


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection of 400 rows around nothing, and one that lies in their middle."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("mmsearch.cli.doctor._device", lambda app: Note("ok", "device", "cpu"))  # torch takes seconds to load
    rows = vectors(list(range(400)), 32)
    bank = ToyEncoder(dim=32).encode_texts(["a red car", "a blue sky", "green grass"])
    with Collection.open(tmp_path / "c", create=True, model=ToyEncoder(dim=32)) as made:
        made.add([Item(id=f"i{n}", image=b"-", vector=row) for n, row in enumerate(rows)])
        made.add([Item(id="hub", image=b"-", vector=bank.sum(0))])
    return tmp_path / "c"


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = main([str(arg) for arg in args])
    done = capsys.readouterr()
    return code, done.out, done.err


def test_there_and_back(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "-c", place, "export", tmp_path / "x.mm")
    assert (code, out) == (0, "")
    assert err.startswith("401 items in ")
    code, _, err = call(capsys, "-c", place, "export", tmp_path / "x.mm")
    assert (code, err.splitlines()[-1]) == (2, "hint:  name another file, or give --force")
    assert call(capsys, "-c", place, "export", tmp_path / "x.mm", "--force", "-q")[0] == 0
    code, out, _ = call(capsys, "-c", tmp_path / "new", "import", tmp_path / "x.mm", "--model", "toy:32", "--json")
    assert (code, json.loads(out)["items"], json.loads(out)["model"]) == (0, 401, "toy:32")
    code, _, err = call(capsys, "-c", tmp_path / "new", "import", tmp_path / "x.mm")
    assert (code, "has 401 items" in err) == (6, True)
    code, _, err = call(capsys, "-c", tmp_path / "n2", "import", tmp_path / "x.mm", "--model", "toy:16")
    assert (code, "made with toy:32" in err) == (6, True)
    assert call(capsys, "-c", tmp_path / "n3", "import", tmp_path / "none.mm")[0] == 1
    np.savez(tmp_path / "v.npz", vectors=vectors([1], 32), ids=np.array(["a"]))
    code, _, err = call(capsys, "-c", tmp_path / "n4", "import", tmp_path / "v.npz")
    assert (code, "name their --model" in err) == (2, True)
    code, _, err = call(capsys, "-c", tmp_path / "n4", "import", tmp_path / "v.npz", "--model", "toy:32")
    assert (code, err.splitlines()[0][:15]) == (0, "1 item of toy:3")


def test_a_copy_and_a_seal(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "-c", place, "snapshot", tmp_path / "copy", "--json")
    assert (code, json.loads(out)["items"]) == (0, 401)
    code, _, err = call(capsys, "-c", place, "snapshot", tmp_path / "copy")
    assert (code, "there is a collection" in err) == (6, True)
    code, _, err = call(capsys, "-c", tmp_path / "copy", "seal")
    assert (code, err[:8]) == (0, "sealed, ")
    code, _, err = call(capsys, "-c", tmp_path / "copy", "compact")
    assert (code, f"hint:  to write to it again: mmsearch -c {tmp_path / 'copy'} seal --undo" in err) == (4, True)
    code, out, _ = call(capsys, "-c", tmp_path / "copy", "doctor", "--json")
    found = {one["what"]: one for one in json.loads(out)["findings"]}
    assert (code, found["sealed"]["level"], found["integrity"]["level"]) == (0, "ok", "ok")
    assert call(capsys, "-c", tmp_path / "copy", "seal", "--undo")[2] == "it can be written again\n"
    assert call(capsys, "-c", tmp_path / "copy", "seal", "--undo")[2] == "it was not sealed\n"
    assert call(capsys, "-c", tmp_path / "copy", "compact", "-q")[0] == 0
    assert call(capsys, "-c", tmp_path / "none", "seal", "--undo")[0] == 6


def test_doctor_counts_hubs_as_brute_force_does(place: Path) -> None:
    from mmsearch.relevance import query_bank

    with Collection.open(place) as collection:
        found = collection.hubs(k=10)
        with collection._store.snapshot() as snapshot:
            rows = snapshot.fetch(snapshot.live().vids)
    bank = ToyEncoder(dim=32).encode_texts(list(query_bank()))
    first = np.argsort(-(bank @ rows.T), axis=1, kind="stable")[:, :10]
    times = np.bincount(first.ravel(), minlength=401)
    assert (found.asked, found.queries, found.items) == ("bank", len(bank), 401)
    assert found.worst[0].share == pytest.approx(times.max() / len(bank))
    assert found.hubs == (times / len(bank) >= max(0.05, TIMES * 10 / 401)).sum()
    assert found.unseen == pytest.approx((times == 0).mean())


def test_doctor_names_hubs_and_a_stale_index(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.hubs.TIMES", 2)
    with Collection.open(place) as collection, collection._store.writer() as writer:
        writer.put_index(IndexInfo("image", "", 0, 0, 300, "HNSW32", "1"), lambda path: path.write_bytes(b"x") and None)
    code, out, _ = call(capsys, "-c", place, "doctor", "--json")
    found = {one["what"]: one for one in json.loads(out)["findings"]}
    assert code == 0
    assert found["hubs"]["level"] == "warning"
    assert "--rerank fast" in found["hubs"]["advice"]
    assert found["index"]["level"] == "warning"
    assert found["index"]["detail"] == "images: 101 of 401 items came after it was built"


def test_without_the_model_stored_rows_are_the_queries(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = vectors(list(range(300)), 32)
    np.savez(tmp_path / "v.npz", vectors=rows, ids=np.array([f"i{n}" for n in range(300)]))
    Collection.import_vectors(tmp_path / "v.npz", tmp_path / "theirs", model="their/model", fingerprint="abc")
    with Collection.open(tmp_path / "theirs") as collection:
        found = collection.hubs(k=5)
    cosines = rows @ rows.T - 2 * np.eye(300)
    times = np.bincount(np.argsort(-cosines, axis=1)[:, :5].ravel(), minlength=300)
    assert (found.asked, found.queries) == ("sample", 300)
    assert found.worst[0].share == pytest.approx(times.max() / 300, abs=2 / 300)  # stored in float16: ties
    code, out, _ = call(capsys, "-c", tmp_path / "theirs", "doctor", "--json")
    notes = {one["what"]: one for one in json.loads(out)["findings"]}
    assert (code, notes["model"]["level"]) == (6, "error")
    assert "on your word" in notes["vectors"]["detail"]
