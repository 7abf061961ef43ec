"""Writers are killed, the disk is full, many read at once: in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import crowd, full_disk
from tests.store.server import Server

SEED = 2026


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.mark.parametrize("kills", [8, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_kills_lose_nothing_and_readers_do_not_notice(tmp_path: Path, server: Server, kills: int) -> None:
    report = crowd.kill_loop(tmp_path / "c", server, kills, SEED)
    assert report.kills == kills
    assert report.steps > 2 * kills
    assert report.crowd.reads > kills
    assert report.crowd.states > 4


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_writer_and_sixteen_readers(tmp_path: Path, seconds: float) -> None:
    steps, seen, refused = crowd.crowded(tmp_path / "c", seconds, SEED)
    assert seen.errors == []
    assert refused == ["locked by the writer"] * 2
    assert steps > 5
    assert seen.states > 3
    assert 0 < seen.p50 <= seen.p99 <= seen.worst


@pytest.mark.parametrize("by", [100, pytest.param(5, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_disk_that_is_really_full(tmp_path: Path, by: int) -> None:
    if not full_disk.available(tmp_path):
        pytest.skip("no small file system may be mounted here")
    lines = full_disk.run(tmp_path, 0, 700, by)
    assert len(lines) == 700 / by
    assert any("catalog.db" in line for line in lines)
    assert any("vectors/" in line for line in lines)
