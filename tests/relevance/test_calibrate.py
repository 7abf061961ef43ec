"""Relevance fitted on a collection's own pairs: against what made them, and end to end."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmsearch as mm
from mmsearch.calibrate import Pairs as OwnPairs
from mmsearch.calibrate import _auc, fit_pairs, loaded, own_pairs
from mmsearch.encoders.toy import ToyEncoder
from mmsearch.errors import UsageError
from mmsearch.evaluation import calibration_error, roc_auc
from mmsearch.relevance import DEFAULT, Background
from mmsearch.testing.indexes import unit_rows


def made_pairs(n: int, noise: float, seed: int = 0) -> OwnPairs:
    """Pictures, and two texts of each: the picture's row and noise."""
    rng = np.random.default_rng(seed)
    images = unit_rows(n, 32, seed)
    texts = np.repeat(images, 2, axis=0) + noise * rng.standard_normal((2 * n, 32)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return OwnPairs(images, np.arange(n), texts.astype(np.float32), np.repeat(np.arange(n), 2))


def test_it_is_a_probability_on_pairs_it_has_not_seen() -> None:
    calibration = fit_pairs(made_pairs(600, 0.15))
    fresh = made_pairs(600, 0.15, seed=1)
    shown = np.arange(0, 600, 2)
    background = Background.of(fresh.texts[900:], fresh.images[shown])
    asked = np.arange(100, 900)
    cosines = fresh.texts[asked] @ fresh.images[shown].T
    best = cosines.argmax(axis=1)
    features = background.features(cosines.max(axis=1), fresh.images[shown][best])
    right = shown[best] == fresh.owner[asked]
    assert 0.2 < right.mean() < 0.8
    ours, theirs = calibration.relevance(features), DEFAULT.relevance(features)
    assert calibration_error(ours, right) < 0.1
    assert calibration_error(ours, right) < calibration_error(theirs, right) / 2
    answered = fresh.owner[asked] % 2 == 0
    assert roc_auc(ours, answered) >= roc_auc(cosines.max(axis=1), answered) - 0.01


def test_the_area_is_that_of_the_evaluation() -> None:
    rng = np.random.default_rng(0)
    chance, answered = rng.integers(0, 20, 300) / 20, rng.random(300) < 0.4
    assert _auc(chance, answered) == pytest.approx(roc_auc(chance, answered), abs=1e-9)


def test_a_collection_keeps_its_own(tmp_path: Path) -> None:
    pairs = made_pairs(150, 0.2)
    toy = ToyEncoder(32)
    with mm.Collection.open(tmp_path / "c", create=True, model=toy) as collection:
        black = Image.new("RGB", (4, 4))
        items = [mm.Item(f"p{n}", group=f"g{n}", image=black, vector=row) for n, row in enumerate(pairs.images)]
        texts = [mm.Item(f"t{n}", group=f"g{n // 2}", text="red", vector=row) for n, row in enumerate(pairs.texts)]
        with pytest.raises(UsageError, match="0 groups"):
            collection.calibrate()
        collection.add([*items, *texts])
        before = collection.search("red", k=3, relevance=True)
        made = collection.calibrate()
        with collection._store.snapshot() as snapshot:
            kept = loaded(snapshot.meta("calibration"), toy.spec.fingerprint)
            own = own_pairs(snapshot)
            assert kept is not None
            assert asdict(kept) == pytest.approx(asdict(made), abs=1e-5)
            assert loaded(snapshot.meta("calibration"), "another") is None
            assert (len(own.images), len(own.texts)) == (150, 300)
            np.testing.assert_allclose(own.images[np.argsort(own.group)[own.owner]], pairs.images[np.arange(300) // 2], atol=1e-3)
        after = collection.search("red", k=3, relevance=True)
        assert after.ids == before.ids
        assert [hit.relevance for hit in after] != [hit.relevance for hit in before]

