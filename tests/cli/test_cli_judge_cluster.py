"""``mmsearch judge``, ``cluster``, ``calibrate`` and the options of ``query`` that go with them."""

from __future__ import annotations

import pytest


@pytest.fixture
def own(inside, photos, tmp_path):
    """A library that may be changed."""
    done = inside("-c", tmp_path / "own", "index", photos, "--model", "toy", "--workers", "1", "--json")
    assert done.code == 0, done.err
    return lambda *args: inside("-c", tmp_path / "own", *args)


def ranks(done):
    assert done.code == 0, done.err
    return {hit["id"]: hit["rank"] for hit in done.lines}


def test_judging_moves_later_queries_until_it_is_forgotten(own):
    before = ranks(own("query", "red", "--jsonl"))
    assert own("judge", "red", "--like", "blue.png", "--json").json["judgements"] == [
        {"query": "red", "like": ["blue.png"], "unlike": []}]
    after = ranks(own("query", "Red", "--jsonl"))
    assert after["blue.png"] < before["blue.png"]
    assert ranks(own("query", "red", "--unjudged", "--jsonl")) == before
    assert [one["query"] for one in own("judge", "--jsonl").lines] == ["red"]
    assert "blue.png" in own("judge").out.decode()
    assert own("judge", "green", "--jsonl").lines == []
    assert own("judge", "red", "--forget").code == 0
    assert own("judge", "red", "--forget").code == 1
    assert ranks(own("query", "red", "--jsonl")) == before


def test_query_remembers_likes_when_asked(own):
    once = own("query", "red", "--like", "blue.png", "--jsonl")
    assert once.code == 0
    assert own("judge", "--jsonl").lines == []
    kept = ranks(own("query", "red", "--like", "blue.png", "--unlike", "green.png", "--remember", "--jsonl"))
    assert own("judge", "--jsonl").lines[0]["unlike"] == ["green.png"]
    assert ranks(own("query", "red", "--jsonl")) == kept


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("judge", "--like", "red.png"), 2),
        (("judge", "red", "--like", "red.png", "--forget"), 2),
        (("judge", "red", "--like", "nobody"), 1),
        (("query", "red", "--remember"), 2),
        (("query", "red", "--heatmap"), 2),
        (("cluster", "-k", "99"), 2),
        (("calibrate",), 2),
    ],
)
def test_wrong_usage(own, args, code):
    done = own(*args)
    assert done.code == code, done.err


def test_clusters_for_people_and_programs(own, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("red\ngreen\nblue\nyellow\n")
    found = own("cluster", "-k", "4", "--labels", labels, "--json").json
    assert sum(one["size"] for one in found["clusters"]) == 8
    assert {"red.png"} <= {id for one in found["clusters"] if "red" in one["name"] for id in one["ids"]}
    table = own("cluster", "-k", "4", "--labels", labels)
    assert "4 clusters of 8 pictures" in table.err
    assert "for instance" in table.out.decode()
    page = own("cluster", "-k", "4", "--labels", labels, "--html", "-").out.decode()
    assert page.count("<section>") == 4
    assert page.count("data:image/") == sum(min(3, one["size"]) for one in found["clusters"])
    assert "0.000" not in page


def test_the_page_shows_where_each_picture_answers(own):
    plain = own("query", "blue", "--html", "-").out.decode()
    heated = own("query", "blue", "--html", "-", "--heatmap").out.decode()
    assert 'class="heat"' not in plain
    assert heated.count('class="heat"') == 8
    assert heated.count("data:image/webp") == 8
