"""Clusters: found again where they were put, named by what they are, the same every time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.clusters import chosen_k, k_means, named, separation, vocabulary
from mmsearch.encoders.toy import COLOURS
from mmsearch.errors import UsageError
from mmsearch.testing.indexes import unit_rows

DATA = Path(__file__).parents[2] / "data"


def blobs(k: int, n: int, spread: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """``n`` rows around each of ``k`` directions, and which."""
    rng = np.random.default_rng(k)
    middles = unit_rows(k, 24, k)
    truth = np.repeat(np.arange(k), n)
    rows = middles[truth] + spread * rng.standard_normal((k * n, 24)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def test_what_was_put_together_is_found_together() -> None:
    rows, truth = blobs(5, 30)
    cluster, middles = k_means(rows, 5, seed=3)
    assert middles.shape == (5, 24)
    np.testing.assert_allclose(np.linalg.norm(middles, axis=1), 1, atol=1e-5)
    for one in range(5):
        assert len(set(cluster[truth == one])) == 1
    again, _ = k_means(rows, 5, seed=3)
    np.testing.assert_array_equal(cluster, again)
    np.testing.assert_array_equal(cluster, (rows @ middles.T).argmax(axis=1))
    with pytest.raises(UsageError, match="150 images cannot be sorted into 151"):
        k_means(rows, 151)


def test_separation_by_loops_and_the_number_it_chooses() -> None:
    rows, truth = blobs(6, 20)
    cluster, middles = k_means(rows, 6)
    values = []
    for row, own in zip(rows, cluster, strict=True):
        far = [1 - float(row @ middle) for middle in middles]
        a, b = far[own], min(far[:own] + far[own + 1 :])
        values.append((b - a) / max(a, b))
    assert separation(rows, cluster, middles) == pytest.approx(np.mean(values), abs=1e-5)
    assert separation(rows, np.zeros(len(rows), dtype=int), middles[:1]) == 0
    assert chosen_k(rows) in (5, 6, 7)
    assert chosen_k(rows[:1]) == 1


def test_names_are_what_lifts_a_cluster_above_the_rest() -> None:
    rows, truth = blobs(3, 10)
    middles = unit_rows(3, 24, 3)
    everything = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    labels = np.stack([*middles, everything]).astype(np.float32)
    made = named([str(n) for n in range(30)], rows, truth, middles, ["a", "b", "c", "all"], labels)
    assert [one.name for one in made.clusters] == ["a", "b", "c"]
    cosines = rows @ labels.T
    lift = (cosines[:10].mean(axis=0) - cosines.mean(axis=0)) / cosines.std(axis=0)
    assert dict(made.clusters[0].labels)["a"] == pytest.approx(float(lift[0]), abs=1e-3)
    order = np.argsort(-(rows[:10] @ middles[0]), kind="stable")
    assert list(made.clusters[0].ids) == [str(n) for n in order]
    twice = named([str(n) for n in range(30)], rows, truth, middles, ["b", "x"], labels[[1, 3]])
    assert "" in {one.name for one in twice.clusters}  # what is not lifted has no name


def test_a_collection_of_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    rng = np.random.default_rng(0)
    items = []
    for name in ("red", "green", "blue"):
        for n in range(8 if name == "red" else 5):
            pixels = np.clip(np.array(COLOURS[name]) + rng.integers(-12, 12, (16, 16, 3)), 0, 255).astype(np.uint8)
            items.append(mm.Item(f"{name}{n}", image=Image.fromarray(pixels), meta={"n": n}))
    with mm.Collection.open(tmp_path / "c", create=True, model="toy") as collection:
        with pytest.raises(UsageError, match="no images"):
            collection.cluster(2)
        collection.add(items)
        found = collection.cluster(3, labels=["red", "green", "blue", "pink"])
        assert [(one.name, len(one)) for one in found.clusters][0] == ("red", 8)
        assert {one.name: {id.rstrip("0123456789") for id in one.ids} for one in found.clusters} == {
            "red": {"red"}, "green": {"green"}, "blue": {"blue"}}
        assert found.separation > 0.5
        assert collection.cluster(3, labels=["red", "green", "blue", "pink"]) == found
        assert len(collection.cluster(labels=["red", "green", "blue"]).clusters) >= 2
        some = collection.cluster(2, where="n < 2", labels=["red", "green", "blue"])
        assert sum(map(len, some.clusters)) == 6


def test_the_vocabulary_is_what_its_maker_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DATA))
    spec = importlib.util.spec_from_file_location("vocabulary_maker", DATA / "vocabulary.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    sys.modules.pop("query_bank", None)
    assert list(vocabulary()) == maker.vocabulary()
    assert len(vocabulary()) > 300
    assert all(word == word.strip().lower() for word in vocabulary())
