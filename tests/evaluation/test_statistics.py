"""Intervals and tests against exact enumeration, closed forms, and the rates that they promise."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mmsearch.errors import UsageError
from mmsearch.evaluation import bootstrap, calibration_error, paired_difference, randomisation_test, roc_auc


def test_the_bootstrap_has_the_width_of_the_normal_interval():
    values = np.random.default_rng(0).random(2000)
    found = bootstrap(values, rounds=4000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_copies_of_a_query_in_one_cluster_add_no_certainty():
    values = np.random.default_rng(1).random(100)
    single = bootstrap(values, rounds=2000)
    fivefold = bootstrap(np.repeat(values, 5), np.repeat(np.arange(100), 5).astype(str).tolist(), rounds=2000)
    assert fivefold == pytest.approx(single)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = sum(low <= 0.3 <= high for _, low, high in
                  (bootstrap((rng.random(200) < 0.3).astype(float), rounds=300, seed=n) for n in range(200)))
    assert 180 <= covered <= 198


def exact_p(differences):
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in product((-1, 1), repeat=len(differences))]
    return np.mean(np.array(sums) >= abs(sum(differences)) - 1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_randomisation_test_agrees_with_all_swaps(seed):
    a, b = np.random.default_rng(seed).random((2, 10))
    assert randomisation_test(a, b + 0.2, rounds=20_000) == pytest.approx(exact_p(b + 0.2 - a), abs=0.012)


def test_the_randomisation_test_swaps_whole_clusters():
    a, b = np.zeros(6), np.array([1, 1, 1, 1, 1, 1.0])
    assert randomisation_test(a, b, list("xxxyyy"), rounds=20_000) == pytest.approx(exact_p([3, 3]), abs=0.012)
    assert randomisation_test(a, b, rounds=20_000) == pytest.approx(2 / 64, abs=0.006)


def test_equal_runs_do_not_differ():
    values = np.random.default_rng(3).random(50)
    assert randomisation_test(values, values) == 1.0
    assert paired_difference(values, values) == (0.0, 0.0, 0.0)


def test_the_area_under_roc_counts_pairs():
    rng = np.random.default_rng(4)
    scores, right = rng.integers(0, 20, 300), rng.random(300) < 0.4
    good, bad = scores[right][:, None], scores[~right][None]
    assert roc_auc(scores, right) == pytest.approx(((good > bad) + 0.5 * (good == bad)).mean())
    with pytest.raises(UsageError, match="right cases and wrong"):
        roc_auc([1.0], [True])


def test_calibration_error_of_honest_and_of_boastful_probabilities():
    rng = np.random.default_rng(5)
    p = rng.random(50_000)
    right = rng.random(50_000) < p
    assert calibration_error(p, right) < 0.01
    assert calibration_error(np.ones(4), [True, False, False, False]) == 0.75
    assert calibration_error([0.25] * 4 + [0.75] * 2, [1, 0, 0, 0, 1, 1]) == pytest.approx(0.25 * 2 / 6)


def test_nothing_and_unequal_lengths_are_refused():
    with pytest.raises(UsageError, match="no queries"):
        bootstrap(np.array([]))
    with pytest.raises(UsageError, match="3 queries, the other 2"):
        paired_difference(np.ones(3), np.ones(2))
    with pytest.raises(UsageError, match="from 0 to 1"):
        calibration_error([1.2], [True])
