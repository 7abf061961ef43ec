"""Every kind of file that judges: what is read from it, and how a broken line is named."""

from __future__ import annotations

import json

import pytest

import mmsearch as mm
from mmsearch.evaluation import Captions, Judgements, read


@pytest.fixture
def write(tmp_path):
    def to(name, content):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path / name

    return to


def test_trec_judgements_with_and_without_a_file_of_queries(write):
    qrels = write("qrels", "q1 0 a.jpg 1\nq1 0 b.jpg 0\n\nq2 0 c.jpg 2\n")
    assert read(qrels) == Judgements(
        {"q1": mm.item("q1"), "q2": mm.item("q2")}, {"q1": {"a.jpg": 1, "b.jpg": 0}, "q2": {"c.jpg": 2}}
    )
    asked = read(qrels, queries=write("topics.tsv", "q1\ta red cat\nq2\ta dog\nq3\tnot judged\n"))
    assert asked.queries == {"q1": mm.text("a red cat"), "q2": mm.text("a dog")}
    lines = write("topics.jsonl", '{"id": "q1", "image": "x/c.png"}\n{"id": "q2", "item": "c.jpg"}\n')
    assert read(qrels, queries=lines).queries == {"q1": mm.image(f"{lines.parent}/x/c.png"), "q2": mm.item("c.jpg")}
    tabs = read(write("tabs", "my query\t0\tmy photo.jpg\t1\n"))
    assert tabs.relevant == {"my query": {"my photo.jpg": 1}}


def test_csv_of_queries_and_ids(write):
    found = read(write("a.csv", 'query,id,grade\n"a cat, asleep",a.jpg,2\n"a cat, asleep",b.jpg,1\n'))
    assert found == Judgements({"a cat, asleep": mm.text("a cat, asleep")}, {"a cat, asleep": {"a.jpg": 2, "b.jpg": 1}})
    assert read(write("b.tsv", "item\tid\nx\ty\n")).queries == {"x": mm.item("x")}
    image = write("c.csv", "image,id\nq.png,y\n")
    assert read(image).queries == {"q.png": mm.image(f"{image.parent}/q.png")}


CAPTIONS = Captions({"a.jpg": ("A cat .", "A dog"), "b.jpg": ("A sea",)})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("flickr.txt", "a.jpg#0\tA cat .\na.jpg#1\tA dog\nb.jpg#0\tA sea\n"),
        ("captions.csv", "image,caption\na.jpg,A cat .\na.jpg,A dog\nb.jpg,A sea\n"),
        ("captions.jsonl", '{"image": "a.jpg", "captions": ["A cat .", "A dog"]}\n{"image": "b.jpg", "caption": "A sea"}\n'),
        ("coco.json", json.dumps({
            "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
            "annotations": [{"image_id": 1, "caption": "A cat ."}, {"image_id": 1, "caption": "A dog"},
                            {"image_id": 2, "caption": "A sea"}]})),
    ],
)  # fmt: skip
def test_captions_of_four_kinds_read_alike(write, name, content):
    assert read(write(name, content)) == CAPTIONS


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("qrels", "q1 0 a.jpg 1\nq1 0 a.jpg\n", "line 2: qrels have four fields"),
        ("qrels", "q1 0 a.jpg yes\n", "line 1: the grade 'yes'"),
        ("a.csv", "who,what\n1,2\n", "line 1: the head"),
        ("a.csv", "query,id\n", "no queries"),
        ("a.csv", "query,id\n ,b\n", "line 2: the query is empty"),
        ("a.jsonl", '{"image": "a.jpg", "captions": ["x"]}\n{"image": 3}\n', "line 2: a line is"),
        ("a.jsonl", "[]\n", "line 1: it is no JSON object"),
        ("a.json", "{}", "no COCO caption file"),
        ("a.txt", "a.jpg#0\tx\nb.jpg\ty\n", "line 2: a caption is"),
        ("a.csv", "image,caption\n", "no captions"),
    ],
)
def test_what_is_broken_is_named_with_its_line(write, name, content, word):
    with pytest.raises(mm.SourceError, match=word):
        read(write(name, content))


def test_a_query_that_is_judged_and_never_asked(write):
    with pytest.raises(mm.SourceError, match="no query 'q1'"):
        read(write("qrels", "q1 0 a.jpg 1\n"), queries=write("topics", "q2\tx\n"))
    with pytest.raises(mm.SourceError, match="cannot be read"):
        read("/no/such/file")
