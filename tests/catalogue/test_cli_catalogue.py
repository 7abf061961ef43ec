"""A manifest of products from the command line: index, facets, weighted fields, several liked."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import mmsearch as mm
from mmsearch import cli
from mmsearch.encoders.toy import COLOURS


@pytest.fixture
def run(tmp_path, capfdbinary, monkeypatch):
    """Runs a command over nine products in three colours; returns its code and output."""
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = []
    for n in range(9):
        colour = ("red", "blue", "green")[n % 3]
        images = [f"{n}-{view}.png" for view in range(2)]
        for view, image in enumerate(images):
            red, green, blue = COLOURS[colour]
            Image.new("RGB", (40, 30 + n), (red, green, max(0, blue - 5 * n - view))).save(tmp_path / image)
        row = {"sku": f"s{n}", "images": images, "title": f"{colour} thing", "description": f"number{n} of all"}
        rows.append(row | {"colour": colour, "price": n * 10, "sale": n > 5})
    (tmp_path / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mm.Collection.open(tmp_path / "shop", create=True, model="toy").close()

    def call(*args):
        code = cli.main(["-c", str(tmp_path / "shop"), *args])
        out = capfdbinary.readouterr()
        return code, out.out.decode(), out.err.decode()

    assert call("index", "--manifest", str(tmp_path / "products.jsonl"))[0] == 0
    return call


def test_values_and_their_counts(run):
    code, out, _ = run("facets", "colour", "sale", "--group-by", "group", "--json")
    assert code == 0
    colour, sale = json.loads(out)["facets"]
    assert {one["value"]: one["count"] for one in colour["values"]} == {"red": 3, "blue": 3, "green": 3}
    assert {one["value"]: one["count"] for one in sale["values"]} == {False: 6, True: 3}
    code, out, _ = run("facets", "--where", "price < 30")
    assert code == 0
    assert "colour\n  blue   2\n  green  2\n  red    2\n" in out
    assert "sale\n  no  6\n" in out
    assert "title" in out
    (price,) = json.loads(run("facets", "price", "--query", "red", "--json", "--top", "3")[1])["facets"]
    assert len(price["values"]) == 3
    assert price["more"] == 6


def test_a_product_is_one_hit_and_says_what_matched(run):
    code, out, err = run("query", "red thing", "--fields", "photo=1,title=0.5", "--jsonl")
    assert code == 0, err
    hits = [json.loads(line) for line in out.splitlines()]
    assert {hit["group"] for hit in hits[:3]} == {"s0", "s3", "s6"}
    assert len({hit["group"] for hit in hits}) == 9
    first = hits[0]["group"]
    assert set(hits[0]["matches"]) == {hits[0]["id"], f"{first}#title"}
    assert hits[0]["id"].startswith(f"{first}#photo-")
    assert run("query", "red", "--fields", "photo=many")[0] == 2
    assert run("query", "red", "--fields", "nowhere")[0] == 2


def test_like_several_and_unlike_one(run):
    code, out, err = run("similar", "s0#photo-1", "s1#photo-1", "--unlike", "s2#photo-1", "--jsonl", "-k", "9")
    assert code == 0, err
    ids = [json.loads(line)["id"] for line in out.splitlines()]
    assert not {"s0#photo-1", "s1#photo-1", "s2#photo-1"} & set(ids)
    assert {int(id[1]) % 3 for id in ids} == {0, 1}
    code, out, _ = run("similar", "s0#photo-1", "--where", "colour = 'green'", "--group-by", "group", "--jsonl")
    assert {json.loads(line)["group"] for line in out.splitlines()} == {"s2", "s5", "s8"}
