"""Every form of output, read back and compared with the same search through Python."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mmsearch.collection import Collection

FIELDS = ["v", "rank", "id", "kind", "group", "path", "text", "score", "relevance", "rerank", "meta", "box", "exact"]


@pytest.fixture(scope="module")
def truth(library: Any) -> list[Any]:
    """All images by their nearness to "red", from the library itself."""
    with Collection.open(library.collection) as collection:
        return list(collection.search("red", k=50))


def test_the_truth_is_sensible(truth: list[Any]) -> None:
    assert truth[0].id == "red.png"
    assert {hit.id for hit in truth[:3]} == {"red.png", "trip/red and blue.jpg", next(h.id for h in truth if "caf" in h.id)}
    assert len(truth) == 8


def test_jsonl(ask: Any, truth: list[Any]) -> None:
    rows = ask("query", "red", "-k", "50", "--jsonl").lines
    assert [list(row)[:13] for row in rows] == [FIELDS] * len(truth)
    for row, hit in zip(rows, truth, strict=True):
        assert (row["v"], row["rank"], row["id"], row["kind"]) == (1, hit.rank, hit.id, "image")
        assert row["score"] == pytest.approx(hit.score, abs=1e-6)
        assert (row["text"], row["relevance"], row["rerank"], row["box"], row["exact"]) == (None, None, None, None, True)
        if "path_b64" in row:
            assert base64.b64decode(row["path_b64"]) == os.fsencode(hit.path)
            assert row["path"].endswith("/caf\N{REPLACEMENT CHARACTER}.png")
        else:
            assert row["path"] == hit.path
    assert sum("path_b64" in row for row in rows) == 1


def test_json_is_one_object(ask: Any, truth: list[Any]) -> None:
    answer = ask("query", "2:red", "--not", "green", "--json").json
    assert answer["query"] == [{"what": "text", "value": "red", "weight": 2.0},
                               {"what": "text", "value": "green", "weight": -1.0}]
    assert answer["candidates"] == len(truth)
    assert answer["exact"] is True
    assert {"encode", "filter", "search", "fetch"} <= set(answer["timings"])
    assert answer["hits"][0]["id"] == "red.png"


def test_csv(ask: Any, truth: list[Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(ask("query", "red", "-k", "50", "--csv").out.decode(), newline="")))
    assert list(rows[0]) == [*FIELDS[1:], "path_b64"]
    assert [row["id"] for row in rows] == [hit.id for hit in truth]
    assert [float(row["score"]) for row in rows] == pytest.approx([hit.score for hit in truth], abs=1e-6)
    assert [json.loads(row["meta"]) for row in rows] == [hit.meta for hit in truth]
    newline = next(row for row in rows if "new" in row["path"])
    assert newline["path"].endswith("/new\nline.png")


def test_paths_raw_and_by_line(ask: Any, truth: list[Any]) -> None:
    raw = ask("query", "red", "-k", "50", "-0").out
    assert raw.endswith(b"\0")
    assert raw[:-1].split(b"\0") == [os.fsencode(hit.path) for hit in truth]
    lines = ask("query", "red", "-k", "50", "--paths").out.splitlines()
    assert lines == [os.fsencode(hit.path).replace(b"\n", b"\\n") for hit in truth]


def test_offset_and_top_make_pages(ask: Any, truth: list[Any]) -> None:
    page = ask("query", "red", "-k", "3", "--offset", "2", "--jsonl").lines
    assert [(row["rank"], row["id"]) for row in page] == [(hit.rank, hit.id) for hit in truth[2:5]]


def test_the_table(ask: Any, library: Any, truth: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library.photos)
    done = ask("query", "red", "-k", "50")
    head, *lines = done.out.decode().splitlines()
    assert head.split()[:3] == ["#", "score", "path"]
    assert lines[0].split() == ["1", f"{truth[0].score:.3f}", "red.png"]
    table = "\n".join(lines)
    assert "trip/red and blue.jpg" in table
    assert "new\\nline.png" in table
    assert "./-dash.png" in table
    assert "caf\\xe9.png" in table
    assert not any(line != line.rstrip() for line in lines)
    assert "8 images and 1 text, last changed" in done.err


def test_the_table_of_texts_shows_text_and_id(ask: Any) -> None:
    head, line = ask("query", "yellow", "--kind", "text").out.decode().splitlines()
    assert head.split() == ["#", "score", "text", "id"]
    assert line.split()[2:] == ["a", "yellow", "submarine", "note.txt"]


def test_kinds(ask: Any) -> None:
    assert [row["kind"] for row in ask("query", "yellow", "--kind", "text", "--jsonl").lines] == ["text"]
    both = ask("query", "yellow", "--kind", "any", "--jsonl", "-k", "50").lines
    assert sorted(row["kind"] for row in both) == ["image"] * 8 + ["text"]


def test_quiet_says_nothing(ask: Any) -> None:
    done = ask("query", "red", "-q", "-f", "-k", "1")
    assert (done.err, done.out.count(b"\n")) == ("", 1)


def test_explain(ask: Any) -> None:
    done = ask("query", "red", "--explain", "--where", "width >= 48")
    assert "8 candidates after kind and filter; exact" in done.err
    assert "encode" in done.err


def test_explain_says_what_each_rung_gave(ask: Any) -> None:
    done = ask("query", "red", "--explain", "--boost", "width * 0 + 1", "-k", "2", "--json")
    answer = json.loads(done.out)
    assert "boost" in answer["timings"]
    for hit in answer["hits"]:
        assert hit["stages"] == {"boost": pytest.approx(hit["score"] + 1, abs=1e-6)}
        assert f"{hit['rank']}. score {hit['score']:.4f} · boost {hit['stages']['boost']:.4f}" in done.err
    assert all("stages" not in hit for hit in json.loads(ask("query", "red", "--json").out)["hits"])


def test_forms_exclude_each_other(ask: Any) -> None:
    done = ask("query", "red", "--json", "-f")
    assert done.code == 2
    assert "--json and --paths exclude each other" in done.err


def test_a_reader_that_goes_away_is_no_error(outside: Any, library: Any) -> None:
    import subprocess
    import sys

    script = [sys.executable, "-c", "import sys; from mmsearch.cli import main; sys.exit(main())"]
    with subprocess.Popen([*script, "-c", library.collection, "query", "red", "--jsonl"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read().decode().splitlines()[1:] == []
        assert process.wait(30) == 0


def test_names_are_no_markup(inside: Any, stripes: Any, tmp_path: Path) -> None:
    stripes(tmp_path / "photos" / "[red]x[/red] [link=file:a]y.png", "red")
    inside("index", "photos", "-c", "c", "--model", "toy")
    assert "photos/[red]x[/red] [link=file:a]y.png" in inside("query", "red", "-c", "c").out.decode()


def test_open_takes_the_best_hit_or_the_page(ask: Any, library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", lambda target: opened.append(target) or 0)
    assert ask("query", "red", "--open").code == 0
    assert ask("query", "red", "--open", "--html", "page.html").code == 0
    assert opened == [str(library.photos / "red.png"), str(tmp_path / "page.html")]


def test_status_and_failures(ask: Any, library: Any) -> None:
    status = ask("status", "--json").json
    assert (status["images"], status["texts"], status["failures"], status["info"]["model"]) == (8, 1, 3, "toy")
    assert list(status["roots"].values()) == [str(library.photos)]
    people = ask("status").out.decode()
    assert "8 images, 1 text" in people
    assert f"photos  {library.photos}" in people
    rows = ask("failures", "--jsonl").lines
    assert {row["path"]: row["reason"] for row in rows} == {
        "empty.jpg": "not_image", "page.jpg": "not_image", "cut.png": "truncated",
    }
    assert ask("failures", "--reason", "truncated", "-0").out == os.fsencode(library.photos / "cut.png") + b"\0"
    people = ask("failures")
    assert "truncated" in people.out.decode()
    assert "3 files skipped" in people.err
    assert ask("failures", "--exit-code", "-q").code == 1


def test_the_report_of_index(library: Any) -> None:
    [source] = library.report["sources"]
    assert (source["added"], source["updated"], source["unchanged"]) == (9, 0, 0)
    assert sorted(failure["reason"] for failure in source["skipped"]) == ["not_image", "not_image", "truncated"]
    assert Path(library.report["collection"]) == library.collection
