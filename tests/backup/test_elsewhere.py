"""Vectors of other programs: every form gives the same collection as adding them one by one; mistakes make nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mmsearch.collection import Collection
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.errors import CollectionExists, SourceError, UsageError
from mmsearch.sources import Folder
from mmsearch.types import Kind
from mmsearch.types import vector as asked
from tests.store.model import vectors

N, DIM = 30, 32
ROWS = vectors(list(range(N)), DIM)
IDS = [f"img/{n:02d}.jpg" for n in range(N)]


def clip_retrieval(folder: Path) -> Path:
    """Two shards as clip-retrieval writes them; vectors of any length, some in float16."""
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for shard, part in enumerate((slice(0, 20), slice(20, N))):
        np.save(folder / "img_emb" / f"img_emb_{shard}.npy", (ROWS[part] * 3).astype(np.float16 if shard else np.float32))
        np.save(folder / "text_emb" / f"text_emb_{shard}.npy", -ROWS[part])
        table = {"image_path": IDS[part], "caption": [f"caption {id}" for id in IDS[part]], "width": [640.0] * len(IDS[part])}
        pyarrow.parquet.write_table(pa.table(table), folder / "metadata" / f"metadata_{shard}.parquet")
    return folder


def npz(path: Path) -> Path:
    np.savez(path, vectors=ROWS * 7, ids=np.array(IDS), price=np.arange(N), other=np.zeros(3))
    return path


def parquet(path: Path) -> Path:
    table = {"id": IDS, "vector": list(ROWS.astype(np.float64)), "price": list(range(N))}
    pyarrow.parquet.write_table(pa.table(table), path)
    return path


FORMS: dict[str, Callable[[Path], Path]] = {"clip": clip_retrieval, "v.npz": npz, "v.parquet": parquet}


@pytest.mark.parametrize("form", FORMS)
def test_each_form(tmp_path: Path, form: str) -> None:
    source = FORMS[form](tmp_path / form)
    report = Collection.import_vectors(source, tmp_path / "c", model=ToyEncoder(dim=DIM))
    assert report.items == (2 * N if form == "clip" else N)
    with Collection.open(tmp_path / "c") as made:
        query = vectors(["query"], DIM)[0]
        best = [IDS[n] for n in np.argsort(-(ROWS @ query), kind="stable")[:10]]
        assert made.search(asked(query), k=10).ids == best
        assert made.search(asked(ROWS[4]), k=1)[0].score == pytest.approx(1, abs=1e-3)
        assert json.loads(made.kept()["vectors_from"]) == {
            "source": form, "model": "toy:32", "fingerprint": ToyEncoder(dim=DIM).spec.fingerprint,
        }  # fmt: skip
        if form == "clip":
            assert made.get(IDS[25]).meta == {"image_path": IDS[25], "caption": f"caption {IDS[25]}", "width": 640.0}
            text = made.get(f"{IDS[25]}#text")
            assert (text.kind, text.text, text.group) == (Kind.TEXT, f"caption {IDS[25]}", IDS[25])
        else:
            assert made.get(IDS[25]).meta == {"price": 25}
            assert made.search(asked(query), k=5, where="price < 3").ids == [
                id for id in [IDS[n] for n in np.argsort(-(ROWS[:3] @ query))]
            ]
        assert all(one.level == "ok" for one in made.verify())


def test_a_model_that_is_not_here(tmp_path: Path) -> None:
    Collection.import_vectors(npz(tmp_path / "v.npz"), tmp_path / "c", model="their/model", fingerprint="abc", kind="image")
    with Collection.open(tmp_path / "c") as made:
        assert (made.info.model, made.info.fingerprint) == ("their/model", "abc")
        assert made.similar(IDS[3], k=3).ids == [IDS[n] for n in np.argsort(-(ROWS @ ROWS[3])) if n != 3][:3]
    with pytest.raises(CollectionExists):
        Collection.import_vectors(tmp_path / "v.npz", tmp_path / "c", model="their/model", fingerprint="abc")


def test_a_root_spares_the_encoding(tmp_path: Path, paint: Callable[..., Path]) -> None:
    for id in IDS[:4]:
        paint(f"photos/{id}", "red")
    np.savez(tmp_path / "v.npz", vectors=ROWS[:5], path=np.array([str(tmp_path / "photos" / id) for id in IDS[:5]]))
    Collection.import_vectors(tmp_path / "v.npz", tmp_path / "c", model="toy:32", root=tmp_path / "photos")
    with Collection.open(tmp_path / "c") as made:
        assert made.locate(made.get(IDS[1])) == str(tmp_path / "photos" / IDS[1])
        paint(f"photos/{IDS[7]}", "blue")
        report = made.sync(Folder(tmp_path / "photos"))
        assert (report.added, report.updated, report.removed, report.unchanged) == (1, 0, 1, 4)
        assert made.search(asked(ROWS[2]), k=1)[0].score == pytest.approx(1, abs=1e-3)


def broken(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "v.npz", **{"vectors": ROWS, "ids": np.array(IDS), **arrays})
    return tmp_path / "v.npz"


def test_mistakes_make_nothing(tmp_path: Path) -> None:
    def refused(source: Path, words: str, error: type[Exception] = SourceError, **options: Any) -> None:
        with pytest.raises(error, match=words):
            Collection.import_vectors(source, tmp_path / "c", model=ToyEncoder(dim=DIM), **options)
        assert not (tmp_path / "c").exists()
        assert not list(tmp_path.glob(".*"))

    nan = ROWS.copy()
    nan[17, 3] = np.nan
    refused(broken(tmp_path, vectors=nan), "row 17 is no direction")
    refused(broken(tmp_path, vectors=ROWS * 0), "row 0 is no direction")
    refused(broken(tmp_path, vectors=ROWS[:, :16]), "have 16 numbers; toy:32 makes 32")
    refused(broken(tmp_path, vectors=ROWS[0]), "have 0 numbers")
    refused(broken(tmp_path, ids=np.array(["same"] * N)), "29 ids in .* are there twice")
    refused(broken(tmp_path, ids=np.array(IDS[:5])), "row 0 has no id")
    refused(broken(tmp_path, ids=np.array([object()] * N)), "arrays of objects|cannot be read")
    refused(broken(tmp_path, ids=np.array(["../evil", *IDS[1:]])), "does not lie below", root=tmp_path)
    refused(broken(tmp_path), "must be one of: image, text", UsageError, kind="sound")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    refused(tmp_path / "bad.npz", "cannot be read")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    refused(tmp_path / "bad.parquet", "cannot be read")
    (tmp_path / "notes.txt").write_text("no vectors")
    refused(tmp_path / "notes.txt", "no vectors that can be read", UsageError)
    refused(tmp_path / "none", "there is no file or folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no vectors")
    folder = clip_retrieval(tmp_path / "clip")
    np.save(folder / "img_emb" / "img_emb_1.npy", ROWS[:3])
    refused(folder, "10 rows of meta for vectors of shape")
    (folder / "metadata" / "metadata_1.parquet").unlink()
    refused(folder, "there is no metadata_1.parquet")
