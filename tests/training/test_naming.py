"""The lesson in names, on the real class layer: which classes are asked for, and what the answer is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mmsearch.encoders.tokenizer import clip_tokenizer
from mmsearch.training.labels import TFLITE, class_layer, synonyms
from mmsearch.training.naming import LESSON, Names

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data (teachers)")


@pytest.fixture(scope="module")
def names() -> Names:
    return Names(DATA / TFLITE, clip_tokenizer(context_length=32, merges=10_000))


def test_a_class_has_all_its_names_in_all_wordings(names: Names) -> None:
    assert synonyms(750) == ["quilt", "comforter", "comfort", "puff"]
    assert len(names.texts) == 1000
    assert len(names.texts[750]) == 12
    assert names.texts[750][2] == clip_tokenizer(context_length=32, merges=10_000)(["a photo of a quilt"])[0]


def test_the_answer_is_the_teachers_softmax_among_the_classes_asked_for(names: Names) -> None:
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.gamma(0.5, 1.0, (20, 1280)).astype(np.float32))
    lesson = names.lesson(features, np.random.default_rng(1))
    assert len(lesson.texts) == LESSON == lesson.answer.shape[1]
    owners: dict[tuple[int, ...], set[int]] = {}
    for at, texts in enumerate(names.texts):
        for words in texts:
            owners.setdefault(tuple(words), set()).add(at)
    weights, biases = class_layer(DATA / TFLITE)
    odds = np.exp((z := features.numpy() @ weights[1:].T + biases[1:]) - z.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    best = {int(at) for at in odds.argmax(axis=1)}
    sure = [at for at, words in enumerate(lesson.texts) if len(owners[tuple(words)]) == 1]  # a crane is a bird and a machine
    asked = [next(iter(owners[tuple(lesson.texts[at])])) for at in sure]
    assert best <= {number for words in lesson.texts for number in owners[tuple(words)]}
    assert len(sure) > 0.9 * LESSON
    held = lesson.weight.numpy()
    for picture in range(20):
        wanted = odds[picture, asked] / held[picture]
        np.testing.assert_allclose(lesson.answer[picture].numpy()[sure], wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(lesson.answer.sum(dim=1), 1, rtol=1e-5)
    assert (held > odds.max(axis=1) - 1e-5).all()


def test_a_space_that_answers_as_the_teacher_does_has_no_loss(names: Names) -> None:
    features = torch.from_numpy(np.random.default_rng(3).gamma(0.5, 1.0, (6, 1280)).astype(np.float32))
    lesson = names.lesson(features, np.random.default_rng(4))
    perfect = lesson.answer.clamp(min=1e-9).log()
    count = perfect.shape[1]
    good = lesson.loss(perfect, torch.eye(count), torch.tensor(1.0))
    poor = lesson.loss(F.normalize(torch.ones_like(perfect), dim=1), torch.eye(count), torch.tensor(1.0))
    assert float(good) == pytest.approx(0, abs=1e-5)
    assert float(poor) > 0.5
