"""``optimize`` and ``bench`` as they are typed."""

from __future__ import annotations

import io
import json
import sys
import time

import pytest

import mmsearch as mm
from mmsearch.cli import main
from mmsearch.cli.bench import best
from mmsearch.cli.optimize import bytes_of
from mmsearch.collection import indexing
from mmsearch.indexes import planner
from mmsearch.indexes.audit import Audit, Recall, Speed
from mmsearch.testing.indexes import unit_rows

DIM = 16


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(planner, "FEWEST", 300)
    monkeypatch.setattr(planner, "WORTH", 1e9)
    monkeypatch.setattr(planner, "DEPTHS", (10,))
    monkeypatch.setattr(planner, "_TIMED", 10)
    monkeypatch.setattr(indexing, "_QUERIES", 150)
    with mm.Collection.open(tmp_path / "c", create=True, model=f"toy:{DIM}") as one:
        one.add([mm.Item(id=f"i{n}", image=b"-", vector=row) for n, row in enumerate(unit_rows(600, DIM, 1))])
        one.add([mm.Item(id=f"t{n}", text=f"text {n}", vector=row) for n, row in enumerate(unit_rows(150, DIM, 2))])
    return tmp_path / "c"


def run(monkeypatch, *args):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = main([str(arg) for arg in args])
    for stream in (out, err):
        stream.flush()
    return code, *(stream.buffer.getvalue().decode() for stream in (out, err))


def test_optimize_then_query_then_drop(place, monkeypatch):
    code, out, _ = run(monkeypatch, "-c", place, "optimize", "--recipe", "ivf-sq8", "--memory", "1M")
    assert code == 0
    assert out.startswith("images: ivf-sq8, ")
    assert "finds of the ten nearest, by kind of query: 0." in out or "1.000 for images" in out
    code, out, _ = run(monkeypatch, "-c", place, "status", "--json")
    states = json.loads(out)["indexes"]
    assert [one["recipe"] for one in states] == ["ivf-sq8", "exact"]
    assert states[0]["memory"] == 10**6
    code, _, err = run(monkeypatch, "-c", place, "optimize", "--if-needed")
    assert (code, "nothing to do" in err) == (0, True)
    code, out, _ = run(monkeypatch, "-c", place, "query", "--exact", "red", "--json", "--kind", "image")
    assert json.loads(out)["exact"] is True
    code, out, _ = run(monkeypatch, "-c", place, "optimize", "--drop")
    assert out.splitlines() == ["images: exact. Every row is compared", "texts: exact. Every row is compared"]
    assert list((place / "indexes").iterdir()) == []


def test_no_index_fits_into_nothing(place, monkeypatch):
    code, out, _ = run(monkeypatch, "-c", place, "optimize", "--memory", "2k", "--kind", "image")
    assert code == 0
    assert "images: exact. no index fits into the memory that was given" in out


def test_in_the_background_it_is_done_some_time_later(place, monkeypatch):
    code, _, err = run(monkeypatch, "-c", place, "optimize", "--background", "--kind", "image")
    assert code == 0
    assert "in the background (process " in err
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with mm.Collection.open(place) as one:
            if one.status().indexes[0].reason:
                break
        time.sleep(0.2)
    with mm.Collection.open(place) as one:  # a process of its own has its own, larger idea of what is worth an index
        assert "600 rows are compared one by one" in one.status().indexes[0].reason


def test_bench_prints_lines_and_tables(place, monkeypatch):
    code, out, _ = run(monkeypatch, "-c", place, "bench", "--jsonl", "--kind", "image", "--recipe", "ivf-sq8")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [one["name"] for one in lines] == ["exact", "ivf-sq8"]
    assert lines[0]["recall"]["text"]["value"] == 1.0
    assert any(one["best"] for one in lines)
    code, out, err = run(monkeypatch, "-c", place, "bench", "--kind", "text")
    assert "searches for texts, asked by 150 texts, 150 images" in err
    assert "1.000 ± 0.000" in out


def test_what_nothing_beats():
    def line(name, recall, speed):
        return Audit(name, {"text": Recall(10, recall, 0.0, 100)}, Speed(1.0, 1.0, speed, speed))

    lines = [line("exact", 1.0, 10.0), line("good", 0.95, 1000.0), line("bad", 0.94, 900.0), line("fast", 0.5, 5000.0)]
    assert [one.name for one in best(lines)] == ["exact", "good", "fast"]


@pytest.mark.parametrize(("text", "size"), [("2G", 2 * 10**9), ("500M", 5 * 10**8), ("1.5 GB", 1.5e9), ("7", 7), ("64kib", 64000)])
def test_sizes(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "much", "-1G", "1X"])
def test_what_is_no_size(text):
    with pytest.raises(Exception, match="--memory takes a size"):
        bytes_of(text)
