"""``mmsearch train adapter`` as it is typed: refused, offered, applied, undone."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.cli import main
from mmsearch.types import text

ODD = "abcdefghijklmnopqrstuvwxyz"


def word(n: int) -> str:
    return "".join(ODD[(n // 26**place) % 26] for place in range(3))


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Texts of two words each; users say a third word for the second one, always the same."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MMSEARCH_COLLECTION", raising=False)
    with mm.Collection.open(tmp_path / "shop", create=True, model="toy") as collection:
        collection.add([mm.Item(id=f"i{n}", text=f"item {word(n * 7)}") for n in range(120)])
    return tmp_path / "shop"


def clicks(folder, lines):
    file = folder / "clicks.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


def test_clicks_that_teach_nothing_leave_everything_as_it_was(shop, tmp_path, capsys):
    rng = np.random.default_rng(0)
    file = clicks(tmp_path, [{"query": f"word{n}", "id": f"i{rng.integers(120)}"} for n in range(80)])
    assert main(["-c", str(shop), "train", "adapter", "--pairs", str(file), "--apply"]) == 1
    out = capsys.readouterr()
    assert "not better" in out.out
    assert "nothing was changed" in out.err
    with mm.Collection.open(shop) as collection:
        assert collection.adapter() is None


def test_a_better_one_is_switched_on_and_off(shop, tmp_path, capsys, monkeypatch):
    """A learner that is sure of a map: what is proved is what the command does with it."""
    from mmsearch.training import adapter as training
    from mmsearch.training.adapter_fit import Fit

    verdict = training.Verdict(40, 0.1, 0.5, 0.2, 0.9, 16, 0, 3e-5, 1e-7)
    with mm.Collection.open(shop) as collection:
        dim, plain = collection.info.dim, collection.vectors_of([text("red")])[0]

    def sure(kind, pairs, queries, rows, others, find, *, seed):
        assert len(pairs) == 60
        assert queries.shape == (60, dim)
        assert set(rows) == {f"i{n}" for n in range(60)}
        return training.Learned(kind, Fit(-np.eye(dim, dtype=np.float32), 3, 1.0, 2.0), verdict, True)

    monkeypatch.setattr(training, "learn", sure)
    lines = [{"query": f"{word(n)} red", "id": f"i{n}"} for n in range(60)] + [{"query": "lost", "id": "no such item"}]
    file = clicks(tmp_path, lines)
    at = ["-c", str(shop), "train", "adapter"]
    assert main([*at, "--pairs", str(file)]) == 0  # not asked: this is no terminal
    out = capsys.readouterr()
    assert "0.100 -> 0.500" in out.out
    assert "1 query left out" in out.err
    assert "--apply switches it on" in out.err
    assert main([*at, "--pairs", str(file), "--apply", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["applied"]
    assert told["kinds"][0]["after_r1"] == 0.5
    with mm.Collection.open(shop) as collection:
        assert collection.adapter().fingerprint == told["adapter"]
        np.testing.assert_allclose(collection.adapter()("text", plain), -plain, atol=1e-6)
    assert main(["-c", str(shop), "status"]) == 0
    assert told["adapter"][:12] in capsys.readouterr().out
    assert main([*at, "--off"]) == 0
    assert main([*at, "--off"]) == 0
    assert "no adapter is on" in capsys.readouterr().err
    with mm.Collection.open(shop) as collection:
        assert collection.adapter() is None
    assert main([*at, "--on"]) == 0
    with mm.Collection.open(shop) as collection:
        assert collection.adapter().fingerprint == told["adapter"]


def test_wrong_uses_are_said(shop, tmp_path, capsys):
    at = ["-c", str(shop), "train", "adapter"]
    assert main(at) == 2
    assert main([*at, "--on", "--off"]) == 2
    assert main([*at, "--on"]) == 2
    assert "no adapter is kept" in capsys.readouterr().err
    few = clicks(tmp_path, [{"query": f"w{n}", "id": f"i{n}"} for n in range(5)])
    assert main([*at, "--pairs", str(few)]) == 2
    assert "5 queries with items of this collection teach nothing" in capsys.readouterr().err
    broken = clicks(tmp_path, [{"query": "a"}])
    assert main([*at, "--pairs", str(broken)]) == 2
    assert "line 1" in capsys.readouterr().err
