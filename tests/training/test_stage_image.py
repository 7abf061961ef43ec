"""Stage 2 on a tiny synthetic problem: it learns, and a run that was killed ends with the very same weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmsearch.training.optim import Progress
from mmsearch.training.stage_image import Pictures, Plan, train_image
from mmsearch.training.stage_text import TeacherHead
from mmsearch.training.views import crop_boxes

DIM = 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for one another over matrices this small only cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class TinyTrunk(nn.Module):
    """Stands in for the timm trunk: what `image_features` asks of it, in a few thousand weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.hidden, self.classifier = nn.Linear(8, 1280), nn.Linear(1280, DIM)

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.stem(pixels)

    def forward_head(self, x: torch.Tensor, *, pre_logits: bool) -> torch.Tensor:
        assert pre_logits
        return self.hidden(x.mean(dim=(2, 3))).relu()

    def get_classifier(self) -> nn.Module:
        return self.classifier


class TinyClip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Module()
        self.visual.trunk = TinyTrunk()
        self.logit_scale = nn.Parameter(torch.tensor(2.0))


def problem(seed: int = 0) -> tuple[TinyClip, TeacherHead, Pictures]:
    """Pictures of one flat colour each; teacher features and texts follow from the colour."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(0, 255, (24, 3))
    images = np.broadcast_to(colour[:, None, None, :], (24, 16, 16, 3)).astype(np.uint8)
    features = np.abs(colour / 128 @ rng.standard_normal((3, 1280))).astype(np.float16)
    torch.manual_seed(seed)
    head = TeacherHead()
    head.direct, head.deep[4] = nn.Linear(1280, DIM), nn.Linear(768, DIM)
    head.fit(features)
    with torch.no_grad():
        vectors = head.eval()(torch.from_numpy(features.astype(np.float32)))
    first = np.arange(25)
    pictures = Pictures("tiny", images, np.arange(24), [crop_boxes(24, 0)], [None], [features], vectors, first, 12)
    return TinyClip(), head, pictures


def run(folder: Path, steps: int, stop_after: int | None = None, workers: int = 2) -> dict[str, torch.Tensor]:
    """Train; when `stop_after` is given, die there like a killed process, after its checkpoint was written."""
    clip, head, pictures = problem()
    plan = Plan(steps=steps, sizes=((1.0, 16),), peak=1e-2, workers=workers, bank=8, names=3)
    progress = Progress(folder, "image", every=5)

    def say(line: str) -> None:
        if stop_after is not None and int(line.split()[1].split("/")[0]) >= stop_after:
            raise KeyboardInterrupt

    train_image(clip, head, [pictures], plan, progress, say, pictures.vectors[:5])
    assert progress.average is not None
    return {**clip.state_dict(), **{f"average.{k}": v for k, v in progress.average.state.items()}}


def test_killed_and_resumed_gives_identical_weights(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 25)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 25, stop_after=20)
    assert torch.load(tmp_path / "killed" / "image.pt", weights_only=True)["step"] == 19
    resumed = run(tmp_path / "killed", 25)
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


def test_it_learns_where_pictures_belong(tmp_path: Path) -> None:
    run(tmp_path, 41)
    rows = [json.loads(line) for line in (tmp_path / "image.jsonl").read_text().splitlines()]
    assert rows[-1]["place"] < 0.5 * rows[0]["place"]
    assert rows[-1]["feature"] < 0.8 * rows[0]["feature"]


def test_two_workers_average_their_gradients() -> None:
    from mmsearch.training.parallel import Replicas

    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False)
    data = torch.randn(2, 5, 3)
    replicas = Replicas(model, 2)
    replicas.step(lambda module, number: {"loss": module(data[number]).pow(2).mean()})
    given = model.weight.grad
    replicas.close()
    w = model.weight.detach().numpy()
    wanted = np.mean([2 * (x @ w.T * x).mean(axis=0) for x in data.numpy()], axis=0)
    np.testing.assert_allclose(given.numpy()[0], wanted, rtol=1e-5)
