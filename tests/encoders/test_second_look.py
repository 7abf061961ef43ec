"""Memory and second reading: their formulas against loops, their files, and that solving for them finds what was put in."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from mmsearch.encoders.reading import Reading, _signs, hidden
from mmsearch.encoders.recall import HUB, Recall
from mmsearch.testing.indexes import unit_rows
from mmsearch.training.matching_data import windows
from mmsearch.training.rereading import learn_memory, learn_reading, said_of


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def memory() -> Recall:
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.ones(7)).astype(np.float32)
    return Recall(unit_rows(7, 5, 1), 0.8 * unit_rows(7, 5, 2), share, 12.0, 0.4, 0.5, 0.3)


def test_rows_and_scores_are_the_sums_of_the_docstring(memory: Recall) -> None:
    pictures, read, texts = unit_rows(4, 5, 3), unit_rows(4, 5, 4), unit_rows(3, 5, 5)
    moved = memory.rows(pictures, read)
    for n in range(4):
        odds = np.array([memory.share[p] * np.exp(12 * pictures[n] @ memory.keys[p]) for p in range(7)])
        told = unit(sum(o / odds.sum() * v for o, v in zip(odds, memory.values, strict=True)))
        np.testing.assert_allclose(moved[n], unit(unit(pictures[n] + 0.4 * told) + 0.3 * read[n]), atol=1e-5)
        hub = np.log(sum(s * np.exp(HUB * v @ moved[n]) for s, v in zip(memory.share, memory.values, strict=True))) / HUB
        for m in range(3):
            assert memory.scores(texts, moved)[m, n] == pytest.approx(texts[m] @ moved[n] - 0.5 * hub, abs=1e-5)


def test_it_reads_what_it_wrote_and_nothing_else(memory: Recall, tmp_path: Path) -> None:
    memory.save(tmp_path / "memory")
    again = Recall.load(tmp_path / "memory")
    for field in fields(Recall):
        np.testing.assert_allclose(getattr(again, field.name), getattr(memory, field.name), atol=1e-3)
    reading = Reading(np.zeros(4, np.float32), np.ones(4, np.float32), unit_rows(6, 5, 0), np.zeros(5, np.float32))
    reading.save(tmp_path / "reading")
    pooled = unit_rows(2, 4, 1)
    np.testing.assert_allclose(Reading.load(tmp_path / "reading").rows(pooled), reading.rows(pooled), atol=2e-3)
    (tmp_path / "memory").write_bytes((tmp_path / "memory").read_bytes()[:-9])
    for name, kind in (("memory", Recall), ("reading", Recall), ("memory", Reading)):
        with pytest.raises(ValueError, match="holds no"):
            kind.load(tmp_path / name)


def test_signs_never_change() -> None:
    signs = _signs(100, 64)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert signs[0, :16].tolist() == [1, 1, 1, 1, 1, -1, 1, -1, -1, 1, -1, -1, -1, -1, -1, 1]
    assert abs(signs.mean()) < 0.05


def test_a_memory_holds_what_each_kind_of_picture_is_called() -> None:
    """Three kinds of pictures, each spoken of in its own way: a new picture of a kind is moved to its kind's name."""
    rng = np.random.default_rng(0)
    places, names = unit_rows(3, 16, 1), unit_rows(3, 16, 2)
    kinds = np.arange(60) % 3
    pictures = unit(places[kinds] + 0.05 * rng.standard_normal((60, 16))).astype(np.float32)
    memory = learn_memory(pictures, names[kinds], pairs=3)
    assert sorted(memory.share.tolist()) == pytest.approx([1 / 3] * 3)
    for kind in range(3):
        near = int((memory.keys @ places[kind]).argmax())
        np.testing.assert_allclose(memory.values[near], names[kind], atol=1e-5)
    new = unit(places + 0.05 * rng.standard_normal((3, 16))).astype(np.float32)
    moved = memory.rows(new, np.zeros_like(new))
    assert ((names * moved).sum(axis=1) > (names * new).sum(axis=1) + 0.1).all()


def test_a_reading_is_the_ridge_regression_of_plain_algebra() -> None:
    rng = np.random.default_rng(1)
    pooled = rng.gamma(1.0, 1.0, (200, 12)).astype(np.float32)
    said = unit(np.maximum(pooled @ rng.standard_normal((12, 6)), 0) + 0.1).astype(np.float32)
    reading = learn_reading(pooled, said, width=64, ridge=5.0)
    mean, spread = pooled.mean(axis=0), pooled.std(axis=0) + 1e-3
    x = np.float64(hidden(pooled, mean, spread, 64))
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3)
    wanted = unit(x @ np.linalg.inv(x.T @ x + 5 * np.eye(64)) @ x.T @ (said - said.mean(axis=0)))
    assert (reading.rows(pooled) * wanted).sum(axis=1).min() > 0.999
    middle = unit(said - said.mean(axis=0))
    assert (reading.rows(pooled) * middle).sum(axis=1).mean() > 0.9


def test_what_is_said_is_a_mean_and_windows_are_means_of_cells() -> None:
    texts = unit_rows(3, 4, 0)
    said = said_of(texts, np.array([0, 0, 2]), 3)
    np.testing.assert_allclose(said[0], unit(texts[0] + texts[1]), atol=1e-6)
    np.testing.assert_allclose(said[1:], [np.zeros(4), unit(texts[2])], atol=1e-6)
    cells = torch.arange(2 * 25 * 3, dtype=torch.float32).reshape(2, 25, 3)
    given = windows(cells).reshape(2, 5, 3)
    square = cells.reshape(2, 5, 5, 3)
    for at, part in enumerate((square, square[:, :3, :3], square[:, :3, 2:], square[:, 2:, :3], square[:, 2:, 2:])):
        torch.testing.assert_close(given[:, at], part.mean(dim=(1, 2)))
