"""The options that order and cut hits, and ``mmsearch tag``, on the small library of colours."""

from __future__ import annotations

import json

import pytest


def lines(done):
    assert done.code == 0, done.err
    return done.lines


def test_relevance_is_shown_and_cut_by(ask):
    every = lines(ask("query", "red", "--jsonl", "--min-relevance", "0"))
    assert len(every) == 8
    relevances = [hit["relevance"] for hit in every]
    assert all(0 <= value <= 1 for value in relevances)
    least = sorted(relevances)[4]
    some = lines(ask("query", "red", "--jsonl", "--min-relevance", repr(least)))
    assert [hit["id"] for hit in some] == [hit["id"] for hit in every if hit["relevance"] >= least]
    assert [hit["rank"] for hit in some] == list(range(1, len(some) + 1))
    assert all(hit["relevance"] is None for hit in lines(ask("query", "red", "--jsonl")))


def test_the_automatic_cut_finds_what_is_there_and_nothing_else(ask):
    assert lines(ask("query", "red", "--jsonl", "--cutoff", "auto"))[0]["id"] == "red.png"
    nothing = ask("query", "nothing of that kind whatsoever", "--cutoff", "auto", "--exit-code")
    assert (nothing.code, nothing.out) == (1, b"")


def test_fast_boost_collapse_and_diversity_reorder(ask):
    fast = lines(ask("query", "red", "--jsonl", "--rerank", "fast"))
    assert len(fast) == 8
    assert all(hit["rerank"] is not None for hit in fast)
    values = [hit["rerank"] for hit in fast]
    assert values == sorted(values, reverse=True)
    boosted = lines(ask("query", "red", "--jsonl", "--boost", "(id = 'blue.png') * 5"))
    assert boosted[0]["id"] == "blue.png"
    assert len(lines(ask("query", "red", "--jsonl", "--collapse", "--diversity", "0.5"))) <= 8
    assert len(lines(ask("similar", "red.png", "--jsonl", "--rerank", "fast", "--candidates", "5"))) <= 10


def test_words_of_a_name_are_found(ask):
    assert lines(ask("query", "trip", "--jsonl", "--lexical", "auto"))[0]["id"] == "trip/red and blue.jpg"
    assert lines(ask("query", "trip", "--jsonl", "--lexical", "0.001"))[0]["id"] == lines(ask("query", "trip", "--jsonl"))[0]["id"]


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--lexical", "often"), "--lexical takes"),
        (("--cutoff", "auto", "--min-relevance", "0.5"), "exclude each other"),
        (("--boost", "sum(x)"), "function call"),
        (("--rerank", "better"), "better"),
        (("--diversity", "2"), "diversity"),
        (("--kind", "text", "--cutoff", "auto"), "relevance is measured"),
    ],
)
def test_what_is_refused(ask, args, word):
    done = ask("query", "red", *args)
    assert done.code == 2
    assert word in done.err
    assert len(done.err.splitlines()) <= 4


def test_tags(ask, tmp_path):
    (tmp_path / "labels").write_text("red\nblue\n\nsubmarine\n")
    done = ask("tag", "--labels", tmp_path / "labels", "--jsonl")
    found = {line["id"]: [label["label"] for label in line["labels"]] for line in map(json.loads, done.out.splitlines())}
    assert found["red.png"] == ["red"]
    assert found["blue.png"] == ["blue"]
    assert sorted(found["trip/red and blue.jpg"]) == ["blue", "red"]
    assert not any("submarine" in labels for labels in found.values())
    assert "red.png" in ask("tag", "--labels", tmp_path / "labels", "--min-relevance", "0").out.decode()
