"""``mmsearch doctor``: each thing that can be wrong is found, and comes with an advice."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.cli.conftest import Call, Library


def levels(found: list[dict[str, str]]) -> dict[str, str]:
    return {one["what"]: one["level"] for one in found}


def test_a_sound_collection(ask: Call) -> None:
    done = ask("doctor", "--json")
    assert done.code == 0, done.err
    found = done.json["findings"]
    known = levels(found)
    assert {"system", "versions", "device", "disk", "write", "model", "integrity", "items", "age"} <= known.keys()
    assert {what for what, level in known.items() if level == "error"} == set()
    assert known["integrity"] == known["model"] == known["write"] == "ok"
    assert known["failures"] == "warning"  # the library has files that must be skipped
    assert all(one["advice"] for one in found if one["level"] != "ok")


def test_no_collection_is_said_and_is_no_error(inside: Call, tmp_path: Path) -> None:
    done = inside("doctor", "--json", "-c", tmp_path / "none" / "below")
    assert done.code == 0
    assert levels(done.json["findings"])["collection"] == "warning"
    assert not (tmp_path / "none").exists()


def test_damage_and_a_root_that_is_gone(inside: Call, library: Library, tmp_path: Path) -> None:
    shutil.copytree(library.collection, tmp_path / "copy")
    rows = tmp_path / "copy" / "vectors" / "00000001.f16"
    content = bytearray(rows.read_bytes())
    content[5] ^= 255
    rows.write_bytes(content)
    moved = library.photos.rename(tmp_path / "elsewhere")
    try:
        done = inside("doctor", "--json", "-c", tmp_path / "copy")
    finally:
        moved.rename(library.photos)
    assert done.code == 6
    known = levels(done.json["findings"])
    assert known["segment_crc"] == "error"
    assert known["root"] == "warning"
    assert "integrity" not in known


def test_a_catalogue_that_cannot_be_read(inside: Call, library: Library, tmp_path: Path) -> None:
    shutil.copytree(library.collection, tmp_path / "copy")
    (tmp_path / "copy" / "catalog.db").write_bytes(b"no database" * 500)
    done = inside("doctor", "-c", tmp_path / "copy")
    assert done.code == 6
    assert b"damaged" in done.out
