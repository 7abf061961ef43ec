"""Stage 3: both towers together by InfoNCE on pairs, held near the teacher's picture of things by stage 2's targets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mmsearch.training.captions import Rows, draw
from mmsearch.training.losses import cosine_gap, info_nce, relational_kl
from mmsearch.training.muon import Mixed
from mmsearch.training.optim import Progress, Say, cosine_rate, mixed, optimizer
from mmsearch.training.parallel import Replicas
from mmsearch.training.stage_image import Pictures, jitter
from mmsearch.training.stage_text import TeacherHead, same_text
from mmsearch.training.towers import encode_texts, image_features
from mmsearch.training.views import render


@dataclass(frozen=True, slots=True)
class JointPlan:
    """How long, how large, how fast. `hold` weighs stage 2's targets, `text_peak` is the text tower's own peak rate.

    `blend` is how far the result goes from stage 2's weights (0) to stage 3's (1).
    """

    steps: int
    size: int = 160
    peak: float = 4e-4
    text_peak: float = 2e-4
    decay: float = 0.05
    hold: float = 2.0
    workers: int = 2
    pairs: int = 192
    blend: float = 0.75


@dataclass(frozen=True, slots=True)
class PairBatch:
    """One replica's pairs, all with a text: uint8 pixels, boxes, flips, teacher features and token lists."""

    pixels: torch.Tensor
    boxes: torch.Tensor
    flip: torch.Tensor
    teacher: torch.Tensor
    tokens: Rows


class Towers(nn.Module):
    """The whole model as the replicas run it: unit rows of pictures and of token lists, and the temperature."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pixels: torch.Tensor, tokens: Rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch.autocast(pixels.device.type, torch.bfloat16):
            _hidden, joint = image_features(self.clip, pixels)
            words = encode_texts(self.clip, tokens, chunks=3)
        return F.normalize(joint.float(), dim=-1), words, self.clip.logit_scale.exp().clamp(max=60.0)  # type: ignore[operator]


def draw_pairs(corpora: list[Pictures], texts: dict[str, list[Rows]], rng: np.random.Generator, n: int) -> PairBatch:
    """`n` pairs, split over the corpora by their shares, in views that are not mixed."""
    whole = sum(corpus.share for corpus in corpora)
    pixels, boxes, teacher, tokens = [], [], [], []
    for corpus in corpora:
        picked = rng.choice(corpus.rows, size=round(n * corpus.share / whole), replace=False)
        view = rng.choice([v for v, mix in enumerate(corpus.mixes) if mix is None], size=len(picked))
        pixels.append(np.stack([corpus.images[i] for i in picked]))
        boxes.append(np.stack([corpus.boxes[v][i] for v, i in zip(view, picked, strict=True)]))
        teacher.append(np.stack([corpus.views[v][i] for v, i in zip(view, picked, strict=True)]))
        tokens.extend(draw([texts[corpus.name][i] for i in picked], rng))
    return PairBatch(
        pixels=torch.from_numpy(np.concatenate(pixels)),
        boxes=torch.from_numpy(np.concatenate(boxes)),
        flip=torch.from_numpy(rng.random(len(tokens)) < 0.5),
        teacher=torch.from_numpy(np.concatenate(teacher).astype(np.float32)),
        tokens=tokens,
    )


def joint_losses(
    towers: nn.Module, head: TeacherHead, batch: PairBatch, pixels: torch.Tensor, bank: torch.Tensor, hold: float
) -> dict[str, torch.Tensor]:
    """InfoNCE plus `hold` times (distance from the head's place + half the divergence from its ranking of `bank`)."""
    with torch.no_grad():
        wanted = head(batch.teacher.to(pixels.device))
    joint, words, scale = towers(pixels, batch.tokens)
    match = info_nce(joint, words, scale, same_text(batch.tokens).to(pixels.device))
    place = cosine_gap(joint, wanted)
    rank = relational_kl(joint, wanted, bank, float(scale.detach()))
    return {"loss": match + hold * (place + 0.5 * rank), "match": match, "place": place, "rank": rank}


def train_joint(
    clip: nn.Module,
    head: TeacherHead,
    corpora: list[Pictures],
    texts: dict[str, list[Rows]],
    plan: JointPlan,
    progress: Progress,
    say: Say,
) -> None:
    """Fine-tune both towers for `plan.steps` steps; resumes from `progress` and leaves its result there."""
    towers = Towers(clip).to(memory_format=torch.channels_last)
    head.eval().requires_grad_(False)
    read = [p for n, p in clip.named_parameters() if not n.startswith("visual.")]
    seeing = mixed(clip.visual, clip.visual, rate=plan.peak, decay=plan.decay)  # type: ignore[arg-type]
    opt = Mixed(*seeing.parts, optimizer(read, rate=plan.text_peak, decay=plan.decay))
    peaks = [plan.peak] * len(seeing.param_groups) + [plan.text_peak] * 2
    bank = torch.cat([c.vectors for c in corpora if len(c.vectors)])
    device = next(towers.parameters()).device
    replicas = Replicas(towers, plan.workers)
    corpora = [replace(corpus) for corpus in corpora if len(corpus.vectors)]
    for step in progress.resume(towers, opt, plan.steps):
        rate = cosine_rate(opt, step, plan.steps, peak=1.0, warmup=20)
        for group, peak in zip(opt.param_groups, peaks, strict=True):
            group["lr"] = rate * peak

        def work(module: nn.Module, number: int, step: int = step) -> dict[str, torch.Tensor]:
            rng = np.random.Generator(np.random.PCG64([progress.seed, step, number, 3]))
            batch = draw_pairs(corpora, texts, rng, plan.pairs)
            some = bank[torch.from_numpy(rng.integers(len(bank), size=1024))].to(device)
            pixels = render(batch.pixels.to(device), batch.boxes.to(device), plan.size, batch.flip.to(device))
            pixels = jitter(pixels, rng).contiguous(memory_format=torch.channels_last)
            return joint_losses(module, head, batch, pixels, some, plan.hold)

        numbers = replicas.step(work)
        nn.utils.clip_grad_norm_(towers.parameters(), 5.0)
        opt.step()
        progress.after(step, towers, opt, numbers, say)
    replicas.close()
