"""The whole way: in processes of their own with sockets blocked, then what else ``index`` can be given."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


def test_the_whole_way(outside: Any, inside: Any, photos: Path, stripes: Any, tmp_path: Path) -> None:
    def run(*args: str | Path, **options: Any) -> Any:
        done = outside(*args, cwd=tmp_path, **options)
        assert done.code == 0, done.err
        return done

    def counts(done: Any) -> dict[str, int]:
        report = done.json["sources"][0]
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
    again = inside("similar", "trip/red and blue.jpg", "--jsonl").lines
    assert [row["id"] for row in again] == [row["id"] for row in near]
    # an older process may score by another kernel (FAISS's, once it is loaded), which rounds otherwise
    assert [row["score"] for row in again] == pytest.approx([row["score"] for row in near], abs=1e-6)
    assert len(run("failures", "--jsonl").lines) == 3
    assert run("verify", "--json").json["sound"] is True

    assert counts(inside("index", "photos", "--json")) == {"unchanged": 9}
    stripes(photos / "red.png", "blue", size=50)
    (photos / "green.png").rename(photos / "trip" / "lawn.png")
    (photos / "yellow.png").unlink()
    stripes(photos / "cut.png", "yellow", "green")
    assert counts(run("index", "photos", "--json")) == {"added": 1, "updated": 1, "moved": 1, "removed": 1, "unchanged": 6}
    assert {row["path"] for row in inside("failures", "--jsonl").lines} == {"empty.jpg", "page.jpg"}
    assert run("query", "green", "--jsonl", "-k", "1").lines[0]["id"] == "trip/lawn.png"
    blue = inside("query", "blue", "-f", "-k", "2").out.decode().split()
    assert {Path(path).name for path in blue} == {"blue.png", "red.png"}

    before = inside("status", "--json").json
    assert inside("compact").code == 0
    assert inside("repair", "--json").json["sound"] is True
    after = inside("status", "--json").json
    assert (after["images"], after["texts"]) == (before["images"], before["texts"]) == (8, 1)
    assert run("verify").err.splitlines() == ["the collection is sound"]


def test_moving_a_root_encodes_nothing(inside: Any, photos: Path, tmp_path: Path) -> None:
    collection = tmp_path / "c"
    assert inside("index", photos, "-c", collection, "--model", "toy", "-q").err == ""
    moved = photos.rename(tmp_path / "elsewhere")
    assert "no" in inside("root", "list", "-c", collection).out.decode()
    done = inside("root", "move", "photos", moved, "-c", collection)
    assert (done.code, done.err) == (0, f"the root photos lies in {moved} now\n")
    report = inside("index", moved, "-c", collection, "--json").json["sources"][0]
    assert (report["unchanged"], report["added"], report["removed"]) == (9, 0, 0)
    path = inside("query", "red", "-k", "1", "-0", "-c", collection).out
    assert path == os.fsencode(moved / "red.png") + b"\0"
    assert inside("root", "remove", "photos", "--yes", "-c", collection).err.startswith("removed 9 items")
    assert inside("status", "--json", "-c", collection).json["images"] == 0
    assert (moved / "red.png").exists()


def test_a_list_of_names_on_stdin(inside: Any, photos: Path, tmp_path: Path) -> None:
    names = sorted(os.fsencode(path) for path in photos.rglob("*.png"))
    done = inside("index", "--files-from", "-", "-0", "-c", tmp_path / "c", "--model", "toy", "--json",
                   stdin=b"\0".join(names) + b"\0")
    assert done.code == 0, done.err
    [report] = done.json["sources"]
    assert (report["added"], len(report["skipped"])) == (7, 1)
    rows = inside("query", "yellow", "--jsonl", "-k", "1", "-c", tmp_path / "c").lines
    assert rows[0]["id"] == "yellow.png"


def test_a_file_below_a_root_keeps_its_id(inside: Any, photos: Path, stripes: Any, tmp_path: Path) -> None:
    collection = tmp_path / "c"
    inside("index", photos, "-c", collection, "--model", "toy")
    new = stripes(photos / "trip" / "new.png", "green", "blue")
    report = inside("index", new, photos / "trip", "-c", collection, "--json").json["sources"]
    assert [(one["added"], one["unchanged"], one["removed"]) for one in report] == [(1, 1, 0), (0, 1, 0)]
    assert inside("similar", "trip/new.png", "-f", "-k", "1", "-c", collection).code == 0
    assert inside("status", "--json", "-c", collection).json["images"] == 9


def test_include_exclude_and_dry_run(inside: Any, photos: Path, tmp_path: Path) -> None:
    collection = tmp_path / "c"
    done = inside("index", photos, "-c", collection, "--model", "toy", "--include", "*.png", "--exclude", "cut*",
                   "--dry-run", "--json")
    assert done.json["sources"][0]["added"] == 7
    assert done.json["sources"][0]["dry_run"] is True
    assert not collection.exists()
    assert "would make a new collection" in done.err


def test_a_manifest_with_filters_and_groups(inside: Any, stripes: Any, tmp_path: Path) -> None:
    rows = ["id,image,brand,price,group"]
    for at, (colour, brand, price) in enumerate([("red", "Acme", 40), ("red", "Bolt", 60), ("blue", "Acme", 20),
                                                 ("green", "O'Hara", 5)]):
        stripes(tmp_path / "shop" / f"{at}.png", colour, colour, size=40 + at)
        rows.append(f"sku-{at},{at}.png,{brand},{price},{colour}")
    (tmp_path / "shop" / "items.csv").write_text("\n".join(rows) + "\n")
    done = inside("index", "--manifest", "shop/items.csv", "-c", "c", "--model", "toy", "--json")
    assert (done.code, done.json["sources"][0]["added"]) == (0, 4), done.err

    def ids(*args: str) -> list[str]:
        found = inside("query", "red", "--jsonl", "-c", "c", *args)
        assert found.code == 0, found.err
        return [row["id"] for row in found.lines]

    assert sorted(ids()[:2]) == ["sku-0", "sku-1"]
    assert ids("--where", "price < 50 and brand = 'Acme'") == ["sku-0", "sku-2"]
    assert ids("--where", 'brand = "O\'Hara"') == ["sku-3"]
    assert ids("--where", "brand = :b and price between :low and 100", "--param", "b=Acme", "--param", "low=30") == ["sku-0"]
    assert sorted(ids("--where", "brand in ('Bolt', 'Acme') and not price > 50")) == ["sku-0", "sku-2"]
    assert len(ids("--group-by", "brand")) == 3
    assert len(ids("--group-by", "group")) == 3
    table = inside("query", "red", "-c", "c", "--like", "sku-2").out.decode()
    assert "sku-2" in table


def test_a_manifest_whose_columns_are_named(inside: Any, stripes: Any, tmp_path: Path) -> None:
    stripes(tmp_path / "shop" / "a.png", "red")
    (tmp_path / "shop" / "items.jsonl").write_text('{"photo": "a.png", "number": "x-1", "words": "blue", "weight": 4}\n')
    done = inside("index", "--manifest", "shop/items.jsonl", "--column", "image=photo", "--column", "id=number",
                  "--column", "text=words", "-c", "c", "--model", "toy", "--json")
    assert (done.code, done.json["sources"][0]["added"]) == (0, 2), done.err
    [hit] = inside("query", "red", "--jsonl", "--where", "weight = 4", "-c", "c").lines
    assert (hit["id"], hit["meta"]["weight"]) == ("x-1", 4)
    for bad in (["--column", "image=photo"], ["--manifest", "shop/items.jsonl", "--column", "price=cost"]):
        assert inside("index", *bad, "-c", "c").code == 2


def test_captions_of_a_coco_file(inside: Any, stripes: Any, tmp_path: Path) -> None:
    stripes(tmp_path / "pictures" / "r.png", "red")
    stripes(tmp_path / "pictures" / "b.png", "blue")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "captions.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "r.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"image_id": 1, "caption": "it is red"}, {"image_id": 2, "caption": "it is blue"}],
    }))
    done = inside("index", "pictures", "--captions", "words/captions.json", "-c", "c", "--model", "toy", "--json")
    assert done.code == 0, done.err
    assert [source["added"] for source in done.json["sources"]] == [4]
    [hit] = inside("query", "-i", "pictures/b.png", "--kind", "text", "-k", "1", "--jsonl", "-c", "c").lines
    assert (hit["text"], hit["group"]) == ("it is blue", "b.png")
    assert inside("index", "pictures", "words", "--captions", "words/captions.json", "-c", "c").code == 2


def test_an_empty_list_is_said_to_be_empty(inside: Any) -> None:
    done = inside("index", "--files-from", "-", "-c", "c", "--model", "toy")
    assert (done.code, done.err.splitlines()[-1]) == (0, "the list of files is empty: nothing to index")


def test_captions_beside_photos_are_found_by_a_photo(inside: Any, stripes: Any, tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        stripes(tmp_path / "photos" / f"{colour}.png", colour)
        (tmp_path / "photos" / f"{colour}.txt").write_text(f"something {colour}\nit is {colour}\n")
    done = inside("index", "photos", "--captions", "sidecar", "-c", "c", "--model", "toy", "--json")
    assert done.json["sources"][0]["added"] == 6, done.err
    found = inside("query", "-i", "photos/blue.png", "--kind", "text", "--jsonl", "-k", "2", "-c", "c").lines
    assert {(row["text"], row["group"]) for row in found} == {("something blue", "blue.png"), ("it is blue", "blue.png")}
    one = inside("query", "blue", "--kind", "text", "--group-by", "group", "--jsonl", "-c", "c").lines
    assert [row["group"] for row in one] == ["blue.png", "red.png"]
