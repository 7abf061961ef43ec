"""``mmsearch eval`` on the small library of colours: tables, JSON, CSV, runs, plots, and what it refuses."""

from __future__ import annotations

import csv
import io

import pytest

QUERIES = "query,id\nred,red.png\ngreen,green.png\nblue,blue.png\nyellow,red.png\n"


@pytest.fixture
def qrels(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text(QUERIES)
    return path


def test_a_table_with_intervals(ask, qrels):
    done = ask("eval", qrels, "--measure", "recall@1")
    assert done.code == 0, done.err
    assert "recall@1" in done.out.decode()
    assert "0.750" in done.out.decode()


def test_json_and_csv_say_the_same(ask, qrels):
    (row,) = ask("eval", qrels, "--json", "--measure", "recall@1", "--measure", "mrr").json
    assert (row["v"], row["run"], row["queries"]) == (1, "default", 4)
    assert row["scores"]["recall@1"]["value"] == 0.75
    assert row["scores"]["recall@1"]["low"] <= 0.75 <= row["scores"]["recall@1"]["high"]
    lines = list(csv.DictReader(io.StringIO(ask("eval", qrels, "--csv", "--measure", "mrr").out.decode())))
    assert float(lines[0]["value"]) == pytest.approx(row["scores"]["mrr"]["value"], abs=1e-6)


def test_settings_and_saved_runs_are_compared_with_the_first(ask, qrels, tmp_path):
    run = tmp_path / "run.txt"
    done = ask("eval", qrels, "--json", "--measure", "recall@1", "--save-run", run, "--with", "none:where=width < 0")
    plain, none = done.json
    assert (none["run"], none["scores"]["recall@1"]["value"]) == ("none", 0.0)
    assert none["scores"]["recall@1"]["difference"] == -0.75
    first, again = ask("eval", qrels, "--json", "--measure", "recall@1", "--against", run).json
    assert again["scores"] == {"recall@1": first["scores"]["recall@1"] | {
        "difference": 0.0, "difference_low": 0.0, "difference_high": 0.0, "p": 1.0}}


def test_captions_groups_labels_and_a_plot(ask, tmp_path, library):
    captions = tmp_path / "c.csv"
    captions.write_text("image,caption\nred.png,red\nblue.png,blue\n")
    assert ask("eval", captions, "--json", "--measure", "success@1").json[0]["scores"]["success@1"]["value"] == 1.0
    labels = tmp_path / "labels.txt"
    labels.write_text("trip\nphotos\n")
    found = ask("eval", "--labels", labels, "--json").json
    assert found["pictures"] == 8
    assert set(found["by_label"]) == {"photos", "trip"}
    plot = tmp_path / "plot.svg"
    pytest.importorskip("matplotlib")
    assert ask("eval", captions, "--plot", plot, "--measure", "mrr").code == 0
    assert "<svg" in plot.read_text()


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        ((), 2, "--by FIELD"),
        (("no-such-file",), 2, "no-such-file"),
        (("known.csv", "--measure", "recal@1"), 2, "no measure"),
        (("known.csv", "--with", "nonsense"), 2, "--with takes"),
        (("known.csv", "--with", "a:wher=3"), 2, "no such setting"),
        (("known.csv", "--by", "group"), 2, "--by"),
        (("broken.csv",), 1, "line 1"),
        (("missing.csv",), 2, "not in the collection"),
        (("known.csv", "--save-run", "no/such/folder/run", "--measure", "mrr"), 4, "cannot be written"),
    ],
)
def test_what_is_refused_and_how(ask, qrels, tmp_path, args, code, word):
    (tmp_path / "broken.csv").write_text("who,what\n")
    (tmp_path / "missing.csv").write_text("query,id\nred,nobody\n")
    done = ask("eval", *args)
    assert done.code == code, done.err
    assert word in done.err
