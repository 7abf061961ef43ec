"""The whole way in processes of their own, with sockets blocked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def test_the_whole_way(outside: Any, photos: Path, stripes: Any, tmp_path: Path) -> None:
    def run(*args: str | Path, code: int = 0, **options: Any) -> Any:
        done = outside(*args, cwd=tmp_path, **options)
        assert done.code == code, done.err
        return done

    def index() -> dict[str, int]:
        report = run("index", "photos", "--json").json["sources"][0]
        return {name: report[name] for name in ("added", "updated", "moved", "removed", "unchanged") if report[name]}

    (tmp_path / ".mmsearch").mkdir()
    first = run("index", "photos", "--model", "toy")
    assert first.err.splitlines()[0].startswith(f"making a new collection at {tmp_path / '.mmsearch'}")
    assert "model toy" in first.err.splitlines()[0]
    assert "9 added, 3 skipped" in first.err
    assert "skipped cut.png: truncated" in first.err

    hits = run("query", "red", "--jsonl", "-k", "3").lines
    assert hits[0]["id"] == "red.png"
    by_picture = run("query", "-i", "-", "--jsonl", "-k", "1", stdin=(photos / "blue.png").read_bytes()).lines
    assert by_picture[0]["id"] == "blue.png"
    assert by_picture[0]["score"] > 0.999
    near = run("similar", "photos/trip/red and blue.jpg", "--jsonl").lines
    assert "trip/red and blue.jpg" not in {row["id"] for row in near}
    assert {row["id"] for row in near[:2]} == {"red.png", "blue.png"}
    assert run("similar", "trip/red and blue.jpg", "--jsonl").lines == near
    assert len(run("failures", "--jsonl").lines) == 3
    assert run("verify", "--json").json["sound"] is True

    assert index() == {"unchanged": 9}
    stripes(photos / "red.png", "blue", size=50)
    (photos / "green.png").rename(photos / "trip" / "lawn.png")
    (photos / "yellow.png").unlink()
    stripes(photos / "cut.png", "yellow", "green")
    assert index() == {"added": 1, "updated": 1, "moved": 1, "removed": 1, "unchanged": 6}
    assert {row["path"] for row in run("failures", "--jsonl").lines} == {"empty.jpg", "page.jpg"}
    assert run("query", "green", "--jsonl", "-k", "1").lines[0]["id"] == "trip/lawn.png"
    blue = run("query", "blue", "-f", "-k", "2").out.decode().split()
    assert {Path(path).name for path in blue} == {"blue.png", "red.png"}

    before = run("status", "--json").json
    run("compact")
    assert run("repair", "--json").json["sound"] is True
    after = run("status", "--json").json
    assert (after["images"], after["texts"]) == (before["images"], before["texts"]) == (8, 1)
    assert run("verify").err.splitlines() == ["the collection is sound"]


def test_moving_a_root_encodes_nothing(outside: Any, photos: Path, tmp_path: Path) -> None:
    collection = tmp_path / "c"
    assert outside("index", photos, "-c", collection, "--model", "toy", "-q").err == ""
    moved = photos.rename(tmp_path / "elsewhere")
    assert "no" in outside("root", "list", "-c", collection).out.decode()
    done = outside("root", "move", "photos", moved, "-c", collection)
    assert (done.code, done.err) == (0, f"the root photos lies in {moved} now\n")
    report = outside("index", moved, "-c", collection, "--json").json["sources"][0]
    assert (report["unchanged"], report["added"], report["removed"]) == (9, 0, 0)
    path = outside("query", "red", "-k", "1", "-0", "-c", collection).out
    assert path == os.fsencode(moved / "red.png") + b"\0"
    assert outside("root", "remove", "photos", "--yes", "-c", collection).err.startswith("removed 9 items")
    assert outside("status", "--json", "-c", collection).json["images"] == 0
    assert (moved / "red.png").exists()


def test_a_list_of_names_on_stdin(outside: Any, photos: Path, tmp_path: Path) -> None:
    names = sorted(os.fsencode(path) for path in photos.rglob("*.png"))
    done = outside("index", "--files-from", "-", "-0", "-c", tmp_path / "c", "--model", "toy", "--json",
                   stdin=b"\0".join(names) + b"\0")
    assert done.code == 0, done.err
    [report] = done.json["sources"]
    assert (report["added"], len(report["skipped"])) == (7, 1)
    rows = outside("query", "yellow", "--jsonl", "-k", "1", "-c", tmp_path / "c").lines
    assert rows[0]["id"] == "yellow.png"


def test_a_file_below_a_root_keeps_its_id(outside: Any, photos: Path, stripes: Any, tmp_path: Path) -> None:
    collection = tmp_path / "c"
    outside("index", photos, "-c", collection, "--model", "toy")
    new = stripes(photos / "trip" / "new.png", "green", "blue")
    report = outside("index", new, photos / "trip", "-c", collection, "--json").json["sources"]
    assert [(one["added"], one["unchanged"], one["removed"]) for one in report] == [(0, 1, 0), (0, 2, 0)] or \
        sum(one["added"] for one in report) == 1
    assert outside("similar", "trip/new.png", "-f", "-k", "1", "-c", collection).code == 0
    assert outside("status", "--json", "-c", collection).json["images"] == 9


def test_include_exclude_and_dry_run(outside: Any, photos: Path, tmp_path: Path) -> None:
    collection = tmp_path / "c"
    done = outside("index", photos, "-c", collection, "--model", "toy", "--include", "*.png", "--exclude", "cut*",
                   "--dry-run", "--json")
    assert done.json["sources"][0]["added"] == 6
    assert done.json["sources"][0]["dry_run"] is True
    assert not collection.exists()
    assert "would make a new collection" in done.err
