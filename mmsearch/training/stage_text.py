"""Stage 1: a text tower and a head on the teacher's cached features learn one joint space by InfoNCE, and the teacher's nouns.

All pictures are cached features here, so a step costs a small text tower's pass and nothing else. The head is
scaffolding: the picture tower of stage 2 learns to land where the head puts a picture, and the head is thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mmsearch.training.captions import Rows, draw
from mmsearch.training.losses import info_nce
from mmsearch.training.naming import Names
from mmsearch.training.optim import Progress, Say, cosine_rate, optimizer
from mmsearch.training.teacher import WIDTH, Features
from mmsearch.training.towers import EMBED_DIM, encode_texts

NAMING = 0.3
"""What the lesson in names weighs beside the captions."""


class TeacherHead(nn.Module):
    """From the teacher's features (n, 1280) to the joint space (n, EMBED_DIM): a linear map plus a two-layer one.

    The root tames the long tail of pooled ReLU activations before they are standardised.
    """

    def __init__(self, hidden: int = 768, dropout: float = 0.3) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("std", torch.ones(WIDTH))
        self.direct = nn.Linear(WIDTH, EMBED_DIM)
        self.deep = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(WIDTH, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, EMBED_DIM)
        )

    def fit(self, features: Features) -> None:
        """Set mean and deviation from a sample of features."""
        root = np.sqrt(features.astype(np.float32))
        self.mean.copy_(torch.from_numpy(root.mean(axis=0)))
        self.std.copy_(torch.from_numpy(root.std(axis=0) + 1e-3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = (features.sqrt() - self.mean) / self.std
        return F.normalize(self.direct(x) + self.deep(x), dim=-1)


@dataclass(frozen=True, slots=True)
class Domain:
    """One corpus as training sees it: the rows that may be used, their texts, and the teacher's views of them."""

    name: str
    rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    texts: list[Rows]
    views: list[Features]
    share: int

    def pick(self, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """`share` different rows."""
        return rng.choice(self.rows, size=self.share, replace=False)


def batch_of(domains: list[Domain], rng: np.random.Generator) -> tuple[torch.Tensor, Rows]:
    """Features (n, 1280) float32 of random views and one drawn text each, all domains mixed in one batch."""
    features, texts = [], []
    for domain in domains:
        picked = domain.pick(rng)
        view = rng.integers(len(domain.views), size=len(picked))
        features.append(np.stack([domain.views[v][i] for v, i in zip(view, picked, strict=True)]))
        texts.extend(draw([domain.texts[i] for i in picked], rng))
    return torch.from_numpy(np.concatenate(features).astype(np.float32)), texts


def same_text(texts: Rows) -> torch.Tensor:
    """(n, n) bool: rows with equal texts are not each other's negatives."""
    numbers: dict[tuple[int, ...], int] = {}
    code = torch.tensor([numbers.setdefault(tuple(row), len(numbers)) for row in texts])
    return code[:, None] == code[None, :]


def train_text(
    model: nn.Module,
    head: TeacherHead,
    domains: list[Domain],
    steps: int,
    progress: Progress,
    say: Say,
    names: Names | None = None,
) -> None:
    """Optimise text tower and head for `steps` steps; resumes from `progress` and leaves its result there.

    With `names`, every picture is also named as the teacher names it, which weighs :data:`NAMING` beside the captions.
    """
    parameters = [p for n, p in model.named_parameters() if not n.startswith("visual.")]
    opt = optimizer([*parameters, *head.parameters()], rate=1e-3, decay=0.05)
    modules = nn.ModuleDict({"model": model, "head": head})
    for step in progress.resume(modules, opt, steps):
        cosine_rate(opt, step, steps, peak=1e-3, warmup=50)
        rng = progress.rng(step)
        features, texts = batch_of(domains, rng)
        lesson = names.lesson(features, rng) if names is not None else None
        with torch.autocast(features.device.type, torch.bfloat16):
            words = encode_texts(model, texts + (lesson.texts if lesson else []), chunks=4)
        pictures = head(features)
        scale = model.logit_scale.exp().clamp(max=60.0)  # type: ignore[operator]
        loss = match = info_nce(pictures, words[: len(texts)], scale, same_text(texts))
        if lesson is not None:
            loss = match + NAMING * lesson.loss(pictures, words[len(texts) :], scale)
        opt.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        opt.step()
        numbers = {"loss": float(loss.detach()), "match": float(match.detach()), "scale": float(scale.detach())}
        progress.after(step, modules, opt, numbers, say)
