"""Stage 2: a picture tower, from random weights, learns to see like the teacher and to land in stage 1's space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mmsearch.training.data import Pixels
from mmsearch.training.losses import cosine_gap, relational_kl
from mmsearch.training.mixes import Mix, mixed
from mmsearch.training.optim import Progress, Say, cosine_rate
from mmsearch.training.optim import mixed as mixed_optimizer
from mmsearch.training.parallel import Replicas
from mmsearch.training.stage_text import TeacherHead
from mmsearch.training.teacher import WIDTH, Features
from mmsearch.training.towers import image_features
from mmsearch.training.views import Boxes, render

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Pictures:
    """One corpus for distillation: pixels, the views' boxes, mixes and targets, and stage 1's vectors of its texts.

    `vectors` (m, dim) float32 are unit rows of all wordings, `first[i]`..`first[i + 1]` those of row i (none when
    equal).
    """

    name: str
    images: Pixels
    rows: Ints
    boxes: list[Boxes]
    mixes: list[Mix | None]
    views: list[Features]
    vectors: torch.Tensor
    first: Ints
    share: int


@dataclass(frozen=True, slots=True)
class Guests:
    """The pictures that are mixed into a batch: which of its rows, with what, where and how strongly."""

    rows: torch.Tensor
    pixels: torch.Tensor
    boxes: torch.Tensor
    place: torch.Tensor
    strength: torch.Tensor


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """One replica's input: uint8 pixels, boxes, guests, flips, teacher features, own text vectors, which rows have one."""

    pixels: torch.Tensor
    boxes: torch.Tensor
    guests: Guests | None
    flip: torch.Tensor
    teacher: torch.Tensor
    text: torch.Tensor
    has_text: torch.Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how large: `sizes` are (share of the steps, pixels), first small pictures and then full ones.

    The tower shrinks pictures 32 times, so sides that 32 does not divide lose their edges. `bank` texts and `names` of the
    teacher's nouns are ranked in one step.
    """

    steps: int
    sizes: Sequence[tuple[float, int]] = ((0.3, 64), (0.3, 96), (0.2, 128), (0.2, 160))
    peak: float = 1.5e-3
    decay: float = 0.05
    workers: int = 2
    bank: int = 1024
    names: int = 256

    def size_at(self, step: int) -> int:
        """Pixels at a step."""
        done, passed = step / self.steps, 0.0
        for part, size in self.sizes:
            passed += part
            if done < passed:
                return size
        return self.sizes[-1][1]


class Student(nn.Module):
    """The picture tower with an auxiliary map to the teacher's features, which is thrown away."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.visual: nn.Module = clip.visual  # type: ignore[assignment]
        self.mimic = nn.Linear(WIDTH, WIDTH)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Guess of the teacher's standardised features (n, 1280), and the joint embedding (n, dim), unit rows."""
        hidden, joint = image_features(self, pixels)
        return self.mimic(hidden).float(), F.normalize(joint.float(), dim=-1)


def draw_batch(corpora: list[Pictures], rng: np.random.Generator, part: float) -> ImageBatch:
    """A batch over all corpora, `part` of each one's share. A mixed picture counts as having no text of its own."""
    pixels, boxes, teacher, text, has = [], [], [], [], []
    guests: list[tuple[Any, ...]] = []
    start = 0
    for corpus in corpora:
        picked = rng.choice(corpus.rows, size=max(1, round(corpus.share * part)), replace=False)
        view = rng.integers(len(corpus.views), size=len(picked))
        pixels.append(np.stack([_base(corpus, v, i) for v, i in zip(view, picked, strict=True)]))
        cut = np.stack([corpus.boxes[v][i] for v, i in zip(view, picked, strict=True)])
        boxes.append(cut + wobble(rng, len(picked)))
        teacher.append(np.stack([corpus.views[v][i] for v, i in zip(view, picked, strict=True)]))
        low, high = corpus.first[picked], corpus.first[picked + 1]
        mixes = np.array([corpus.mixes[v] is not None for v in view])
        guests.extend(_guest(corpus, v, i, start + at) for at, (v, i) in enumerate(zip(view, picked, strict=True)) if mixes[at])
        has.append((high > low) & ~mixes)
        chosen = np.where(high > low, low + rng.integers(1 << 30, size=len(picked)) % np.maximum(high - low, 1), 0)
        text.append(corpus.vectors[torch.from_numpy(chosen)] if len(corpus.vectors) else torch.zeros(len(picked), 1))
        start += len(picked)
    dim = max(t.shape[1] for t in text)
    return ImageBatch(
        pixels=torch.from_numpy(np.concatenate(pixels)),
        boxes=torch.from_numpy(np.concatenate(boxes)),
        guests=Guests(*(torch.from_numpy(np.stack(part)) for part in zip(*guests, strict=True))) if guests else None,
        flip=torch.from_numpy(rng.random(start) < 0.5),
        teacher=torch.from_numpy(np.concatenate(teacher).astype(np.float32)),
        text=torch.cat([t.expand(-1, dim) for t in text]).float(),
        has_text=torch.from_numpy(np.concatenate(has)),
    )


def _base(corpus: Pictures, view: int, row: int) -> Pixels:
    """The pixels that fill a view: the picture's own, or white where the picture itself is what comes in."""
    mix = corpus.mixes[view]
    return np.full_like(corpus.images[row], 255) if mix is not None and mix.white else corpus.images[row]


def _guest(corpus: Pictures, view: int, row: int, at: int) -> tuple[Any, ...]:
    """What is mixed into picture `row`, the batch's row `at`, as the fields of `Guests`."""
    mix = corpus.mixes[view]
    assert mix is not None
    other = mix.partner[row]
    return np.int64(at), corpus.images[other], corpus.boxes[view][other], mix.place[row], mix.strength[row]


def show(batch: ImageBatch, size: int, device: torch.device) -> torch.Tensor:
    """The batch's pictures (n, 3, size, size), cut, mixed and flipped. The whole mixed picture is what is flipped."""
    flip = batch.flip.to(device)
    x = render(batch.pixels.to(device), batch.boxes.to(device), size, flip)
    if batch.guests is None:
        return x
    guests, rows = batch.guests, batch.guests.rows.to(device)
    other = render(guests.pixels.to(device), guests.boxes.to(device), size, flip[rows])
    x0, y0, x1, y1 = guests.place.to(device).unbind(1)
    turned = flip[rows]
    place = torch.stack([torch.where(turned, 1 - x1, x0), y0, torch.where(turned, 1 - x0, x1), y1], dim=1)
    x[rows] = mixed(x[rows], other, place, guests.strength.to(device))
    return x


def wobble(rng: np.random.Generator, n: int, by: float = 0.03) -> Boxes:
    """Shifts (n, 4) of a box's edges, small enough that the teacher's features of the unshifted box still hold."""
    return rng.uniform(-by, by, (n, 4)).astype(np.float32)


def jitter(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change brightness, contrast and colour strength of (n, 3, S, S) in -1..1 a little; the targets do not move."""
    n = len(pixels)
    light, contrast, colour = (
        torch.from_numpy(rng.uniform(low, high, (n, 1, 1, 1)).astype(np.float32))
        for low, high in ((-0.15, 0.15), (0.75, 1.25), (0.7, 1.3))
    )
    grey = pixels.mean(dim=1, keepdim=True)
    return torch.lerp(grey, pixels, colour).mul_(contrast).add_(light).clamp_(-1, 1)


def student_losses(
    student: nn.Module, head: TeacherHead, batch: ImageBatch, pixels: torch.Tensor, bank: torch.Tensor, scale: float
) -> dict[str, torch.Tensor]:
    """Weighted sum of: mimic features, land where the head lands, rank texts like the head, pick one's own text."""
    with torch.no_grad():
        wanted = head(batch.teacher)
        features = (batch.teacher.sqrt() - head.mean) / head.std
    with torch.autocast(pixels.device.type, torch.bfloat16):
        mimic, joint = student(pixels)
    feature = cosine_gap(mimic, features)
    place = cosine_gap(joint, wanted)
    rank = relational_kl(joint, wanted, bank, scale)
    own, mine = batch.text[batch.has_text], joint[batch.has_text]
    logits = scale * torch.cat([(mine * own).sum(1, keepdim=True), mine @ bank.T], dim=1)
    pick = F.cross_entropy(logits, torch.zeros(len(own), dtype=torch.long, device=logits.device))
    return {"loss": feature + 2 * place + 0.5 * rank + 0.1 * pick, "feature": feature, "place": place, "rank": rank}


def train_image(
    clip: nn.Module,
    head: TeacherHead,
    corpora: list[Pictures],
    plan: Plan,
    progress: Progress,
    say: Say,
    names: torch.Tensor,
) -> None:
    """Distil for `plan.steps` steps; resumes from `progress` and leaves its result there.

    `names` (m, dim) float32 are unit rows of nouns, which are ranked beside the corpora's texts.
    """
    student = Student(clip).to(memory_format=torch.channels_last)
    head.eval().requires_grad_(False)
    opt = mixed_optimizer(student.visual, student, rate=plan.peak, decay=plan.decay)
    scale = float(clip.logit_scale.detach().exp())  # type: ignore[operator]
    texts = torch.cat([c.vectors for c in corpora if len(c.vectors)])
    device = next(student.parameters()).device
    replicas = Replicas(student, plan.workers)
    for step in progress.resume(student, opt, plan.steps):
        cosine_rate(opt, step, plan.steps, peak=plan.peak, warmup=200)
        size = plan.size_at(step)

        def work(module: nn.Module, number: int, step: int = step, size: int = size) -> dict[str, torch.Tensor]:
            rng = np.random.Generator(np.random.PCG64([progress.seed, step, number]))
            batch = draw_batch(corpora, rng, 1 / plan.workers)
            some, nouns = rng.integers(len(texts), size=plan.bank), rng.integers(len(names), size=plan.names)
            bank = torch.cat([texts[torch.from_numpy(some)].float(), names[torch.from_numpy(nouns)].to(texts.device)])
            pixels = jitter(show(batch, size, device), rng).contiguous(memory_format=torch.channels_last)
            return student_losses(module, head, batch, pixels, bank.to(device), scale)

        numbers = replicas.step(work)
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        opt.step()
        progress.after(step, student, opt, {**numbers, "size": size}, say)
    replicas.close()
