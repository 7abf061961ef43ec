"""Collections of every released format open for ever, and hold what was recorded when they were made."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mmsearch.store import Change, Store
from mmsearch.store.migrations import FORMAT_VERSION
from mmsearch.types import Draft, Kind
from tests.store.model import clean, stored, vector

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
VERSIONS = [f"v{n + 1}" for n in range(FORMAT_VERSION)]  # a missing one fails, it is not skipped


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_collection_opens(version: str, tmp_path: Path, make: ModuleType) -> None:
    expected = json.loads((GOLDEN / version / "expected.json").read_text())
    shutil.copytree(GOLDEN / version / "collection", tmp_path / "c")
    with Store.open(tmp_path / "c") as store:
        assert (store.info.format_version, store.info.fingerprint) == (FORMAT_VERSION, "golden")
        clean(store)
        with store.snapshot() as snapshot:
            found = json.loads(json.dumps(make.describe(snapshot)))
            assert found == expected
            vids = [one["vid"] for one in expected["records"]]
            rows = np.frombuffer(base64.b64decode(expected["rows"]), "<f2").reshape(-1, store.info.dim)
            assert np.array_equal(snapshot.fetch(vids), rows.astype(np.float32))
            before = snapshot.count()
        with store.writer() as writer:  # and it can be written on
            (vid,) = writer.commit(Change([Draft("new", Kind.TEXT, text="newer")], vector(0, store.info.dim)[None]))
            writer.compact()
        assert vid == 64
        with store.snapshot() as snapshot:
            assert snapshot.count() == before + 1
            assert np.array_equal(snapshot.fetch([vid])[0], stored(vector(0, store.info.dim)))
            assert np.array_equal(snapshot.fetch(vids), rows.astype(np.float32))
        clean(store)


def test_the_golden_collection_is_small_and_whole() -> None:
    for version in VERSIONS:
        folder = GOLDEN / version / "collection"
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        assert names[0] == "catalog.db"
        assert {Path(name).suffix for name in names} == {".db", ".f16", ".ids", ".faiss"}
        assert sum(path.stat().st_size for path in folder.rglob("*")) < 300_000
