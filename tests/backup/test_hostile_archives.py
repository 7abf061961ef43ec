"""Archives that are damaged, or made to do harm: an error that says so, and nothing is left on the disk."""

from __future__ import annotations

import io
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import safetensors.numpy

from mmsearch.backup import restore, tables
from mmsearch.errors import CollectionCorrupt, FormatTooNew, MMSearchError
from mmsearch.store import Store
from tests.backup.conftest import edited, members, pack

ITEMS, VECTORS = "items/00000.parquet", "vectors/00000.safetensors"


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[Path, str], None]:
    """Asserts that an archive is refused with these words, and that nothing was made."""

    def check(path: Path, words: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(CollectionCorrupt, match=words) as caught:
            restore(path, tmp_path / "out" / "c")
        assert caught.value.hint
        if (tmp_path / "out").exists():
            (tmp_path / "out").rmdir()  # fails where something is left in it
        assert sorted(tmp_path.rglob("*")) == before

    return check


def changed_rows(archive: Path, change: Callable[[np.ndarray], Any]) -> dict[str, bytes]:
    content = members(archive)
    rows = safetensors.numpy.load(content[VECTORS])["vectors"].copy()
    return {**content, VECTORS: safetensors.numpy.save({"vectors": np.asarray(change(rows))})}


def with_column(archive: Path, name: str, values: list[Any]) -> dict[str, bytes]:
    content = members(archive)
    table = pyarrow.parquet.read_table(io.BytesIO(content[ITEMS]))
    at = table.column_names.index(name)
    out = io.BytesIO()
    kind = pa.string() if isinstance(values[0], str) else pa.binary()
    pyarrow.parquet.write_table(table.set_column(at, name, pa.array(values, kind)), out, store_schema=False)
    return {**content, ITEMS: out.getvalue()}


def test_bytes_that_changed(archive: Path, tmp_path: Path, refused: Callable[[Path, str], None]) -> None:
    content = members(archive)
    for name in (ITEMS, VECTORS, "failures/00000.parquet"):
        data = bytearray(content[name])
        data[len(data) // 2] ^= 1
        refused(pack(tmp_path / "x", {**content, name: bytes(data)}, honest=False), "its checksum is another")
    whole = archive.read_bytes()
    for size in (0, 100, 512, 5000, len(whole) - 1024):
        (tmp_path / "x").write_bytes(whole[:size])
        refused(tmp_path / "x", "cannot be read")
    content["manifest.json"] = content["manifest.json"].replace(b'"golden"', b'"g0lden"')
    with tarfile.open(tmp_path / "x", "w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    refused(tmp_path / "x", "manifest.json of the archive is damaged")


def test_members_that_should_not_be(archive: Path, tmp_path: Path, refused: Callable[[Path, str], None]) -> None:
    content = members(archive)
    for name in ("../evil", "/etc/evil", "items/00001.parquet", "vectors/../../x.safetensors"):
        refused(pack(tmp_path / "x", {name: b"1", **content}, honest=False), "do not agree on")
    refused(pack(tmp_path / "x", {n: d for n, d in content.items() if n != VECTORS}, honest=False), "do not agree on")
    refused(pack(tmp_path / "x", {n: d for n, d in content.items() if n != "manifest.json"}, honest=False), "no manifest.json")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
        with tarfile.open(tmp_path / "x", "w", format=tarfile.USTAR_FORMAT) as file:
            info = tarfile.TarInfo("items/00000.parquet")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        refused(tmp_path / "x", "is no plain file")
    with tarfile.open(tmp_path / "x", "w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("manifest.json")
        info.pax_headers = {"path": "../../evil"}
        file.addfile(info)
    refused(tmp_path / "x", "is no plain file")
    doubled = pack(tmp_path / "x", content).read_bytes()
    (tmp_path / "x").write_bytes(doubled[: -tarfile.RECORDSIZE] + doubled)
    with pytest.raises(CollectionCorrupt):
        restore(tmp_path / "x", tmp_path / "c")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "zip"}, "the format is not"),
        ({"version": 0}, "version 0"),
        ({"dim": 0}, "rows of 0 numbers"),
        ({"dim": 10**9}, "rows of 1000000000 numbers"),
        ({"dim": 15}, "is not 52 rows of 15|bytes and 52 rows"),
        ({"dim": "16"}, "is no count"),
        ({"dtype": "float32"}, "as float32"),
        ({"items": 51}, "has 52 rows, not 51"),
        ({"failures": 2}, "has 1 rows, not 2"),
        ({"items": -1}, "is no count"),
        ({"roots": {"photos": "relative"}}, "has no absolute path"),
        ({"roots": {"other": "/x"}}, "is not known"),
        ({"values": {"a": 1}}, "is no text"),
        ({"members": {"../x": {}}}, "a member is called"),
        ({"members": []}, "cannot be read"),
        ({"fingerprint": None}, "is no text"),
    ],
)
def test_a_manifest_that_lies(
    archive: Path, tmp_path: Path, refused: Callable[[Path, str], None], changes: dict[str, Any], words: str
) -> None:
    refused(pack(tmp_path / "x", edited(members(archive), **changes), honest=False), words)


def test_a_later_version_is_refused_with_what_to_do(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatTooNew, match="format version 2, this mmsearch knows up to 1") as caught:
        restore(pack(tmp_path / "x", edited(members(archive), version=2), honest=False), tmp_path / "c")
    assert caught.value.hint == "update mmsearch: pip install -U mmsearch"


def test_rows_that_are_none(archive: Path, tmp_path: Path, refused: Callable[[Path, str], None]) -> None:
    def put(value: float) -> Callable[[np.ndarray], np.ndarray]:
        def change(rows: np.ndarray) -> np.ndarray:
            rows[31, 2] = value
            return rows

        return change

    for value in (np.nan, np.inf, 3.0):
        refused(pack(tmp_path / "x", changed_rows(archive, put(value))), "row 31 of .* does not have the length 1")
    for change in (lambda rows: rows[:-1], lambda rows: rows.astype(np.float32), lambda rows: rows.T):
        refused(pack(tmp_path / "x", changed_rows(archive, change)), "is not 52 rows of 16 numbers")
    content = members(archive)
    huge = (2**63 - 1).to_bytes(8, "little") + content[VECTORS][8:]
    refused(pack(tmp_path / "x", {**content, VECTORS: huge}), "is not 52 rows of 16 numbers")


def test_tables_that_are_none(archive: Path, tmp_path: Path, refused: Callable[[Path, str], None]) -> None:
    ids = [f"i{n}" for n in range(52)]
    for name, values, words in (
        ("id", ["same"] * 52, "an id is in the archive twice"),
        ("id", ["", *ids[1:]], "has no id"),
        ("kind", ["virus"] * 52, "not a valid Kind"),
        ("meta", ["[1]"] * 52, "is no object"),
        ("meta", ['{"a": NaN}'] * 52, "is no JSON"),
        ("meta", ["{" * 100_000] * 52, "cannot be read"),
        ("path", [b"../../etc/passwd"] * 52, "leads out of its root"),
        ("path", [b"/etc/passwd"] * 52, "leads out of its root"),
        ("root", ["elsewhere"] * 52, "is not known"),
    ):
        refused(pack(tmp_path / "x", with_column(archive, name, values)), words)
    content = members(archive)
    refused(pack(tmp_path / "x", {**content, ITEMS: b"PAR1 no table PAR1"}), "a table of the archive cannot be read")


def test_a_table_that_unpacks_to_terabytes(
    archive: Path, tmp_path: Path, refused: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long value in a dictionary that every row points at: few bytes in the file, many when unpacked."""
    monkeypatch.setattr(tables, "MAX_TABLE", 40 << 20)
    bomb = with_column(archive, "text", ["x" * (1 << 20)] * 52)
    assert len(bomb[ITEMS]) < 200_000
    refused(pack(tmp_path / "x", bomb), "unpacks to too much")


def test_random_damage_never_escapes(golden: Store, archive: Path, tmp_path: Path) -> None:
    """Any change of bytes is either seen, or changes nothing that is imported (padding, times in headers)."""
    with golden.snapshot() as snapshot:
        wanted = snapshot.fetch_stored(snapshot.live().vids), snapshot.roots(), snapshot.kept(), list(snapshot.failures())
    rng, whole, seen = random.Random(5), archive.read_bytes(), 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 30))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "x").write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        try:
            restore(tmp_path / "x", tmp_path / "c")
        except MMSearchError:
            seen += 1
            assert not (tmp_path / "c").exists()
        else:
            with Store.open(tmp_path / "c") as store, store.snapshot() as snapshot:
                found = snapshot.fetch_stored(snapshot.live().vids), snapshot.roots(), snapshot.kept(), list(snapshot.failures())
                assert np.array_equal(found[0], wanted[0])
                assert found[1:] == wanted[1:]
                assert store.info.fingerprint == "golden"
            shutil.rmtree(tmp_path / "c")
    assert 20 < seen < 60
