"""Train mini's matching head: ``python -m mmsearch.training.matching --data DIR --model FOLDER --out DIR``.

FOLDER holds the frozen towers. What they make of the pictures is cached in ``--out``; the head is trained on it with hard
negatives that the towers mine themselves, memory and second reading are solved for, all is written beside the towers and
measured. A run that is killed goes on from its last
checkpoint when the same command is given again. Some minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mmsearch.training.data import load_corpus
from mmsearch.training.matching_data import Frozen, Ints, View, Words, means_of, view_of, words_of
from mmsearch.training.matching_head import MatchingHead
from mmsearch.training.matching_report import Outcome, settle
from mmsearch.training.optim import Progress, cosine_rate, optimizer
from mmsearch.training.rereading import learn_memory, learn_reading, said_of

Say = Callable[[str], None]
VIEWS = ((0, False), (1, True), (2, False), (3, True), (0, True), (1, False), (2, True), (3, False))
"""Which fixed views of the pictures are trained on: number, mirrored or not; the first is the whole picture."""
NEAR = 40
CLUSTER = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how large, how fast."""

    steps: int = 1500
    pictures: int = 64
    peak: float = 4e-4
    decay: float = 0.1
    drop: float = 0.1


@dataclass(frozen=True, slots=True)
class Shelf:
    """A corpus as the frozen towers see it. ``rows`` are the pictures to learn from, ``near[i]`` those much like rows[i]."""

    views: Sequence[View]
    words: Words
    rows: Ints
    near: Ints

    @classmethod
    def of(cls, views: Sequence[View], words: Words, rows: Ints) -> Shelf:
        """Mines each picture's neighbours: those that its captions, and the picture itself, come nearest to."""
        pictures = np.asarray(views[0].whole, dtype=np.float32)
        sums = np.zeros_like(pictures)
        np.add.at(sums, words.owner, words.whole)
        said = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
        closeness = (said + 0.5 * pictures)[rows] @ pictures[rows].T
        np.fill_diagonal(closeness, -np.inf)
        return cls(views, words, rows, np.argpartition(-closeness, NEAR, axis=1)[:, :NEAR])

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints, Ints]:
        """``count`` pictures or a few less, in clusters of neighbours; for each a view and a caption."""
        seeds = rng.choice(len(self.rows), count // CLUSTER, replace=False)
        found = [self.near[seed][rng.choice(NEAR, CLUSTER - 1, replace=False)] for seed in seeds]
        rows = self.rows[np.unique(np.concatenate([seeds, *found]))]
        first, last = np.searchsorted(self.words.owner, rows), np.searchsorted(self.words.owner, rows, side="right")
        rows, first, last = (part[last > first] for part in (rows, first, last))
        return rows, rng.integers(len(self.views), size=len(rows)), rng.integers(first, last)


def pictures_of(views: Sequence[View], rows: Ints, numbers: Ints) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Grid, local places and unit rows of some pictures, each in its numbered view."""
    pairs = list(zip(rows.tolist(), numbers.tolist(), strict=True))
    stacks = (np.stack([getattr(views[view], name)[row] for row, view in pairs]) for name in ("grid", "local", "whole"))
    grid, local, whole = (torch.from_numpy(stack).float() for stack in stacks)
    return grid, local, whole


def train(shelf: Shelf, head: MatchingHead, plan: Plan, progress: Progress, say: Say) -> None:
    """``plan.steps`` steps: each text must find its picture among its batch's, and each picture its text."""
    opt = optimizer(head.parameters(), rate=plan.peak, decay=plan.decay)
    for step in progress.resume(head, opt, plan.steps):
        cosine_rate(opt, step, plan.steps, peak=plan.peak, warmup=50)
        rows, views, captions = shelf.draw(progress.rng(step), plan.pictures)
        states, joint, mask = shelf.words.rows(captions)
        torch.manual_seed(step)
        head.train()
        with torch.autocast("cpu", torch.bfloat16):
            pictures = head.picture(*pictures_of(shelf.views, rows, views))
            logits = head.pairs(*head.text(states, joint, mask), pictures)
        right = torch.arange(len(rows))
        match = F.cross_entropy(logits, right)
        loss = match + 0.5 * F.cross_entropy(logits.T, right)
        opt.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        opt.step()
        numbers = {"loss": float(loss.detach()), "first": float((logits.argmax(dim=1) == right).float().mean())}
        progress.after(step, head, opt, numbers, say)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    usual = Plan()
    out = argparse.ArgumentParser(prog="python -m mmsearch.training.matching", description=__doc__)
    out.add_argument("--data", type=Path, required=True, help="folder with flickr8k-train.zip and flickr8k-dev.zip")
    out.add_argument("--model", type=Path, required=True, help="folder with the frozen towers")
    out.add_argument("--out", type=Path, required=True, help="folder for caches, checkpoints, logs, the graphs")
    out.add_argument("--cache", type=Path, help="folder of decoded pictures, if another run has them")
    out.add_argument("--steps", type=int, default=usual.steps)
    out.add_argument("--pictures", type=int, default=usual.pictures, help="pictures of one batch")
    out.add_argument("--peak", type=float, default=usual.peak, help="highest learning rate")
    out.add_argument("--views", type=int, default=6, help=f"how many views of each picture, at most {len(VIEWS)}")
    out.add_argument("--seed", type=int, default=0)
    out.add_argument("--until", choices=("train", "export"), default="export")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Features, training, choice of the weight, graphs, measurement."""
    args = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    begun = time.monotonic()

    def say(line: str) -> None:
        logging.getLogger("matching").info("%6.0f s  %s", time.monotonic() - begun, line)

    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    frozen, cache = Frozen(args.model), args.cache or args.out / "cache"
    corpus = load_corpus(args.data, cache, "flickr8k-train")
    words = words_of(frozen, corpus, args.out, say)
    views = [view_of(frozen, corpus, *view, args.out, say) for view in VIEWS[: args.views]]
    rows = np.arange(len(corpus))
    torch.manual_seed(args.seed)
    grid, local = views[0].grid, views[0].local
    plan = Plan(steps=args.steps, pictures=args.pictures, peak=args.peak)
    head = MatchingHead(grid.shape[2], grid.shape[1], words.states.shape[1], local.shape[2], drop=plan.drop)
    say(f"{sum(p.numel() for p in head.parameters()):,} parameters, grid {grid.shape[1:]}, {len(rows)} pictures")
    progress = Progress(args.out, "matching", seed=args.seed, every=100, decay=0.99)
    train(Shelf.of(views, words, rows), head, plan, progress, say)
    head.load_state_dict(progress.result())
    said = said_of(words.whole, words.owner, len(corpus))
    memory = learn_memory(means_of(frozen, corpus, args.out, say), said)
    reading = learn_reading(views[0].pooled(), said)
    dev = load_corpus(args.data, cache, "flickr8k-dev")
    seen, told = view_of(frozen, dev, 0, False, args.out, say), words_of(frozen, dev, args.out, say)
    weight, outcome = settle(head.eval(), memory, reading, seen, told, means_of(frozen, dev, args.out, say))
    say(json.dumps({"weight": weight, **outcome.summary()}))
    if args.until == "export":
        from mmsearch.training.matching_export import export

        export(frozen, head, memory, reading, args.model, weight, outcome)


__all__ = ["Outcome", "Plan", "Shelf", "main", "parser", "train"]

if __name__ == "__main__":
    main()
