"""What comes from a later mmsearch is refused with what to do, and no golden collection may be missing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mmsearch.cli import main
from mmsearch.errors import FormatTooNew
from mmsearch.store import Store
from mmsearch.store.migrations import FORMAT_VERSION
from tests.backup.conftest import GOLDEN


def test_a_later_format_is_refused_with_what_to_do(golden: Store, capsys: pytest.CaptureFixture[str]) -> None:
    golden.close()
    before = sorted(golden.path.rglob("*.f16"))
    connection = sqlite3.connect(golden.path / "catalog.db")
    with connection:
        connection.execute("INSERT INTO migration VALUES ('0099-later', '2030-01-01')")
    connection.close()
    changed = (golden.path / "catalog.db").read_bytes()
    with pytest.raises(FormatTooNew, match=r"0099-later.*this mmsearch knows up to"):
        Store.open(golden.path)
    for command in (["status"], ["query", "x"], ["verify"], ["export", "out.mm"], ["seal"]):
        assert main(["-c", str(golden.path), *command]) == 6
        assert capsys.readouterr().err.splitlines()[-1] == "hint:  update mmsearch: pip install -U mmsearch"
    assert (golden.path / "catalog.db").read_bytes() == changed
    assert sorted(golden.path.rglob("*.f16")) == before
    assert not (golden.path / "SEALED").exists()


def test_there_is_a_golden_collection_for_each_format() -> None:
    folders = sorted(path.name for path in GOLDEN.parents[1].iterdir() if path.name.startswith("v"))
    assert folders == [f"v{n + 1}" for n in range(FORMAT_VERSION)]
    assert Path(GOLDEN, "catalog.db").stat().st_size > 0
