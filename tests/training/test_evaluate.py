"""Recall and its intervals against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.training.evaluate import intervals, ranks, recalls, share, zero_shot


def problem(pictures: int, captions: int, seed: int, dim: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((pictures, dim)).astype(np.float32)
    owner = rng.integers(pictures, size=captions)
    owner[:pictures] = np.arange(pictures)  # every picture has one at least
    texts = images[owner] + 1.2 * rng.standard_normal((captions, dim)).astype(np.float32)
    return (
        images / np.linalg.norm(images, axis=1, keepdims=True),
        texts / np.linalg.norm(texts, axis=1, keepdims=True),
        owner,
    )


@pytest.mark.parametrize("seed", range(5))
def test_recalls_equal_sorting_everything(seed: int) -> None:
    images, texts, owner = problem(37, 90, seed)
    scores = texts @ images.T
    wanted = {}
    for k in (1, 5, 10):
        tops = np.argsort(-scores, axis=1)[:, :k]
        wanted[f"text_to_image_r{k}"] = float(np.mean([owner[j] in tops[j] for j in range(90)]))
        tops = np.argsort(-scores.T, axis=1)[:, :k]
        wanted[f"image_to_text_r{k}"] = float(np.mean([i in owner[tops[i]] for i in range(37)]))
    assert recalls(ranks(images, texts, owner)) == pytest.approx(wanted)


def test_ties_count_against_the_right_answer() -> None:
    images = np.ones((20, 1), np.float32)
    found = ranks(images, np.ones((20, 1), np.float32), np.arange(20))
    assert set(found.text) == {19}
    assert recalls(found)["text_to_image_r10"] == 0.0


def test_interval_of_one_caption_each_is_the_binomial_one() -> None:
    images, texts, owner = problem(400, 400, 0)
    found = ranks(images, texts, np.arange(400) if (owner == np.arange(400)).all() else owner)
    value, low, high = intervals(found)["text_to_image_r10"]
    half = 1.96 * np.sqrt(value * (1 - value) / 400)
    assert value == recalls(found)["text_to_image_r10"]
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.01)


def test_captions_of_one_picture_are_drawn_together() -> None:
    """Five copies of each caption carry no more knowledge than one: the interval must not shrink."""
    images, texts, owner = problem(200, 200, 1)
    one = intervals(ranks(images, texts, owner))["text_to_image_r5"]
    five = intervals(ranks(images, np.repeat(texts, 5, axis=0), np.repeat(owner, 5)))["text_to_image_r5"]
    assert five == pytest.approx(one, abs=1e-9)


def test_zero_shot_takes_the_nearest_class() -> None:
    prompts = {"a": np.eye(2, dtype=np.float32)[[0, 0]], "b": np.eye(2, dtype=np.float32)[[1]]}
    images = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    assert zero_shot(images, prompts, ["a", "a", "b"]).tolist() == [True, False, True]


def test_share_is_the_mean_with_a_binomial_interval() -> None:
    value, low, high = share(np.arange(1000) < 750)
    assert value == 0.75
    assert (low, high) == pytest.approx((0.723, 0.777), abs=0.006)
