"""What is noted after each stage: right recalls, one line a stage, and a picture of it all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from mmsearch.training.captions import Rows
from mmsearch.training.checks import LOG, check, read_checks, see
from mmsearch.training.evaluate import Matrix
from mmsearch.training.plot import draw_curves


def read(rows: Rows) -> Matrix:
    """Text k of this test stands for the k-th axis."""
    return np.eye(4, dtype=np.float32)[[row[0] for row in rows]]


def test_recall_is_counted_and_a_stage_keeps_one_line(tmp_path: Path) -> None:
    texts: list[Rows] = [[[0], [1]], [[2]], [[3]]]
    pictures = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0.6, 0.8, 0]], np.float32)
    found = check(tmp_path, "image", pictures, texts, read)
    # "0" and "2" find their own picture; "1" finds the third; "3" likes all equally, and ties count as misses.
    assert found["text_to_image_r1"] == 0.5
    assert found["image_to_text_r1"] == 2 / 3
    check(tmp_path, "joint", pictures, texts, read)
    check(tmp_path, "image", np.zeros((3, 4), np.float32), texts, read)
    assert [(row["stage"], row["text_to_image_r1"]) for row in read_checks(tmp_path / LOG)] == [("image", 0.0), ("joint", 0.5)]
    assert read_checks(tmp_path / "absent") == []


def test_pictures_are_seen_whole_and_the_mode_is_put_back() -> None:
    class Trunk(nn.Module):
        """Answers with the picture's left and right mean, so a cut or a mirror would show."""

        def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return torch.stack([pixels[:, 0, :, :8].mean((1, 2)), pixels[:, 0, :, 8:].mean((1, 2))], dim=1)

        def forward_head(self, x: torch.Tensor, *, pre_logits: bool) -> torch.Tensor:
            return x

        def get_classifier(self) -> nn.Module:
            return nn.Identity()

    model = nn.Module()
    model.visual = nn.Module()
    model.visual.trunk = Trunk()
    model.weight = nn.Parameter(torch.zeros(1))
    model.train()
    images = np.zeros((5, 16, 16, 3), np.uint8)
    images[:, :, :8] = 255
    np.testing.assert_allclose(see(model, images, 16, batch=2), np.tile([0.5**0.5, -(0.5**0.5)], (5, 1)), atol=1e-3)
    assert model.training


def test_the_plot_has_a_panel_per_stage_and_one_for_recall(tmp_path: Path) -> None:
    for stage in ("text", "joint"):
        (tmp_path / f"{stage}.jsonl").write_text("".join(json.dumps({"step": s, "loss": 3.0 - s}) + "\n" for s in range(3)))
    with Image.open(draw_curves(tmp_path)) as picture:
        assert picture.size == (1000, 400)
    (tmp_path / LOG).write_text(json.dumps({"stage": "text", "text_to_image_r10": 0.5, "image_to_text_r10": 0.6}) + "\n")
    with Image.open(draw_curves(tmp_path)) as picture:
        assert picture.size == (1500, 400)
