"""Relevance: the background against loops, the fit against scikit-learn, the promise on real vectors where they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmsearch.encoders.toy import ToyEncoder
from mmsearch.errors import UsageError
from mmsearch.evaluation import calibration_error, roc_auc
from mmsearch.relevance import (
    DEFAULT,
    Background,
    Calibration,
    bank_vectors,
    calibration_of,
    logistic,
    query_bank,
)
from mmsearch.testing.indexes import unit_rows

ROOT = Path(__file__).parent.parent.parent
VECTORS = ROOT.parent / "shared" / "data" / "clip-vectors"


def test_the_bank_is_what_its_generator_writes():
    spec = importlib.util.spec_from_file_location("query_bank", ROOT / "data" / "query_bank.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert list(query_bank()) == maker.bank()
    assert len(set(query_bank())) == len(query_bank()) == 1500
    assert all(line == line.strip() and line.isascii() and 3 <= len(line) <= 100 for line in query_bank())


def test_hubness_and_features_by_loops():
    bank, items, scores = unit_rows(40, 16, 1), unit_rows(9, 16, 2), np.linspace(0.1, 0.9, 9)
    background = Background.of(bank, items)
    cosines = items.astype(np.float64) @ bank.T
    assert (background.mean, background.deviation) == pytest.approx((cosines.mean(), cosines.std()), rel=1e-4)
    hub = [0.01 * np.log(sum(np.exp(c / 0.01) for c in row)) for row in cosines]
    expected = [((s - cosines.mean()) / cosines.std(), (s - h) / cosines.std()) for s, h in zip(scores, hub, strict=True)]
    np.testing.assert_allclose(background.features(scores, items), expected, rtol=1e-4)


def test_a_large_collection_is_sampled_evenly():
    items = unit_rows(5000, 16, 3)
    assert Background.of(unit_rows(40, 16, 1), items).mean == pytest.approx(
        float((unit_rows(40, 16, 1) @ items[::3].T).mean()), abs=1e-6)
    with pytest.raises(UsageError, match="at least two"):
        Background.of(items[:1], items)


def sample(n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 2)) * [2, 1]
    chance = 1 / (1 + np.exp(-(-1.5 + 1.2 * features[:, 0] + 0.7 * features[:, 1])))
    return features, rng.random(n) < chance, chance


def test_the_fit_finds_the_weights_that_made_the_data():
    features, right, chance = sample()
    made = Calibration.fit(features, right, np.ones(len(right)))
    assert (made.bias, made.height, made.lead) == pytest.approx((-1.5, 1.2, 0.7), abs=0.08)
    assert made.pairs == right.sum()
    fresh, fresh_right, _ = sample(seed=1)
    assert calibration_error(made.relevance(fresh), fresh_right) < 0.02
    assert (made.relevance(fresh[fresh_right]) < made.cut).mean() == pytest.approx(0.01, abs=0.004)
    np.testing.assert_allclose(made.relevance(features), chance, atol=0.03)


def test_the_fit_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, right, _ = sample(3000)
    weights = np.random.default_rng(2).random(3000)
    theirs = linear_model.LogisticRegression(C=1 / 0.5, tol=1e-10, max_iter=1000).fit(features, right, sample_weight=weights)
    ours = logistic(features, right.astype(float), weights, ridge=0.5)
    np.testing.assert_allclose(ours, [*theirs.intercept_, *theirs.coef_[0]], atol=1e-5)


def test_hits_that_can_be_told_apart_fully_still_give_finite_weights():
    features = np.array([[-2.0, 0], [-1, 0], [1, 0], [2, 0]])
    made = Calibration.fit(features, [False, False, True, True], [1, 1, 1, 1])
    relevance = made.relevance(features)
    assert np.isfinite(relevance).all()
    assert relevance[1] < 0.1 < 0.9 < relevance[2]
    with pytest.raises(UsageError, match="right hits and on wrong"):
        Calibration.fit(features, [True] * 4, [1] * 4)


def test_relevance_rises_with_both_features_and_never_overflows():
    far = DEFAULT.relevance(np.array([[-1e6, -1e6], [3, -1], [3, 1], [5, 1], [1e6, 1e6]]))
    assert (np.diff(far) >= 0).all()
    assert (far[0], far[-1]) == (0.0, 1.0)
    assert calibration_of("of nobody").pairs == 0


def test_the_bank_is_encoded_once_and_mended_when_broken(tmp_path):
    toy = ToyEncoder(32)
    rows = bank_vectors(toy, tmp_path / "cache", sentences=["red", "blue", "a cat"])
    np.testing.assert_array_equal(rows, toy.encode_texts(["red", "blue", "a cat"]))
    before = toy.texts_encoded
    np.testing.assert_array_equal(bank_vectors(toy, tmp_path / "cache", sentences=["red", "blue", "a cat"]), rows)
    assert toy.texts_encoded == before
    assert len(bank_vectors(toy, tmp_path / "cache", sentences=["red", "blue"])) == 2
    bank_vectors(ToyEncoder(32, seed=1), tmp_path / "cache", sentences=["red", "blue", "a cat"])
    files = sorted((tmp_path / "cache").iterdir())
    assert len(files) == 3
    for file in files:
        file.write_bytes(b"broken")
    np.testing.assert_array_equal(bank_vectors(toy, tmp_path / "cache", sentences=["red", "blue", "a cat"]), rows)
    (tmp_path / "file").touch()
    np.testing.assert_array_equal(bank_vectors(toy, tmp_path / "file" / "x", sentences=["red"]), toy.encode_texts(["red"]))


@pytest.mark.skipif(not VECTORS.exists(), reason="shopsphere: ../shared/data/clip-vectors is not here")
def test_on_real_products_it_beats_the_cosine_and_is_calibrated():
    """Half of the images gone; a third of the products is the bank, a third is fitted on, a third is judged, in turns."""
    images, texts = (np.load(VECTORS / f"shopsphere_{kind}.npy") for kind in ("image", "text"))
    rng = np.random.default_rng(7)
    shown = rng.permutation(len(images)) % 2 == 0
    place = rng.permutation(len(images)) % 3
    plain, best, answered, right, kept, all_right = [], [], [], [], [], []
    for turn in range(3):
        asked, fit, bank = (np.flatnonzero(place == (turn + step) % 3) for step in range(3))
        background = Background.of(texts[bank], images[shown])
        gallery = np.flatnonzero(shown)

        def hits(queries, background=background, gallery=gallery):
            cosines = texts[queries] @ images[gallery].T
            order = np.argsort(-cosines, axis=1)[:, :10]
            scores = np.take_along_axis(cosines, order, axis=1)
            features = background.features(scores.ravel(), images[gallery][order.ravel()])
            return scores, features, (gallery[order] == queries[:, None])

        _, features, truth = hits(fit)
        made = Calibration.fit(features, truth.ravel(), np.tile(np.arange(1, 11), len(fit)))
        scores, features, truth = hits(asked)
        relevance = made.relevance(features).reshape(-1, 10)
        plain.append(scores[:, 0])
        best.append(relevance.max(axis=1))
        answered.append(shown[asked])
        right.append(truth[np.arange(len(asked)), relevance.argmax(axis=1)])
        kept.append((truth & (relevance >= made.cut)).any(axis=1))
        all_right.append(truth.any(axis=1))
    plain, best, answered, right, kept, all_right = map(np.concatenate, (plain, best, answered, right, kept, all_right))
    assert roc_auc(best, answered) > max(0.85, roc_auc(plain, answered))
    assert calibration_error(best, right) < 0.06
    assert all_right[answered].mean() - kept[answered].mean() <= 0.02
