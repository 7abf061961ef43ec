"""Stage 1 on a toy world where the right answer is known: every text names one of a few kinds of picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmsearch.training.evaluate import ranks, recalls
from mmsearch.training.optim import Progress
from mmsearch.training.pipeline import encode_all
from mmsearch.training.stage_text import Domain, TeacherHead, train_text
from mmsearch.training.towers import EMBED_DIM
from mmsearch.training.towers import build as build_model

KINDS = 12
START, END = 98, 99


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for one another over matrices this small only cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_clip() -> nn.Module:
    """open_clip's model with a text tower of one narrow layer and a picture tower that stage 1 never runs."""
    text = {"context_length": 6, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 8, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    return build_model({"embed_dim": EMBED_DIM, "vision_cfg": vision, "text_cfg": text}, seed=0)


def world() -> Domain:
    """Three noisy views of each kind of picture; its texts are a noise word and its own word, in either order."""
    rng = np.random.default_rng(0)
    kinds = rng.gamma(1.0, 1.0, (KINDS, 1280))
    views = [np.abs(kinds + 0.1 * rng.standard_normal(kinds.shape)).astype(np.float16) for _ in range(3)]
    texts = [[[START, 50 + i % 3, 10 + i, END], [START, 10 + i, 60 + i % 2, END]] for i in range(KINDS)]
    return Domain("toy", np.arange(KINDS), texts, views, KINDS)


def run(folder: Path, steps: int, stop_after: int | None = None) -> tuple[nn.Module, TeacherHead, Domain]:
    """Train; when `stop_after` is given, die there like a killed process, after its checkpoint was written."""
    domain = world()
    model, head = tiny_clip(), TeacherHead(hidden=32, dropout=0.0)
    head.fit(domain.views[0])

    def say(line: str) -> None:
        if stop_after is not None and int(line.split()[1].split("/")[0]) >= stop_after:
            raise KeyboardInterrupt

    train_text(model, head, [domain], steps, Progress(folder, "text", every=10, decay=0.9), say)
    return model.eval(), head.eval(), domain


def recall(model: nn.Module, head: TeacherHead, domain: Domain) -> dict[str, float]:
    """Recall at 1 over all wordings, of the average of the views, which training never showed."""
    blurred = np.mean([view.astype(np.float32) for view in domain.views], axis=0)
    with torch.inference_mode():
        pictures = head(torch.from_numpy(blurred)).numpy()
    words = encode_all(model, [wording for texts in domain.texts for wording in texts])
    return recalls(ranks(pictures, words, np.repeat(np.arange(KINDS), 2)), ks=(1,))


def test_it_finds_every_picture_of_the_toy_world(tmp_path: Path) -> None:
    model, head, domain = run(tmp_path / "none", 0)
    assert recall(model, head, domain)["text_to_image_r1"] < 0.5
    model, head, domain = run(tmp_path, 41)
    rows = [json.loads(line) for line in (tmp_path / "text.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] > np.log(KINDS) - 0.5
    assert rows[-1]["loss"] < 0.2 * rows[0]["loss"]
    assert recall(model, head, domain) == {"text_to_image_r1": 1.0, "image_to_text_r1": 1.0}


def test_killed_and_resumed_gives_identical_weights(tmp_path: Path) -> None:
    whole, whole_head, _ = run(tmp_path / "whole", 31)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 31, stop_after=20)
    assert torch.load(tmp_path / "killed" / "text.pt", weights_only=True)["step"] == 19
    resumed, resumed_head, _ = run(tmp_path / "killed", 31)
    for ours, theirs in ((whole, resumed), (whole_head, resumed_head)):
        for key, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), key
