"""``mmsearch why`` and ``mmsearch dupes`` on the small library of colours."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image


@pytest.mark.parametrize(
    ("args", "state", "word"),
    [
        (("red.png", "red"), "found", "rank 1 of 8"),
        (("blue.png", "red"), "found", "score"),
        (("red.png", "red", "--where", "width < 0"), "filtered", "left out by the condition"),
        (("red.png", "red", "--where", "width > :w", "--param", "w=10"), "found", "satisfy the condition"),
        (("nobody.png", "red"), "unknown", "neither an item"),
    ],
)
def test_why_says_where_an_item_stands(ask, args, state, word):
    done = ask("why", *args)
    assert done.code == 0, done.err
    assert word in done.out.decode()
    assert ask("why", *args, "--json").json["state"] == state


def test_why_of_files_that_are_not_in_the_collection(ask, library, tmp_path):
    assert ask("why", library.photos / "empty.jpg", "red", "--json").json["state"] == "skipped"
    (tmp_path / "new.png").write_bytes((library.photos / "red.png").read_bytes())
    outside = ask("why", tmp_path / "new.png", "red", "--json").json
    assert (outside["state"], outside["root"]) == ("not indexed", None)


@pytest.fixture
def doubled(inside, photos, tmp_path):
    """The library's photos with a copy, a smaller picture of one, and nothing else alike."""
    shutil.copy(photos / "red.png", photos / "trip" / "red copy.png")
    with Image.open(photos / "green.png") as picture:
        picture.resize((24, 24)).save(photos / "trip" / "green small.png")
    done = inside("-c", tmp_path / "doubled", "index", photos, "--model", "toy", "--workers", "1", "--json")
    assert done.code == 0, done.err
    return tmp_path / "doubled"


def test_dupes_heaps_copies_and_near_copies_with_the_best_first(inside, doubled, photos):
    heaps = inside("-c", doubled, "dupes", "--threshold", "0.999", "--json").json["heaps"]
    names = sorted(sorted(entry["id"] for entry in heap) for heap in heaps)
    assert names == [["green.png", "trip/green small.png"], ["red.png", "trip/red copy.png"]]
    green, red = sorted(heaps, key=lambda heap: heap[0]["id"])
    assert [entry["width"] for entry in green] == [48, 24]
    assert [entry["same_bytes"] for entry in green] == [True, False]
    assert [entry["same_bytes"] for entry in red] == [True, True]
    spare = inside("-c", doubled, "dupes", "--threshold", "0.999", "-0").out.split(b"\0")
    assert sorted(spare) == [b"", *sorted(bytes(photos / "trip" / n) for n in ("green small.png", "red copy.png"))]


def test_dupes_by_bytes_alone(inside, doubled):
    done = inside("-c", doubled, "dupes", "--threshold", "1", "--jsonl")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["red.png", "trip/red copy.png"]
    assert "1 heap, 1 picture to spare" in inside("-c", doubled, "dupes", "--threshold", "1").err


def test_dupes_remembers_what_is_no_duplicate(inside, doubled):
    args = ("-c", doubled, "dupes")
    done = inside(*args, "--not-duplicate", "green.png", "trip/green small.png")
    assert (done.code, done.out) == (0, b"")
    assert "no duplicates from now on" in done.err
    assert inside(*args, "--not-duplicates", "--json").json["not_duplicates"] == [["green.png", "trip/green small.png"]]
    names = {entry["id"] for heap in inside(*args, "--threshold", "0.999", "--json").json["heaps"] for entry in heap}
    assert "green.png" not in names
    assert inside(*args, "--not-duplicate", "green.png", "trip/green small.png", "--forget").code == 0
    names = {entry["id"] for heap in inside(*args, "--threshold", "0.999", "--json").json["heaps"] for entry in heap}
    assert "green.png" in names
    assert inside(*args, "--forget").code == 2
    assert inside(*args, "--not-duplicate", "green.png", "nobody").code == 1


def test_why_draws_where_the_query_is_met(ask, library, tmp_path):
    target = tmp_path / "heat.png"
    done = ask("why", "trip/red and blue.jpg", "blue", "--heatmap", target, "--json")
    assert done.code == 0, done.err
    heat = done.json["heatmap"]
    assert (heat["width"], heat["height"], heat["method"]) == (48, 48, "windows")
    assert heat["hottest"][0] > 24  # blue is on the right
    with Image.open(target) as picture:
        assert picture.format == "PNG"
    Image.new("RGB", (40, 40), (220, 20, 20)).save(tmp_path / "new.png")
    assert ask("why", tmp_path / "new.png", "red", "--heatmap", tmp_path / "b.png").code == 0  # not indexed, and drawn
    assert (tmp_path / "b.png").exists()
    assert ask("why", "nobody.png", "red", "--heatmap", target).code == 1
    assert ask("why", "red.png", "red", "--heatmap", tmp_path / "no" / "x.png").code == 4
