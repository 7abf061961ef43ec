"""Mixed pictures: what a slow loop over pixels gives, and the same for teacher and student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmsearch.training import stage_image
from mmsearch.training.data import Corpus
from mmsearch.training.mixes import FIRST, GROUND, mix_of, mixed
from mmsearch.training.teacher import compute_view
from mmsearch.training.views import view_boxes


def test_views_are_mixed_from_the_first_on() -> None:
    assert [view for view in range(9) if mix_of(10, view) is not None] == [5, 6, 7, 8]
    ours, again, other = mix_of(1000, FIRST), mix_of(1000, FIRST), mix_of(1000, FIRST + 1)
    assert ours is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(ours.partner, again.partner)
    assert not np.array_equal(ours.partner, other.partner)
    assert sorted(ours.partner) == list(range(1000))
    over = (ours.place == [0, 0, 1, 1]).all(axis=1)
    assert 400 < over.sum() < 600
    assert ours.strength[over].max() <= 0.5
    assert (ours.strength[~over] == 1).all()
    width, height = (ours.place[~over, 2:] - ours.place[~over, :2]).T
    assert (width * height).min() > 0.099
    assert (width * height).max() < 0.501
    assert ours.place.min() >= 0
    assert ours.place.max() <= 1 + 1e-6


def test_mixed_equals_a_loop_over_pixels() -> None:
    rng = np.random.default_rng(0)
    base, other = rng.standard_normal((2, 3, 3, 6, 6)).astype(np.float32)
    mix = mix_of(3, FIRST)
    assert mix is not None
    wanted = base.copy()
    for n in range(3):
        x0, y0, x1, y1 = mix.place[n]
        for y in range(6):
            for x in range(6):
                if x0 < (x + 0.5) / 6 < x1 and y0 < (y + 0.5) / 6 < y1:
                    wanted[n, :, y, x] = (1 - mix.strength[n]) * base[n, :, y, x] + mix.strength[n] * other[n, :, y, x]
    given = mixed(*(torch.from_numpy(a) for a in (base, other, mix.place, mix.strength)))
    np.testing.assert_allclose(given.numpy(), wanted, atol=1e-6)
    assert not np.allclose(wanted, base)


def test_pieces_on_white_are_the_pictures_own() -> None:
    mix = mix_of(500, GROUND)
    assert mix is not None
    assert mix.white
    assert np.array_equal(mix.partner, np.arange(500))
    assert (mix.strength == 1).all()
    width, height = (mix.place[:, 2:] - mix.place[:, :2]).T
    assert (width * height).min() > 0.199
    assert (width * height).max() < 0.701
    assert [view for view in range(9, 13) if mix_of(4, view).white] == [11, 12]  # type: ignore[union-attr]


@pytest.mark.parametrize("view", [0, FIRST, GROUND])
@pytest.mark.parametrize("turn", [False, True])
def test_student_sees_what_the_teacher_saw(turn: bool, view: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher here answers with its very pixels; a mirrored batch shows the same pictures mirrored."""
    n = 6
    images = np.random.default_rng(1).integers(0, 255, (n, 12, 12, 3), np.uint8)
    corpus = Corpus("tiny", images, [[] for _ in range(n)], [])
    seen: list[torch.Tensor] = []

    def teacher(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.float())
        return torch.zeros(len(x), 1280)

    compute_view(teacher, corpus, view, torch.device("cpu"), batch=4)  # type: ignore[arg-type]
    monkeypatch.setattr(stage_image, "wobble", lambda rng, count: np.zeros((count, 4), np.float32))
    numbers = np.tile(np.arange(n, dtype=np.float16)[:, None], (1, 1280))
    first, none = np.zeros(n + 1, np.int64), torch.zeros(0, 2)
    pictures = stage_image.Pictures(
        "tiny", images, np.arange(n), [view_boxes(n, view)], [mix_of(n, view)], [numbers], none, first, n
    )
    batch = replace(stage_image.draw_batch([pictures], np.random.default_rng(2), 1.0), flip=torch.full((n,), turn))
    rows = batch.teacher[:, 0].long()
    assert sorted(rows.tolist()) == list(range(n))
    shown = stage_image.show(batch, 192, torch.device("cpu"))
    shown = shown.flip(3) if turn else shown
    torch.testing.assert_close(shown, torch.cat(seen)[rows], atol=0.02, rtol=0)
    white = (torch.cat(seen) == 1).float().mean()
    assert (white > 0.3) == (view == GROUND)
    assert not batch.has_text.any()
